"""Arguments of environments, checked by their annotations: a wrong type or a NaN is one sentence."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np

from netllm_gym.errors import ConfigError

P = ParamSpec("P")
# Beyond it, sums of seconds or bytes lose whole units, and arrays their integers.
LARGEST = 10**15
LONGEST = 4096  # characters of a text


def _whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) <= LARGEST


def _real(value: Any) -> bool:
    number: Any = value
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    return bool(abs(number) <= LARGEST or number in (math.inf, -math.inf))  # NaN is neither


def _switch(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, numbers.Real) and value in (0, 1))


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _path(value: Any) -> bool:
    return isinstance(value, Path) and len(str(value)) <= LONGEST


def _several(each: Callable[[Any], bool], count: int | None = None) -> Callable[[Any], bool]:
    def allows(value: Any) -> bool:
        if not isinstance(value, list | tuple | range) and (
            count is not None or not isinstance(value, np.ndarray) or value.ndim != 1
        ):
            return False
        return (count is None or len(value) == count) and all(each(item) for item in value)

    return allows


def _named(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


# Part of an annotation -> what it allows, in words.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_whole, "a whole number"),
    "float": (_real, "a number"),
    "bool": (_switch, "true or false"),
    "str": (_text, "text"),
    "Path": (_path, "a path"),
    "None": (lambda value: value is None, "nothing"),
    "tuple[int, int]": (_several(_whole, 2), "two whole numbers"),
    "tuple[float, float]": (_several(_real, 2), "two numbers"),
    "Sequence[float]": (_several(_real), "a list of numbers"),
    "Sequence[str]": (_several(_text), "a list of texts"),
    "dict[str, str]": (_named, "a dict by names"),
    "dict[str, Any]": (_named, "a dict by names"),
}


def _kind(part: str) -> tuple[Callable[[Any], bool], str] | None:
    """Return what a part of an annotation allows; a class is known by its name, which its subclasses inherit."""
    if part in _KINDS:
        return _KINDS[part]
    if not re.fullmatch(r"[A-Za-z_.]+", part) or part in ("Any", "object"):
        return None
    name = part.rpartition(".")[2]
    return (lambda value: any(base.__name__ == name for base in type(value).__mro__)), f"a {name}"


def check(name: str, value: Any, annotation: str) -> None:
    """Refuse a value that an annotation does not allow; annotations of other kinds allow everything.

    Raises:
        ConfigError: the argument, what it takes, and what was given.
    """
    kinds = [_kind(part) for part in annotation.split(" | ")]
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds) or any(allows(value) for allows, _ in known):
        return
    words = [word for _, word in known if word != "nothing"]
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:60]
    raise ConfigError(f"{name} is {' or '.join(words)}, got {shown}")


def checked(init: Callable[P, None]) -> Callable[P, None]:
    """Check the arguments of an environment by their annotations before its constructor runs.

    The constructor raises :class:`~netllm_gym.errors.ConfigError` for a value of another type, for NaN and for numbers
    beyond :data:`LARGEST`.
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
            parameter = signature.parameters[name]
            if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                check(name, value, str(parameter.annotation))
        init(*args, **kwargs)

    return wrapper
