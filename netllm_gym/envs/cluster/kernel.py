"""The simulator once more, compiled: the same events in the same order on flat arrays, for looking ahead.

:class:`~netllm_gym.envs.cluster.simulator.ClusterSimulator` is what environments run; a test holds this copy to it,
task by task. Here a decision costs microseconds, so that thousands of futures can be played before one is chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.compiled import njit
from netllm_gym.envs.cluster.agenda import DONE, READY
from netllm_gym.envs.cluster.world import (
    ACTIVE,
    CLOSED,
    COMMITTABLE,
    ENTERED,
    EXECUTORS,
    F_CHILDREN,
    F_DRAW,
    F_JOB,
    F_TABLE,
    FINISHED,
    FORCED,
    H_DATA,
    H_KIND,
    H_ORDER,
    HEAP,
    J_ACTIVE,
    J_ALIVE,
    J_INCOMING,
    J_LOCAL,
    J_UNLAUNCHED,
    JOBS,
    MOST_AT_ONCE,
    MOVING,
    NOBODY,
    OFFERS,
    P_BORN,
    P_OFFERS,
    P_PROMISED,
    P_SIZE,
    PICKED,
    S_DONE,
    S_OPEN_PARENTS,
    S_PICKED,
    S_PICKED_LIST,
    S_PROMISED,
    S_RUNNING,
    S_UNLAUNCHED,
    SOURCE,
    X_BUSY,
    X_JOB,
    X_LAST,
    X_POOL,
    X_SCRATCH,
    X_TARGET,
    any_schedulable,
    enter,
    first_ready,
    idle,
    offer,
    offered,
    place,
    pop,
    promise,
    redeem,
    sift_down,
    uniform,
    update,
    withdraw,
)


@njit(cache=True)
def _sample(draws: Any, start: Any, d: Any, seed: Any, g: Any, k: Any, t: Any, wave: Any, local: Any) -> Any:
    u = draws[start + k] if start >= 0 else uniform(seed, g, k)
    share = d.levels[local, 2]
    if u < share:
        level, u = int(d.levels[local, 0]), u * d.levels[local, 3]
    else:
        level, u = int(d.levels[local, 1]), (u - share) * d.levels[local, 4]
    return d.samples[d.offset[t, wave, level] + int(u * d.lengths[t, wave, level])]


@njit(cache=True, inline="always")
def _duration(w: Any, d: Any, seed: Any, g: Any, k: Any, wave: Any, local: Any) -> Any:
    return _sample(w.draws, w.fixed[F_DRAW, g], d, seed, g, k, w.fixed[F_TABLE, g], wave, local)


@njit(cache=True)
def _start_task(w: Any, d: Any, seed: Any, e: Any, g: Any) -> None:
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
    enter(w, w.clock[0] + duration, DONE, e)


@njit(cache=True)
def _leave_job(w: Any, e: Any, pool: Any) -> None:
    if w.ex[X_JOB, e] >= 0:
        w.job[J_LOCAL, w.ex[X_JOB, e]] -= 1
    w.ex[X_JOB, e] = w.ex[X_LAST, e] = NOBODY
    place(w, e, pool)


@njit(cache=True)
def _fall_back(w: Any, e: Any) -> None:
    j = w.ex[X_JOB, e]
    if j < 0 or w.job[J_UNLAUNCHED, j] == 0:
        _leave_job(w, e, 0)
    else:
        place(w, e, 1 + j)


@njit(cache=True)
def _settle(w: Any, d: Any, seed: Any, moving_s: Any, e: Any, g: Any) -> None:
    while True:
        j = w.fixed[F_JOB, g]
        if w.stage[S_UNLAUNCHED, g] > 0 and w.ex[X_JOB, e] == j:
            if w.stage[S_OPEN_PARENTS, g] == 0:
                pool = 1 + w.n[JOBS] + g
                if w.ex[X_POOL, e] != pool:
                    place(w, e, pool)
                _start_task(w, d, seed, e, g)
                return
            w.ex[X_LAST, e] = NOBODY
            place(w, e, 1 + j)
            update(w, g)
            return
        update(w, g)
        own = w.ex[X_JOB, e]
        c = first_ready(w, own) if own >= 0 and w.job[J_ALIVE, own] > 0 else NOBODY
        if c < 0:
            break
        g = c
    for i in range(w.n[ACTIVE]):
        other = w.job[J_ACTIVE, i]
        if w.job[J_LOCAL, other] + w.job[J_INCOMING, other] < w.n[EXECUTORS]:
            c = first_ready(w, other)
            if c >= 0:
                w.stage[S_PROMISED, c] += 1
                w.job[J_INCOMING, other] += 1
                update(w, c)
                _leave_job(w, e, MOVING)
                w.ex[X_TARGET, e] = c
                enter(w, w.clock[0] + moving_s, READY, e)
                return
    _fall_back(w, e)


@njit(cache=True)
def _follow(w: Any, d: Any, seed: Any, moving_s: Any, e: Any, pool: Any) -> Any:
    if w.pool[P_PROMISED, pool] == 0:
        return False
    g = redeem(w, pool)
    if g < 0:
        _fall_back(w, e)
        return True
    j = w.fixed[F_JOB, g]
    foreign = w.ex[X_JOB, e] != j
    if foreign and w.stage[S_UNLAUNCHED, g] > 0:
        _leave_job(w, e, MOVING)
        w.ex[X_TARGET, e] = g
        enter(w, w.clock[0] + moving_s, READY, e)
        return True
    w.stage[S_PROMISED, g] -= 1
    if foreign:
        w.job[J_INCOMING, j] -= 1
    _settle(w, d, seed, moving_s, e, g)
    return True


@njit(cache=True)
def _account(w: Any) -> None:
    w.clock[1] += w.n[ACTIVE] * (w.clock[0] - w.clock[2])
    w.clock[2] = w.clock[0]


@njit(cache=True)
def _complete(w: Any, j: Any) -> None:
    _account(w)
    active = w.n[ACTIVE]
    for i in range(active):
        if w.job[J_ACTIVE, i] == j:
            for k in range(i, active - 1):
                w.job[J_ACTIVE, k] = w.job[J_ACTIVE, k + 1]
            break
    w.n[ACTIVE] = active - 1
    w.n[FINISHED] += 1
    for i in range(idle(w, 1 + j)):
        _fall_back(w, w.ex[X_SCRATCH, i])


@njit(cache=True)
def _task_done(w: Any, d: Any, seed: Any, moving_s: Any, e: Any) -> None:
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
    if not followed and not offered(w, pool):
        w.ex[X_LAST, e] = NOBODY
    if frontier:
        for i in range(idle(w, pool)):
            place(w, w.ex[X_SCRATCH, i], 1 + j)
        offer(w, 1 + j)
    elif not followed:
        offer(w, pool)


@njit(cache=True)
def _handle_events(w: Any, d: Any, seed: Any, moving_s: Any, until: Any) -> None:
    """Handle what happens up to and including the first instant that may call for a decision."""
    while w.n[HEAP] > 0 and w.heap_at[0] <= until:
        at, kind, data = w.heap_at[0], w.heap[H_KIND, 0], w.heap[H_DATA, 0]
        if kind == DONE:
            g = w.ex[X_LAST, data]
            k = w.stage[S_UNLAUNCHED, g]
            if k > 0:  # the next task of the stage, as in `_start_task`
                j = w.ex[X_JOB, data]
                tasks = 1
                # Imagined, and far from the stage's end: several tasks in one event.
                if w.fixed[F_DRAW, g] < 0 and k >= 3 * w.stage[S_RUNNING, g]:
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
                sift_down(w.heap_at, w.heap, w.n[HEAP], 0)
                continue
        pop(w)
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
                offer(w, 0)
        until = at


@njit(cache=True)
def _end_round(w: Any) -> None:
    if w.n[SOURCE] >= 0:
        withdraw(w, w.n[SOURCE])
    w.n[SOURCE], w.n[COMMITTABLE], w.n[FORCED] = NOBODY, 0, 0
    for i in range(w.n[PICKED]):
        w.stage[S_PICKED, w.stage[S_PICKED_LIST, i]] = 0
    w.n[PICKED] = 0


@njit(cache=True)
def _open_round(w: Any) -> Any:
    while w.n[OFFERS] > 0:
        pool = w.pool[P_OFFERS, 0]
        w.n[SOURCE], w.n[COMMITTABLE] = pool, w.pool[P_SIZE, pool] - w.pool[P_PROMISED, pool]
        if w.n[COMMITTABLE] > 0:
            if any_schedulable(w):
                return True
            for i in range(idle(w, pool)):
                _fall_back(w, w.ex[X_SCRATCH, i])
        _end_round(w)
    return False


@njit(cache=True)
def _force(w: Any) -> Any:
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
        if w.n[COMMITTABLE] > 0 and any_schedulable(w):
            offer(w, best)
            w.n[FORCED] = 1
            return True


@njit(cache=True)
def advance(w: Any, d: Any, seed: Any, moving_s: Any, until: Any) -> Any:
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
def close_round(w: Any, d: Any, seed: Any, moving_s: Any) -> None:
    """End the round: what was not promised stays without destination, idle executors leave."""
    source = w.n[SOURCE]
    if w.n[COMMITTABLE] > 0:
        promise(w, source, NOBODY, w.n[COMMITTABLE])
    _end_round(w)
    for i in range(idle(w, source)):
        _follow(w, d, seed, moving_s, w.ex[X_SCRATCH, i], source)
    w.n[CLOSED] = 1


@njit(cache=True)
def commit(w: Any, d: Any, seed: Any, moving_s: Any, g: Any, count: Any) -> None:
    """Promise up to `count` executors to stage `g`."""
    n = min(count, w.stage[S_UNLAUNCHED, g] - w.stage[S_PROMISED, g], w.n[COMMITTABLE])
    source, j = w.n[SOURCE], w.fixed[F_JOB, g]
    promise(w, source, g, n)
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
    if w.n[COMMITTABLE] == 0 or not any_schedulable(w):
        close_round(w, d, seed, moving_s)
