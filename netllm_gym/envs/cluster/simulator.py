"""Decima's Spark model: executors, commitments and rounds. SimPy carries the clock.

Source: Mao et al., "Learning Scheduling Algorithms for Data Processing Clusters", SIGCOMM 2019, sections 5-6.
Task events number about sixty a decision, so they stand on an agenda of our own. SimPy's clock is moved to the instant
of every other event before it is handled, so processes that a user adds to ``sim.env`` run in step with the cluster.
No generator is alive between two events: a simulator can be copied and pickled at any decision.

All events of an instant are handled before a decision is raised, so it sees all executors that are free by then and
all jobs that have come. The pools that got free executors are then placed one after the other, a round each.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import simpy

from netllm_gym.envs.cluster.agenda import ARRIVAL, DONE, READY, Agenda
from netllm_gym.envs.cluster.durations import StageTable
from netllm_gym.envs.cluster.pools import Pools
from netllm_gym.envs.cluster.state import COMMON, Executor, Job, Pool
from netllm_gym.errors import ConfigError
from netllm_gym.traces.jobs.workload import JobTemplate

Tables = dict[int, tuple[JobTemplate, list[StageTable]]]  # by ``id`` of the template, which is kept beside


class ClusterSimulator:
    """One episode. Call :meth:`advance`, then :meth:`commit` or :meth:`close_round` while `deciding`, and again.

    Args:
        arrivals: (arrival in s, template), sorted by time.
        executors: number of identical executors.
        moving_s: delay of an executor that changes job; also from the common pool.
        warmup_s: added to a fresh executor's first task where the profile has no fresh sample.
        legacy: as the published simulators: their inverted choice of level (see `level_weights`), and a decision
            after each single event.
        seed: of the uniform that each task is drawn with.
        tables: what earlier episodes with the same templates and warm-up resolved.
        history: decisions are shown durations of finished tasks only (see :class:`~netllm_gym.envs.cluster.state.Job`).
    """

    def __init__(
        self,
        arrivals: Sequence[tuple[float, JobTemplate]],
        executors: int = 50,
        moving_s: float = 2.0,
        warmup_s: float = 1.0,
        legacy: bool = False,
        seed: int = 0,
        tables: Tables | None = None,
        history: bool = False,
    ):
        if executors < 1:
            raise ConfigError(f"a cluster needs at least one executor, got {executors}")
        if not arrivals:
            raise ConfigError("a cluster needs at least one job")
        if min(moving_s, warmup_s) < 0:
            raise ConfigError("delays must be at least 0 s")
        self.env = simpy.Environment()
        self.arrivals, self.seed, self.moving_s, self.warmup_s = arrivals, seed, moving_s, warmup_s
        self.legacy = legacy
        self.executors = [Executor(i) for i in range(executors)]
        self.agenda = Agenda(executors, legacy, history)
        self._tables: Tables = {} if tables is None else tables
        self._area = self._since = 0.0
        self.active: dict[int, Job] = {}
        self.finished: list[tuple[int, float, float]] = []  # (job, arrival, completion)
        self.completion_s = 0.0  # summed over finished jobs
        self._ended, self._ended_sum = 0, 0.0  # tasks of finished jobs and their seconds, with `history`
        self.pools = Pools(self.executors)
        self.offers: dict[Pool, None] = {}  # pools that got free executors, in this order
        self.source: Pool | None = None  # the pool that this round places,
        self.committable = 0  # how many of its executors may still be promised,
        self.picked: set[tuple[int, int]] = set()  # and the stages that have got some in this round
        self.deciding = self.forced = self.done = False
        self._closed = False  # a round has just ended
        self._await_job(0)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out SimPy's environment (its clock is the agenda's) and processes that a user added to it."""
        return {name: value for name, value in self.__dict__.items() if name != "env"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.env = simpy.Environment(self.now)

    def fork(self) -> ClusterSimulator:
        """Return an independent copy that goes on from here with the same future; what never changes is shared."""
        shared = [self.arrivals, self._tables, self.agenda.level_choices]
        shared += [part for job in self.active.values() for part in (job.tables, job.draws, job.children)]
        return copy.deepcopy(self, {id(part): part for part in shared})

    def tables_of(self, template: JobTemplate) -> list[StageTable]:
        """Return the duration tables of a template's stages, resolved once."""
        known = self._tables.get(id(template))
        if known is None or known[0] is not template:  # ids come again after unpickling
            known = self._tables[id(template)] = template, [StageTable(s, self.warmup_s) for s in template.stages]
        return known[1]

    @property
    def job_seconds(self) -> float:
        """Seconds that jobs have spent in the system so far, summed over jobs."""
        return self._area + len(self.active) * (self.now - self._since)

    def known_s(self, job: Job) -> list[float]:
        """Return seconds a task for each stage of `job` by what has ended: of the stage, else its job, else all jobs.

        1 s before any task of the episode has ended. Only for simulators with `history`.
        """
        if job.ended:
            usual = job.ended_sum / job.ended
        else:
            ended = self._ended + sum(other.ended for other in self.active.values())
            total = self._ended_sum + sum(other.ended_sum for other in self.active.values())
            usual = total / ended if ended else 1.0
        return [seconds if seconds >= 0 else usual for seconds in job.recent_s]

    def _account(self) -> None:
        self._area, self._since = self.job_seconds, self.now

    # -- the clock ---------------------------------------------------------------------------------------------
    @property
    def now(self) -> float:
        """Simulated time, seconds."""
        return self.agenda.now

    def _await_job(self, k: int) -> None:
        """Enter arrival `k` (one at a time keeps the agenda short), before other events of its instant."""
        if k < len(self.arrivals):
            at, template = self.arrivals[k]
            self.agenda.enter_first(at, k - len(self.arrivals), ARRIVAL, (k, template))

    def _handle_events(self, until: float = math.inf) -> None:
        """Handle what happens up to and including the first instant that may call for a decision."""
        while event := self.agenda.next_event(until):
            kind, data = event
            if self.now > self.env.now:
                self.env.run(until=self.now)
            if kind == DONE:
                self._task_done(data)
            elif kind == READY:
                self._executor_ready(data)
            else:
                self._arrive(data)
            if self.legacy:
                break
            until = self.now

    def advance(self) -> bool:
        """Run to the next decision; return whether there is one (otherwise every job is done)."""
        if self.deciding or self.done:
            return not self.done
        if self._closed and not self.legacy:
            self._handle_events(until=self.now)  # those that the round's promises caused at once
        self._closed = False
        while not (self.offers and self._open_round()):
            if self.agenda.heap:
                self._handle_events()
            elif not self.active:
                self.done = True
                return False
            elif not self._force():
                raise AssertionError("the cluster stands still with work left")
        self.deciding = True
        return True

    # -- rounds ------------------------------------------------------------------------------------------------
    def _offer(self, pool: Pool) -> None:
        if self.legacy:
            self.offers.clear()  # the published simulators know one
        self.offers[pool] = None

    def _open_round(self) -> bool:
        """Begin the round of the first pool that can be placed now; return whether there is one."""
        for pool in tuple(self.offers):
            self.source, self.committable = pool, self.pools.free(pool)
            if self.committable:
                if self._any_schedulable():
                    return True
                for executor in self.pools.idle(pool):
                    self._fall_back(executor)
            elif self.legacy:
                break  # there, whoever comes to wait at this pool is offered, unless another event comes first
            self._end_round()
        return False

    def _force(self) -> bool:
        """Nothing is pending: offer an idle executor to whoever has work; such a round cannot be refused."""
        for pool in self.pools.members:
            self.source, self.committable = pool, self.pools.free(pool)
            if self.committable and self._any_schedulable():
                self._offer(pool)
                self.forced = True
                return True
        return False

    # -- decisions ---------------------------------------------------------------------------------------------
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
        self.pools.promise(self.source, (job, s), n)
        self.committable -= n
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
        if self.committable > 0:
            self.pools.promise(source, None, self.committable)
        self._end_round()
        for executor in self.pools.idle(source):
            self._follow(executor, source)
        self.deciding, self._closed = False, True

    def _end_round(self) -> None:
        if self.source is not None:
            self.offers.pop(self.source, None)
        self.source, self.committable, self.forced = None, 0, False
        self.picked.clear()

    # -- events ------------------------------------------------------------------------------------------------
    def _arrive(self, data: tuple[int, JobTemplate]) -> None:
        k, template = data
        self._await_job(k + 1)
        self._account()
        self.active[k] = Job(k, self.now, template, self.tables_of(template), self.seed, self.agenda.history)
        if self.pools.members[COMMON]:
            self._offer(COMMON)

    def _executor_ready(self, data: tuple[Executor, Job, int]) -> None:
        executor, job, s = data
        job.incoming -= 1
        job.local += 1
        job.promised[s] -= 1
        executor.job = job
        self._settle(executor, job, s)

    def _task_done(self, executor: Executor) -> None:
        job, s = executor.job, executor.last
        assert job is not None and s is not None
        job.running[s] -= 1
        executor.busy = False
        if self.agenda.history:
            job.ran(s, executor.task_s)
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
        if not followed and pool not in self.offers:
            executor.last = None  # fresh again: a round is raised for it. Those that stop with it are placed at once.
        if frontier:
            home = (job.index, -1)
            for mate in self.pools.idle(pool):  # free since this instant: one round places them together
                self.pools.place(mate, home)
            self._offer(home)
        elif not followed:
            self._offer(pool)

    def _complete(self, job: Job) -> None:
        self._account()
        del self.active[job.index]
        self._ended, self._ended_sum = self._ended + job.ended, self._ended_sum + job.ended_sum
        self.finished.append((job.index, job.arrival_s, self.now))
        self.completion_s += self.now - job.arrival_s
        for executor in self.pools.idle((job.index, -1)):
            self._fall_back(executor)

    # -- executors ---------------------------------------------------------------------------------------------
    def _follow(self, executor: Executor, pool: Pool) -> bool:
        """Send an idle executor where its pool's oldest promise points; return whether there was one."""
        if pool not in self.pools.promises:
            return False
        target = self.pools.redeem(pool)
        if target is None:
            self._fall_back(executor)
            return True
        job, s = target
        foreign = executor.job is not job
        if foreign and job.unlaunched[s]:
            self._leave_job(executor, None)
            self.agenda.enter(self.now + self.moving_s, READY, (executor, job, s))
            return True
        job.promised[s] -= 1
        job.incoming -= foreign
        self._settle(executor, job, s)
        return True

    def _settle(self, executor: Executor, job: Job, s: int) -> None:
        """Start stage `s` on an executor, wait for its parents, or find other work if it has no task left.

        The promise that led here has just been taken off the stage, so its demand is brought up to date: unless a task
        starts, since promise and task go together.
        """
        if job.unlaunched[s] and executor.job is job:
            if not job.open_parents[s]:
                if executor.pool != (job.index, s):
                    self.pools.place(executor, (job.index, s))
                self.agenda.start_task(executor, job, s)
                return
            executor.last = None
            self.pools.place(executor, (job.index, -1))
            job.update(s)
            return
        job.update(s)
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
                self.agenda.enter(self.now + self.moving_s, READY, (executor, other, c))
                return
        self._fall_back(executor)

    def _leave_job(self, executor: Executor, pool: Pool | None) -> None:
        if executor.job is not None:
            executor.job.local -= 1
        executor.job = executor.last = None
        self.pools.place(executor, pool)

    def _fall_back(self, executor: Executor) -> None:
        # An executor that stays at its job keeps its last stage: only one that came to wait undecided is fresh again.
        job = executor.job
        if job is None or not any(job.unlaunched):
            self._leave_job(executor, COMMON)
        else:
            self.pools.place(executor, (job.index, -1))
