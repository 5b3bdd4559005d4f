"""What an environment or an agent answered, checked where it is played: by name, in one line."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.envs.actions import flat_mask
from netllm_gym.envs.lookup import name_of
from netllm_gym.errors import IllegalActionError, ObservationError, printable
from netllm_gym.plugins import is_own


def is_foreign(env: gym.Env) -> bool:
    """Whether somebody else wrote an environment, or the one that ``netllm_gym/Dict-v0`` shows."""
    inner: Any = env.unwrapped
    while is_own(type(inner)) and isinstance(inside := getattr(inner, "inner", None), gym.Env):
        inner = inside.unwrapped
    return not is_own(type(inner))


def reset_answer(answer: Any) -> tuple[Any, dict[str, Any]]:
    """Return what ``env.reset`` answered.

    Raises:
        ObservationError: it is not (observation, info), as environments for Gym before 0.26 answer.
    """
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise ObservationError(_form("reset", "(observation, info)", answer))
    return answer


def step_answer(answer: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """Return what ``env.step`` answered, its reward as a float.

    Raises:
        ObservationError: it is not (observation, reward, terminated, truncated, info), or the reward is no finite
            number.
    """
    if not isinstance(answer, tuple) or len(answer) != 5 or not isinstance(answer[4], dict):
        raise ObservationError(_form("step", "(observation, reward, terminated, truncated, info)", answer))
    observation, reward, terminated, truncated, info = answer
    if not isinstance(reward, SupportsFloat) or np.ndim(reward):  # type: ignore[arg-type]
        several = "; each agent of several needs an environment of its own" if isinstance(reward, dict) else ""
        raise ObservationError(f"the reward is {short(repr(reward))}, not a number{several}")
    try:
        number = float(reward)
    except (OverflowError, TypeError, ValueError) as error:
        raise ObservationError(f"the reward is {type(reward).__name__}, not a number ({error})") from None
    if not math.isfinite(number):
        raise ObservationError(f"the reward became {number}")
    return observation, number, _flag("terminated", terminated), _flag("truncated", truncated), info


def _flag(name: str, value: Any) -> bool:
    if value is None or (np.asarray(value).dtype.kind in "biuf" and np.size(value) == 1):
        return bool(value)
    raise ObservationError(f"{name} is {short(repr(value))}, neither true nor false")


def _form(method: str, wanted: str, answer: Any) -> str:
    kinds = [type(part).__name__ for part in (answer if isinstance(answer, tuple) else (answer,))]
    return (
        f"{method}() returned {short(', '.join(kinds))}, Gymnasium's form is {wanted}; "
        "an environment for Gym before 0.26 needs gymnasium.make('GymV21Environment-v0', …) of shimmy"
    )


def with_mask(env: gym.Env, observation: Any, info: dict[str, Any], over: bool = False) -> dict[str, Any]:
    """Return `info` with the mask that an environment tells elsewhere, where ``info`` has none.

    The key ``action_mask`` of a Dict observation is one, as PettingZoo and RLlib have it, if it has an entry for each
    choice; else what somebody else's ``env.action_masks()`` returns, as sb3-contrib asks for it before the episode is
    `over`. Environments of this package have theirs in ``info``.
    """
    if "action_mask" in info:
        return info
    if isinstance(observation, dict) and "action_mask" in observation:
        mask = np.asarray(observation["action_mask"])
        if mask.dtype.kind in "biuf" and mask.size == sum(_choices(env.action_space)):
            return {**info, "action_mask": mask.astype(bool)}
    if over or is_own(type(env.unwrapped)) or not env.has_wrapper_attr("action_masks"):
        return info
    asked = env.get_wrapper_attr("action_masks")
    if not callable(asked):
        raise ObservationError(f"action_masks of the environment is {type(asked).__name__}, not a method")
    mask = asked()
    return info if mask is None else {**info, "action_mask": np.asarray(mask)}


def require_mask(space: spaces.Space, info: dict[str, Any]) -> None:
    """Refuse a mask that cannot be one, before anybody decides by it; what it must allow is :func:`legal_action`'s.

    Raises:
        ObservationError: it holds no numbers, or not one for each choice.
    """
    mask = info.get("action_mask")
    if mask is None or not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return
    try:
        several = isinstance(mask, tuple | list) and not isinstance(space, spaces.Discrete)
        parts = [np.asarray(part) for part in (mask if several else [mask])]
    except ValueError as error:
        raise ObservationError(f"info['action_mask'] is no array ({printable(error)})") from None
    if odd := [part for part in parts if part.dtype.kind not in "biuf"]:
        raise ObservationError(f"info['action_mask'] holds {short(repr(odd[0]))} in place of numbers")
    if any(np.isnan(part).any() for part in parts if part.dtype.kind == "f"):
        raise ObservationError("info['action_mask'] holds nan")
    size = sum(part.size for part in parts)
    if isinstance(space, spaces.Discrete):
        if size != space.n:
            raise ObservationError(f"info['action_mask'] has {size} entries for {space.n} actions")
        if not any(part.any() for part in parts):
            raise ObservationError("info['action_mask'] allows no action")


def _choices(space: Any) -> list[int]:
    """Return the number of choices of each factor; none of numbers."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec.ravel()]
    return [2] * int(np.prod(space.shape)) if isinstance(space, spaces.MultiBinary) else []


