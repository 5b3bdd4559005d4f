"""Composite actions as one array: a Dict or Tuple of choices becomes a MultiDiscrete, one of numbers a Box.

Datasets, learners and checkpoints know flat actions only. :func:`with_flat_actions` puts the translation around an
environment, so that what is collected, trained on and played fits together; an agent may still answer with the
environment's own Dict or Tuple.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def _members(space: gym.Space) -> Iterator[gym.Space]:
    """Yield the arrays of a composite space in order."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for member in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            yield from _members(member)
    else:
        yield space


def _factors(space: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of choices and the first one of each factor of a space of choices."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.n]), np.array([space.start])
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ravel(), space.start.ravel()
    count = int(np.prod(space.shape))
    return np.full(count, 2), np.zeros(count, np.int64)


def flat_action_space(space: gym.Space) -> gym.Space | None:
    """Return the flat form of a composite space; ``None`` for any other space, and where choices are mixed with numbers
    or a member has no fixed size.
    """
    members = list(_members(space))
    if not isinstance(space, spaces.Dict | spaces.Tuple) or not members:
        return None
    if all(isinstance(member, CHOICES) for member in members):
        sizes, starts = zip(*map(_factors, members), strict=True)
        return spaces.MultiDiscrete(np.concatenate(sizes), start=np.concatenate(starts))
    if all(isinstance(member, spaces.Box) for member in members):
        boxes: list[Any] = members
        low, high = (np.concatenate([getattr(box, end).ravel() for box in boxes]) for end in ("low", "high"))
        # Wide enough for every member: bounds must not move, and numbers that are all whole stay so.
        kind: Any = np.result_type(*(box.dtype for box in boxes))
        kind = np.result_type(kind, np.float32) if kind.kind == "f" else kind
        return spaces.Box(low.astype(kind), high.astype(kind), dtype=kind)
    return None


class FlatActions(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Plays flat actions in an environment whose own are composite.

    Args:
        env: its action space has a :func:`flat_action_space`.
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        flat = flat_action_space(env.action_space)
        assert flat is not None
        self.action_space = flat
        members: list[Any] = list(_members(env.action_space))
        whole = [np.full(int(np.prod(part.shape or ())), part.dtype.kind in "biu") for part in members]
        # Whole numbers among others: they are rounded, since cut off would be another action than was chosen.
        mixed = (
            isinstance(flat, spaces.Box)
            and np.issubdtype(flat.dtype, np.floating)
            and any(part.any() for part in whole)
        )
        self._whole = np.concatenate(whole) if mixed else None

    def flat(self, action: Any) -> Any:
        """Return an action in its flat form, whichever it has; what is neither stays as it is.

        Where whole numbers stand beside others, the nearest whole number is taken for each of them.
        """
        if not isinstance(action, dict | tuple) or not self.env.action_space.contains(action):
            if self._whole is None or not isinstance(action, np.ndarray) or action.shape != self._whole.shape:
                return action
            return np.where(self._whole, np.rint(action), action).astype(action.dtype)
        parts = [np.asarray(part).ravel() for part in _values(self.env.action_space, action)]
        return np.concatenate(parts).astype(self.action_space.dtype)

    def nested(self, action: NDArray[Any]) -> Any:
        """Return a flat action as the environment wants it."""
        numbers = iter(np.asarray(action).tolist())
        return _rebuilt(self.env.action_space, numbers)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**kwargs)
        return observation, self._masked(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a flat action, or the environment's own."""
        observation, reward, terminated, truncated, info = self.env.step(self.nested(self.flat(action)))
        return observation, reward, terminated, truncated, self._masked(info)

    def _masked(self, info: dict[str, Any]) -> dict[str, Any]:
        """Put a composite mask, of Gymnasium's form, into that of a MultiDiscrete: one array for each factor."""
        mask = info.get("action_mask")
        if not isinstance(mask, dict | tuple) or not isinstance(self.action_space, spaces.MultiDiscrete):
            return info
        parts: list[NDArray[np.int8]] = []
        members = zip(_members(self.env.action_space), _values(self.env.action_space, mask), strict=True)
        for member, part in members:
            sizes = _factors(member)[0]
            if part is None:
                parts += [np.ones(size, np.int8) for size in sizes]
            elif isinstance(part, tuple):
                parts += [np.asarray(one, np.int8).ravel() for one in part]
            elif isinstance(member, spaces.MultiBinary):  # 0 and 1 fix an entry, 2 leaves it open
                parts += [np.array([one != 1, one != 0], np.int8) for one in np.ravel(part)]
            else:
                parts.append(np.asarray(part, np.int8).ravel())
        return {**info, "action_mask": tuple(parts)}


def _values(space: gym.Space, value: Any) -> Iterator[Any]:
    """Yield the members of a composite value in the order of :func:`_members`."""
    if isinstance(space, spaces.Dict):
        for key, member in space.spaces.items():
            yield from _values(member, value[key])
    elif isinstance(space, spaces.Tuple):
        for member, part in zip(space.spaces, value, strict=True):
            yield from _values(member, part)
    else:
        yield value


def _rebuilt(space: Any, numbers: Iterator[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _rebuilt(member, numbers) for key, member in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_rebuilt(member, numbers) for member in space.spaces)
    if isinstance(space, spaces.Discrete):
        return np.int64(next(numbers))
    count = int(np.prod(space.shape))
    return np.array([next(numbers) for _ in range(count)]).reshape(space.shape).astype(space.dtype)


def with_flat_actions(env: gym.Env) -> gym.Env:
    """Return the environment, with flat actions where its own are composite and have a flat form."""
    return env if flat_action_space(env.action_space) is None else FlatActions(env)


def actions_of(env: gym.Env) -> gym.Space:
    """Return the action space that agents of this package decide in: the environment's own, or its flat form."""
    flat = flat_action_space(env.action_space)
    return env.action_space if flat is None else flat


def flat_mask(mask: Any) -> NDArray[np.bool_]:
    """Return a copy of an action mask as one bool vector, all factors of the action one after the other."""
    if isinstance(mask, tuple | list):
        return np.concatenate([flat_mask(part) for part in mask])
    return np.array(mask, bool).ravel()
