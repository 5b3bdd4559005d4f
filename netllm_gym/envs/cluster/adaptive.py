"""The arithmetic of ``cluster/adaptive``: a rule whose constants have no units, compiled, for agents and for rollouts.

Jobs are served the shortest first, each up to a number of executors. ``cluster/tuned`` knows those numbers in
executor-seconds. Here the time that a job should take, the order of jobs and the choice of a stage depend on ratios: of
the moving delay, the job's longest way, its work and the mean job's work to one unit that every cluster has, the moving
delay plus the mean task. A search over random workloads, workflows and TPC-H chose the coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.cluster.view import longest_ways, used

# Places in the vector of coefficients. A job should take `unit * exp(TIME + …)` seconds with what it gets.
TIME, TIME_MOVE, TIME_PATH, TIME_MEAN, TIME_WORK, TIME_JOBS = range(6)
FLOOR, ORDER_PATH, ORDER_OWN, KEEP, WORTH_STAGE, WORTH_EACH = range(6, 12)
STAGE_READY, STAGE_PATH, STAGE_TASKS, STAGE_TIME = range(12, 16)
SIZE = 16


@njit(cache=True)
def _log_ratio(value: Any, unit: Any) -> Any:
    return math.log(min(max(value / unit, 1e-3), 1e4))


@njit(cache=True)
def choose(
    tasks: Any,
    recent: Any,
    runnable: Any,
    ready: Any,
    path: Any,
    first: Any,
    end: Any,
    supply: Any,
    active: Any,
    own: Any,
    free: Any,
    executors: Any,
    moving_s: Any,
    p: Any,
    job: Any,
) -> Any:
    """Return the stage to serve and how many executors it gets, or -1 to let them wait.

    Args:
        tasks, recent, runnable, ready, path: of every stage: tasks to launch, seconds of the latest, may be picked,
            parents finished, longest way to the end of the job in seconds.
        first, end: where each active job's stages begin and end.
        supply: executors that each job has or is promised.
        active: how many jobs.
        own: which of them releases the executors, or -1.
        free, executors: to be placed, in all.
        moving_s: delay of a move.
        p: coefficients.
        job: ``[5, active]``, written: work left, caps, keys of the order (the least first), the order, and how many
            executors each job would get.
    """
    work, caps, key, order, room = job[0], job[1], job[2], job[3], job[4]
    all_work, all_tasks = 0.0, 0.0
    for i in range(active):
        total = 0.0
        for g in range(first[i], end[i]):
            total += tasks[g] * recent[g]
            all_tasks += tasks[g]
        work[i] = total
        all_work += total
    unit = moving_s + (all_work / all_tasks if all_tasks > 0 else 1.0)
    if unit <= 0.0:
        unit = 1.0
    mean = _log_ratio(all_work / active, unit * executors)
    common = p[TIME] + p[TIME_MOVE] * _log_ratio(moving_s, unit) + p[TIME_MEAN] * mean
    common += p[TIME_JOBS] * math.log(active)
    base = math.floor(min(max(p[FLOOR], 0.0), 1.0) * executors / active)
    for i in range(active):
        longest = 0.0
        for g in range(first[i], end[i]):
            longest = max(longest, path[g])
        way, own_work = _log_ratio(longest, unit), _log_ratio(work[i], unit * executors)
        key[i] = own_work + p[ORDER_PATH] * way - (p[ORDER_OWN] if i == own else 0.0)
        seconds = unit * math.exp(min(common + p[TIME_PATH] * way + p[TIME_WORK] * own_work, 30.0))
        caps[i] = work[i] / seconds  # wanted, for now
        k = i
        while k > 0 and key[int(order[k - 1])] > key[i]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
    left = float(executors - base * active)
    for k in range(active):
        i = int(order[k])
        more = min(left, max(0.0, math.ceil(caps[i]) - base))
        caps[i] = base + more
        left -= more
    for i in range(active):
        caps[i] += math.ceil(left / active)
        room[i] = caps[i] - supply[i]
        if i == own:
            room[i] = math.floor(caps[i] * math.exp(p[KEEP])) - supply[i] + free
        room[i] = min(room[i], free) if room[i] > 0 else free  # beyond its cap it only gets what nobody else takes
    # The releasing job up to its cap, then the others in order, then whoever may have what is left.
    if own >= 0:
        g = _best(tasks, recent, runnable, ready, path, first[own], end[own], supply[own], True, moving_s, unit, p)
        if g >= 0 and math.floor(caps[own] * math.exp(p[KEEP])) - supply[own] + free > 0:
            return g, int(room[own])
    for spare in range(2):
        if spare and own >= 0 and g >= 0:
            return g, free
        for k in range(active):
            i = int(order[k])
            if i == own or (not spare and supply[i] >= caps[i]):
                continue
            h = _best(tasks, recent, runnable, ready, path, first[i], end[i], supply[i], False, moving_s, unit, p)
            if h >= 0:
                if moving_s > 0 and p[WORTH_EACH] > 0:
                    room[i] = min(room[i], math.ceil(tasks[h] * recent[h] / (p[WORTH_EACH] * moving_s)))
                return h, max(1, int(room[i]))
    return -1, 0


@njit(cache=True)
def _best(
    tasks: Any,
    recent: Any,
    runnable: Any,
    ready: Any,
    path: Any,
    first: Any,
    end: Any,
    supply: Any,
    own: Any,
    moving_s: Any,
    unit: Any,
    p: Any,
) -> Any:
    """Return the stage of a job that is served first, or -1."""
    best, most = -1, -1e300
    longest = 1e-9
    for g in range(first, end):
        longest = max(longest, path[g])
    for g in range(first, end):
        if not runnable[g] or not (own or ready[g]):
            continue
        if not own and tasks[g] * recent[g] < p[WORTH_STAGE] * moving_s * (supply + 1.0):
            continue
        score = p[STAGE_PATH] * path[g] / longest + p[STAGE_TASKS] * math.log1p(tasks[g])
        score += p[STAGE_TIME] * _log_ratio(recent[g], unit) + (p[STAGE_READY] if ready[g] else 0.0)
        if score > most:
            best, most = g, score
    return best


# As `cluster/tuned` on TPC-H: 25 s a job.
START = np.array([2.05, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 10.0, 0, 0, 0])
# Chosen by `netllm-gym train cluster-adaptive` on train splits and random workloads; docs/envs/cluster.md tells how.
COEFFICIENTS = np.array([
    1.8074, 0.4667, 0.2553, 0.0656, 0.3838, 0.1253, 0.1234, -0.1616, 0.2972, 0.3038, -0.6276, 0.1478, 11.1357, 1.4713,
    -0.413, -0.1092,
])  # fmt: skip


class Advice(NamedTuple):
    """What the rule would do: row and executors (-1 and 0 to wait), and of each job its place in the order from 0 to 1
    and the executors that it would get."""

    row: int
    executors: int
    place: NDArray[np.float64]
    room: NDArray[np.float64]


def advise(observation: Mapping[str, Any], moving_s: float, coefficients: NDArray[np.float64] = COEFFICIENTS) -> Advice:
    """Read an observation of ``ClusterScheduling-v0`` and return what the rule would do."""
    stages, jobs, edges = used(observation)
    table, active = stages.astype(np.float64), len(jobs)
    tasks, recent, owner = table[:, 0].copy(), table[:, 1].copy(), table[:, 4].astype(np.int64)
    path = longest_ways(edges[:, 0], edges[:, 1], np.where(tasks > 0, recent, 0.5 * recent))
    first = np.searchsorted(owner, np.arange(active))
    releasing, job = int(jobs[:, 1].argmax()), np.empty((5, active))
    row, count = choose(
        tasks, recent, table[:, 2].copy(), table[:, 3].copy(), path, first, np.append(first[1:], len(table)),
        jobs[:, 0].astype(np.float64), active, releasing if jobs[releasing, 1] > 0 else -1,
        int(observation["executors"][0]), int(observation["executors"][2]), moving_s, coefficients, job,
    )  # fmt: skip
    place = np.empty(active)
    place[job[3].astype(np.intp)] = np.arange(active) / active
    if row >= 0:
        job[4, owner[row]] = count
    return Advice(row, count, place, job[4])


def waits(advice: Advice, info: Mapping[str, Any]) -> bool:
    """Whether the rule would let the executors wait, and may."""
    return advice.row < 0 and bool(info.get("may_wait", True))


__all__ = ["COEFFICIENTS", "SIZE", "START", "Advice", "advise", "choose", "waits"]
