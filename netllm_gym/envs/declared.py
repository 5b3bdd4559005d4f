"""Whether an observation is what its space declares: shapes, types, bounds, categories, said in a phrase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces


def undeclared(space: spaces.Space, observation: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield what of an observation its space does not declare.

    Args:
        space: what the environment promises; Dicts and Tuples are entered.
        observation: what it shows.
        key: of the observation in those around it, with ``/`` between levels.

    Yields:
        (key and kind of the fault, which is the same however often it is met; a phrase that says it).
    """
    what = f"observation {key!r}" if key else "the observation"
    if isinstance(space, spaces.Dict | spaces.Tuple):
        members = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        there = _parts(space, observation)
        if there is None:
            yield f"{key} kind", f"{what} is {type(observation).__name__}, its space a {type(space).__name__}"
            return
        for name, member in members:
            below = f"{key}/{name}" if key else str(name)
            if name in there:
                yield from undeclared(member, there[name], below)
            else:
                yield f"{below} missing", f"observation {below!r} is missing"
        if more := [str(name) for name in there if name not in _names(space)]:
            yield f"{key} more", f"{what} has {more[0]!r}, which its space does not name"
    elif isinstance(space, spaces.Box):
        yield from _of_box(space, observation, key, what)
    elif not _contains(space, observation):
        shown = " ".join(repr(observation).split())
        yield f"{key} outside", f"{what} is {shown[:60]}, not in {str(space)[:80]}"


def _names(space: spaces.Dict | spaces.Tuple) -> Any:
    return space.spaces if isinstance(space, spaces.Dict) else range(len(space.spaces))


def _parts(space: spaces.Space, observation: Any) -> dict[Any, Any] | None:
    if isinstance(space, spaces.Dict):
        return dict(observation) if isinstance(observation, Mapping) else None
    return dict(enumerate(observation)) if isinstance(observation, tuple | list) else None


def _contains(space: spaces.Space, observation: Any) -> bool:
    if isinstance(space, spaces.MultiBinary | spaces.MultiDiscrete):
        observation = np.asarray(observation)
    try:
        return bool(space.contains(observation))
    except Exception:  # a space of somebody else that cannot even say no
        return False


def _of_box(space: Any, observation: Any, key: str, what: str) -> Iterator[tuple[str, str]]:
    try:
        values = np.asarray(observation)
    except Exception as error:  # lists of several lengths, or what somebody else made of an array
        yield f"{key} type", f"{what} cannot be read as an array ({type(error).__name__})"
        return
    if values.dtype.kind not in "biuf":
        yield f"{key} type", f"{what} holds {values.dtype.name} in place of {space.dtype}"
        return
    if values.shape != space.shape:
        yield f"{key} shape", f"{what} has shape {values.shape}, its space says {space.shape}"
        return
    if isinstance(observation, np.ndarray | np.generic) and not np.can_cast(values.dtype, space.dtype):
        yield f"{key} type", f"{what} is {values.dtype}, its space says {space.dtype}"
    shown = np.atleast_1d(values)
    if space.dtype.kind == "f":  # 0.1 of double precision lies beyond a bound of 0.1 in single
        with np.errstate(over="ignore"):
            values = values.astype(space.dtype)
    for beyond, bound, word in ((values < space.low, space.low, "begins"), (values > space.high, space.high, "ends")):
        if beyond.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(beyond)))
            value, end = shown[place], np.atleast_1d(bound)[place]
            yield f"{key} {word}", f"{what} holds {value:.6g}, its space {word} at {end:.6g}"
