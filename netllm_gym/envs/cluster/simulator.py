"""Decima's Spark model: executors, commitments and rounds. SimPy carries the clock between decisions.

Source: Mao et al., "Learning Scheduling Algorithms for Data Processing Clusters", SIGCOMM 2019, sections 5-6.
Task events number about sixty a decision, so they are drained from a heap and SimPy sees only the decisions.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from typing import Any

import simpy

from netllm_gym.envs.cluster.durations import StageTable, level_weights
from netllm_gym.envs.cluster.state import COMMON, Executor, Job
from netllm_gym.errors import ConfigError
from netllm_gym.traces.workload import JobTemplate

_ARRIVAL, _READY, _DONE = 0, 1, 2
Destination = tuple[Job, int] | None
Pool = tuple[int, int]


def _stretched(left: int, right: int, share: float) -> tuple[int, int, float, float, float]:
    """Add what spreads a uniform of the left part, and one of the right part, over [0, 1)."""
    inside = 1.0 - 1e-12  # keeps a stretched uniform below 1 whatever the rounding
    return left, right, share, inside / share if share else 0.0, inside / (1.0 - share) if share < 1 else 0.0


class ClusterSimulator:
    """One episode. Call :meth:`advance`, then :meth:`commit` or :meth:`close_round` while `deciding`, and again.

    Args:
        arrivals: (arrival in s, template), sorted by time.
        executors: number of identical executors.
        moving_s: delay of an executor that changes job; also from the common pool.
        warmup_s: added to a fresh executor's first task where the profile has no fresh sample.
        legacy: the published simulators' inverted choice of level (see `level_weights`).
        seed: of the two uniforms that each task is drawn with.
        tables: what earlier episodes with the same templates and warm-up resolved, by ``id`` of the template.
    """

    def __init__(
        self,
        arrivals: Sequence[tuple[float, JobTemplate]],
        executors: int = 50,
        moving_s: float = 2.0,
        warmup_s: float = 1.0,
        legacy: bool = False,
        seed: int = 0,
        tables: dict[int, list[StageTable]] | None = None,
    ):
        if executors < 1:
            raise ConfigError(f"a cluster needs at least one executor, got {executors}")
        if not arrivals:
            raise ConfigError("a cluster needs at least one job")
        if min(moving_s, warmup_s) < 0:
            raise ConfigError("delays must be at least 0 s")
        self.env = simpy.Environment()
        self.arrivals, self.seed, self.moving_s, self.warmup_s = arrivals, seed, moving_s, warmup_s
        self.executors = [Executor(i) for i in range(executors)]
        self.level_choices = [_stretched(*level_weights(m, legacy)) for m in range(executors + 1)]
        self._tables: dict[int, list[StageTable]] = {} if tables is None else tables
        self.now = self._area = self._since = 0.0
        self.active: dict[int, Job] = {}
        self.finished: list[tuple[int, float, float]] = []  # (job, arrival, completion)
        self.completion_s = 0.0  # summed over finished jobs
        self.gantt: list[tuple[int, int, float, float]] | None = None  # (executor, job, start, end)
        self.pools: dict[Pool, dict[int, Executor]] = {COMMON: {e.index: e for e in self.executors}}
        self.commitments: dict[Pool, dict[Destination, int]] = {}
        self.source: Pool | None = None
        self.picked: set[tuple[int, int]] = set()
        self.deciding = self.forced = self.done = False
        self._sequence = 0
        self._heap: list[tuple[float, int, int, Any]] = []
        self._await_job(0)
        self._stop = self.env.event()
        self._resume = self.env.event()
        self.env.process(self._drive())

    def tables_of(self, template: JobTemplate) -> list[StageTable]:
        """Return the duration tables of a template's stages, resolved once."""
        tables = self._tables.get(id(template))
        if tables is None:
            tables = self._tables[id(template)] = [StageTable(s, self.warmup_s) for s in template.stages]
        return tables

    @property
    def job_seconds(self) -> float:
        """Seconds that jobs have spent in the system so far, summed over jobs."""
        return self._area + len(self.active) * (self.now - self._since)

    def _account(self) -> None:
        self._area, self._since = self.job_seconds, self.now

    # -- the clock ---------------------------------------------------------------------------------------------
    def _push(self, at: float, kind: int, data: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, kind, data))

    def _await_job(self, k: int) -> None:
        """Put arrival `k` on the heap (one at a time keeps it small), before other events of its instant."""
        if k < len(self.arrivals):
            at, template = self.arrivals[k]
            heapq.heappush(self._heap, (at, k - len(self.arrivals), _ARRIVAL, (k, template)))

    def _drive(self) -> Generator[simpy.Event, None, None]:
        heap, env, weights, replace = self._heap, self.env, self.level_choices, heapq.heapreplace
        handlers = (self._arrive, self._executor_ready, self._task_done)
        while heap or self.active:
            if heap:
                at, _, kind, data = heap[0]
                self.now = at
                if kind == _DONE:
                    job, s = data.job, data.last
                    k = job.unlaunched[s]
                    if k:
                        # The executor takes the stage's next task. No pool changes, so nothing is to be decided: this
                        # is `_launch`, written out because nine events of ten end here.
                        job.unlaunched[s] = k = k - 1
                        u = job.draws[s][k]
                        left, right, share, stretch, rest_stretch = weights[job.local]
                        if u < share:
                            samples = job.tables[s].rest[left]
                            duration = samples[int(u * stretch * len(samples))]
                        else:
                            samples = job.tables[s].rest[right]
                            duration = samples[int((u - share) * rest_stretch * len(samples))]
                        job.recent_s[s] = duration
                        if k == job.promised[s]:
                            job.update(s)
                        if self.gantt is not None:
                            self.gantt.append((data.index, job.index, at, at + duration))
                        self._sequence += 1
                        replace(heap, (at + duration, self._sequence, _DONE, data))
                        continue
                heapq.heappop(heap)
                handlers[kind](data)
            elif not self._force():
                raise AssertionError("the cluster stands still with work left")
            while self._needs_decision():
                if self.now > env.now:
                    yield env.timeout(self.now - env.now)
                self.deciding = True
                self._stop.succeed()
                yield self._resume
        self.done = True
        self._stop.succeed()

    def advance(self) -> bool:
        """Run to the next decision; return whether there is one (otherwise every job is done)."""
        if not self.deciding and not self.done:
            self._stop = self.env.event()
            self.env.run(until=self._stop)
        return not self.done

    def _needs_decision(self) -> bool:
        if self.source is None:
            return False
        if self.committable < 1:
            return False  # the source stays: an executor that comes to wait there raises a decision
        if self._any_schedulable():
            return True
        for executor in [e for e in self.pools[self.source].values() if not e.busy]:
            self._fall_back(executor)
        self._clear_round()
        return False

    def _force(self) -> bool:
        """Nothing is pending: offer an idle executor to whoever has work; such a round cannot be refused."""
        for pool, members in self.pools.items():
            if members:
                self.source = pool
                if self.committable > 0 and self._any_schedulable():
                    self.forced = True
                    return True
        self.source = None
        return False

    # -- decisions ---------------------------------------------------------------------------------------------
    @property
    def committable(self) -> int:
        """Executors of the source pool that this round may still promise."""
        if self.source is None:
            return 0
        return len(self.pools.get(self.source, ())) - sum(self.commitments.get(self.source, {}).values())

    @property
    def source_job(self) -> Job | None:
        """The job whose executors are being placed; ``None`` for the common pool."""
        return self.active.get(self.source[0]) if self.source else None

    def schedulable(self) -> list[tuple[Job, int]]:
        """Stages that may be picked now, jobs by arrival and stages by index."""
        limit, source, picked = len(self.executors), self.source_job, self.picked
        return [
            (job, s)
            for job in self.active.values()
            if job.ready and (job.local + job.incoming < limit or job is source)
            for s in sorted(job.ready)
            if (job.index, s) not in picked
        ]

    def _any_schedulable(self) -> bool:
        limit, source, picked = len(self.executors), self.source_job, self.picked
        for job in self.active.values():
            if job.ready and (job.local + job.incoming < limit or job is source):
                if not picked:
                    return True
                for s in job.ready:
                    if (job.index, s) not in picked:
                        return True
        return False

    def commit(self, job: Job, s: int, count: int) -> int:
        """Promise up to `count` executors to stage `s`; return how many the demand and the source allowed."""
        assert self.source is not None
        n = min(count, job.demand(s), self.committable)
        if n < 1 or s not in job.ready:
            raise ConfigError(f"stage {s} of job {job.index} cannot take {count} executors now")
        book = self.commitments.setdefault(self.source, {})
        book[job, s] = book.get((job, s), 0) + n
        job.promised[s] += n
        if self.source[0] != job.index:
            job.incoming += n
        self.picked.add((job.index, s))
        self.forced = False
        job.update(s)
        if not (self.committable and self._any_schedulable()):
            self.close_round()
        return n

    def close_round(self) -> None:
        """End the round: what was not promised stays without destination, idle executors leave."""
        source = self.source
        assert source is not None
        book = self.commitments.setdefault(source, {})
        if self.committable > 0:
            book[None] = book.get(None, 0) + self.committable
        self._clear_round()
        for executor in [e for e in self.pools[source].values() if not e.busy]:
            self._follow(executor, source)
        self.deciding = False
        self._resume, old = self.env.event(), self._resume
        old.succeed()

    def _clear_round(self) -> None:
        self.source, self.forced = None, False
        self.picked.clear()

    # -- events ------------------------------------------------------------------------------------------------
    def _arrive(self, data: tuple[int, JobTemplate]) -> None:
        k, template = data
        self._await_job(k + 1)
        self._account()
        self.active[k] = Job(k, self.now, template, self.tables_of(template), self.seed)
        if self.pools[COMMON]:
            self.source = COMMON

    def _executor_ready(self, data: tuple[Executor, Job, int]) -> None:
        executor, job, s = data
        job.incoming -= 1
        job.local += 1
        job.promised[s] -= 1
        executor.job = job
        self._place(executor, (job.index, -1))
        job.update(s)
        self._settle(executor, job, s)

    def _task_done(self, executor: Executor) -> None:
        job, s = executor.job, executor.last
        assert job is not None and s is not None
        job.running[s] -= 1
        executor.busy = False
        frontier = False
        if not job.running[s]:
            job.finish(s)
            for c in job.children[s]:
                job.open_parents[c] -= 1
                frontier |= not job.open_parents[c]
            if not job.alive:
                self._complete(job)
        pool = executor.pool
        assert pool is not None
        followed = self._follow(executor, pool)
        if not followed:
            executor.last = None  # an executor that waits is fresh again
        if frontier:
            if not followed:
                self._place(executor, (job.index, -1))
            self.source = (job.index, -1)
        elif not followed:
            self.source = pool

    def _complete(self, job: Job) -> None:
        self._account()
        del self.active[job.index]
        self.finished.append((job.index, job.arrival_s, self.now))
        self.completion_s += self.now - job.arrival_s
        for executor in list(self.pools.get((job.index, -1), {}).values()):
            self._fall_back(executor)

    # -- executors ---------------------------------------------------------------------------------------------
    def _place(self, executor: Executor, pool: Pool | None) -> None:
        if executor.pool is not None:
            members = self.pools[executor.pool]
            del members[executor.index]
            if not members and executor.pool != COMMON:
                del self.pools[executor.pool]
        executor.pool = pool
        if pool is not None:
            self.pools.setdefault(pool, {})[executor.index] = executor

    def _follow(self, executor: Executor, pool: Pool) -> bool:
        """Send an idle executor where its pool's oldest promise points; return whether there was one."""
        book = self.commitments.get(pool)
        if not book:
            return False
        target = next(iter(book))
        if book[target] == 1:
            del book[target]
            if not book:
                del self.commitments[pool]
        else:
            book[target] -= 1
        if target is None:
            self._fall_back(executor)
            return True
        job, s = target
        foreign = executor.job is not job
        if foreign and job.unlaunched[s]:
            self._leave_job(executor, None)
            self._push(self.now + self.moving_s, _READY, (executor, job, s))
            return True
        job.promised[s] -= 1
        job.incoming -= foreign
        job.update(s)
        self._settle(executor, job, s)
        return True

    def _settle(self, executor: Executor, job: Job, s: int) -> None:
        """Start stage `s` on an executor, wait for its parents, or find other work if it has no task left."""
        if job.unlaunched[s] and executor.job is job:
            if job.open_parents[s]:
                executor.last = None
                self._place(executor, (job.index, -1))
            else:
                self._start(executor, job, s)
            return
        own = executor.job
        if own is not None and own.ready:
            self._settle(executor, own, min(own.ready))
            return
        limit = len(self.executors)
        for other in self.active.values():
            if other.ready and other.supply < limit:
                c = min(other.ready)
                other.promised[c] += 1
                other.incoming += 1
                other.update(c)
                self._leave_job(executor, None)
                self._push(self.now + self.moving_s, _READY, (executor, other, c))
                return
        self._fall_back(executor)

    def _leave_job(self, executor: Executor, pool: Pool | None) -> None:
        if executor.job is not None:
            executor.job.local -= 1
        executor.job = executor.last = None
        self._place(executor, pool)

    def _fall_back(self, executor: Executor) -> None:
        # An executor that stays at its job keeps its last stage: only one that came to wait undecided is fresh again.
        job = executor.job
        if job is None or not any(job.unlaunched):
            self._leave_job(executor, COMMON)
        else:
            self._place(executor, (job.index, -1))

    def _start(self, executor: Executor, job: Job, s: int) -> None:
        last, table = executor.last, job.tables[s]
        wave = table.fresh if last is None else table.rest if last == s else table.first
        executor.busy, executor.last = True, s
        if executor.pool != (job.index, s):
            self._place(executor, (job.index, s))
        job.running[s] += 1
        duration = self._launch(job, s, wave)
        if self.gantt is not None:
            self.gantt.append((executor.index, job.index, self.now, self.now + duration))
        self._push(self.now + duration, _DONE, executor)

    def _launch(self, job: Job, s: int, wave: dict[int, tuple[float, ...]]) -> float:
        """Take a task of stage `s` and return how long it runs, seconds.

        Its one uniform chooses the level and, stretched over the part that chose it, the sample.
        """
        k = job.unlaunched[s] = job.unlaunched[s] - 1
        u = job.draws[s][k]
        left, right, share, stretch, rest_stretch = self.level_choices[job.local]
        samples = wave[left if u < share else right]
        u = u * stretch if u < share else (u - share) * rest_stretch
        duration = job.recent_s[s] = samples[int(u * len(samples))]
        if k == job.promised[s]:  # its demand has just run out
            job.update(s)
        return duration
