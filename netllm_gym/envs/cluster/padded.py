"""A flat view for learners of vectors: the runnable stages as a padded table, and one discrete action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.envs.cluster.view import CLUSTER_SCALES, JOB_SCALES, STAGE_SCALES, ScheduleView
from netllm_gym.errors import ConfigError

# Shares of the executors to be placed that an action can ask for.
SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)


class PaddedView:
    """Runnable stages and their jobs in a table; action ``k * 6 + i`` gives stage k the i-th of six shares.

    The last action ends the round. Rows beyond the runnable stages are zero.

    Args:
        max_candidates: rows of the table; more runnable stages are an error.
        executors, max_stages, max_jobs, max_edges: of the environment.
        oldest_only: show the stages of the oldest jobs where there are too many, instead of an error (for an agent that
            has to decide whatever comes).
    """

    def __init__(
        self,
        max_candidates: int,
        executors: int,
        max_stages: int,
        max_jobs: int,
        max_edges: int,
        oldest_only: bool = False,
    ) -> None:
        if max_candidates < 1:
            raise ConfigError(f"max_candidates must be at least 1, got {max_candidates}")
        self.max_candidates, self.max_stages, self.oldest_only = max_candidates, max_stages, oldest_only
        self.view = ScheduleView(executors, max_stages, max_jobs, max_edges)
        high = np.float32(3.4e38)
        features = len(STAGE_SCALES) - 1 + len(JOB_SCALES)
        self.observation_space = spaces.Dict({
            "candidates": spaces.Box(-high, high, (max_candidates, features), np.float32),
            "cluster": spaces.Box(0.0, high, (len(CLUSTER_SCALES),), np.float32),
        })  # fmt: skip
        self.action_space = spaces.Discrete(max_candidates * len(SHARES) + 1)
        self.modalities = {"candidates": "scalar", "cluster": "scalar"}
        self.scales: dict[str, Any] = {"candidates": [*STAGE_SCALES[:-1], *JOB_SCALES], "cluster": CLUSTER_SCALES}

    def rows(self, observation: Mapping[str, Any]) -> NDArray[np.intp]:
        """Return the rows of the runnable stages in the environment's observation.

        Raises:
            ConfigError: more than `max_candidates`.
        """
        rows = np.flatnonzero(observation["stage_mask"])
        if self.oldest_only:
            return rows[: self.max_candidates]
        if len(rows) > self.max_candidates:
            raise ConfigError(
                f"{len(rows)} runnable stages exceed max_candidates={self.max_candidates}; raise max_candidates"
            )
        return rows

    def __call__(self, observation: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
        """Return the padded observation."""
        rows, seen = self.rows(observation), self.view(observation)
        stages = seen["stages"][rows]
        jobs = seen["jobs"][stages[:, -1].astype(np.intp)]
        table = np.zeros((self.max_candidates, stages.shape[1] - 1 + jobs.shape[1]), np.float32)
        table[: len(rows)] = np.column_stack([stages[:, :-1], jobs])
        return {"candidates": table, "cluster": seen["cluster"]}

    def mask(self, observation: Mapping[str, Any], legal: NDArray) -> NDArray[np.bool_]:
        """Return which actions are legal, given the environment's mask."""
        found = np.zeros(int(self.action_space.n), bool)
        found[: len(self.rows(observation)) * len(SHARES)] = True
        found[-1] = bool(legal[self.max_stages])
        return found

    def decode(self, action: int, observation: Mapping[str, Any]) -> NDArray[np.int64]:
        """Return the environment's (row, count - 1) of a discrete action.

        Raises:
            ConfigError: a row without a stage.
        """
        if not 0 <= action < self.action_space.n:
            raise ConfigError(f"action {action} is outside 0..{self.action_space.n - 1}")
        if action == self.action_space.n - 1:
            return np.array([self.max_stages, 0])
        k, i = divmod(int(action), len(SHARES))
        rows = self.rows(observation)
        if k >= len(rows):
            raise ConfigError(f"action {action} takes stage {k}, {len(rows)} are runnable; see action_masks()")
        free = max(1, int(observation["executors"][0]))
        return np.array([rows[k], max(1, round(SHARES[i] * free)) - 1])

    def encode(self, action: NDArray, observation: Mapping[str, Any]) -> int:
        """Return the discrete action nearest to the environment's (row, count - 1)."""
        row, count = int(action[0]), int(action[1]) + 1
        if row == self.max_stages:
            return int(self.action_space.n) - 1
        free = max(1, int(observation["executors"][0]))
        asked = [abs(max(1, round(share * free)) - count) for share in SHARES]
        # Of shares that come to the same count, the largest.
        best = len(SHARES) - 1 - int(np.argmin(asked[::-1]))
        return int(np.flatnonzero(self.rows(observation) == row)[0]) * len(SHARES) + best


class PaddedGraph(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """``ClusterScheduling-v0`` for learners that want vectors and one discrete action (Minari, d3rlpy, MaskablePPO).

    Observations are those of :class:`PaddedView`; ``action_masks()`` and ``info["action_mask"]`` say what is legal.

    Args:
        env: the environment, made with its own bounds.
        max_candidates: rows of the table of runnable stages; exceeding it is an error.
    """

    def __init__(self, env: gym.Env, max_candidates: int = 64) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, max_candidates=max_candidates)
        gym.Wrapper.__init__(self, env)
        inner: Any = env.unwrapped
        bounds = inner.max_stages, inner.max_jobs, inner.max_edges
        self.view = PaddedView(max_candidates, inner.executors, *bounds)
        self.observation_space, self.action_space = self.view.observation_space, self.view.action_space
        self.metadata = {**env.metadata, "modalities": self.view.modalities, "scales": self.view.scales}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        return self._show(*self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Apply a discrete action.

        Raises:
            ConfigError: an action outside the mask.
        """
        inner: Any = self.env.unwrapped
        if inner.on_illegal == "repair" and not self._mask[int(action)]:
            action = int(np.argmax(self._mask))
        observation, reward, terminated, truncated, info = self.env.step(
            self.view.decode(int(action), self._observation)
        )
        shown, info = self._show(observation, info)
        return shown, reward, terminated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are legal now, as sb3-contrib's MaskablePPO wants them."""
        return self._mask.copy()

    def _show(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self._observation = observation
        self._mask = self.view.mask(observation, info["action_mask"])
        return self.view(observation), {**info, "action_mask": self._mask.astype(np.int8)}
