"""Lower bounds on the mean job completion time, which no scheduler can beat on the same jobs and the same draws."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.cluster.durations import LEVELS, StageTable
from netllm_gym.envs.cluster.simulator import ClusterSimulator
from netllm_gym.envs.cluster.state import draw_tasks
from netllm_gym.traces.jobs.workload import JobTemplate

Weights = tuple[int, int, float, float, float]


def shortest_tasks(table: StageTable, draws: NDArray[np.float64], weights: Sequence[Weights]) -> NDArray[np.float64]:
    """Return the least seconds each task can take, whichever wave it runs in and however many executors its job has.

    Args:
        table: the stage's samples.
        draws: the tasks' uniforms, shape ``[tasks]``.
        weights: for each number of executors, how a uniform chooses level and sample (distinct ones suffice).
    """
    left, right, share, stretch, rest_stretch = (np.array(column) for column in zip(*weights, strict=True))
    u = draws[:, None]
    at_left = u < share
    place = np.where(at_left, u * stretch, (u - share) * rest_stretch)  # in [0, 1), of the samples of `level`
    level = np.searchsorted(LEVELS, np.where(at_left, left, right))
    best = np.full(len(draws), np.inf)
    for wave in (table.fresh, table.first, table.rest):
        lists = [wave[at] for at in LEVELS]
        sizes = np.array([len(samples) for samples in lists])
        begins = np.cumsum(sizes) - sizes
        rows = begins[level] + (place * sizes[level]).astype(np.intp)
        best = np.minimum(best, np.concatenate(lists)[rows].min(axis=1))
    return best


def _longest_path(template: JobTemplate, stage_s: Sequence[float]) -> float:
    end = list(stage_s)
    parents: list[list[int]] = [[] for _ in stage_s]
    for a, b in template.edges:
        parents[b].append(a)
    for s in template.order:
        end[s] = stage_s[s] + max((end[p] for p in parents[s]), default=0.0)
    return max(end)


def srpt_completions(arrivals: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Return the completion times of preemptive shortest-remaining-time on one machine; no order has a smaller sum."""
    done: list[float] = []
    left: list[float] = []
    now = 0.0
    for k, at in enumerate([*arrivals, float("inf")]):
        while left and now + left[0] <= at:
            now += heapq.heappop(left)
            done.append(now)
        if left:
            heapq.heapreplace(left, left[0] - (at - now))
        if k < len(sizes):
            now = at
            heapq.heappush(left, sizes[k])
    return done


def job_bounds(sim: ClusterSimulator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for each job of a *finished* episode, its longest path and its work on all executors, seconds.

    A path is as long as its stages, each as long as its longest task; a job also waits one move, which is in neither.
    """
    weights = sorted(set(sim.agenda.level_choices))
    path, work = [], []
    for k, (_, template) in enumerate(sim.arrivals):
        draws = draw_tasks(sim.seed, k, [s.tasks for s in template.stages])
        tables = sim.tables_of(template)
        least = [shortest_tasks(table, u, weights) for table, u in zip(tables, draws, strict=True)]
        path.append(_longest_path(template, [float(p.max()) for p in least]))
        work.append(float(sum(p.sum() for p in least)) / len(sim.executors))
    return np.array(path), np.array(work)


def mean_jct_bounds(sim: ClusterSimulator) -> dict[str, float]:
    """Return lower bounds on the mean job completion time of the jobs of a *finished* episode, seconds.

    - ``path``: each job waits one move, and then no less than its longest chain of stages, each as long as its
      longest task.
    - ``work``: one move, and then its work on all executors at once.
    - ``srpt``: all executors as one machine, which serves the shortest remaining work first.
    - ``combined``: the k-th completion is no earlier than the k-th of either kind, hence the k-th of both.
    """
    p, w = job_bounds(sim)
    return combine_bounds(np.array([at for at, _ in sim.arrivals]), p, w, sim.moving_s)


def combine_bounds(
    r: NDArray[np.float64], p: NDArray[np.float64], w: NDArray[np.float64], moving_s: float
) -> dict[str, float]:
    """Return :func:`mean_jct_bounds` from arrivals and what :func:`job_bounds` gave."""
    alone = np.sort(r + moving_s + np.maximum(p, w))
    # Nobody works before a job's first executor has moved to it.
    shared = np.sort(srpt_completions((r + moving_s).tolist(), w.tolist()))
    return {
        "path": float(moving_s + p.mean()),
        "work": float(moving_s + w.mean()),
        "srpt": float((shared - np.sort(r)).mean()),
        "combined": float((np.maximum(alone, shared) - np.sort(r)).mean()),
    }
