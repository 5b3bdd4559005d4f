"""What the simulator keeps of a job and of an executor."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.cluster.durations import StageTable
from netllm_gym.traces.jobs.workload import JobTemplate

Pool = tuple[int, int]  # COMMON; (job, -1) idle at a job; (job, stage)
COMMON: Pool = (-1, -1)


def draw_tasks(seed: int, job: int, tasks: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return one uniform a task of each stage, drawn from (seed, job) alone: no policy can change it."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x7A5C, job)))
    return np.split(rng.random(sum(tasks)), np.cumsum(tasks)[:-1])


class Job:
    """A job in the system; lists are indexed by stage."""

    def __init__(self, index: int, arrival_s: float, template: JobTemplate, tables: list[StageTable], seed: int):
        n = len(template.stages)
        self.index, self.arrival_s, self.template, self.tables = index, arrival_s, template, tables
        self.unlaunched = [s.tasks for s in template.stages]
        self.running = [0] * n
        self.promised = [0] * n  # executors committed or moving to the stage
        self.recent_s = list(template.mean_s)
        self.alive = list(range(n))  # stages not finished
        # Edges between them, by position in `alive`; both ends, one edge after the other.
        self.links = [end for edge in template.edges for end in edge]
        self.children: list[list[int]] = [[] for _ in range(n)]
        self.open_parents = [0] * n  # parents not finished
        self.hungry_parents = [0] * n  # parents that still want executors
        for a, b in template.edges:
            self.children[a].append(b)
            self.open_parents[b] += 1
            self.hungry_parents[b] += 1
        self.hungry = [True] * n
        self.ready = {s for s in range(n) if not self.hungry_parents[s]}
        self.local = 0
        self.incoming = 0  # executors moving or committed to the job from elsewhere
        self.draws = [array("d", u.tobytes()) for u in draw_tasks(seed, index, self.unlaunched)]

    @property
    def supply(self) -> int:
        """Executors local to the job, moving to it, or committed to it from elsewhere."""
        return self.local + self.incoming

    def finish(self, s: int) -> None:
        """Take stage `s` out of what is left of the job."""
        self.alive.remove(s)
        at = {stage: i for i, stage in enumerate(self.alive)}
        self.links = [at[end] for a, b in self.template.edges if a in at and b in at for end in (a, b)]

    def demand(self, s: int) -> int:
        """Tasks of stage `s` for which no executor has been promised yet."""
        return self.unlaunched[s] - self.promised[s]

    def work_s(self) -> float:
        """Remaining work: unlaunched tasks times the most recent duration, in executor-seconds."""
        return sum(u * d for u, d in zip(self.unlaunched, self.recent_s, strict=True))

    def update(self, s: int) -> None:
        """Bring readiness up to date after the demand of stage `s` changed; costs its children."""
        hungry = self.demand(s) > 0
        if hungry != self.hungry[s]:
            self.hungry[s] = hungry
            step = 1 if hungry else -1
            for c in self.children[s]:
                self.hungry_parents[c] += step
                self._note(c)
        self._note(s)

    def _note(self, s: int) -> None:
        if self.hungry[s] and not self.hungry_parents[s]:
            self.ready.add(s)
        else:
            self.ready.discard(s)


class Executor:
    """One task slot. `job` is where it is local, `last` the stage of its last task (``None``: fresh)."""

    __slots__ = ("busy", "index", "job", "last", "pool")

    def __init__(self, index: int):
        self.index = index
        self.job: Job | None = None
        self.last: int | None = None
        self.busy = False
        self.pool: Pool | None = COMMON
