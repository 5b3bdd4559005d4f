"""A cluster on flat arrays, for compiled code: its tables, its heap of events, its pools and what is ready.

Stages of all jobs stand in one row of numbers, job after job. A pool is a number too: 0 the common pool, 1 + j idle at
job j, 1 + jobs + g the pool of stage g.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit

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
    lengths: Whole
    levels: Floats


# Rows of `World.heap`.
H_ORDER, H_KIND, H_DATA = range(3)
# Rows of `World.ex`.
X_JOB, X_LAST, X_BUSY, X_POOL, X_STAMP, X_TARGET, X_SCRATCH = range(7)
# Rows of `World.job`.
J_LOCAL, J_INCOMING, J_ALIVE, J_UNLAUNCHED, J_ACTIVE = range(5)
# Rows of `World.stage`.
S_UNLAUNCHED, S_RUNNING, S_PROMISED, S_OPEN_PARENTS, S_HUNGRY_PARENTS = range(5)
S_HUNGRY, S_DONE, S_PICKED, S_PICKED_LIST = range(5, 9)
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
    "stage": (
        "unlaunched",
        "running",
        "promised",
        "open_parents",
        "hungry_parents",
        "hungry",
        "done",
        "picked",
        "picked_list",
    ),
    "fixed": ("stage_job", "table", "draw", "child_first"),
    "pool": ("pool_size", "pool_promised", "pool_born", "offers"),
    "promise": ("promise_pool", "promise_stage", "promise_count"),
}


class World(NamedTuple):
    """A cluster at one instant; arrays are written in place. Few of them, because each costs something at every call.

    `clock` holds now, the job-seconds before and since when they are counted. The whole numbers stand in tables with a
    row a
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
def uniform(seed: Any, g: Any, k: Any) -> Any:
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
def sift_down(times: Any, rows: Any, size: Any, i: Any) -> None:
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
def _rise(times: Any, rows: Any, i: Any, at: Any, order: Any, kind: Any, data: Any) -> None:
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
def push(w: Any, at: Any, order: Any, kind: Any, data: Any) -> None:
    """Enter an event that stands at `order` among those of its instant."""
    _rise(w.heap_at, w.heap, w.n[HEAP], at, order, kind, data)
    w.n[HEAP] += 1


@njit(cache=True, inline="always")
def pop(w: Any) -> None:
    """Take out the next event."""
    last = w.n[HEAP] - 1
    w.n[HEAP] = last
    if last > 0:
        w.heap_at[0], w.heap[H_ORDER, 0] = w.heap_at[last], w.heap[H_ORDER, last]
        w.heap[H_KIND, 0], w.heap[H_DATA, 0] = w.heap[H_KIND, last], w.heap[H_DATA, last]
        sift_down(w.heap_at, w.heap, last, 0)


@njit(cache=True, inline="always")
def enter(w: Any, at: Any, kind: Any, data: Any) -> None:
    """Enter an event behind those of its instant."""
    w.n[ENTERED] += 1
    push(w, at, w.n[ENTERED], kind, data)


@njit(cache=True)
def place(w: Any, e: Any, pool: Any) -> None:
    """Move an executor to another pool, or out of all of them."""
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
def idle(w: Any, pool: Any) -> Any:
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
def promise(w: Any, pool: Any, g: Any, count: Any) -> None:
    """Promise `count` members of a pool to stage `g`, or to nobody."""
    w.pool[P_PROMISED, pool] += count
    for i in range(w.n[PROMISES]):
        if w.promise[Q_POOL, i] == pool and w.promise[Q_STAGE, i] == g:
            w.promise[Q_COUNT, i] += count
            return
    i = w.n[PROMISES]
    w.n[PROMISES] = i + 1
    w.promise[Q_POOL, i], w.promise[Q_STAGE, i], w.promise[Q_COUNT, i] = pool, g, count


