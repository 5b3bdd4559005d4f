"""The batched streaming environment as Stable-Baselines3 wants it: a ``VecEnv`` with flat observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from netllm_gym.datasets.flat import FlatView
from netllm_gym.envs.abr.vector import ABRVectorEnv
from netllm_gym.errors import ConfigError

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError:
    raise ConfigError("netllm_gym.sb3 needs Stable-Baselines3: pip install stable-baselines3") from None


class ABRVecEnv(VecEnv):
    """`num_envs` episodes of ``netllm_gym/ABR-v0`` in compiled code, for any learner of Stable-Baselines3.

    Observations are those of :func:`netllm_gym.wrappers.flat`: one vector, each key divided by its typical magnitude.
    As in ``DummyVecEnv``, a step that ends an episode returns the first observation of the next; the last of the old
    one stands in ``info["terminal_observation"]``, and ``info["episode"]`` holds the return ``r`` and the length ``l``,
    as ``Monitor`` writes them.

    Args:
        num_envs: number of episodes.
        limit: entries of an observation are clipped to ±limit.
        **kwargs: of the environment, e.g. ``traces="abr/synthetic", split="train", random_start=True``.

    Raises:
        ConfigError: see :class:`~netllm_gym.envs.abr.vector.ABRVectorEnv`.
    """

    def __init__(self, num_envs: int, limit: float = 20.0, **kwargs: Any) -> None:
        self.env = ABRVectorEnv(num_envs, autoreset_mode="same_step", tell=False, **kwargs)
        self.view = FlatView(self.env.single_observation_space, self.env.metadata.get("scales", {}))
        self.limit = limit
        box = gym.spaces.Box(-limit, limit, (self.view.size,), np.float32)
        self.render_mode = None
        super().__init__(num_envs, box, self.env.single_action_space)
        self._actions = np.zeros(num_envs, np.int64)
        self._returns, self._lengths = np.zeros(num_envs), np.zeros(num_envs, np.int64)

    def _flat(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        flat = self.view.many(observation)
        return np.clip(flat, -self.limit, self.limit, out=flat)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every environment."""
        seeds = list(self._seeds)
        observation, _ = self.env.reset(seed=seeds if any(seed is not None for seed in seeds) else None)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._returns[:], self._lengths[:] = 0.0, 0
        return self._flat(observation)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the levels of the next chunks, ``[n]``."""
        self._actions = np.asarray(actions)

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Download the chunks; return observations, rewards, which episodes ended, and an info each."""
        observation, rewards, over, _, infos = self.env.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if "final_obs" in infos:
            last = self._flat(infos["final_obs"])
            for i in np.flatnonzero(over):
                told[i] = {
                    "terminal_observation": last[i],
                    "TimeLimit.truncated": False,
                    "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i])},
                }
            self._returns[over], self._lengths[over] = 0.0, 0
        return self._flat(observation), rewards.astype(np.float32), over, told

    def close(self) -> None:
        """Free nothing: there are no processes."""
        self.env.close()

    def _count(self, indices: Any) -> int:
        return len(list(self._get_indices(indices)))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same for every environment."""
        owner = self if attr_name == "render_mode" else self.env
        return [getattr(owner, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the environments are one object.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"the batched environment's {attr_name} is set when it is built")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method once; each environment gets its result. ``action_masks``: every level is legal."""
        count = self._count(indices)
        if method_name == "action_masks":
            return [np.ones(self.env.video.levels, bool) for _ in range(count)]
        return [getattr(self.env, method_name)(*method_args, **method_kwargs)] * count

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that ``Monitor`` is not needed: episodes are told already."""
        return [wrapper_class.__name__ == "Monitor"] * self._count(indices)

    def get_images(self) -> Sequence[Any]:
        """Return no pictures: the single environment draws."""
        return [None] * self.num_envs
