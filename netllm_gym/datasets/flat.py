"""A flat float32 view of observations, for learners that take vectors (d3rlpy, small networks)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.actions import flat_mask
from netllm_gym.envs.leaves import LeafView, no_category
from netllm_gym.errors import CheckpointError, ConfigError

MOST_NUMBERS = 2**22  # of a vector: a network holds a row of weights for each


def _width(space: Any) -> int:
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    return int(space.nvec.sum() if isinstance(space, gym.spaces.MultiDiscrete) else np.prod(space.shape))


class FlatView:
    """Turn observations into vectors: each key divided by its scale, categories one-hot, keys in order.

    Args:
        space: any space that :class:`~netllm_gym.envs.leaves.LeafView` takes.
        scales: typical magnitude of each Box key (``env.metadata["scales"]``), or one for each entry of its last axis;
            1 where it is missing.

    Attributes:
        space: the Dict of arrays that is turned into vectors.
        size: entries of a vector.

    Raises:
        ConfigError: a space without arrays, or scales that do not fit.
    """

    def __init__(self, space: gym.Space, scales: dict[str, Any]) -> None:
        self.leaves = LeafView(space)
        self.space = self.leaves.space
        self.scales = scales
        self.size = 0
        if (wide := sum(map(_width, self.space.spaces.values()))) > MOST_NUMBERS:
            raise ConfigError(
                f"observations of {wide:,} numbers (a category has one for each value), at most {MOST_NUMBERS:,} fit"
            )
        for key, member in self.space.spaces.items():
            if isinstance(member, gym.spaces.Discrete):
                self.size += int(member.n)
            elif isinstance(member, gym.spaces.MultiDiscrete):
                self.size += int(member.nvec.sum())
            else:
                shape: Any = member.shape
                scale = np.shape(scales.get(key, 1.0))
                if scale and scale != shape[-1:]:
                    raise ConfigError(f"observation {key!r} {shape} cannot be divided by {scale[0]} scales")
                self.size += int(np.prod(shape))

    def require(self, env_id: str, space: gym.Space) -> None:
        """Fit the view to an environment, or refuse one whose observations are not those it was made for.

        Raises:
            CheckpointError: another observation space.
        """
        try:
            leaves = LeafView(space, like=self.space)
            theirs: Any = leaves.space.spaces
        except ConfigError as error:
            raise CheckpointError(f"{env_id} shows observations of another kind: {error}") from None
        if leaves.space != self.space:
            odd = [key for key, member in self.space.spaces.items() if theirs.get(key) != member] or sorted(theirs)
            raise CheckpointError(
                f"trained on observations {', '.join(self.space.spaces)}, which are not those of {env_id}: "
                f"{odd[0]} is {theirs.get(odd[0], 'missing')}, was {self.space.spaces.get(odd[0], 'missing')}"
            )
        self.leaves = leaves

    def many(self, observations: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Flatten stacked observations, key → ``[T, …]``, to ``[T, size]``.

        Raises:
            ConfigError: a graph that is larger than the view was made for, a category that there is not, or a number
                beyond float32.
        """
        parts = []
        for key, member in self.space.spaces.items():
            values = np.asarray(observations[key])
            if values.shape[1:] != member.shape:
                raise ConfigError(f"observation {key!r} has shape {values.shape[1:]}, at most {member.shape} fits")
            if (odd := no_category(member, values)) is not None:
                raise ConfigError(f"observation {key!r} is {odd.tolist()}, not in {member}")
            if isinstance(member, gym.spaces.Discrete):
                parts.append(_one_hot(values, int(member.n), int(member.start)))
            elif isinstance(member, gym.spaces.MultiDiscrete):
                flat = values.reshape(len(values), -1)
                factors = zip(flat.T, member.nvec.ravel(), member.start.ravel(), strict=True)
                parts += [_one_hot(column, int(n), int(start)) for column, n, start in factors]
            else:
                scale = self.scales.get(key, 1.0)
                scaled = values / (scale if np.isscalar(scale) else np.asarray(scale, np.float32))
                try:
                    with np.errstate(over="raise"):
                        parts.append(scaled.reshape(len(values), -1).astype(np.float32))
                except FloatingPointError:
                    raise ConfigError(
                        f"observation {key!r} holds {np.abs(scaled).max():.3g}, more than a network computes in "
                        "(float32); give it in a larger unit, or a scale in the environment's metadata"
                    ) from None
        return np.concatenate(parts, axis=1)

    def one(self, observation: Any) -> NDArray[np.float32]:
        """Flatten a single observation of the environment to ``[size]``."""
        flat = self.leaves(observation)
        return self.many({key: np.asarray(flat[key])[None] for key in self.space.spaces})[0]