@njit(cache=True)
def redeem(w: Any, pool: Any) -> Any:
    """Take one executor off the oldest promise of a pool and return the stage where it goes."""
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
def offer(w: Any, pool: Any) -> None:
    """Note that a pool has got free executors."""
    for i in range(w.n[OFFERS]):
        if w.pool[P_OFFERS, i] == pool:
            return
    w.pool[P_OFFERS, w.n[OFFERS]] = pool
    w.n[OFFERS] += 1


@njit(cache=True)
def offered(w: Any, pool: Any) -> Any:
    """Whether a pool waits for its round."""
    found = False
    for i in range(w.n[OFFERS]):
        found |= w.pool[P_OFFERS, i] == pool
    return found


@njit(cache=True)
def withdraw(w: Any, pool: Any) -> None:
    """Take a pool off those that wait for a round."""
    for i in range(w.n[OFFERS]):
        if w.pool[P_OFFERS, i] == pool:
            for k in range(i, w.n[OFFERS] - 1):
                w.pool[P_OFFERS, k] = w.pool[P_OFFERS, k + 1]
            w.n[OFFERS] -= 1
            return


@njit(cache=True, inline="always")
def ready(w: Any, g: Any) -> Any:
    """Whether stage `g` wants executors and none of its parents does."""
    return w.stage[S_HUNGRY, g] and w.stage[S_HUNGRY_PARENTS, g] == 0


@njit(cache=True)
def _update(stage: Any, fixed: Any, child: Any, g: Any) -> None:
    hungry = 1 if stage[S_UNLAUNCHED, g] - stage[S_PROMISED, g] > 0 else 0
    if hungry != stage[S_HUNGRY, g]:
        stage[S_HUNGRY, g] = hungry
        step = 1 if hungry else -1
        for i in range(fixed[F_CHILDREN, g], fixed[F_CHILDREN, g + 1]):
            stage[S_HUNGRY_PARENTS, child[i]] += step


@njit(cache=True, inline="always")
def update(w: Any, g: Any) -> None:
    """Bring readiness up to date after the demand of stage `g` changed."""
    _update(w.stage, w.fixed, w.child, g)


@njit(cache=True)
def first_ready(w: Any, j: Any) -> Any:
    """Return the first stage of a job that is ready, or -1."""
    for g in range(w.job_first[j], w.job_first[j + 1]):
        if ready(w, g):
            return g
    return NOBODY


@njit(cache=True)
def source_job(w: Any) -> Any:
    """Return the job whose executors are being placed, or -1 for the common pool and for jobs that are over."""
    pool, jobs = w.n[SOURCE], w.n[JOBS]
    if pool <= 0:
        return NOBODY
    j = pool - 1 if pool <= jobs else w.fixed[F_JOB, pool - 1 - jobs]
    return j if w.job[J_ALIVE, j] > 0 else NOBODY


@njit(cache=True)
def _schedulable(stage: Any, job: Any, j: Any, executors: Any, g: Any, own: Any) -> Any:
    if not (stage[S_HUNGRY, g] and stage[S_HUNGRY_PARENTS, g] == 0) or stage[S_PICKED, g]:
        return False
    return j == own or job[J_LOCAL, j] + job[J_INCOMING, j] < executors


@njit(cache=True, inline="always")
def schedulable(w: Any, g: Any, own: Any) -> Any:
    """Whether stage `g` may be picked now, `own` being :func:`source_job`."""
    return _schedulable(w.stage, w.job, w.fixed[F_JOB, g], w.n[EXECUTORS], g, own)


@njit(cache=True)
def any_schedulable(w: Any) -> Any:
    """Whether some stage may be picked now."""
    own = source_job(w)
    for i in range(w.n[ACTIVE]):
        j = w.job[J_ACTIVE, i]
        if j == own or w.job[J_LOCAL, j] + w.job[J_INCOMING, j] < w.n[EXECUTORS]:
            for g in range(w.job_first[j], w.job_first[j + 1]):
                if w.stage[S_HUNGRY, g] and w.stage[S_HUNGRY_PARENTS, g] == 0 and not w.stage[S_PICKED, g]:
                    return True
    return False
