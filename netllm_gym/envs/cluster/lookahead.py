"""What would come of a decision: compiled rules play the kernel's clusters on, in many sampled futures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from netllm_gym.compiled import njit
from netllm_gym.envs.cluster.adaptive import choose
from netllm_gym.envs.cluster.kernel import advance, close_round, commit
from netllm_gym.envs.cluster.world import (
    ACTIVE,
    COMMITTABLE,
    EXECUTORS,
    F_CHILDREN,
    FORCED,
    J_ACTIVE,
    J_INCOMING,
    J_LOCAL,
    JOBS,
    NOBODY,
    S_DONE,
    S_OPEN_PARENTS,
    S_UNLAUNCHED,
    World,
    schedulable,
    source_job,
)

WAIT = -1  # in place of a stage: end the round
TUNED, STRICT_FAIR, FAIR, ADAPTIVE = range(4)


@njit(cache=True)
def work_left(w: Any, work: Any) -> None:
    """Write each active job's tasks to launch times their latest duration, as agents read it from observations."""
    for i in range(w.n[ACTIVE]):
        j = w.job[J_ACTIVE, i]
        total = 0.0
        for g in range(w.job_first[j], w.job_first[j + 1]):
            if not w.stage[S_DONE, g]:
                total += np.float64(np.float32(w.stage[S_UNLAUNCHED, g]) * np.float32(w.recent[g]))
        work[i] = total


@njit(cache=True)
def _offered_again(w: Any, j: Any) -> Any:
    """Whether executors that job `j` leaves idle will be offered again, as :func:`.adaptive.offered_again` says."""
    begin, end = w.job_first[j], w.job_first[j + 1]
    blocked = np.zeros(end - begin, np.bool_)
    for g in range(begin, end):
        if not w.stage[S_DONE, g] and w.stage[S_UNLAUNCHED, g] > 0:
            for k in range(w.fixed[F_CHILDREN, g], w.fixed[F_CHILDREN, g + 1]):
                blocked[w.child[k] - begin] = True
    for g in range(begin, end):
        if not w.stage[S_DONE, g] and w.stage[S_UNLAUNCHED, g] == 0:
            helps = False
            for k in range(w.fixed[F_CHILDREN, g], w.fixed[F_CHILDREN, g + 1]):
                helps |= not blocked[w.child[k] - begin]
            if not helps:
                return False
    return True


@njit(cache=True)
def _decide_adaptive(w: Any, moving_s: Any, p: Any, row: Any, job: Any) -> Any:
    """Decide as ``cluster/adaptive``; `row` ``[5, stages]`` and `job` ``[6, jobs]`` are scratch."""
    active = w.n[ACTIVE]
    own_job, own, first_runnable = source_job(w), NOBODY, NOBODY
    tasks, recent, runnable, ready, path = row[0], row[1], row[2], row[3], row[4]
    supply = job[5]
    begins, ends = np.empty(active, np.int64), np.empty(active, np.int64)
    for i in range(active):
        j = w.job[J_ACTIVE, i]
        if j == own_job:
            own = i
        begins[i], ends[i] = w.job_first[j], w.job_first[j + 1]
        supply[i] = w.job[J_LOCAL, j] + w.job[J_INCOMING, j]
        for g in range(begins[i], ends[i]):
            path[g] = 0.0
            if w.stage[S_DONE, g]:
                tasks[g] = recent[g] = runnable[g] = 0.0
                continue
            tasks[g], recent[g] = w.stage[S_UNLAUNCHED, g], np.float64(np.float32(w.recent[g]))
            ready[g] = w.stage[S_OPEN_PARENTS, g] == 0
            runnable[g] = schedulable(w, g, own_job)
            if runnable[g] and first_runnable < 0:
                first_runnable = g
        changed = True
        while changed:
            changed = False
            for g in range(ends[i] - 1, begins[i] - 1, -1):
                if w.stage[S_DONE, g]:
                    continue
                below = 0.0
                for k in range(w.fixed[F_CHILDREN, g], w.fixed[F_CHILDREN, g + 1]):
                    below = max(below, path[w.child[k]])
                length = below + (recent[g] if tasks[g] > 0 else 0.5 * recent[g])
                if length != path[g]:
                    path[g] = length
                    changed = True
    again = own >= 0 and _offered_again(w, own_job)
    g, count = choose(
        tasks, recent, runnable, ready, path, begins, ends, supply, active, own, again, w.n[COMMITTABLE],
        w.n[EXECUTORS], moving_s, p, job,
    )  # fmt: skip
    if g < 0 and w.n[FORCED]:
        return first_runnable, 1
    return g, count


