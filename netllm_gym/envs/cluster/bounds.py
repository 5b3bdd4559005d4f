"""Lower bounds on the mean job completion time, which no scheduler can beat on the same jobs and the same draws."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.cluster.durations import StageTable
from netllm_gym.envs.cluster.simulator import ClusterSimulator
from netllm_gym.envs.cluster.state import draw_tasks
from netllm_gym.traces.workload import JobTemplate

Weights = tuple[int, int, float, float, float]


def shortest_tasks(table: StageTable, draws: NDArray[np.float64], weights: Sequence[Weights]) -> NDArray[np.float64]:
    """Return the least seconds each task can take, whichever wave it runs in and however many executors its job has.

    Args:
        table: the stage's samples.
        draws: the tasks' uniforms, shape ``[tasks]``.
        weights: for each number of executors, how a uniform chooses level and sample (distinct ones suffice).
    """
    best = np.full(len(draws), np.inf)
    for wave in (table.fresh, table.first, table.rest):
        arrays = {level: np.array(samples) for level, samples in wave.items()}
        for left, right, share, stretch, rest_stretch in weights:
            low, high = arrays[left], arrays[right]
            at_left = low[np.minimum((draws * stretch * len(low)).astype(int), len(low) - 1)]
            at_right = high[np.maximum(((draws - share) * rest_stretch * len(high)).astype(int), 0)]
            best = np.minimum(best, np.where(draws < share, at_left, at_right))
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


def mean_jct_bounds(sim: ClusterSimulator) -> dict[str, float]:
    """Return lower bounds on the mean job completion time of the jobs of a *finished* episode, seconds.

    - ``path``: each job waits one move, and then no less than its longest chain of stages, each as long as its
      longest task.
    - ``work``: one move, and then its work on all executors at once.
    - ``srpt``: all executors as one machine, which serves the shortest remaining work first.
    - ``combined``: the k-th completion is no earlier than the k-th of either kind, hence the k-th of both.
    """
    weights = sorted(set(sim.level_choices))
    arrivals = [at for at, _ in sim.arrivals]
    path, work = [], []
    for k, (_, template) in enumerate(sim.arrivals):
        draws = draw_tasks(sim.seed, k, [s.tasks for s in template.stages])
        tables = sim.tables_of(template)
        least = [shortest_tasks(table, u, weights) for table, u in zip(tables, draws, strict=True)]
        path.append(_longest_path(template, [float(p.max()) for p in least]))
        work.append(float(sum(p.sum() for p in least)) / len(sim.executors))
    r, p, w = np.array(arrivals), np.array(path), np.array(work)
    alone = np.sort(r + sim.moving_s + np.maximum(p, w))
    # Nobody works before a job's first executor has moved to it.
    shared = np.sort(srpt_completions([at + sim.moving_s for at in arrivals], work))
    return {
        "path": float(sim.moving_s + p.mean()),
        "work": float(sim.moving_s + w.mean()),
        "srpt": float((shared - np.sort(r)).mean()),
        "combined": float((np.maximum(alone, shared) - np.sort(r)).mean()),
    }
