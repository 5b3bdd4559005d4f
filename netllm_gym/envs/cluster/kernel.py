"""The simulator once more, compiled: the same events in the same order on flat arrays, for looking ahead.

:class:`~netllm_gym.envs.cluster.simulator.ClusterSimulator` is what environments run; a test holds this copy to it, task
by task. Here a decision costs microseconds, so that thousands of futures can be played before one is chosen. Stages of all
jobs stand in one row of numbers, job after job; a pool is a number too: 0 the common pool, 1 + j idle at job j,
1 + jobs + g the pool of stage g.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.cluster.agenda import ARRIVAL, DONE, READY

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Places in `World.n`.
ENTERED, HEAP, SOURCE, COMMITTABLE, PICKED, PROMISES, OFFERS = range(7)
ACTIVE, STAMP, CLOSED, FORCED, FINISHED, JOBS, EXECUTORS = range(7, 14)
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


class World(NamedTuple):
    """A cluster at one instant; all arrays are written in place. `clock` holds now, the job-seconds and since when."""

    clock: Floats
    n: Whole
    heap_at: Floats
    heap_order: Whole
    heap_kind: Whole
    heap_data: Whole
    ex_job: Whole
    ex_last: Whole
    ex_busy: Whole
    ex_pool: Whole
    ex_stamp: Whole
    ex_target: Whole
    job_first: Whole
    job_local: Whole
    job_incoming: Whole
    job_alive: Whole
    job_unlaunched: Whole
    job_arrival: Floats
    active: Whole
    stage_job: Whole
    unlaunched: Whole
    running: Whole
    promised: Whole
    recent: Floats
    open_parents: Whole
    hungry_parents: Whole
    hungry: Whole
    done: Whole
    table: Whole
    draw: Whole
    child_first: Whole
    child: Whole
    pool_size: Whole
    pool_promised: Whole
    pool_born: Whole
    promise_pool: Whole
    promise_stage: Whole
    promise_count: Whole
    offers: Whole
    picked: Whole
    picked_list: Whole
    scratch: Whole
    draws: Floats


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
def _sift_down(w, i):
    size = w.n[HEAP]
    at, order, kind, data = w.heap_at[i], w.heap_order[i], w.heap_kind[i], w.heap_data[i]
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            w.heap_at[other] < w.heap_at[child]
            or (w.heap_at[other] == w.heap_at[child] and w.heap_order[other] < w.heap_order[child])
        ):
            child = other
        if at < w.heap_at[child] or (at == w.heap_at[child] and order < w.heap_order[child]):
            break
        w.heap_at[i], w.heap_order[i] = w.heap_at[child], w.heap_order[child]
        w.heap_kind[i], w.heap_data[i] = w.heap_kind[child], w.heap_data[child]
        i = child
    w.heap_at[i], w.heap_order[i], w.heap_kind[i], w.heap_data[i] = at, order, kind, data


@njit(cache=True)
def push(w, at, order, kind, data):
    """Enter an event that stands at `order` among those of its instant."""
    i = w.n[HEAP]
    w.n[HEAP] = i + 1
    while i > 0:
        up = (i - 1) // 2
        if w.heap_at[up] < at or (w.heap_at[up] == at and w.heap_order[up] < order):
            break
        w.heap_at[i], w.heap_order[i] = w.heap_at[up], w.heap_order[up]
        w.heap_kind[i], w.heap_data[i] = w.heap_kind[up], w.heap_data[up]
        i = up
    w.heap_at[i], w.heap_order[i], w.heap_kind[i], w.heap_data[i] = at, order, kind, data


@njit(cache=True)
def _pop(w):
    last = w.n[HEAP] - 1
    w.n[HEAP] = last
    if last > 0:
        w.heap_at[0], w.heap_order[0] = w.heap_at[last], w.heap_order[last]
        w.heap_kind[0], w.heap_data[0] = w.heap_kind[last], w.heap_data[last]
        _sift_down(w, 0)


@njit(cache=True)
def _enter(w, at, kind, data):
    w.n[ENTERED] += 1
    push(w, at, w.n[ENTERED], kind, data)


@njit(cache=True)
def _place(w, e, pool):
    old = w.ex_pool[e]
    if old >= 0:
        w.pool_size[old] -= 1
    w.ex_pool[e] = pool
    if pool >= 0:
        w.n[STAMP] += 1
        w.ex_stamp[e] = w.n[STAMP]
        if w.pool_size[pool] == 0 and pool > 0:
            w.pool_born[pool] = w.n[STAMP]
        w.pool_size[pool] += 1


@njit(cache=True)
def _idle(w, pool):
    """Fill `scratch` with the idle members of a pool in the order in which they came; return how many."""
    found = 0
    if w.pool_size[pool] == 0:
        return 0
    for e in range(w.n[EXECUTORS]):
        if w.ex_pool[e] == pool and not w.ex_busy[e]:
            i = found
            while i > 0 and w.ex_stamp[w.scratch[i - 1]] > w.ex_stamp[e]:
                w.scratch[i] = w.scratch[i - 1]
                i -= 1
            w.scratch[i] = e
            found += 1
    return found


@njit(cache=True)
def _promise(w, pool, g, count):
    w.pool_promised[pool] += count
    for i in range(w.n[PROMISES]):
        if w.promise_pool[i] == pool and w.promise_stage[i] == g:
            w.promise_count[i] += count
            return
    i = w.n[PROMISES]
    w.n[PROMISES] = i + 1
    w.promise_pool[i], w.promise_stage[i], w.promise_count[i] = pool, g, count


@njit(cache=True)
def _redeem(w, pool):
    i = 0
    while w.promise_pool[i] != pool:
        i += 1
    g = w.promise_stage[i]
    w.pool_promised[pool] -= 1
    w.promise_count[i] -= 1
    if w.promise_count[i] == 0:
        last = w.n[PROMISES] - 1
        for k in range(i, last):
            w.promise_pool[k], w.promise_stage[k] = w.promise_pool[k + 1], w.promise_stage[k + 1]
            w.promise_count[k] = w.promise_count[k + 1]
        w.n[PROMISES] = last
    return g


@njit(cache=True)
def _offer(w, pool):
    for i in range(w.n[OFFERS]):
        if w.offers[i] == pool:
            return
    w.offers[w.n[OFFERS]] = pool
    w.n[OFFERS] += 1


@njit(cache=True)
def _offered(w, pool):
    for i in range(w.n[OFFERS]):
        if w.offers[i] == pool:
            return True
    return False


@njit(cache=True)
def _withdraw(w, pool):
    for i in range(w.n[OFFERS]):
        if w.offers[i] == pool:
            for k in range(i, w.n[OFFERS] - 1):
                w.offers[k] = w.offers[k + 1]
            w.n[OFFERS] -= 1
            return


@njit(cache=True)
def ready(w, g):
    """Whether stage `g` wants executors and none of its parents does."""
    return w.hungry[g] and w.hungry_parents[g] == 0


@njit(cache=True)
def update(w, g):
    """Bring readiness up to date after the demand of stage `g` changed."""
    hungry = 1 if w.unlaunched[g] - w.promised[g] > 0 else 0
    if hungry != w.hungry[g]:
        w.hungry[g] = hungry
        step = 1 if hungry else -1
        for i in range(w.child_first[g], w.child_first[g + 1]):
            w.hungry_parents[w.child[i]] += step


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
    j = pool - 1 if pool <= jobs else w.stage_job[pool - 1 - jobs]
    return j if w.job_alive[j] > 0 else NOBODY


@njit(cache=True)
def schedulable(w, g, own):
    """Whether stage `g` may be picked now, `own` being :func:`source_job`."""
    j = w.stage_job[g]
    if not (w.hungry[g] and w.hungry_parents[g] == 0) or w.picked[g]:
        return False
    return j == own or w.job_local[j] + w.job_incoming[j] < w.n[EXECUTORS]


@njit(cache=True)
def _any_schedulable(w):
    own = source_job(w)
    for i in range(w.n[ACTIVE]):
        j = w.active[i]
        if j == own or w.job_local[j] + w.job_incoming[j] < w.n[EXECUTORS]:
            for g in range(w.job_first[j], w.job_first[j + 1]):
                if w.hungry[g] and w.hungry_parents[g] == 0 and not w.picked[g]:
                    return True
    return False


@njit(cache=True)
def _duration(w, d, seed, g, k, wave, local):
    u = w.draws[w.draw[g] + k] if w.draw[g] >= 0 else uniform(seed, g, k)
    t, share = w.table[g], d.levels[local, 2]
    if u < share:
        level, u = int(d.levels[local, 0]), u * d.levels[local, 3]
    else:
        level, u = int(d.levels[local, 1]), (u - share) * d.levels[local, 4]
    return d.samples[d.offset[t, wave, level] + int(u * d.count[t, wave, level])]


@njit(cache=True)
def _start_task(w, d, seed, e, g):
    j, last = w.stage_job[g], w.ex_last[e]
    wave = 0 if last < 0 else 2 if last == g else 1
    w.ex_busy[e], w.ex_last[e] = 1, g
    w.running[g] += 1
    k = w.unlaunched[g] = w.unlaunched[g] - 1
    w.job_unlaunched[j] -= 1
    duration = _duration(w, d, seed, g, k, wave, w.job_local[j])
    w.recent[g] = duration
    if k == w.promised[g]:
        update(w, g)
    _enter(w, w.clock[0] + duration, DONE, e)


@njit(cache=True)
def _leave_job(w, e, pool):
    if w.ex_job[e] >= 0:
        w.job_local[w.ex_job[e]] -= 1
    w.ex_job[e] = w.ex_last[e] = NOBODY
    _place(w, e, pool)


@njit(cache=True)
def _fall_back(w, e):
    j = w.ex_job[e]
    if j < 0 or w.job_unlaunched[j] == 0:
        _leave_job(w, e, 0)
    else:
        _place(w, e, 1 + j)


@njit(cache=True)
def _settle(w, d, seed, moving_s, e, g):
    while True:
        j = w.stage_job[g]
        if w.unlaunched[g] > 0 and w.ex_job[e] == j:
            if w.open_parents[g] == 0:
                pool = 1 + w.n[JOBS] + g
                if w.ex_pool[e] != pool:
                    _place(w, e, pool)
                _start_task(w, d, seed, e, g)
                return
            w.ex_last[e] = NOBODY
            _place(w, e, 1 + j)
            update(w, g)
            return
        update(w, g)
        own = w.ex_job[e]
        c = _first_ready(w, own) if own >= 0 and w.job_alive[own] > 0 else NOBODY
        if c < 0:
            break
        g = c
    for i in range(w.n[ACTIVE]):
        other = w.active[i]
        if w.job_local[other] + w.job_incoming[other] < w.n[EXECUTORS]:
            c = _first_ready(w, other)
            if c >= 0:
                w.promised[c] += 1
                w.job_incoming[other] += 1
                update(w, c)
                _leave_job(w, e, MOVING)
                w.ex_target[e] = c
                _enter(w, w.clock[0] + moving_s, READY, e)
                return
    _fall_back(w, e)


@njit(cache=True)
def _follow(w, d, seed, moving_s, e, pool):
    if w.pool_promised[pool] == 0:
        return False
    g = _redeem(w, pool)
    if g < 0:
        _fall_back(w, e)
        return True
    j = w.stage_job[g]
    foreign = w.ex_job[e] != j
    if foreign and w.unlaunched[g] > 0:
        _leave_job(w, e, MOVING)
        w.ex_target[e] = g
        _enter(w, w.clock[0] + moving_s, READY, e)
        return True
    w.promised[g] -= 1
    if foreign:
        w.job_incoming[j] -= 1
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
        if w.active[i] == j:
            for k in range(i, active - 1):
                w.active[k] = w.active[k + 1]
            break
    w.n[ACTIVE] = active - 1
    w.n[FINISHED] += 1
    for i in range(_idle(w, 1 + j)):
        _fall_back(w, w.scratch[i])


@njit(cache=True)
def _task_done(w, d, seed, moving_s, e):
    g = w.ex_last[e]
    j = w.ex_job[e]
    w.running[g] -= 1
    w.ex_busy[e] = 0
    frontier = False
    if w.running[g] == 0:
        w.done[g] = 1
        w.job_alive[j] -= 1
        for i in range(w.child_first[g], w.child_first[g + 1]):
            w.open_parents[w.child[i]] -= 1
            frontier |= w.open_parents[w.child[i]] == 0
        if w.job_alive[j] == 0:
            _complete(w, j)
    pool = w.ex_pool[e]
    followed = _follow(w, d, seed, moving_s, e, pool)
    if not followed and not _offered(w, pool):
        w.ex_last[e] = NOBODY
    if frontier:
        for i in range(_idle(w, pool)):
            _place(w, w.scratch[i], 1 + j)
        _offer(w, 1 + j)
    elif not followed:
        _offer(w, pool)


@njit(cache=True)
def _handle_events(w, d, seed, moving_s, until):
    """Handle what happens up to and including the first instant that may call for a decision."""
    while w.n[HEAP] > 0 and w.heap_at[0] <= until:
        at, kind, data = w.heap_at[0], w.heap_kind[0], w.heap_data[0]
        if kind == DONE:
            g = w.ex_last[data]
            k = w.unlaunched[g]
            if k > 0:  # the next task of the stage, as in `_start_task`
                j = w.ex_job[data]
                k -= 1
                w.unlaunched[g] = k
                w.job_unlaunched[j] -= 1
                duration = _duration(w, d, seed, g, k, 2, w.job_local[j])
                w.recent[g] = duration
                if k == w.promised[g]:
                    update(w, g)
                w.n[ENTERED] += 1
                w.heap_at[0], w.heap_order[0] = at + duration, w.n[ENTERED]
                _sift_down(w, 0)
                continue
        _pop(w)
        w.clock[0] = at
        if kind == DONE:
            _task_done(w, d, seed, moving_s, data)
        elif kind == READY:
            g = w.ex_target[data]
            j = w.stage_job[g]
            w.job_incoming[j] -= 1
            w.job_local[j] += 1
            w.promised[g] -= 1
            w.ex_job[data] = j
            _settle(w, d, seed, moving_s, data, g)
        else:
            _account(w)
            w.active[w.n[ACTIVE]] = data
            w.n[ACTIVE] += 1
            if w.pool_size[0] > 0:
                _offer(w, 0)
        until = at


@njit(cache=True)
def _end_round(w):
    if w.n[SOURCE] >= 0:
        _withdraw(w, w.n[SOURCE])
    w.n[SOURCE], w.n[COMMITTABLE], w.n[FORCED] = NOBODY, 0, 0
    for i in range(w.n[PICKED]):
        w.picked[w.picked_list[i]] = 0
    w.n[PICKED] = 0


@njit(cache=True)
def _open_round(w):
    while w.n[OFFERS] > 0:
        pool = w.offers[0]
        w.n[SOURCE], w.n[COMMITTABLE] = pool, w.pool_size[pool] - w.pool_promised[pool]
        if w.n[COMMITTABLE] > 0:
            if _any_schedulable(w):
                return True
            for i in range(_idle(w, pool)):
                _fall_back(w, w.scratch[i])
        _end_round(w)
    return False


@njit(cache=True)
def _force(w):
    last = np.int64(-1)
    while True:  # pools in the order in which they got their members
        best, born = np.int64(-1), np.int64(1 << 62)
        for e in range(w.n[EXECUTORS]):
            pool = w.ex_pool[e]
            if pool >= 0 and last < w.pool_born[pool] < born:
                best, born = pool, w.pool_born[pool]
        if best < 0:
            return False
        last = born
        w.n[SOURCE], w.n[COMMITTABLE] = best, w.pool_size[best] - w.pool_promised[best]
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
        elif w.n[ACTIVE] == 0:
            return 0
        elif not _force(w):
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
        _follow(w, d, seed, moving_s, w.scratch[i], source)
    w.n[CLOSED] = 1


@njit(cache=True)
def commit(w, d, seed, moving_s, g, count):
    """Promise up to `count` executors to stage `g`."""
    n = min(count, w.unlaunched[g] - w.promised[g], w.n[COMMITTABLE])
    source, j = w.n[SOURCE], w.stage_job[g]
    _promise(w, source, g, n)
    w.n[COMMITTABLE] -= n
    w.promised[g] += n
    at = NOBODY if source == 0 else source - 1 if source <= w.n[JOBS] else w.stage_job[source - 1 - w.n[JOBS]]
    if at != j:
        w.job_incoming[j] += n
    w.picked[g] = 1
    w.picked_list[w.n[PICKED]] = g
    w.n[PICKED] += 1
    w.n[FORCED] = 0
    update(w, g)
    if w.n[COMMITTABLE] == 0 or not _any_schedulable(w):
        close_round(w, d, seed, moving_s)
