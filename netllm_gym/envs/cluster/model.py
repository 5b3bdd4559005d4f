"""What a scheduler may know of a running cluster, and the futures that it can imagine from it.

A scheduler knows where its executors are, what they run and since when, which jobs have come and when, their stages and
how many tasks are left. It does not know how long tasks take, nor which jobs come next. A :class:`ClusterModel` holds
the first and draws the second: durations from the stages' profiles (or, under ``durations="history"``, from what has
ended), ends of running tasks given how long they have run, arrivals at the rate so far, of jobs like those that have
come.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.cluster import world as places
from netllm_gym.envs.cluster.agenda import ARRIVAL, DONE, READY
from netllm_gym.envs.cluster.durations import LEVELS
from netllm_gym.envs.cluster.state import COMMON, Job, Pool
from netllm_gym.envs.cluster.world import F_TABLE, X_LAST, Durations, World, pack, push
from netllm_gym.traces.jobs.statistics import critical_path_s
from netllm_gym.traces.jobs.workload import JobTemplate

if TYPE_CHECKING:
    from netllm_gym.envs.cluster.simulator import ClusterSimulator

WAVES = 3
RECENT = 100  # jobs, the latest, that stand for those to come
USUAL_LOAD = 0.7  # what is assumed of the arrivals before any have come, worth PRIOR of them
PRIOR = 2.0
LONGER = 0.3  # how much longer a task takes that has outrun every sample, as a share of what it has run, in the mean


class _Shape(NamedTuple):
    """What does not change of a job: where its tables begin, parents per stage, children of each."""

    table: int
    tasks: NDArray[np.int64]
    parents: NDArray[np.int64]
    degree: NDArray[np.int64]
    child: NDArray[np.int64]
    mean_s: NDArray[np.float64]
    path_s: float


@njit(cache=True)
def draw_ends(w: Any, d: Any, elapsed: Any, wave: Any, level: Any, now: Any, seed: Any) -> None:
    """Draw when each running task will have ended, given how long it has run, and enter those events.

    Uniformly among the samples of its wave that are longer; beyond all of them, by an exponential.
    """
    for e in range(len(elapsed)):
        if elapsed[e] < 0:
            continue
        g = w.ex[X_LAST, e]
        t, begin = w.fixed[F_TABLE, g], 0
        offset, count = d.offset[t, wave[e], level[e]], d.lengths[t, wave[e], level[e]]
        longer = 0
        for k in range(count):
            longer += d.samples[offset + k] > elapsed[e]
        u = places.uniform(seed, 1 << 40, e)
        if longer:
            rank = int(u * longer)
            for k in range(count):
                if d.samples[offset + k] > elapsed[e]:
                    if begin == rank:
                        duration = d.samples[offset + k]
                    begin += 1
        else:
            duration = elapsed[e] * (1.0 - LONGER * np.log(1.0 - u)) + 1e-3
        w.n[places.ENTERED] += 1
        push(w, now + max(duration - elapsed[e], 0.0), w.n[places.ENTERED], DONE, e)


class ClusterModel:
    """Futures of one running simulator. Make one an episode and ask it at decisions.

    Args:
        sim: the simulator. Only what a scheduler knows is read, except by :meth:`true_world`.
    """

    def __init__(self, sim: ClusterSimulator) -> None:
        self._sim = sim
        self._shapes: dict[int, tuple[JobTemplate, _Shape]] = {}
        self._samples: list[NDArray[np.float64]] = []
        self._held, self._tables = 0, 0
        self._offsets: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._durations: Durations | None = None
        self._levels = np.array(sim.agenda.level_choices)
        self._levels[:, :2] = np.searchsorted(LEVELS, self._levels[:, :2])
        self.moving_s = sim.moving_s

    @property
    def now(self) -> float:
        """Simulated time, seconds."""
        return self._sim.now

    @property
    def work_s(self) -> float:
        """Mean work of the jobs that have come, by mean durations, executor-seconds."""
        return float(np.mean([float(s.tasks @ s.mean_s) for s in map(self._shape, self._arrived()[-RECENT:])]))

    @property
    def alone_s(self) -> float:
        """What a mean job that has come would take alone: its longest way, its work on all executors and one move,
        seconds.

        It is the unit in which horizons are given, so that they fit short jobs and long ones.
        """
        times = [self._shape(template).path_s for template in self._arrived()[-RECENT:]]
        return float(np.mean(times)) + self.work_s / len(self._sim.executors) + self.moving_s

    @property
    def gap_s(self) -> float:
        """Estimated mean seconds between two arrivals: from those so far, and a usual load while there are few."""
        usual = self.work_s / (len(self._sim.executors) * USUAL_LOAD)
        return (PRIOR * usual + self.now) / (PRIOR + len(self._arrived()) - 1)

    def _arrived(self) -> list[JobTemplate]:
        count = len(self._sim.finished) + len(self._sim.active)
        return [template for _, template in self._sim.arrivals[:count]]

    def places(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """Return the stages in a world that stand in these rows of the observation; -1 stays -1."""
        first, starts, place = 0, [], 0
        for job in self._sim.active.values():
            starts.append((first, place, job))
            first, place = first + len(job.alive), place + len(job.unlaunched)
        found = np.full(len(rows), -1, np.int64)
        for k, row in enumerate(rows):
            if row >= 0:
                base, at, job = next(start for start in reversed(starts) if start[0] <= row)
                found[k] = at + job.alive[row - base]
        return found

    # -- durations -------------------------------------------------------------------------------------------------
    def _shape(self, template: JobTemplate) -> _Shape:
        known = self._shapes.get(id(template))
        if known is not None:
            return known[1]
        n = len(template.stages)
        parents, degree = np.zeros(n, np.int64), np.zeros(n, np.int64)
        children: list[list[int]] = [[] for _ in range(n)]
        for a, b in template.edges:
            parents[b] += 1
            degree[a] += 1
            children[a].append(b)
        shape = _Shape(
            self._tables, np.array([s.tasks for s in template.stages]), parents, degree,
            np.array([b for own in children for b in own], np.int64), np.array(template.mean_s),
            critical_path_s(template),
        )  # fmt: skip
        offset, count = np.zeros((n, WAVES, len(LEVELS)), np.int64), np.zeros((n, WAVES, len(LEVELS)), np.int64)
        for s, table in enumerate(self._sim.tables_of(template)):
            for k, wave in enumerate((table.fresh, table.first, table.rest)):
                last: Any = None
                for i, level in enumerate(LEVELS):
                    if wave[level] != last:  # levels that a profile misses share the samples of another
                        last = wave[level]
                        self._samples.append(np.frombuffer(last))
                        self._held += len(last)
                    offset[s, k, i], count[s, k, i] = self._held - len(last), len(last)
        self._offsets.append(offset)
        self._counts.append(count)
        self._tables += n
        self._durations = None
        self._shapes[id(template)] = template, shape
        return shape

    def durations(self) -> Durations:
        """Return the profiles of all jobs that have come."""
        if self._durations is None:
            self._samples = [np.concatenate(self._samples)]
            self._offsets, self._counts = [np.concatenate(self._offsets)], [np.concatenate(self._counts)]
            self._durations = Durations(self._samples[0], self._offsets[0], self._counts[0], self._levels)
        return self._durations

    def _history(self, jobs: Sequence[Job], templates: Sequence[JobTemplate]) -> tuple[Durations, list[int]]:
        """Return tables of what has ended, a table a stage, and each job's first table."""
        sim = self._sim
        samples: list[float] = []
        place: list[tuple[int, int]] = []
        first: list[int] = []
        for job in jobs:
            first.append(len(place))
            usual = [x for ended in job.ended_s for x in ended[-8:]] or [sim.known_s(job)[0]]
            for ended in job.ended_s:
                place.append((len(samples), len(ended or usual)))
                samples += ended or usual
        anything = (len(samples), max(1, len(samples)))
        samples += samples or [1.0]
        for template in templates:
            first.append(len(place))
            place += [anything] * len(template.stages)
        table = np.repeat(np.array(place)[:, None, :], WAVES, 1)[:, :, None, :].repeat(len(LEVELS), 2)
        return Durations(
            np.array(samples), np.ascontiguousarray(table[..., 0]), np.ascontiguousarray(table[..., 1]), self._levels
        ), first

    # -- worlds ----------------------------------------------------------------------------------------------------
    def imagine(self, rng: np.random.Generator, horizon_s: float) -> tuple[World, Durations, int]:
        """Draw a future: a world of its own, its durations and the seed of its tasks.

        Args:
            rng: draws it.
            horizon_s: jobs arrive for so long from now on.
        """
        seed, gap, at = int(rng.integers(1 << 62)), self.gap_s, self.now
        arrived, coming = self._arrived()[-RECENT:], []
        while (at := at + float(rng.exponential(gap))) < self.now + horizon_s:
            coming.append((at, arrived[int(rng.integers(len(arrived)))]))
        world, durations = self._build(coming)
        busy = [executor for executor in self._sim.executors if executor.busy]
        elapsed = np.full(len(self._sim.executors), -1.0)
        wave, level = np.zeros(len(elapsed), np.int64), np.zeros(len(elapsed), np.int64)
        for executor in busy:
            assert executor.job is not None
            # Rounding may begin a task of this instant after it; a negative time would leave the task without an end.
            # Rounded: the last bits would tell when the task ends.
            elapsed[executor.index] = max(0.0, round(self.now - (executor.until_s - executor.task_s), 9))
            wave[executor.index] = executor.wave
            level[executor.index] = int(self._levels[executor.job.local, 0])
        draw_ends(world, durations, elapsed, wave, level, self.now, seed)
        return world, durations, seed

    def true_world(self) -> tuple[World, Durations, int]:
        """Return the world with its true future, for tests and clairvoyant experiments. No agent may ask for it."""
        sim = self._sim
        coming = list(sim.arrivals[len(sim.finished) + len(sim.active) :])
        world, durations = self._build(coming, true=True)
        for executor in sim.executors:
            if executor.busy:
                order = next(o for _, o, kind, data in sim.agenda.heap if kind == DONE and data is executor)
                push(world, executor.until_s, order, DONE, executor.index)
        world.n[places.ENTERED] = sim.agenda.entered
        return world, durations, 0

    def _build(self, coming: Sequence[tuple[float, JobTemplate]], true: bool = False) -> tuple[World, Durations]:
        sim = self._sim
        jobs = list(sim.active.values())
        shapes = [self._shape(job.template) for job in jobs] + [self._shape(template) for _, template in coming]
        first_table = [shape.table for shape in shapes]
        if sim.agenda.history and not true:
            durations, first_table = self._history(jobs, [template for _, template in coming])
        else:
            durations = self.durations()
        slot = {job.index: j for j, job in enumerate(jobs)}
        # Jobs that are over and still matter: executors wait in their pools, or are promised or on their way to them.
        places: list[Pool] = [*sim.pools.members, *sim.offers]
        places += [(to[0].index, to[1]) for book in sim.pools.promises.values() for to in book if to is not None]
        places += [(data[1].index, data[2]) for _, _, kind, data in sim.agenda.heap if kind == READY]
        ghosts = list(dict.fromkeys(place for place in places if place != COMMON and place[0] not in slot))
        active, count, executors = len(jobs), len(shapes) + len(ghosts), len(sim.executors)
        sizes = np.array([len(shape.tasks) for shape in shapes] + [1] * len(ghosts))
        first = np.concatenate([[0], np.cumsum(sizes)])
        stages = int(first[-1])
        pools = 1 + count + stages
        over = [0] * len(ghosts)

        def column(name: str, fresh: str) -> NDArray[np.int64]:
            parts = [np.array(getattr(job, name), np.int64) for job in jobs]
            parts += [getattr(shape, fresh) for shape in shapes[active:]]
            return np.concatenate([*parts, zeros(len(ghosts))]).astype(np.int64)

        def zeros(n: int) -> NDArray[np.int64]:
            return np.zeros(n, np.int64)

        fresh, gone = int(stages - first[active]) - len(ghosts), len(ghosts)
        recent = [np.array(sim.known_s(job) if sim.agenda.history else job.recent_s) for job in jobs]
        unlaunched = column("unlaunched", "tasks")
        done = np.ones(stages, np.int64)
        for j, job in enumerate(jobs):
            done[first[j] + np.array(job.alive)] = 0
        done[first[active] : stages - gone] = 0
        draws: list[Any] = [part for job in jobs for part in job.draws] if true else []
        if true:
            from netllm_gym.envs.cluster.state import draw_tasks

            begin = len(sim.finished) + active
            for k, (_, template) in enumerate(coming):
                draws += draw_tasks(sim.seed, begin + k, [s.tasks for s in template.stages])
        lengths = np.array([len(part) for part in draws], np.int64)
        room = executors + count + 8
        columns = SimpleNamespace(
            clock=np.array([self.now, 0.0, self.now]),
            n=zeros(14),
            heap_at=np.zeros(room), heap_order=zeros(room), heap_kind=zeros(0), heap_data=zeros(0),
            ex_job=np.full(executors, -1), ex_last=np.full(executors, -1), ex_busy=zeros(executors),
            ex_pool=np.full(executors, -1), ex_stamp=zeros(executors), ex_target=np.full(executors, -1),
            job_first=first.astype(np.int64),
            job_local=np.array([job.local for job in jobs] + [0] * len(coming) + over, np.int64),
            job_incoming=np.array([job.incoming for job in jobs] + [0] * len(coming) + over, np.int64),
            job_alive=np.array([len(job.alive) for job in jobs] + sizes[active:].tolist(), np.int64),
            job_unlaunched=np.bincount(np.repeat(np.arange(count), sizes), unlaunched, count).astype(np.int64),
            job_arrival=np.array([job.arrival_s for job in jobs] + [at for at, _ in coming] + over, float),
            active=np.arange(count),
            stage_job=np.repeat(np.arange(count), sizes),
            unlaunched=unlaunched,
            running=np.concatenate([*(np.array(job.running, np.int64) for job in jobs), zeros(fresh + gone)]),
            promised=np.concatenate(
                [*(np.array(job.promised, np.int64) for job in jobs), zeros(fresh), np.full(gone, executors)]
            ),
            recent=np.concatenate([*recent, *(shape.mean_s for shape in shapes[active:]), np.zeros(gone)]),
            open_parents=column("open_parents", "parents"),
            hungry_parents=column("hungry_parents", "parents"),
            hungry=np.concatenate(
                [*(np.array(job.hungry, np.int64) for job in jobs), np.ones(fresh, np.int64), zeros(gone)]
            ),
            done=done,
            table=np.concatenate(
                [*(start + np.arange(n) for start, n in zip(first_table, sizes, strict=False)), zeros(gone)]
            ),
            draw=np.concatenate([np.cumsum(lengths) - lengths, zeros(gone)]) if true else np.full(stages, -1),
            child_first=np.append(0, np.cumsum(np.concatenate([*(shape.degree for shape in shapes), zeros(gone)]))),
            child=np.concatenate([at + shape.child for at, shape in zip(first, shapes, strict=False)]).astype(np.int64),
            pool_size=zeros(pools), pool_promised=zeros(pools), pool_born=zeros(pools),
            promise_pool=zeros(executors + 8), promise_stage=zeros(executors + 8), promise_count=zeros(executors + 8),
            offers=zeros(pools),
            picked=zeros(stages), picked_list=zeros(stages), scratch=zeros(executors),
            draws=np.concatenate(draws) if true and draws else np.zeros(1),
        )  # fmt: skip
        events = self._occupy(columns, slot, first, active, len(coming), ghosts)
        world = pack(vars(columns))
        for event in events:
            push(world, *event)
        return world, durations

    def _occupy(
        self, world: SimpleNamespace, slot: dict[int, int], first: NDArray[np.int64], active: int, coming: int,
        ghosts: Sequence[Pool],
    ) -> list[tuple[float, int, int, int]]:  # fmt: skip
        """Put executors, promises and offers into a world's columns; return the events that a scheduler knows of."""
        sim, count = self._sim, len(first) - 1
        numbers = {COMMON: 0} | {pool: 1 + active + coming + i for i, pool in enumerate(ghosts)}

        def number(pool: Pool) -> int:
            if pool in numbers:
                return numbers[pool]
            job, s = pool
            return 1 + slot[job] if s < 0 else 1 + count + int(first[slot[job]]) + s

        def row(job: int, s: int) -> int:
            return int(first[slot[job]]) + s if job in slot else int(first[numbers[job, s] - 1])

        stamp = 0
        for pool, members in sim.pools.members.items():
            at = number(pool)
            if at and not world.pool_size[at]:
                world.pool_born[at] = stamp + 1
            for executor in members.values():
                stamp += 1
                world.ex_pool[executor.index], world.ex_stamp[executor.index] = at, stamp
                if pool[0] not in slot and at:
                    world.ex_job[executor.index] = at - 1
            world.pool_size[at] += len(members)
        for executor in sim.executors:
            if executor.job is not None and executor.job.index in slot:
                j = slot[executor.job.index]
                world.ex_job[executor.index] = j
                if executor.last is not None:
                    world.ex_last[executor.index] = first[j] + executor.last
            world.ex_busy[executor.index] = executor.busy
        k = 0
        for pool, book in sim.pools.promises.items():
            for target, amount in book.items():
                stage = -1 if target is None else row(target[0].index, target[1])
                world.promise_pool[k], world.promise_stage[k], world.promise_count[k] = number(pool), stage, amount
                world.pool_promised[number(pool)] += amount
                k += 1
        world.n[places.PROMISES] = k
        for i, pool in enumerate(sim.offers):
            world.offers[i] = number(pool)
        world.n[places.OFFERS] = len(sim.offers)
        world.n[places.SOURCE] = -1 if sim.source is None else number(sim.source)
        world.n[places.COMMITTABLE], world.n[places.FORCED] = sim.committable, sim.forced
        for i, (index, s) in enumerate(sim.picked):
            world.picked_list[i] = row(index, s)
            world.picked[world.picked_list[i]] = 1
        world.n[places.PICKED] = len(sim.picked)
        world.n[places.ACTIVE], world.n[places.STAMP] = active, stamp + 1
        world.n[places.JOBS], world.n[places.EXECUTORS] = count, len(sim.executors)
        arrivals = world.job_arrival[active : active + coming]
        events = [(float(at), k - coming, ARRIVAL, active + k) for k, at in enumerate(arrivals)]
        for when, order, kind, data in sim.agenda.heap:
            if kind == READY:
                executor, job, s = data
                world.ex_target[executor.index] = row(job.index, s)
                events.append((when, order, READY, executor.index))
                world.n[places.ENTERED] = max(world.n[places.ENTERED], order)
        return events
