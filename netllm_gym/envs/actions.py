"""Composite actions as one array: a Dict or Tuple of choices becomes a MultiDiscrete, one of numbers a Box.

Where choices stand beside numbers, all becomes one Box: a choice is a number from 0 to 1 for each of its options, of
which the largest is taken, so that no order is made up among options.

Datasets, learners and checkpoints know flat actions only. :func:`with_flat_actions` puts the translation around an
environment, so that what is collected, trained on and played fits together; an agent may still answer with the
environment's own Dict or Tuple.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.errors import IllegalActionError, ObservationError

CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
MOST_OPTIONS = 4096  # of choices beside numbers: each is a number of the flat action


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
    """Return the flat form of a composite space; ``None`` for any other space, and where a member has no fixed size or
    choices beside numbers have more than :data:`MOST_OPTIONS` options.
    """
    members = list(_members(space))
    if not isinstance(space, spaces.Dict | spaces.Tuple) or not members:
        return None
    if all(isinstance(member, CHOICES) for member in members):
        sizes, starts = zip(*map(_factors, members), strict=True)
        return spaces.MultiDiscrete(np.concatenate(sizes), start=np.concatenate(starts))
    if not all(isinstance(member, (*CHOICES, spaces.Box)) for member in members):
        return None
    options = sum(int(_factors(member)[0].sum()) for member in members if isinstance(member, CHOICES))
    if options > MOST_OPTIONS:
        return None
    boxes = [spaces.Box(0, 1, (one,)) if isinstance(m, CHOICES) else m for m in members for one in _widths(m)]
    low, high = (np.concatenate([getattr(box, end).ravel() for box in boxes]) for end in ("low", "high"))
    # Wide enough for every member: bounds must not move, and numbers that are all whole stay so.
    kind: Any = np.result_type(*(box.dtype for box in boxes))
    kind = np.result_type(kind, np.float32) if options or kind.kind == "f" else kind
    return spaces.Box(low.astype(kind), high.astype(kind), dtype=kind)


def _widths(space: Any) -> list[int]:
    """Return how many numbers stand for each factor of a choice, or for all of a Box, in a flat Box."""
    if isinstance(space, CHOICES):
        return [int(size) for size in _factors(space)[0]]
    return [int(np.prod(space.shape))]


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
        self._legal: NDArray[np.bool_] | None = None  # which numbers of options the mask allows
        self._options: list[slice] = []  # the numbers of each choice, where choices stand beside numbers
        self._whole: NDArray[np.bool_] | None = None
        if not isinstance(flat, spaces.Box) or not np.issubdtype(flat.dtype, np.floating):
            return
        members: list[Any] = list(_members(env.action_space))
        whole: list[NDArray[np.bool_]] = []
        place = 0
        for member in members:
            for width in _widths(member):
                if isinstance(member, CHOICES):
                    self._options.append(slice(place, place + width))
                # Whole numbers among others are rounded, since cut off would be another action than was chosen.
                whole.append(np.full(width, isinstance(member, spaces.Box) and np.dtype(member.dtype).kind in "biu"))
                place += width
        if self._options or any(part.any() for part in whole):
            self._whole = np.concatenate(whole)

    def flat(self, action: Any) -> Any:
        """Return an action in its flat form, whichever it has; what is neither stays as it is.

        Where whole numbers stand beside others, the nearest whole number is taken for each of them; of the options of a
        choice, the largest that is legal becomes 1 and the others 0.

        Raises:
            IllegalActionError: the environment's own form of an action, with a choice that is masked out.
        """
        if not isinstance(action, dict | tuple) or not self.env.action_space.contains(action):
            numbers = _numbers(action)
            if self._whole is None or numbers is None or numbers.shape != self._whole.shape:
                return action  # named where it is refused
            found = np.where(self._whole, np.rint(numbers), numbers).astype(numbers.dtype)
            for part in self._options:
                scores = found[part] if self._legal is None else np.where(self._legal[part], found[part], -np.inf)
                found[part] = np.arange(len(scores)) == scores.argmax()
            return found
        parts = []
        members = list(_members(self.env.action_space))
        for member, value in zip(members, _values(self.env.action_space, action), strict=True):
            if not self._options or isinstance(member, spaces.Box):
                parts.append(np.ravel(value))
                continue
            sizes, starts = _factors(member)
            chosen = np.ravel(value) - starts
            parts += [np.arange(size) == one for size, one in zip(sizes, chosen, strict=True)]
        flat = np.concatenate(parts).astype(self.action_space.dtype)
        if self._legal is not None and any(not self._legal[part][flat[part] > 0].all() for part in self._options):
            raise IllegalActionError(f"illegal action {action}: a choice of it is masked out")
        return flat

    def nested(self, action: NDArray[Any]) -> Any:
        """Return a flat action as the environment wants it."""
        numbers = iter(np.asarray(action).tolist())
        return _rebuilt(self.env.action_space, numbers, bool(self._options))

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
        self._legal = None
        if not isinstance(mask, dict | tuple) or not (
            self._options or isinstance(self.action_space, spaces.MultiDiscrete)
        ):
            return info
        parts: list[NDArray[np.int8]] = []
        members = zip(_members(self.env.action_space), _values(self.env.action_space, mask), strict=True)
        for member, part in members:
            if isinstance(member, spaces.Box):  # numbers have no mask
                parts.append(np.ones(_widths(member)[0], np.int8))
                continue
            sizes = _factors(member)[0]
            if part is None:
                parts += [np.ones(size, np.int8) for size in sizes]
            elif isinstance(part, tuple):
                parts += [np.asarray(one, np.int8).ravel() for one in part]
            elif isinstance(member, spaces.MultiBinary):  # 0 and 1 fix an entry, 2 leaves it open
                parts += [np.array([one != 1, one != 0], np.int8) for one in np.ravel(part)]
            else:
                parts.append(np.asarray(part, np.int8).ravel())
        if self._options:  # kept where the largest option is taken: no agent knows masks of numbers
            self._legal = self._fitting(np.concatenate(parts).astype(bool))
            return {key: value for key, value in info.items() if key != "action_mask"}
        return {**info, "action_mask": tuple(parts)}

    def _fitting(self, legal: NDArray[np.bool_]) -> NDArray[np.bool_]:
        assert self._whole is not None
        if legal.shape != self._whole.shape:
            raise ObservationError(f"info['action_mask'] has {legal.size} entries for {len(self._whole)}")
        if any(not legal[part].any() for part in self._options):
            raise ObservationError("info['action_mask'] allows no option of a choice")
        return legal


def _numbers(action: Any) -> NDArray[Any] | None:
    try:
        numbers = np.asarray(action)
    except ValueError:  # lists of several lengths
        return None
    return numbers if numbers.dtype.kind in "iuf" and not np.isnan(numbers).any() else None


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


def _rebuilt(space: Any, numbers: Iterator[Any], options: bool) -> Any:
    """Return a composite action of the numbers of a flat one; with `options`, a choice has a number for each."""
    if isinstance(space, spaces.Dict):
        return {key: _rebuilt(member, numbers, options) for key, member in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_rebuilt(member, numbers, options) for member in space.spaces)
    if options and isinstance(space, CHOICES):
        sizes, starts = _factors(space)
        scores = [[next(numbers) for _ in range(size)] for size in sizes]
        chosen = iter([int(np.argmax(part)) + int(start) for part, start in zip(scores, starts, strict=True)])
        return _rebuilt(space, chosen, False)
    if isinstance(space, spaces.Discrete):
        return np.int64(next(numbers))
    count = int(np.prod(space.shape))
    return np.array([next(numbers) for _ in range(count)]).reshape(space.shape).astype(space.dtype)


def whole(action: Any) -> int | None:
    """Return a choice as an int, ``None`` where it is no single whole number: 1.7 is not 1."""
    try:
        return operator.index(action)
    except TypeError:
        pass
    try:
        number = int(action)
        return number if number == action else None
    except (TypeError, ValueError, OverflowError):
        return None


def whole_pair(action: Any) -> tuple[int, int] | None:
    """Return two choices as ints, ``None`` where they are not two whole numbers."""
    try:
        first, second = map(whole, action)
    except (TypeError, ValueError):
        return None
    return None if first is None or second is None else (first, second)


def whole_numbers(action: Any) -> NDArray[np.int64] | None:
    """Return numbers as whole ones, ``None`` where they are not."""
    try:
        given = np.asarray(action)
        with np.errstate(invalid="ignore"):
            numbers = given.astype(np.int64, copy=False)
        fits = given.dtype.kind in "iu" or (given.dtype.kind in "bfO" and np.array_equal(numbers, given))
        return numbers if fits else None
    except (TypeError, ValueError, OverflowError):
        return None


def finite_numbers(action: Any, shape: tuple[int, ...] | None) -> NDArray[np.float64] | None:
    """Return numbers as floats, ``None`` where they are none, not finite, or of another shape."""
    try:
        numbers = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if numbers.shape == shape and np.isfinite(numbers).all() else None


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
