"""Agents for any environment."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.actions import flat_mask


@register_agent("any/random")
class Random(Agent):
    """Uniform legal actions, in any environment."""

    def reset(self, env_info: EnvInfo) -> None:
        """Seed this episode's draws."""
        self._space: Any = copy.deepcopy(env_info.action_space)
        self._space.seed(int(env_info.rng().integers(2**31)))

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """Draw a member of the action space that the mask allows."""
        mask: Any = info.get("action_mask")
        if mask is None or isinstance(self._space, gym.spaces.Box):
            return self._space.sample()
        if isinstance(self._space, gym.spaces.MultiDiscrete) and not isinstance(mask, tuple):
            mask = tuple(np.split(flat_mask(mask).astype(np.int8), np.cumsum(self._space.nvec.ravel())[:-1]))
        elif not isinstance(mask, tuple):
            # True is legal, and so is a probability; a MultiBinary's own form has a 2 for what is open.
            mask = np.asarray(mask, np.int8 if isinstance(self._space, gym.spaces.MultiBinary) else bool).astype(
                np.int8
            )
        return self._space.sample(mask)
