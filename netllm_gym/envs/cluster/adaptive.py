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
WAIT, WAIT_MOVE, WAIT_TIME, WAIT_TASKS, WAIT_JOBS, WAIT_SUPPLY, WAIT_FREE, WAIT_OTHERS = range(16, 24)
SIZE = 24
LEAST_MOVE = 0.17  # moving delay over the unit: the search has seen no less, and beyond it the logarithm runs away


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
    again: Any,
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
        again: whether those that it leaves idle will be offered again (:func:`offered_again`).
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
    move = math.log(max(moving_s / unit, LEAST_MOVE))
    common = p[TIME] + p[TIME_MOVE] * move + p[TIME_MEAN] * mean
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
        hungry = math.floor(caps[own] * math.exp(p[KEEP])) - supply[own] + free > 0
        if g >= 0 and again and not ready[g]:
            patience = p[WAIT] + p[WAIT_MOVE] * move + p[WAIT_TIME] * _log_ratio(recent[g], unit)
            patience += p[WAIT_TASKS] * math.log(max(tasks[g], 1.0) / free) + p[WAIT_JOBS] * math.log(active)
            patience += p[WAIT_SUPPLY] * min(supply[own] / max(caps[own], 1.0), 3.0) + p[WAIT_FREE] * free / executors
            wanted = _wanted(runnable, ready, first, end, supply, caps, active, own)
            if patience + p[WAIT_OTHERS] * wanted > 0 and (hungry or not wanted):
                return -1, 0
        if g >= 0 and hungry:
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
def _wanted(runnable: Any, ready: Any, first: Any, end: Any, supply: Any, caps: Any, active: Any, own: Any) -> Any:
    """Whether another job below its cap has a stage that could begin."""
    for i in range(active):
        if i != own and supply[i] < caps[i]:
            for h in range(first[i], end[i]):
                if runnable[h] and ready[h]:
                    return True
    return False


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


NEVER = np.array([-10.0, 0, 0, 0, 0, 0, 0, 0])  # coefficients of patience that has none
# As `cluster/tuned` on TPC-H: 25 s a job; patient where a move takes as long as a task.
START = np.array([2.05, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 10.0, 0, 0, 0, 3.0, 5.0, 0, 0, 0.5, 0, 0, 0])
# Of the search before there was patience: what the students in the package were taught with.
HASTY = np.concatenate([
    [1.8074, 0.4667, 0.2553, 0.0656, 0.3838, 0.1253, 0.1234, -0.1616, 0.2972, 0.3038, -0.6276, 0.1478, 11.1357, 1.4713,
     -0.413, -0.1092], NEVER,
])  # fmt: skip
# Chosen by `netllm-gym train cluster-adaptive` on train splits and random workloads; docs/envs/cluster.md tells how.
COEFFICIENTS = np.array([
    1.66, 0.4854, 0.3312, 0.043, 0.3763, 0.2421, 0.063, 0.0304, 0.17, 0.1735, -0.6142, 0.3961,
    10.875, 2.1657, -0.4523, -0.2622, 3.1209, 5.0068, 0.1223, 0.4374, 0.6303, 0.1373, -0.7282, -0.3224,
])  # fmt: skip


@njit(cache=True)
def offered_again(tasks: Any, parent: Any, child: Any, own: Any) -> Any:
    """Whether executors that a job leaves idle are sure to be offered again.

    They are when one of its stages becomes ready. A stage without tasks to launch is about to end, and its executors
    come to wait; no stage may end so without helping another to begin, because nobody would ask for them then.

    Args:
        tasks: to launch, of every unfinished stage.
        parent, child: rows at the ends of every edge.
        own: which stages are the job's.
    """
    blocked, helps = np.zeros(len(tasks), np.bool_), np.zeros(len(tasks), np.bool_)
    for k in range(len(parent)):
        if tasks[parent[k]] != 0:
            blocked[child[k]] = True
    for k in range(len(parent)):
        if not blocked[child[k]]:
            helps[parent[k]] = True
    return bool(np.all(helps | ~own | (tasks != 0)))


def releasing_job(jobs: NDArray[Any]) -> int:
    """Return the row of the job that releases the executors to be placed, -1 where they are nobody's."""
    row = int(jobs[:, 1].argmax())
    return row if jobs[row, 1] > 0 else -1


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
    own, job = releasing_job(jobs), np.empty((5, active))
    again = own >= 0 and offered_again(tasks, edges[:, 0], edges[:, 1], owner == own)
    row, count = choose(
        tasks, recent, table[:, 2].copy(), table[:, 3].copy(), path, first, np.append(first[1:], len(table)),
        jobs[:, 0].astype(np.float64), active, own, again, int(observation["executors"][0]),
        int(observation["executors"][2]), moving_s, coefficients, job,
    )  # fmt: skip
    place = np.empty(active)
    place[job[3].astype(np.intp)] = np.arange(active) / active
    if row >= 0:
        job[4, owner[row]] = count
    return Advice(row, count, place, job[4])


def waits(advice: Advice, info: Mapping[str, Any]) -> bool:
    """Whether the rule would let the executors wait, and may."""
    return advice.row < 0 and bool(info.get("may_wait", True))


__all__ = [
    "COEFFICIENTS",
    "HASTY",
    "NEVER",
    "SIZE",
    "START",
    "Advice",
    "advise",
    "choose",
    "offered_again",
    "releasing_job",
    "waits",
]
