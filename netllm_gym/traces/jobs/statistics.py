"""What a workload is made of: jobs, stages, work, critical paths, parallelism."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.traces.jobs.workload import JobTemplate, Workload


def critical_path_s(job: JobTemplate) -> float:
    """Return the longest chain of stages if every stage ran all its tasks at once, mean durations, seconds."""
    end = [0.0] * len(job.stages)
    parents: list[list[int]] = [[] for _ in job.stages]
    for a, b in job.edges:
        parents[b].append(a)
    for s in job.order:
        end[s] = job.mean_s[s] + max((end[p] for p in parents[s]), default=0.0)
    return max(end)


def table(jobs: Sequence[JobTemplate]) -> dict[str, NDArray[np.float64]]:
    """Return, one entry a job: ``stages``, ``tasks``, ``work_s`` (executor-seconds), ``path_s``, ``parallelism``.

    Work and paths are by mean durations over all waves and levels; parallelism is work over path, the number of
    executors that a job could keep busy at best.
    """
    work = np.array([sum(m * s.tasks for m, s in zip(job.mean_s, job.stages, strict=True)) for job in jobs])
    path = np.array([critical_path_s(job) for job in jobs])
    return {
        "stages": np.array([len(job.stages) for job in jobs], float),
        "tasks": np.array([sum(s.tasks for s in job.stages) for job in jobs], float),
        "work_s": work,
        "path_s": path,
        "parallelism": work / np.maximum(path, 1e-9),
    }


def mean_gap_s(workload: Workload) -> float:
    """Return the mean time between two arrivals, seconds."""
    times = workload.arrivals_s
    return workload.mean_interarrival_s if times is None or len(times) < 2 else float(np.diff(times).mean())


def mean_work_s(workload: Workload) -> float:
    """Return the mean work of a job by mean durations, executor-seconds."""
    return float(
        np.mean([sum(m * s.tasks for m, s in zip(job.mean_s, job.stages, strict=True)) for job in workload.templates])
    )


def offered_load(workload: Workload, executors: int = 50) -> float:
    """Return the mean work of a job over what `executors` do between two arrivals (1: nothing is left idle).

    Infinite where all jobs arrive at once.
    """
    gap = mean_gap_s(workload)
    return mean_work_s(workload) / (executors * gap) if gap > 0 else float("inf")


def summary(workload: Workload) -> dict[str, Any]:
    """Return the numbers ``netllm-gym traces info`` shows: medians over jobs, the gap and the load of 50 executors."""
    found = table(workload.templates)
    medians = {key: round(float(np.median(values)), 1) for key, values in found.items()}
    return {
        "jobs": len(workload.templates),
        **medians,
        "mean work_s": round(float(found["work_s"].mean()), 1),
        "gap_s": mean_gap_s(workload),
        "load": offered_load(workload),
    }