def legal_action(space: spaces.Space, action: Any, info: dict[str, Any], factors: bool = False) -> Any:
    """Return a copy of `action`, which an agent may write into again, as the space wants it.

    Args:
        space, action: of the environment and the agent.
        info: of the step, with its mask.
        factors: hold a MultiDiscrete action to its mask too, factor by factor.

    Raises:
        IllegalActionError: it is not in the space, or masked out by ``info["action_mask"]``.
        ObservationError: a mask of another size than the space, or one that allows nothing.
    """
    played = _cast(action, space) if isinstance(space, spaces.Box) else copy.deepcopy(action)
    if played is None or not space.contains(played):
        raise IllegalActionError(f"illegal action {short(action)}: not in {short(space)}")
    mask = info.get("action_mask")
    if isinstance(space, spaces.Discrete) and mask is not None:
        legal = flat_mask(mask)
        if legal.size != space.n:
            raise ObservationError(f"info['action_mask'] has {legal.size} entries for {space.n} actions")
        if not legal.any():
            raise ObservationError("info['action_mask'] allows no action")
        if not legal[int(played) - int(space.start)]:
            raise IllegalActionError(f"illegal action {short(action)}: masked out")
    if factors and isinstance(space, spaces.MultiDiscrete) and mask is not None:
        legal, sizes = flat_mask(mask), _choices(space)
        if legal.size != sum(sizes):
            raise ObservationError(f"info['action_mask'] has {legal.size} entries for {sum(sizes)} choices")
        chosen = (np.ravel(played) - np.ravel(space.start)).tolist()
        for number, (part, one) in enumerate(zip(np.split(legal, np.cumsum(sizes)[:-1]), chosen, strict=True)):
            if not part.any():
                raise ObservationError(f"info['action_mask'] allows no choice of factor {number}")
            if not part[one]:
                raise IllegalActionError(f"illegal action {short(action)}: its factor {number} is masked out")
    return played


def _cast(action: Any, space: spaces.Box) -> NDArray[Any] | None:
    """Return a copy of an action in the type of its space; ``None`` where that would be another action."""
    try:
        given = np.asarray(action)
        with np.errstate(invalid="ignore"):
            played = np.array(given, dtype=space.dtype) if given.dtype.kind == "O" else given.astype(space.dtype)
    except (TypeError, ValueError, OverflowError):
        return None
    whole = played.dtype.kind in "biu"  # 1.7 is no whole number, and 300 no byte
    return None if whole and not np.array_equal(played, given) else played


