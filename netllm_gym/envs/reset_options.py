"""What ``reset(options=…)`` takes, checked the same way in every environment."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np

from netllm_gym.errors import ConfigError, UnknownOptionError

INDICES = ("trace", "network")  # the options that count in a set; the others are numbers, or one for each copy


def reset_options(
    options: Mapping[str, Any] | None, known: tuple[str, ...], typed: bool = True, copies: bool = False
) -> dict[str, Any]:
    """Return the options of a reset as a dict, without those that are ``None``.

    Args:
        options: what the user gave.
        known: the names that the environment takes.
        typed: check that values are numbers; ``False`` for an environment of another package.
        copies: a value may be several, one for each of the environments that are advanced together.

    Raises:
        UnknownOptionError: an option that the environment does not know; the message offers the nearest.
        ConfigError: options that are no mapping, or a value of another type (a part of an index is never cut off).
    """
    if options is not None and not isinstance(options, Mapping):
        if not isinstance(options, Sized) or len(options):
            raise ConfigError(f"reset options are a mapping of names to values, got {type(options).__name__}")
        options = None
    given = dict(options or {})
    for name in given:
        if name not in known:
            raise UnknownOptionError("reset option", str(name), known)
        if given[name] is None or not typed:
            continue
        try:
            value = np.asarray(given[name])
            kind = value.dtype.kind if copies or value.ndim == 0 else "O"
        except ValueError:  # rows of unequal length
            kind = "O"
        wanted, what = ("iu", "a whole number") if name in INDICES else ("iuf", "a number")
        if kind not in wanted:
            raise ConfigError(f"reset option {name!r} takes {what}, got {given[name]!r}")
    return {name: value for name, value in given.items() if value is not None}
