"""``cluster/llm``: the language model taught on TPC-H where jobs look like it, the one for any workload elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.cluster.llm import ANY, ZOO, ClusterLLM
from netllm_gym.agents.registry import register_agent

# Every TPC-H template of the train split has at most 18 stages, and its slowest stage's tasks take 2.3 to 5.0 s.
HOME_STAGES, HOME_SLOWEST_S = 20, (2.0, 5.5)
# Durations that a TPC-H stage does not reach while it runs either.
NEVER_S = 20.0


def like_tpch(observation: Mapping[str, Any], first: bool) -> bool:
    """Tell whether the jobs in an observation could be TPC-H's.

    Args:
        observation: of the environment.
        first: of an episode; only then do the durations still stand as they were profiled.
    """
    rows = observation["stages"][observation["stage_mask"].astype(bool)]
    if not len(rows):
        return True
    slowest = float(rows[:, 1].max())
    low, high = HOME_SLOWEST_S if first else (0.0, NEVER_S)
    return low <= slowest <= high and int(np.bincount(rows[:, 4].astype(np.int64)).max()) <= HOME_STAGES


class HomeOrAnyScheduler(BatchAgent):
    """Asks `home` until an episode's jobs no longer look like TPC-H's (:func:`like_tpch`), from then on `away`.

    Args:
        home: the specialist.
        away: a scheduler for any workload. Both decide by the present observation alone.
    """

    serves = ("netllm_gym/ClusterScheduling-v0",)

    def __init__(self, home: BatchAgent, away: BatchAgent) -> None:
        self.home, self.away = home, away

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes (on clusters of one size)."""
        self._infos, self._asked = list(env_infos), [False, False]
        self._begun = [False] * len(env_infos)
        self._at_home = [True] * len(env_infos)

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return (row, count - 1) per episode."""
        for i, observation in enumerate(observations):
            if observation is not None and self._at_home[i]:
                self._at_home[i] = like_tpch(observation, not self._begun[i])
                self._begun[i] = True
        actions: list[Any] = [np.zeros(2, np.int64) for _ in observations]
        for which, agent in enumerate((self.away, self.home)):
            asked = [o if self._at_home[i] is bool(which) else None for i, o in enumerate(observations)]
            if any(o is not None for o in asked):
                if not self._asked[which]:  # whoever is never needed loads no backbone
                    agent.reset_batch(self._infos)
                    self._asked[which] = True
                for i, action in enumerate(agent.act_batch(asked, infos)):
                    if asked[i] is not None:
                        actions[i] = action
        return actions


@register_agent("cluster/llm")
def cluster_llm(checkpoint: str | Path | None = None, **kwargs: Any) -> BatchAgent:
    """Return the language models of the package, or the one in the folder `checkpoint`.

    Keyword arguments are those of :class:`~netllm_gym.agents.cluster.llm.ClusterLLM`.
    """
    if checkpoint is not None:
        return ClusterLLM(checkpoint, **kwargs)
    return HomeOrAnyScheduler(ClusterLLM(ZOO, **kwargs), ClusterLLM(ANY, **kwargs))


@register_agent("cluster/llm-any")
def cluster_llm_any() -> ClusterLLM:
    """Return the language model for any workload: no units, the advice of ``cluster/adaptive``, taught by rollouts."""
    return ClusterLLM(ANY)