def require_finite(observation: Any, key: str = "") -> None:
    """Refuse numbers that are not finite, wherever they stand in a nested observation.

    Raises:
        ObservationError: naming the key, with ``/`` between levels.
    """
    if isinstance(observation, dict):
        for name, value in observation.items():
            require_finite(value, f"{key}/{name}" if key else str(name))
    elif isinstance(observation, tuple | list):
        for name, value in zip(getattr(observation, "_fields", range(len(observation))), observation, strict=True):
            require_finite(value, f"{key}/{name}" if key else str(name))
    elif isinstance(observation, np.ndarray | np.generic | float):
        values = np.asarray(observation)
        if values.dtype.kind in "fc" and not np.isfinite(values).all():
            bad = values[~np.isfinite(values)].flat[0]
            raise ObservationError(f"observation{f' {key!r}' if key else ''} is not finite: it holds {bad}")


def named(value: Any) -> str:
    """Return what ``info`` calls a trace or group; empty where it holds something else under that name."""
    return printable(value) if isinstance(value, str | int | float | np.generic) else ""


def same(a: Any, b: Any) -> bool:
    """Whether two observations or actions are alike, to any depth; what is no number in both is alike too."""
    if isinstance(a, dict):
        return all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    numbers = all(np.asarray(one).dtype.kind in "fc" for one in (a, b))
    return bool(np.array_equal(a, b, equal_nan=numbers))


PROBED = 2  # steps that are compared


def warn_if_unseeded(env: gym.Env, seed: int, options: dict[str, Any] | None = None) -> None:
    """Warn where somebody else's environment does not begin, or go on, alike twice after the same seed.

    It is reset here, and a few steps are played: what carries over an episode's end (a running mean of rewards, say)
    makes agents meet different environments, depending on who plays first.
    """
    if not is_foreign(env):
        return
    try:
        (first, *steps), (again, *others) = (_beginning(env, seed, options) for _ in range(2))
        alike = same(first, again)
        if alike and same(steps, others):
            return
    except (Exception, SystemExit):  # said where an episode is played, with its name
        return
    how = (
        "goes on otherwise after the same seed and actions"
        if alike
        else "begins otherwise each time after the same seed"
    )
    what = (
        "nothing may carry over from episode to episode"
        if alike
        else "its reset(seed=…) should seed all that it draws from"
    )
    warnings.warn(
        f"{name_of(env)} {how}: agents will not meet the same episodes, and the same command will not give the same "
        f"numbers; {what}",
        stacklevel=2,
    )


def _beginning(env: gym.Env, seed: int, options: dict[str, Any] | None) -> list[Any]:
    """Return the first observation after a seed, and observations and rewards of the next steps."""
    observation, info = reset_answer(env.reset(seed=seed, options=options))
    seen = [copy.deepcopy(observation)]
    space = copy.deepcopy(env.action_space)
    space.seed(seed % 2**31)
    for _ in range(PROBED):
        mask = with_mask(env, observation, info).get("action_mask")
        if mask is not None and not isinstance(space, spaces.Discrete):
            break
        action = space.sample() if mask is None else space.sample(flat_mask(mask).astype(np.int8))
        try:
            observation, reward, terminated, truncated, info = step_answer(env.step(action))
        except (Exception, SystemExit):  # said where an episode is played, with its name
            break
        seen += [copy.deepcopy(observation), reward]
        if terminated or truncated:
            break
    return seen


def total(values: Sequence[float]) -> float:
    """Return the exact sum of floats; infinite where no float holds it."""
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values)


def shut(env: gym.Env) -> None:
    """Close an environment; one that cannot be closed is said in a warning, since all work with it is done."""
    try:
        env.close()
    except (Exception, SystemExit) as error:  # somebody else's code
        warnings.warn(f"{name_of(env)} could not be closed: {type(error).__name__}: {error}", stacklevel=3)


def short(value: Any, most: int = 80) -> str:
    """Return `value` as one line of at most `most` characters."""
    text = printable(value)
    return text if len(text) <= most else text[: most - 1] + "…"
