"""Arguments of environments, checked by their annotations: a wrong type or a NaN is one sentence."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from netllm_gym.errors import ConfigError

P = ParamSpec("P")


def _whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)


def _switch(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or value in (0, 1)


# Annotation, without "| None" -> what it allows, in words.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_whole, "a whole number"),
    "float": (_real, "a number"),
    "bool": (_switch, "true or false"),
}


def checked(init: Callable[P, None]) -> Callable[P, None]:
    """Check the ``int``, ``float`` and ``bool`` arguments of an environment before its constructor runs.

    The constructor raises :class:`~netllm_gym.errors.ConfigError` for a value of another type, or NaN.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            init(*args, **kwargs)  # an argument too many or too few: Python's own words
            return
        for name, value in given.items():
            kind, _, rest = str(signature.parameters[name].annotation).partition(" | ")
            if kind not in _KINDS or rest not in ("", "None") or (rest and value is None):
                continue
            allows, words = _KINDS[kind]
            if not allows(value):
                raise ConfigError(f"{name} is {words}, got {repr(value)[:60]}")
        init(*args, **kwargs)

    return wrapper
