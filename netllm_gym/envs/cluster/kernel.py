"""The simulator once more, compiled: the same events in the same order on flat arrays, for looking ahead.

:class:`~netllm_gym.envs.cluster.simulator.ClusterSimulator` is what environments run; a test holds this copy to it, task
by task. Here a decision costs microseconds, so that thousands of futures can be played before one is chosen. Stages of all
jobs stand in one row of numbers, job after job; a pool is a number too: 0 the common pool, 1 + j idle at job j,
1 + jobs + g the pool of stage g.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.cluster.agenda import DONE, READY

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Places in `World.n`.
ENTERED, HEAP, SOURCE, COMMITTABLE, PICKED, PROMISES, OFFERS = range(7)
ACTIVE, STAMP, CLOSED, FORCED, FINISHED, JOBS, EXECUTORS = range(7, 14)
MOST_AT_ONCE = 16  # tasks that an imagined world runs in one event, as half as many pairs of equal tasks
NOBODY = -1
MOVING = -1  # in no pool


class Durations(NamedTuple):
    """Samples of tasks: `samples` of table t, wave w (fresh, first, rest) and level l begin at ``offset[t, w, l]``.

    `levels` ``[executors + 1, 5]`` says for each number of local executors which two levels, and with what chance.
    """

    samples: Floats
    offset: Whole
    count: Whole
    levels: Floats


# Rows of `World.heap`.
H_ORDER, H_KIND, H_DATA = range(3)
# Rows of `World.ex`.
X_JOB, X_LAST, X_BUSY, X_POOL, X_STAMP, X_TARGET, X_SCRATCH = range(7)
# Rows of `World.job`.
J_LOCAL, J_INCOMING, J_ALIVE, J_UNLAUNCHED, J_ACTIVE = range(5)
# Rows of `World.stage`.
S_UNLAUNCHED, S_RUNNING, S_PROMISED, S_OPEN_PARENTS, S_HUNGRY_PARENTS, S_HUNGRY, S_DONE, S_PICKED, S_PICKED_LIST = range(9)
# Rows of `World.fixed`.
F_JOB, F_TABLE, F_DRAW, F_CHILDREN = range(4)
# Rows of `World.pool`.
P_SIZE, P_PROMISED, P_BORN, P_OFFERS = range(4)
# Rows of `World.promise`.
Q_POOL, Q_STAGE, Q_COUNT = range(3)
TABLES = {
    "heap": ("heap_order", "heap_kind", "heap_data"),
    "ex": ("ex_job", "ex_last", "ex_busy", "ex_pool", "ex_stamp", "ex_target", "scratch"),
    "job": ("job_local", "job_incoming", "job_alive", "job_unlaunched", "active"),
    "stage": ("unlaunched", "running", "promised", "open_parents", "hungry_parents", "hungry", "done", "picked", "picked_list"),
    "fixed": ("stage_job", "table", "draw", "child_first"),
    "pool": ("pool_size", "pool_promised", "pool_born", "offers"),
    "promise": ("promise_pool", "promise_stage", "promise_count"),
}


class World(NamedTuple):
    """A cluster at one instant; arrays are written in place. Few of them, because each costs something at every call.

    `clock` holds now, the job-seconds before and since when they are counted. The whole numbers stand in tables with a row a
    quantity: of events, executors, jobs, stages, pools and promises. `job_first`, `fixed` and `child` never change.
    """

    clock: Floats
    n: Whole
    heap_at: Floats
    heap: Whole
    ex: Whole
    job: Whole
    job_first: Whole
    stage: Whole
    recent: Floats
    fixed: Whole
    child: Whole
    pool: Whole
    promise: Whole
    draws: Floats


def pack(columns: Mapping[str, NDArray]) -> World:
    """Return the world whose rows are `columns`, by their names in lower case; shorter ones are filled with zeros."""

    def table(names: Sequence[str]) -> Whole:
        width = max(len(columns[name]) for name in names)
        rows = np.zeros((len(names), width), np.int64)
        for row, name in zip(rows, names, strict=True):
            row[: len(columns[name])] = columns[name]
        return rows

    return World(**{key: columns[key] if key in columns else table(TABLES[key]) for key in World._fields})  # type: ignore[arg-type]


@njit(cache=True)
def uniform(seed, g, k):
    """Return the uniform of task `k` of stage `g` in the future called `seed` (splitmix64 of the three)."""
    x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(g) * np.uint64(0xD1B54A32D192ED03)
    x += np.uint64(k + 1) * np.uint64(0x8CB92BA72F3D8DD7)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.float64(x >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def _sift_down(times, rows, size, i):
    """Let the event at place `i` of the heap sink to where it belongs."""
    at, order, kind, data = times[i], rows[H_ORDER, i], rows[H_KIND, i], rows[H_DATA, i]
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            times[other] < times[child]
            or (times[other] == times[child] and rows[H_ORDER, other] < rows[H_ORDER, child])
        ):
            child = other
        if at < times[child] or (at == times[child] and order < rows[H_ORDER, child]):
            break
        times[i], rows[H_ORDER, i] = times[child], rows[H_ORDER, child]
        rows[H_KIND, i], rows[H_DATA, i] = rows[H_KIND, child], rows[H_DATA, child]
        i = child
    times[i], rows[H_ORDER, i], rows[H_KIND, i], rows[H_DATA, i] = at, order, kind, data


@njit(cache=True)
def _rise(times, rows, i, at, order, kind, data):
    """Put an event at place `i` of the heap, the end, and let it rise to where it belongs."""
    while i > 0:
        up = (i - 1) // 2
        if times[up] < at or (times[up] == at and rows[H_ORDER, up] < order):
            break
        times[i], rows[H_ORDER, i] = times[up], rows[H_ORDER, up]
        rows[H_KIND, i], rows[H_DATA, i] = rows[H_KIND, up], rows[H_DATA, up]
        i = up
    times[i], rows[H_ORDER, i], rows[H_KIND, i], rows[H_DATA, i] = at, order, kind, data


@njit(cache=True, inline="always")
def push(w, at, order, kind, data):
    """Enter an event that stands at `order` among those of its instant."""
    _rise(w.heap_at, w.heap, w.n[HEAP], at, order, kind, data)
    w.n[HEAP] += 1


@njit(cache=True, inline="always")
def _pop(w):
    last = w.n[HEAP] - 1
    w.n[HEAP] = last
    if last > 0:
        w.heap_at[0], w.heap[H_ORDER, 0] = w.heap_at[last], w.heap[H_ORDER, last]
        w.heap[H_KIND, 0], w.heap[H_DATA, 0] = w.heap[H_KIND, last], w.heap[H_DATA, last]
        _sift_down(w.heap_at, w.heap, last, 0)


@njit(cache=True, inline="always")
def _enter(w, at, kind, data):
    w.n[ENTERED] += 1
    push(w, at, w.n[ENTERED], kind, data)


@njit(cache=True)
def _place(w, e, pool):
    old = w.ex[X_POOL, e]
    if old >= 0:
        w.pool[P_SIZE, old] -= 1
    w.ex[X_POOL, e] = pool
    if pool >= 0:
        w.n[STAMP] += 1
        w.ex[X_STAMP, e] = w.n[STAMP]
        if w.pool[P_SIZE, pool] == 0 and pool > 0:
            w.pool[P_BORN, pool] = w.n[STAMP]
        w.pool[P_SIZE, pool] += 1


@njit(cache=True)
def _idle(w, pool):
    """Fill `scratch` with the idle members of a pool in the order in which they came; return how many."""
    found = 0
    if w.pool[P_SIZE, pool] == 0:
        return 0
    for e in range(w.n[EXECUTORS]):
        if w.ex[X_POOL, e] == pool and not w.ex[X_BUSY, e]:
            i = found
            while i > 0 and w.ex[X_STAMP, w.ex[X_SCRATCH, i - 1]] > w.ex[X_STAMP, e]:
                w.ex[X_SCRATCH, i] = w.ex[X_SCRATCH, i - 1]
                i -= 1
            w.ex[X_SCRATCH, i] = e
            found += 1
    return found


@njit(cache=True)
def _promise(w, pool, g, count):
    w.pool[P_PROMISED, pool] += count
    for i in range(w.n[PROMISES]):
        if w.promise[Q_POOL, i] == pool and w.promise[Q_STAGE, i] == g:
            w.promise[Q_COUNT, i] += count
            return
    i = w.n[PROMISES]
    w.n[PROMISES] = i + 1
    w.promise[Q_POOL, i], w.promise[Q_STAGE, i], w.promise[Q_COUNT, i] = pool, g, count


@njit(cache=True)
def _redeem(w, pool):
    i = 0
    while w.promise[Q_POOL, i] != pool:
        i += 1
    g = w.promise[Q_STAGE, i]
    w.pool[P_PROMISED, pool] -= 1
    w.promise[Q_COUNT, i] -= 1
    if w.promise[Q_COUNT, i] == 0:
        last = w.n[PROMISES] - 1
        for k in range(i, last):
            w.promise[Q_POOL, k], w.promise[Q_STAGE, k] = w.promise[Q_POOL, k + 1], w.promise[Q_STAGE, k + 1]
            w.promise[Q_COUNT, k] = w.promise[Q_COUNT, k + 1]
        w.n[PROMISES] = last
    return g


@njit(cache=True)
def _offer(w, pool):
    for i in range(w.n[OFFERS]):
        if w.pool[P_OFFERS, i] == pool:
            return
    w.pool[P_OFFERS, w.n[OFFERS]] = pool
    w.n[OFFERS] += 1


@njit(cache=True)
def _offered(w, pool):
    for i in range(w.n[OFFERS]):
        if w.pool[P_OFFERS, i] == pool:
            return True
    return False


@njit(cache=True)
def _withdraw(w, pool):
    for i in range(w.n[OFFERS]):
        if w.pool[P_OFFERS, i] == pool:
            for k in range(i, w.n[OFFERS] - 1):
                w.pool[P_OFFERS, k] = w.pool[P_OFFERS, k + 1]
            w.n[OFFERS] -= 1
            return


@njit(cache=True, inline="always")
def ready(w, g):
    """Whether stage `g` wants executors and none of its parents does."""
    return w.stage[S_HUNGRY, g] and w.stage[S_HUNGRY_PARENTS, g] == 0


@njit(cache=True)
def _update(stage, fixed, child, g):
    hungry = 1 if stage[S_UNLAUNCHED, g] - stage[S_PROMISED, g] > 0 else 0
    if hungry != stage[S_HUNGRY, g]:
        stage[S_HUNGRY, g] = hungry
        step = 1 if hungry else -1
        for i in range(fixed[F_CHILDREN, g], fixed[F_CHILDREN, g + 1]):
            stage[S_HUNGRY_PARENTS, child[i]] += step


@njit(cache=True, inline="always")
def update(w, g):
    """Bring readiness up to date after the demand of stage `g` changed."""
    _update(w.stage, w.fixed, w.child, g)


@njit(cache=True)
def _first_ready(w, j):
    for g in range(w.job_first[j], w.job_first[j + 1]):
        if ready(w, g):
            return g
    return NOBODY


@njit(cache=True)
def source_job(w):
    """Return the job whose executors are being placed, or -1 for the common pool and for jobs that are over."""
    pool, jobs = w.n[SOURCE], w.n[JOBS]
    if pool <= 0:
        return NOBODY
    j = pool - 1 if pool <= jobs else w.fixed[F_JOB, pool - 1 - jobs]
    return j if w.job[J_ALIVE, j] > 0 else NOBODY


@njit(cache=True)
def _schedulable(stage, job, j, executors, g, own):
    if not (stage[S_HUNGRY, g] and stage[S_HUNGRY_PARENTS, g] == 0) or stage[S_PICKED, g]:
        return False
    return j == own or job[J_LOCAL, j] + job[J_INCOMING, j] < executors


@njit(cache=True, inline="always")
def schedulable(w, g, own):
    """Whether stage `g` may be picked now, `own` being :func:`source_job`."""
    return _schedulable(w.stage, w.job, w.fixed[F_JOB, g], w.n[EXECUTORS], g, own)


@njit(cache=True)
def _any_schedulable(w):
    own = source_job(w)
    for i in range(w.n[ACTIVE]):
        j = w.job[J_ACTIVE, i]
        if j == own or w.job[J_LOCAL, j] + w.job[J_INCOMING, j] < w.n[EXECUTORS]:
            for g in range(w.job_first[j], w.job_first[j + 1]):
                if w.stage[S_HUNGRY, g] and w.stage[S_HUNGRY_PARENTS, g] == 0 and not w.stage[S_PICKED, g]:
                    return True
    return False


@njit(cache=True)
def _sample(draws, start, d, seed, g, k, t, wave, local):
    u = draws[start + k] if start >= 0 else uniform(seed, g, k)
    share = d.levels[local, 2]
    if u < share:
        level, u = int(d.levels[local, 0]), u * d.levels[local, 3]
    else:
        level, u = int(d.levels[local, 1]), (u - share) * d.levels[local, 4]
    return d.samples[d.offset[t, wave, level] + int(u * d.count[t, wave, level])]


@njit(cache=True, inline="always")
def _duration(w, d, seed, g, k, wave, local):
    return _sample(w.draws, w.fixed[F_DRAW, g], d, seed, g, k, w.fixed[F_TABLE, g], wave, local)


@njit(cache=True)
def _start_task(w, d, seed, e, g):
    j, last = w.fixed[F_JOB, g], w.ex[X_LAST, e]
    wave = 0 if last < 0 else 2 if last == g else 1
    w.ex[X_BUSY, e], w.ex[X_LAST, e] = 1, g
    w.stage[S_RUNNING, g] += 1
    k = w.stage[S_UNLAUNCHED, g] = w.stage[S_UNLAUNCHED, g] - 1
    w.job[J_UNLAUNCHED, j] -= 1
    duration = _duration(w, d, seed, g, k, wave, w.job[J_LOCAL, j])
    w.recent[g] = duration
    if k == w.stage[S_PROMISED, g]:
        update(w, g)
    _enter(w, w.clock[0] + duration, DONE, e)


@njit(cache=True)
def _leave_job(w, e, pool):
    if w.ex[X_JOB, e] >= 0:
        w.job[J_LOCAL, w.ex[X_JOB, e]] -= 1
    w.ex[X_JOB, e] = w.ex[X_LAST, e] = NOBODY
    _place(w, e, pool)


@njit(cache=True)
def _fall_back(w, e):
    j = w.ex[X_JOB, e]
    if j < 0 or w.job[J_UNLAUNCHED, j] == 0:
        _leave_job(w, e, 0)
    else:
        _place(w, e, 1 + j)


@njit(cache=True)
def _settle(w, d, seed, moving_s, e, g):
    while True:
        j = w.fixed[F_JOB, g]
        if w.stage[S_UNLAUNCHED, g] > 0 and w.ex[X_JOB, e] == j:
            if w.stage[S_OPEN_PARENTS, g] == 0:
                pool = 1 + w.n[JOBS] + g
                if w.ex[X_POOL, e] != pool:
                    _place(w, e, pool)
                _start_task(w, d, seed, e, g)
                return
            w.ex[X_LAST, e] = NOBODY
            _place(w, e, 1 + j)
            update(w, g)
            return
        update(w, g)
        own = w.ex[X_JOB, e]
        c = _first_ready(w, own) if own >= 0 and w.job[J_ALIVE, own] > 0 else NOBODY
        if c < 0:
            break
        g = c
    for i in range(w.n[ACTIVE]):
        other = w.job[J_ACTIVE, i]
        if w.job[J_LOCAL, other] + w.job[J_INCOMING, other] < w.n[EXECUTORS]:
            c = _first_ready(w, other)
            if c >= 0:
                w.stage[S_PROMISED, c] += 1
                w.job[J_INCOMING, other] += 1
                update(w, c)
                _leave_job(w, e, MOVING)
                w.ex[X_TARGET, e] = c
                _enter(w, w.clock[0] + moving_s, READY, e)
                return
    _fall_back(w, e)


@njit(cache=True)
def _follow(w, d, seed, moving_s, e, pool):
    if w.pool[P_PROMISED, pool] == 0:
        return False
    g = _redeem(w, pool)
    if g < 0:
        _fall_back(w, e)
        return True
    j = w.fixed[F_JOB, g]
    foreign = w.ex[X_JOB, e] != j
    if foreign and w.stage[S_UNLAUNCHED, g] > 0:
        _leave_job(w, e, MOVING)
        w.ex[X_TARGET, e] = g
        _enter(w, w.clock[0] + moving_s, READY, e)
        return True
    w.stage[S_PROMISED, g] -= 1
    if foreign:
        w.job[J_INCOMING, j] -= 1
    _settle(w, d, seed, moving_s, e, g)
    return True


@njit(cache=True)
def _account(w):
    w.clock[1] += w.n[ACTIVE] * (w.clock[0] - w.clock[2])
    w.clock[2] = w.clock[0]


@njit(cache=True)
def _complete(w, j):
    _account(w)
    active = w.n[ACTIVE]
    for i in range(active):
        if w.job[J_ACTIVE, i] == j:
            for k in range(i, active - 1):
                w.job[J_ACTIVE, k] = w.job[J_ACTIVE, k + 1]
            break
    w.n[ACTIVE] = active - 1
    w.n[FINISHED] += 1
    for i in range(_idle(w, 1 + j)):
        _fall_back(w, w.ex[X_SCRATCH, i])


@njit(cache=True)
def _task_done(w, d, seed, moving_s, e):
    g = w.ex[X_LAST, e]
    j = w.ex[X_JOB, e]
    w.stage[S_RUNNING, g] -= 1
    w.ex[X_BUSY, e] = 0
    frontier = False
    if w.stage[S_RUNNING, g] == 0:
        w.stage[S_DONE, g] = 1
        w.job[J_ALIVE, j] -= 1
        for i in range(w.fixed[F_CHILDREN, g], w.fixed[F_CHILDREN, g + 1]):
            w.stage[S_OPEN_PARENTS, w.child[i]] -= 1
            frontier |= w.stage[S_OPEN_PARENTS, w.child[i]] == 0
        if w.job[J_ALIVE, j] == 0:
            _complete(w, j)
    pool = w.ex[X_POOL, e]
    followed = _follow(w, d, seed, moving_s, e, pool)
    if not followed and not _offered(w, pool):
        w.ex[X_LAST, e] = NOBODY
    if frontier:
        for i in range(_idle(w, pool)):
            _place(w, w.ex[X_SCRATCH, i], 1 + j)
        _offer(w, 1 + j)
    elif not followed:
        _offer(w, pool)


@njit(cache=True)
def _handle_events(w, d, seed, moving_s, until):
    """Handle what happens up to and including the first instant that may call for a decision."""
    while w.n[HEAP] > 0 and w.heap_at[0] <= until:
        at, kind, data = w.heap_at[0], w.heap[H_KIND, 0], w.heap[H_DATA, 0]
        if kind == DONE:
            g = w.ex[X_LAST, data]
            k = w.stage[S_UNLAUNCHED, g]
            if k > 0:  # the next task of the stage, as in `_start_task`
                j = w.ex[X_JOB, data]
                tasks = 1
                if w.fixed[F_DRAW, g] < 0 and k >= 3 * w.stage[S_RUNNING, g]:  # far from the stage's end: several tasks in one event
                    tasks = min(k // (2 * w.stage[S_RUNNING, g]), MOST_AT_ONCE)
                k -= tasks
                w.stage[S_UNLAUNCHED, g] = k
                w.job[J_UNLAUNCHED, j] -= tasks
                duration = _duration(w, d, seed, g, k, 2, w.job[J_LOCAL, j])
                w.recent[g] = duration
                if tasks > 1:
                    duration = 0.5 * tasks * (duration + _duration(w, d, seed, g, k + 1, 2, w.job[J_LOCAL, j]))
                if k <= w.stage[S_PROMISED, g]:
                    update(w, g)
                w.n[ENTERED] += 1
                w.heap_at[0], w.heap[H_ORDER, 0] = at + duration, w.n[ENTERED]
                _sift_down(w.heap_at, w.heap, w.n[HEAP], 0)
                continue
        _pop(w)
        w.clock[0] = at
        if kind == DONE:
            _task_done(w, d, seed, moving_s, data)
        elif kind == READY:
            g = w.ex[X_TARGET, data]
            j = w.fixed[F_JOB, g]
            w.job[J_INCOMING, j] -= 1
            w.job[J_LOCAL, j] += 1
            w.stage[S_PROMISED, g] -= 1
            w.ex[X_JOB, data] = j
            _settle(w, d, seed, moving_s, data, g)
        else:
            _account(w)
            w.job[J_ACTIVE, w.n[ACTIVE]] = data
            w.n[ACTIVE] += 1
            if w.pool[P_SIZE, 0] > 0:
                _offer(w, 0)
        until = at


@njit(cache=True)
def _end_round(w):
    if w.n[SOURCE] >= 0:
        _withdraw(w, w.n[SOURCE])
    w.n[SOURCE], w.n[COMMITTABLE], w.n[FORCED] = NOBODY, 0, 0
    for i in range(w.n[PICKED]):
        w.stage[S_PICKED, w.stage[S_PICKED_LIST, i]] = 0
    w.n[PICKED] = 0


@njit(cache=True)
def _open_round(w):
    while w.n[OFFERS] > 0:
        pool = w.pool[P_OFFERS, 0]
        w.n[SOURCE], w.n[COMMITTABLE] = pool, w.pool[P_SIZE, pool] - w.pool[P_PROMISED, pool]
        if w.n[COMMITTABLE] > 0:
            if _any_schedulable(w):
                return True
            for i in range(_idle(w, pool)):
                _fall_back(w, w.ex[X_SCRATCH, i])
        _end_round(w)
    return False


@njit(cache=True)
def _force(w):
    last = np.int64(-1)
    while True:  # pools in the order in which they got their members
        best, born = np.int64(-1), np.int64(1 << 62)
        for e in range(w.n[EXECUTORS]):
            pool = w.ex[X_POOL, e]
            if pool >= 0 and last < w.pool[P_BORN, pool] < born:
                best, born = pool, w.pool[P_BORN, pool]
        if best < 0:
            return False
        last = born
        w.n[SOURCE], w.n[COMMITTABLE] = best, w.pool[P_SIZE, best] - w.pool[P_PROMISED, best]
        if w.n[COMMITTABLE] > 0 and _any_schedulable(w):
            _offer(w, best)
            w.n[FORCED] = 1
            return True


@njit(cache=True)
def advance(w, d, seed, moving_s, until):
    """Run to the next decision: 1; or to the end: 0; or past `until`: 2."""
    if w.n[CLOSED]:
        w.n[CLOSED] = 0
        _handle_events(w, d, seed, moving_s, w.clock[0])
    while not _open_round(w):
        if w.n[HEAP] > 0:
            if w.heap_at[0] > until:
                return 2
            _handle_events(w, d, seed, moving_s, until)
        elif w.n[ACTIVE] == 0 or not _force(w):
            return 0
    return 1


@njit(cache=True)
def close_round(w, d, seed, moving_s):
    """End the round: what was not promised stays without destination, idle executors leave."""
    source = w.n[SOURCE]
    if w.n[COMMITTABLE] > 0:
        _promise(w, source, NOBODY, w.n[COMMITTABLE])
    _end_round(w)
    for i in range(_idle(w, source)):
        _follow(w, d, seed, moving_s, w.ex[X_SCRATCH, i], source)
    w.n[CLOSED] = 1


@njit(cache=True)
def commit(w, d, seed, moving_s, g, count):
    """Promise up to `count` executors to stage `g`."""
    n = min(count, w.stage[S_UNLAUNCHED, g] - w.stage[S_PROMISED, g], w.n[COMMITTABLE])
    source, j = w.n[SOURCE], w.fixed[F_JOB, g]
    _promise(w, source, g, n)
    w.n[COMMITTABLE] -= n
    w.stage[S_PROMISED, g] += n
    at = NOBODY if source == 0 else source - 1 if source <= w.n[JOBS] else w.fixed[F_JOB, source - 1 - w.n[JOBS]]
    if at != j:
        w.job[J_INCOMING, j] += n
    w.stage[S_PICKED, g] = 1
    w.stage[S_PICKED_LIST, w.n[PICKED]] = g
    w.n[PICKED] += 1
    w.n[FORCED] = 0
    update(w, g)
    if w.n[COMMITTABLE] == 0 or not _any_schedulable(w):
        close_round(w, d, seed, moving_s)
