"""What happens when: the events to come, and the tasks that follow one another on an executor.

Nine events of ten are the end of a task whose stage has another one for the same executor. They change no pool and call
for no decision, so they are handled here, in one loop.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

from netllm_gym.envs.cluster.durations import level_weights
from netllm_gym.envs.cluster.state import Executor, Job

DONE, ARRIVAL, READY = 0, 1, 2  # a task ends, a job comes, an executor comes to a job


def stretched(left: int, right: int, share: float) -> tuple[int, int, float, float, float]:
    """Add what spreads a uniform of the left part, and one of the right part, over [0, 1)."""
    inside = 1.0 - 1e-12  # keeps a stretched uniform below 1 whatever the rounding
    return left, right, share, inside / share if share else 0.0, inside / (1.0 - share) if share < 1 else 0.0


class Agenda:
    """Events by time, then by the order in which they were entered.

    Args:
        executors: how many there are.
        legacy: the published simulators' inverted choice of level (see `level_weights`).
        history: durations are noted when tasks end, not when they begin.
    """

    def __init__(self, executors: int, legacy: bool, history: bool = False):
        self.now, self.history = 0.0, history
        self.heap: list[tuple[float, int, int, Any]] = []
        self.entered = 0
        self.level_choices = [stretched(*level_weights(m, legacy)) for m in range(executors + 1)]
        self.gantt: list[tuple[int, int, float, float]] | None = None  # (executor, job, start, end)

    def enter(self, at: float, kind: int, data: Any) -> None:
        """Enter an event."""
        self.entered += 1
        heapq.heappush(self.heap, (at, self.entered, kind, data))

    def enter_first(self, at: float, rank: int, kind: int, data: Any) -> None:
        """Enter an event before the others of its instant; `rank` is negative and orders several."""
        heapq.heappush(self.heap, (at, rank, kind, data))

    def start_task(self, executor: Executor, job: Job, s: int) -> None:
        """Let an executor run the next task of stage `s`, whose one uniform says how long it takes.

        The uniform chooses the level and, stretched over the part that chose it, the sample.
        """
        last, table = executor.last, job.tables[s]
        executor.wave = 0 if last is None else 2 if last == s else 1
        wave = (table.fresh, table.first, table.rest)[executor.wave]
        executor.busy, executor.last = True, s
        job.running[s] += 1
        k = job.unlaunched[s] = job.unlaunched[s] - 1
        u = job.draws[s][k]
        left, right, share, stretch, rest_stretch = self.level_choices[job.local]
        samples = wave[left if u < share else right]
        u = u * stretch if u < share else (u - share) * rest_stretch
        duration = samples[int(u * len(samples))]
        executor.task_s, executor.until_s = duration, self.now + duration
        if not self.history:
            job.recent_s[s] = duration
        if k == job.promised[s]:  # its demand has just run out
            job.update(s)
        if self.gantt is not None:
            self.gantt.append((executor.index, job.index, self.now, self.now + duration))
        self.enter(self.now + duration, DONE, executor)

    def next_event(self, until: float = math.inf) -> tuple[int, Any] | None:
        """Run tasks after tasks, take the first other event up to `until`, and return its kind and what it concerns."""
        heap, choices, gantt, entered, history = (
            self.heap,
            self.level_choices,
            self.gantt,
            self.entered,
            self.history,
        )
        replace = heapq.heapreplace
        found = None
        while heap:
            at, _, kind, data = heap[0]
            if at > until:
                break
            if not kind:
                job, s = data.job, data.last
                k = job.unlaunched[s]
                if k:  # as in `start_task`
                    job.unlaunched[s] = k = k - 1
                    u = job.draws[s][k]
                    left, right, share, stretch, rest_stretch = choices[job.local]
                    if u < share:
                        samples = job.tables[s].rest[left]
                        duration = samples[int(u * stretch * len(samples))]
                    else:
                        samples = job.tables[s].rest[right]
                        duration = samples[int((u - share) * rest_stretch * len(samples))]
                    if history:
                        job.ran(s, data.task_s)
                    else:
                        job.recent_s[s] = duration
                    data.task_s, data.until_s, data.wave = duration, at + duration, 2
                    if k == job.promised[s]:
                        job.update(s)
                    if gantt is not None:
                        gantt.append((data.index, job.index, at, at + duration))
                    entered += 1
                    replace(heap, (at + duration, entered, DONE, data))
                    continue
            heapq.heappop(heap)
            self.now, found = at, (kind, data)
            break
        self.entered = entered
        return found
