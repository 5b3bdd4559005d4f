"""What ``reset(options=…)`` takes, checked the same way in every environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netllm_gym.errors import UnknownOptionError


def reset_options(options: Mapping[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of a reset as a dict.

    Raises:
        UnknownOptionError: an option that the environment does not know; the message offers the nearest.
    """
    given = dict(options or {})
    for name in given:
        if name not in known:
            raise UnknownOptionError("reset option", str(name), known)
    return given
