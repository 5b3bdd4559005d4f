"""Arrival sequences: which jobs of a workload come when. They are what cluster scheduling is trained and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from netllm_gym.errors import ConfigError
from netllm_gym.files import digest
from netllm_gym.traces.jobs.statistics import mean_work_s
from netllm_gym.traces.jobs.workload import JobTemplate, Workload
from netllm_gym.traces.traceset import TraceSet


@dataclass(frozen=True, eq=False)
class JobTrace:
    """The sequence that `seed` draws from `workload`: as many jobs as an episode wants, the first ones always the same.

    numpy's generator of the same seed draws the same queries, sizes and gaps in the published simulators, so their
    seeds are ours.
    """

    workload: Workload
    seed: int

    @property
    def name(self) -> str:
        """The workload's name and the seed."""
        return f"{self.workload.name}#{self.seed}"

    @property
    def group(self) -> str:
        """The same: sequences are drawn independently."""
        return self.name

    @property
    def digest(self) -> str:
        """SHA-256 of the job templates, the arrival process and the seed."""
        return digest([self.workload.digest.encode(), str(self.seed).encode()])

    def jobs(self, count: int) -> list[tuple[float, JobTemplate]]:
        """Return the first `count` jobs as pairs (arrival in s, template)."""
        return self.workload.draw(count, np.random.default_rng(self.seed))

    def __deepcopy__(self, memo: object) -> JobTrace:
        return self  # immutable, and large


def paced(traces: TraceSet[JobTrace], gap_s: float | None, load: float | None, executors: int) -> TraceSet[JobTrace]:
    """Return the same jobs with other arrivals: Poisson, `gap_s` seconds apart in the mean.

    Args:
        traces: job sequences.
        gap_s: mean seconds between two arrivals; ``None`` keeps the workload's arrivals.
        load: in place of a gap: mean work of a job over what `executors` can do between two arrivals.
        executors: of the cluster that `load` speaks of.

    Raises:
        ConfigError: both are given, or one that is not positive and finite.
    """
    if gap_s is None and load is None:
        return traces
    if gap_s is not None and load is not None:
        raise ConfigError("give gap_s or load, not both")
    value = gap_s if gap_s is not None else load
    assert value is not None
    if not 0 < value < float("inf"):
        raise ConfigError(f"gap_s and load must be positive and finite, got {value}")
    known: dict[int, Workload] = {}
    for trace in traces:
        old = trace.workload
        if id(old) not in known:
            gap = value if load is None else mean_work_s(old) / (executors * value)
            known[id(old)] = replace(old, mean_interarrival_s=gap, arrivals_s=None)
    paced_traces = tuple(JobTrace(known[id(trace.workload)], trace.seed) for trace in traces)
    return replace(traces, traces=paced_traces)


def job_traces(workload: Workload, seeds: Sequence[int], split: str = "all") -> TraceSet[JobTrace]:
    """Return the trace set of your own workload; recorded arrivals are one sequence, whatever the seed."""
    chosen = seeds if workload.arrivals_s is None else seeds[:1]
    return TraceSet(workload.name, split, tuple(JobTrace(workload, seed) for seed in chosen), source="workload")
