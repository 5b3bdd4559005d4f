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


KEPT = 64  # durations of finished tasks that are kept of a stage, the latest


class Job:
    """A job in the system; lists are indexed by stage.

    `recent_s` holds the duration of each stage's latest task, seconds: from the task's start on and, before the first,
    the mean of the stage's profile; with `history` only from the task's end on, and -1 before the first.
    """

    def __init__(
        self, index: int, arrival_s: float, template: JobTemplate, tables: list[StageTable], seed: int,
        history: bool = False,
    ):  # fmt: skip
        n = len(template.stages)
        self.index, self.arrival_s, self.template, self.tables = index, arrival_s, template, tables
        self.unlaunched = [s.tasks for s in template.stages]
        self.running = [0] * n
        self.promised = [0] * n  # executors committed or moving to the stage
        self.recent_s = [-1.0] * n if history else list(template.mean_s)
        self.ended_s: list[list[float]] = [[] for _ in range(n)] if history else []
        self.ended_sum = 0.0  # over all tasks of the job that have ended, with `history`,
        self.ended = 0  # and how many
        self.alive = list(range(n))  # stages not finished
        self._layout: tuple[dict[int, int], list[int]] | None = None
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
        self._layout = None

    def layout(self) -> tuple[dict[int, int], list[int]]:
        """Return each unfinished stage's position in `alive`, and the edges between them by position.

        Both ends of an edge, one edge after the other. Done anew only after a stage has finished.
        """
        if self._layout is None:
            at = {stage: i for i, stage in enumerate(self.alive)}
            links = [at[end] for a, b in self.template.edges if a in at and b in at for end in (a, b)]
            self._layout = at, links
        return self._layout

    def ran(self, s: int, seconds: float) -> None:
        """Note that a task of stage `s` has ended after so many seconds."""
        self.recent_s[s] = seconds
        self.ended_sum += seconds
        self.ended += 1
        kept = self.ended_s[s]
        if len(kept) >= KEPT:
            del kept[: KEPT // 2]
        kept.append(seconds)

    def demand(self, s: int) -> int:
        """Tasks of stage `s` for which no executor has been promised yet."""
        return self.unlaunched[s] - self.promised[s]

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
    """One task slot. `job` is where it is local, `last` the stage of its last task (``None``: fresh).

    `task_s` is how long its latest task takes, `until_s` when that ends, `wave` 0, 1 or 2 for fresh, first and rest.
    """

    __slots__ = ("busy", "index", "job", "last", "pool", "task_s", "until_s", "wave")

    def __init__(self, index: int):
        self.index = index
        self.job: Job | None = None
        self.last: int | None = None
        self.busy = False
        self.task_s = self.until_s = 0.0
        self.wave = 0
        self.pool: Pool | None = COMMON
