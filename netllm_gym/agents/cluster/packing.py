"""Rules from the packing literature, as far as the model has what they pack, and shortest job first.

The model has one resource, executors of one size, so every task fits every free executor. Of Tetris's score (Grandl et
al., SIGCOMM 2014: alignment of demand and free resources, plus an advance for little remaining work) the alignment
becomes how many of the free executors a stage can fill. Of Graphene (Grandl et al., OSDI 2016: place the troublesome
tasks first, the others around them) the order stays: head for the stage that will hold the job up longest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.cluster.rules import SRPT, WeightedFair
from netllm_gym.agents.registry import register_agent
from netllm_gym.errors import ConfigError

SAME_S = 0.01  # arrivals closer than that are one job's, read twice


@register_agent("cluster/sjf")
class SJF(SRPT):
    """The job that was shortest on arrival first, without a cap."""

    def reset(self, env_info: EnvInfo) -> None:
        """Forget the jobs of earlier episodes."""
        super().reset(env_info)
        self._arrivals, self._works = np.empty(0), np.empty(0)

    def act(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        """Return (row, count - 1)."""
        ages = observation["jobs"][:, 2]
        self._now_arrivals = info["time_s"] - ages[ages >= 0].astype(float)
        return super().act(observation, info)

    def order(self, jobs: np.ndarray, work: np.ndarray) -> np.ndarray:
        """Sort by the work seen when the job was met first."""
        return jobs[np.argsort(self._at_arrival(work)[jobs], kind="stable")]

    def _at_arrival(self, work: np.ndarray) -> np.ndarray:
        # A job is recognised by when it arrived; rows move up as others finish.
        arrivals, known = self._now_arrivals, self._arrivals
        if known.size:
            place = np.minimum(np.searchsorted(known, arrivals - SAME_S), known.size - 1)
            work = np.where(np.abs(known[place] - arrivals) < SAME_S, self._works[place], work)
        self._arrivals, self._works = arrivals, work
        return work


@register_agent("cluster/tetris")
class Tetris(SRPT):
    """The job whose stage fills most of the free executors, plus `short` times how short it is among those active."""

    def __init__(self, short: float = 1.0):
        super().__init__()
        if short < 0:
            raise ConfigError(f"short must not be negative, got {short}")
        self.short = short

    def act(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        """Return (row, count - 1)."""
        stages, free = observation["stages"], max(1.0, float(observation["executors"][0]))
        rows = observation["stage_mask"].nonzero()[0]
        self._fit = np.zeros(len(observation["jobs"]))
        np.maximum.at(self._fit, stages[rows, 4].astype(np.intp), np.minimum(stages[rows, 0] / free, 1.0))
        return super().act(observation, info)

    def order(self, jobs: np.ndarray, work: np.ndarray) -> np.ndarray:
        """Sort by score."""
        shortness = work[jobs].min() / np.maximum(work[jobs], 1e-9)
        return jobs[np.argsort(-(self._fit[jobs] + self.short * shortness), kind="stable")]


@register_agent("cluster/graphene")
class Graphene(WeightedFair):
    """Weighted fair between jobs; in a job, the stage on the way to the one that will take longest."""

    leftover_to_shortest = True
    releasing_first = False

    def stage(self, rows: np.ndarray, stages: np.ndarray) -> int:
        """Choose among the runnable rows of one job: parents finished first, then the heaviest stage ahead."""
        ahead = stages[:, 0] * stages[:, 1]
        edges = self.edges
        while edges.size:
            heavier = ahead.copy()
            np.maximum.at(heavier, edges[:, 0], ahead[edges[:, 1]])
            if np.array_equal(heavier, ahead):
                break
            ahead = heavier
        return int(rows[np.lexsort((-ahead[rows], -stages[rows, 3]))[0]])
