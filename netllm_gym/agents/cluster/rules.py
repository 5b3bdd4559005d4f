"""Scheduling rules: who gets the free executors. They read the observation only."""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.cluster.view import path_lengths, used
from netllm_gym.errors import ConfigError


class _Rule(Agent):
    """Jobs in some order, each up to a cap; within a job the first runnable stage whose parents are done."""

    memoryless = True
    releasing_first = True  # the job that frees the executors may keep them all, beyond its cap
    leftover_to_shortest = False  # what the caps leave goes to the job with least remaining work
    leftover_stays = False  # ... unless the releasing job has use for it
    patient = False  # executors of other jobs do not come to wait for a stage's parents

    def reset(self, env_info: EnvInfo) -> None:
        self.executors = int(env_info.static["executors"])
        self.end = int(env_info.static["max_stages"])

    def caps(self, work: np.ndarray) -> np.ndarray:
        """Return the executors each active job may hold, given its remaining work in executor-seconds."""
        raise NotImplementedError

    def work(self, stages: np.ndarray, jobs: int) -> np.ndarray:
        """Return each job's remaining work: tasks to launch times the stage's last duration, executor-seconds."""
        return np.bincount(stages[:, 4].astype(np.intp), stages[:, 0] * stages[:, 1], jobs)

    def order(self, jobs: np.ndarray, work: np.ndarray) -> np.ndarray:
        """Return `jobs` in the order in which they are served (by arrival)."""
        return jobs

    def stage(self, rows: np.ndarray, stages: np.ndarray) -> int:
        """Choose among the runnable rows of one job: parents finished first, then the lowest index."""
        return int(rows[stages[rows, 3].argmax()])

    def act(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        """Return (row, count - 1)."""
        free = int(observation["executors"][0])
        runnable = observation["stage_mask"].nonzero()[0]
        stages, jobs, self.edges = used(observation)
        supply, releasing = jobs[:, 0].tolist(), jobs[:, 1].argmax() if len(jobs) else 0
        own = int(releasing) if len(jobs) and jobs[releasing, 1] > 0 else -1
        owner = stages[runnable, 4].astype(np.intp)
        if self.patient:
            kept = (stages[runnable, 3] > 0) | (owner == own)
            runnable, owner = runnable[kept], owner[kept]
        work = self.work(stages, len(jobs))
        hungry = list(dict.fromkeys(owner.tolist()))  # jobs with a runnable stage, in order
        caps = self.caps(work).tolist()
        job, count = -1, free
        if own in hungry:
            room = free if self.releasing_first else min(free, int(caps[own] - supply[own]) + free)
            if room > 0:
                job, count = own, room
        if job < 0:
            open_jobs = [k for k in hungry if supply[k] < caps[k]]
            if open_jobs:
                job = int(self.order(np.array(open_jobs), work)[0])
                count = min(free, int(caps[job] - supply[job]))
        if job < 0 and self.leftover_to_shortest and hungry:
            job, count = hungry[int(np.argmin(work[hungry]))], free
            if self.leftover_stays and own in hungry:
                job = own
        if job < 0:
            if info.get("may_wait", True):
                return np.array([self.end, 0])
            return np.array([observation["stage_mask"].argmax(), 0])  # the round may not be refused
        return np.array([self.stage(runnable[owner == job], stages), max(1, count) - 1])


@register_agent("cluster/fifo")
class FIFO(_Rule):
    """Jobs by arrival, each up to `share` of the cluster (1: Spark's FIFO; 0.5: the one in NetLLM's code)."""

    def __init__(self, share: float = 1.0):
        if not 0 < share <= 1:
            raise ConfigError(f"share is in (0, 1], got {share}")
        self.share = share

    def caps(self, work: np.ndarray) -> np.ndarray:
        """Return the same cap for all."""
        return np.full(len(work), np.ceil(self.share * self.executors))


@register_agent("cluster/fifo-half")
class HalfFIFO(FIFO):
    """FIFO in which no job holds more than half of the executors."""

    def __init__(self) -> None:
        super().__init__(0.5)


@register_agent("cluster/weighted-fair")
class WeightedFair(_Rule):
    """Caps in proportion to (remaining work) ** `alpha` (Decima's tuned heuristic; 0 is Fair).

    The default exponent was chosen on validation sequences (docs/envs/cluster.md).
    """

    def __init__(self, alpha: float = 0.1):
        self.alpha = alpha

    def caps(self, work: np.ndarray) -> np.ndarray:
        """Return the shares, rounded up."""
        weight = np.maximum(work, 1e-3) ** self.alpha
        return np.ceil(self.executors * weight / weight.sum() - 1e-9)


@register_agent("cluster/fair")
class Fair(WeightedFair):
    """Equal shares of the cluster for all active jobs."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def caps(self, work: np.ndarray) -> np.ndarray:
        """Return the same share for all, rounded up."""
        return np.full(len(work), -(-self.executors // max(1, len(work))))

    def work(self, stages: np.ndarray, jobs: int) -> np.ndarray:
        """Return zeros: nothing here asks for the work."""
        return np.zeros(jobs)


@register_agent("cluster/strict-fair")
class StrictFair(Fair):
    """Strict work-conserving fair: the releasing job obeys its share too, left-overs go to the shortest job."""

    releasing_first = False
    leftover_to_shortest = True
    work = _Rule.work


@register_agent("cluster/srpt")
class SRPT(FIFO):
    """Least remaining work first, without a cap."""

    def order(self, jobs: np.ndarray, work: np.ndarray) -> np.ndarray:
        """Sort by remaining work."""
        return jobs[np.argsort(work[jobs], kind="stable")]


@register_agent("cluster/fair-cp")
class FairCriticalPath(Fair):
    """Fair that starts the stage with the longest way to the end of the job."""

    def stage(self, rows: np.ndarray, stages: np.ndarray) -> int:
        """Choose the head of the longest remaining path among the runnable rows of one job."""
        return int(rows[path_lengths(stages, self.edges)[rows].argmax()])


@register_agent("cluster/sjf-cp")
class SJFCriticalPath(SRPT):
    """Shortest remaining work first, and in a job the stage on its critical path (Decima's SJF-CP)."""

    stage = FairCriticalPath.stage


@register_agent("cluster/critical-path")
class CriticalPath(FIFO):
    """The job with the longest way left first, without a cap, and in it the head of that way."""

    stage = FairCriticalPath.stage

    def work(self, stages: np.ndarray, jobs: int) -> np.ndarray:
        """Return the remaining work, and keep each job's longest way for :meth:`order`."""
        self._longest = np.zeros(jobs)
        np.maximum.at(self._longest, stages[:, 4].astype(np.intp), path_lengths(stages, self.edges))
        return super().work(stages, jobs)

    def order(self, jobs: np.ndarray, work: np.ndarray) -> np.ndarray:
        """Sort by the longest way left."""
        return jobs[np.argsort(-self._longest[jobs], kind="stable")]


@register_agent("cluster/random")
class RandomJob(_Rule):
    """A job uniformly among those with a runnable stage, and a uniform legal count (as in the published simulators)."""

    memoryless = False

    def reset(self, env_info: EnvInfo) -> None:
        """Seed the draws."""
        self.rng = env_info.rng()

    def act(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        """Return (row, count - 1)."""
        stages = observation["stages"]
        runnable = np.flatnonzero(observation["stage_mask"])
        owner = stages[runnable, 4]
        rows = runnable[owner == self.rng.choice(np.unique(owner))]
        return np.array([self.stage(rows, stages), self.rng.integers(max(1, int(observation["executors"][0])))])