@njit(cache=True)
def decide(w: Any, rule: Any, p: Any, moving_s: Any, row: Any, job: Any) -> Any:
    """Return (stage, executors) as a rule with the constants `p` would decide; `row` and `job` are :func:`scratch`."""
    if rule == ADAPTIVE:
        return _decide_adaptive(w, moving_s, p, row, job)
    work, caps, order = job[0], job[1], job[2].view(np.int64)
    whole, floor = p[0], p[1]
    active, executors, free = w.n[ACTIVE], w.n[EXECUTORS], w.n[COMMITTABLE]
    own_job = source_job(w)
    if rule != FAIR:
        work_left(w, work)
    if rule == TUNED:
        base = math.floor(floor * executors / active)
        for i in range(active):
            caps[i] = base
            k = i
            while k > 0 and work[order[k - 1]] > work[i]:
                order[k] = order[k - 1]
                k -= 1
            order[k] = i
        left = executors - base * active
        for k in range(active):
            i = order[k]
            more = min(left, max(0.0, math.ceil(work[i] * executors / whole) - caps[i]))
            caps[i] += more
            left -= more
        for i in range(active):
            caps[i] += math.ceil(left / active)
    else:
        for i in range(active):
            caps[i] = math.ceil(executors / active)
    own, chosen, shortest = NOBODY, NOBODY, NOBODY
    own_hungry = False
    for i in range(active):
        j = w.job[J_ACTIVE, i]
        if j == own_job:
            own = i
        hungry = False
        for g in range(w.job_first[j], w.job_first[j + 1]):
            if schedulable(w, g, own_job) and (rule != TUNED or w.stage[S_OPEN_PARENTS, g] == 0 or j == own_job):
                hungry = True
                break
        if not hungry:
            continue
        if j == own_job:
            own_hungry = True
        supply = w.job[J_LOCAL, j] + w.job[J_INCOMING, j]
        if supply < caps[i] and (chosen < 0 or (rule == TUNED and work[i] < work[chosen])):
            chosen = i
        if rule != FAIR and (shortest < 0 or work[i] < work[shortest]):
            shortest = i
    job, count = NOBODY, free
    if own_hungry:
        supply = w.job[J_LOCAL, own_job] + w.job[J_INCOMING, own_job]
        room = free if rule == FAIR else min(free, int(caps[own] - supply) + free)
        if room > 0:
            job, count = own, room
    if job < 0 and chosen >= 0:
        j = w.job[J_ACTIVE, chosen]
        job, count = chosen, min(free, int(caps[chosen] - w.job[J_LOCAL, j] - w.job[J_INCOMING, j]))
    if job < 0 and shortest >= 0:
        job, count = shortest, free
        if rule == TUNED and own_hungry:
            job = own
    if job < 0:
        if not w.n[FORCED]:
            return WAIT, 0
        for i in range(active):
            j = w.job[J_ACTIVE, i]
            for g in range(w.job_first[j], w.job_first[j + 1]):
                if schedulable(w, g, own_job):
                    return g, 1
    j = w.job[J_ACTIVE, job]
    first = NOBODY
    for g in range(w.job_first[j], w.job_first[j + 1]):
        if schedulable(w, g, own_job):
            if w.stage[S_OPEN_PARENTS, g] == 0:
                return g, max(1, count)
            if first < 0 and (rule != TUNED or j == own_job):
                first = g
    return first, max(1, count)


@njit(cache=True)
def act(w: Any, d: Any, seed: Any, moving_s: Any, g: Any, count: Any) -> None:
    """Take a decision: `count` executors for stage `g`, or the end of the round."""
    if g < 0:
        close_round(w, d, seed, moving_s)
    else:
        commit(w, d, seed, moving_s, g, count)


@njit(cache=True)
def scratch(w: Any) -> Any:
    """Return room for :func:`decide`: rows of stages and rows of jobs."""
    return np.empty((5, w.stage.shape[1])), np.empty((6, w.n[JOBS]))


@njit(cache=True)
def play_on(w: Any, d: Any, seed: Any, moving_s: Any, until: Any, rule: Any, p: Any) -> Any:
    """Let a rule decide from here on; return the job-seconds from now to the end, or to `until` and then an estimate.

    The estimate serves what is left in the order of its work, on all executors: each job waits for the shorter ones.
    """
    row, job = scratch(w)
    while True:
        state = advance(w, d, seed, moving_s, until)
        if state != 1:
            break
        g, count = decide(w, rule, p, moving_s, row, job)
        act(w, d, seed, moving_s, g, count)
    total = w.clock[1] + w.n[ACTIVE] * (w.clock[0] - w.clock[2])
    if state == 2:
        active = w.n[ACTIVE]
        total += active * (until - w.clock[0])
        work_left(w, job[0])
        left = np.sort(job[0, :active])
        for k in range(active):
            total += (active - k) * left[k] / w.n[EXECUTORS]
    return total


@njit(cache=True)
def copy_world(w: Any) -> Any:
    """Return a world of its own; what no event changes is shared."""
    return World(
        w.clock.copy(), w.n.copy(), w.heap_at.copy(), w.heap.copy(), w.ex.copy(), w.job.copy(), w.job_first,
        w.stage.copy(), w.recent.copy(), w.fixed, w.child, w.pool.copy(), w.promise.copy(), w.draws,
    )  # fmt: skip


@njit(cache=True)
def candidate_costs(
    w: Any, d: Any, seed: Any, moving_s: Any, until: Any, rule: Any, p: Any, stages: Any, counts: Any, costs: Any
) -> None:
    """Write the job-seconds that each candidate decision leads to in one future (`w` itself is left as it is)."""
    for c in range(len(stages)):
        other = copy_world(w)
        act(other, d, seed, moving_s, stages[c], counts[c])
        costs[c] = play_on(other, d, seed, moving_s, until, rule, p)


@njit(cache=True)
def next_decision(w: Any, d: Any, seed: Any, moving_s: Any) -> Any:
    """Run to the next decision; return whether there is one."""
    return advance(w, d, seed, moving_s, np.inf) == 1


__all__ = ["ADAPTIVE", "FAIR", "STRICT_FAIR", "TUNED", "WAIT", "candidate_costs", "decide", "next_decision", "play_on"]
