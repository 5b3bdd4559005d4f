"""A flat float32 view of Dict observations, for learners that take vectors (d3rlpy, small networks)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import CheckpointError, ConfigError


class FlatView:
    """Turn Dict observations into vectors: each key divided by its scale, categories one-hot, keys in order.

    Args:
        space: a Dict of Box and Discrete spaces.
        scales: typical magnitude of each Box key (``env.metadata["scales"]``), or one for each entry of its last axis;
            1 where it is missing.

    Raises:
        ConfigError: another kind of space.
    """

    def __init__(self, space: gym.Space, scales: dict[str, Any]) -> None:
        if not isinstance(space, gym.spaces.Dict):
            raise ConfigError(f"a flat view needs a Dict observation space, got {type(space).__name__}")
        self.space = space
        self.scales = scales
        self.size = 0
        for key, member in space.spaces.items():
            if isinstance(member, gym.spaces.Discrete):
                self.size += int(member.n)
            elif isinstance(member, gym.spaces.Box):
                scale = np.shape(scales.get(key, 1.0))
                if scale and scale != member.shape[-1:]:
                    raise ConfigError(f"observation {key!r} {member.shape} cannot be divided by {scale[0]} scales")
                self.size += int(np.prod(member.shape))
            else:
                raise ConfigError(f"observation {key!r} is a {type(member).__name__}: it has no flat view")

    def require(self, env_id: str, space: gym.Space) -> None:
        """Refuse an environment whose observations are not those this view was made for.

        Raises:
            CheckpointError: another observation space.
        """
        if space == self.space:
            return
        theirs: Any = getattr(space, "spaces", {})
        odd = [key for key, member in self.space.spaces.items() if theirs.get(key) != member] or sorted(theirs)
        raise CheckpointError(
            f"trained on observations {', '.join(self.space.spaces)}, which are not those of {env_id}: "
            f"{odd[0]} is {theirs.get(odd[0], 'missing')}, was {self.space.spaces.get(odd[0], 'missing')}"
        )

    def many(self, observations: dict[str, NDArray]) -> NDArray[np.float32]:
        """Flatten stacked observations, key → ``[T, …]``, to ``[T, size]``."""
        parts = []
        for key, member in self.space.spaces.items():
            values = np.asarray(observations[key])
            if isinstance(member, gym.spaces.Discrete):
                parts.append(np.eye(int(member.n), dtype=np.float32)[values.astype(np.int64).ravel()])
            else:
                scale = self.scales.get(key, 1.0)
                scaled = values / (scale if np.isscalar(scale) else np.asarray(scale, np.float32))
                parts.append(scaled.reshape(len(values), -1).astype(np.float32))
        return np.concatenate(parts, axis=1)

    def one(self, observation: dict[str, Any]) -> NDArray[np.float32]:
        """Flatten a single observation to ``[size]``."""
        return self.many({key: np.asarray(observation[key])[None] for key in self.space.spaces})[0]