def _one_hot(values: NDArray[Any], count: int, start: int) -> NDArray[np.float32]:
    return np.eye(count, dtype=np.float32)[values.astype(np.int64).ravel() - start]


class ActionCode:
    """Actions as one number from 0 to `count` - 1, for learners that choose among a list.

    Several factors (MultiDiscrete, MultiBinary) are numbered together, as long as there are at most :attr:`LIMIT`
    combinations.

    Args:
        space: of the actions.
        who: the learner, for messages.

    Raises:
        ConfigError: continuous actions, or too many combinations.
    """

    LIMIT = 4096

    def __init__(self, space: gym.Space, who: str) -> None:
        self.space = space
        if isinstance(space, gym.spaces.Discrete):
            self.sizes, self.starts = np.array([space.n]), np.array([space.start])
        elif isinstance(space, gym.spaces.MultiDiscrete):
            self.sizes, self.starts = space.nvec.ravel(), np.asarray(space.start).ravel()
        elif isinstance(space, gym.spaces.MultiBinary):
            self.sizes = np.full(int(np.prod(space.shape)), 2)
            self.starts = np.zeros_like(self.sizes)
        else:
            raise ConfigError(f"{who} needs discrete actions, not a {type(space).__name__}")
        total = float(np.prod(self.sizes.astype(float)))
        if total > self.LIMIT:
            raise ConfigError(f"{who} needs discrete actions, at most {self.LIMIT}; there are {total:.3g} combinations")
        self.count = int(total)
        self.shape = tuple(int(n) for n in self.sizes)

    def require(self, env_id: str, space: gym.Space) -> None:
        """Refuse an environment with other actions.

        Raises:
            CheckpointError: another action space.
        """
        if space != self.space:
            raise CheckpointError(f"trained to choose from {self.space}, the actions of {env_id} are {space}")

    def encode(self, actions: NDArray[Any]) -> NDArray[np.int64]:
        """Return the number of each action ``[T, …]``, ``[T]``."""
        factors = np.asarray(actions).reshape(len(actions), -1).astype(np.int64) - self.starts
        return np.ravel_multi_index(tuple(factors.T), self.shape)

    def decode(self, number: int) -> Any:
        """Return the action with this number."""
        if isinstance(self.space, gym.spaces.Discrete):
            return int(number) + int(self.starts[0])
        space: Any = self.space
        factors = np.array(np.unravel_index(number, self.shape)) + self.starts
        return factors.reshape(space.shape).astype(space.dtype)

    def legal(self, mask: Any) -> NDArray[np.bool_]:
        """Return which numbers a mask allows, bool ``[count]``; ``None`` allows all."""
        if mask is None:
            return np.ones(self.count, bool)
        flat = flat_mask(mask)
        if flat.size == self.count != self.sizes.sum():  # of the combinations; 2 + 2 choices are as many as 2 x 2
            return flat
        collected = np.ones(self.shape, bool)
        for axis, part in enumerate(np.split(flat, np.cumsum(self.sizes)[:-1])):
            collected &= part.reshape([-1 if i == axis else 1 for i in range(len(self.shape))])
        return collected.ravel()
