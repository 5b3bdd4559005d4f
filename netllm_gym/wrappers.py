"""Wrappers for learners of other libraries."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from netllm_gym.datasets.flat import FlatView
from netllm_gym.envs.lookup import metadata_of


class Flat(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """Observations as one vector: each key divided by its typical magnitude, categories one-hot, keys in order.

    Args:
        env: an environment with Dict observations; its ``metadata["scales"]`` are used where it has any.
        limit: entries are clipped to ±limit.

    Raises:
        ConfigError: a space without arrays (Text, Sequence).
    """

    def __init__(self, env: gym.Env, limit: float = 20.0) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, limit=limit)
        gym.ObservationWrapper.__init__(self, env)
        self.view = FlatView(env.observation_space, metadata_of(env).get("scales", {}))
        self.limit = limit
        self.observation_space = gym.spaces.Box(-limit, limit, (self.view.size,), np.float32)

    def observation(self, observation: Any) -> NDArray[np.float32]:
        """Return the vector, float32 ``[size]``."""
        return np.clip(self.view.one(observation), -self.limit, self.limit)

    def action_masks(self) -> NDArray[np.bool_]:
        """Legal actions, as sb3-contrib's MaskablePPO asks for them."""
        return self.env.unwrapped.action_masks()  # type: ignore[attr-defined]


def flat(env: gym.Env, limit: float = 20.0) -> Flat:
    """Return `env` with flat, scaled observations (:class:`Flat`)."""
    return Flat(env, limit)
