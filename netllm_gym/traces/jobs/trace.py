"""Arrival sequences: which jobs of a workload come when. They are what cluster scheduling is trained and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netllm_gym.files import digest
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


def job_traces(workload: Workload, seeds: Sequence[int], split: str = "all") -> TraceSet[JobTrace]:
    """Return the trace set of your own workload; recorded arrivals are one sequence, whatever the seed."""
    chosen = seeds if workload.arrivals_s is None else seeds[:1]
    return TraceSet(workload.name, split, tuple(JobTrace(workload, seed) for seed in chosen), source="workload")
