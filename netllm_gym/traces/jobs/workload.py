"""Workloads: jobs that are DAGs of stages, and the durations their tasks were seen to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.files import digest

Samples = Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class StageProfile:
    """A stage of `tasks` equal tasks and its measured durations in seconds, by executor level.

    `fresh` holds tasks of an executor new to the job, `first` those of its first task in the stage, `rest` all
    later ones (Decima's three waves). `fresh` and `first` may miss a level; `rest` falls back on `first`.
    """

    tasks: int
    fresh: Samples
    first: Samples
    rest: Samples

    def all_samples(self) -> list[float]:
        """Return every sample of every wave and level, seconds."""
        return [x for wave in (self.fresh, self.first, self.rest) for xs in wave.values() for x in xs]


@dataclass(frozen=True)
class JobTemplate:
    """A DAG of stages; an edge ``(a, b)`` says that `b` starts after `a` has finished.

    Raises:
        TraceFormatError: no stage, a stage without tasks or durations, a bad duration, a bad edge or a cycle.
    """

    name: str
    stages: tuple[StageProfile, ...]
    edges: tuple[tuple[int, int], ...]
    order: tuple[int, ...] = field(init=False, repr=False)
    mean_s: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.stages)
        if not n:
            raise TraceFormatError(self.name, "a job needs at least one stage")
        means = []
        for i, stage in enumerate(self.stages):
            samples = np.asarray(stage.all_samples(), dtype=float)
            if stage.tasks < 1:
                raise TraceFormatError(self.name, f"stage {i} has no tasks")
            if not samples.size or not np.isfinite(samples).all() or (samples < 0).any():
                raise TraceFormatError(self.name, f"stage {i} needs finite durations of at least 0 s")
            means.append(float(samples.mean()))
        for a, b in self.edges:
            if not (0 <= a < n and 0 <= b < n):
                raise TraceFormatError(self.name, f"edge {a}->{b} names a stage outside 0..{n - 1}")
        if len(set(self.edges)) != len(self.edges):
            raise TraceFormatError(self.name, "an edge stands twice")
        object.__setattr__(self, "order", self._sort(n))
        object.__setattr__(self, "mean_s", tuple(means))

    def __deepcopy__(self, memo: object) -> JobTemplate:
        return self  # immutable, and large

    def _sort(self, n: int) -> tuple[int, ...]:
        waiting = [0] * n
        for _, b in self.edges:
            waiting[b] += 1
        children: list[list[int]] = [[] for _ in range(n)]
        for a, b in self.edges:
            children[a].append(b)
        order = [i for i in range(n) if not waiting[i]]
        for a in order:
            for b in children[a]:
                waiting[b] -= 1
                if not waiting[b]:
                    order.append(b)
        if len(order) < n:
            raise TraceFormatError(self.name, "the stages depend on each other in a cycle")
        return tuple(order)


LATEST_S = 1e10  # of an arrival: no recording lasts for centuries


@dataclass(frozen=True)
class Workload:
    """Job templates drawn with equal chance and a Poisson arrival process, or arrivals given outright.

    The templates are `blocks` equally long blocks (TPC-H: one per size): a job draws its place in a block, then the
    block, and then the gap to the next job, in the order of the published simulators, so that a generator of the same
    seed gives the same jobs here and there.

    With `arrivals_s` (sorted), job k arrives at ``arrivals_s[k]`` and is template ``k mod len(templates)``.
    """

    name: str
    templates: tuple[JobTemplate, ...]
    mean_interarrival_s: float = 25.0
    arrivals_s: tuple[float, ...] | None = None
    blocks: int = 1

    def __post_init__(self) -> None:
        if not self.templates:
            raise TraceFormatError(self.name, "a workload needs at least one job")
        if self.blocks < 1 or len(self.templates) % self.blocks:
            raise TraceFormatError(self.name, f"{len(self.templates)} jobs do not make {self.blocks} equal blocks")
        if not 0 < self.mean_interarrival_s < float("inf"):
            raise TraceFormatError(self.name, "the mean interarrival time must be positive and finite")
        times = self.arrivals_s
        if times is not None and (
            not times or not np.isfinite(times).all() or times[0] < 0 or any(b < a for a, b in pairwise(times))
        ):
            raise TraceFormatError(self.name, "arrivals must be sorted, finite and at least 0 s")
        if times is not None and times[-1] > LATEST_S:
            raise TraceFormatError(
                self.name, f"a job that comes {times[-1]:g} s after the first, which is not plausible"
            )

    def __deepcopy__(self, memo: object) -> Workload:
        return self  # immutable, and large

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the templates, by their content, and of the arrival process."""
        parts = [repr((self.name, self.mean_interarrival_s, self.arrivals_s, self.blocks)).encode()]
        for template in self.templates:
            parts.append(repr((template.name, template.edges, [s.tasks for s in template.stages])).encode())
            for stage in template.stages:
                for wave in (stage.fresh, stage.first, stage.rest):
                    parts.append(repr([(level, len(wave[level])) for level in sorted(wave)]).encode())
                parts.append(np.array(stage.all_samples()).tobytes())
        return digest(parts)

    def draw(self, jobs: int, rng: np.random.Generator) -> list[tuple[float, JobTemplate]]:
        """Return `jobs` pairs (arrival in s, template), the first at 0 s for Poisson arrivals."""
        if self.arrivals_s is not None:
            if jobs > len(self.arrivals_s):
                held = len(self.arrivals_s)
                raise TraceFormatError(
                    self.name, f"{jobs} jobs asked, the trace holds {held}: say jobs={held} (--env-arg jobs={held})"
                )
            return [(t, self.templates[k % len(self.templates)]) for k, t in enumerate(self.arrivals_s[:jobs])]
        at, drawn, block = 0.0, [], len(self.templates) // self.blocks
        for _ in range(jobs):
            place = int(rng.integers(block))
            drawn.append((at, self.templates[place + block * int(rng.integers(self.blocks))]))
            at += float(rng.exponential(self.mean_interarrival_s))
        return drawn


def _synthetic_edges(family: str, n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    if family == "chain":
        return [(i, i + 1) for i in range(n - 1)]
    if family == "fork-join":
        return [(0, i) for i in range(1, n - 1)] + [(i, n - 1) for i in range(1, n - 1)]
    if family == "map-reduce":
        return [(i, n - 1) for i in range(n - 1)]
    layer = np.sort(rng.integers(0, max(2, n // 3), size=n))
    return [(a, b) for b in range(n) for a in range(b) if layer[a] == layer[b] - 1 and rng.random() < 0.5]


FAMILIES = ("chain", "fork-join", "layered", "map-reduce")


def synthetic_workload(
    families: Sequence[str] = FAMILIES, templates: int = 64, seed: int = 0, mean_interarrival_s: float = 25.0
) -> Workload:
    """Generate DAG jobs with lognormal task durations and Pareto task counts; same seed, same jobs.

    A fresh executor's first task is slower (x 2) and higher parallelism slows tasks (+ 5 % a level), the two
    effects that Decima's Spark profiles show.
    """
    for family in families:
        if family not in FAMILIES:
            raise TraceFormatError("synthetic", f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xC1,)))
    jobs = []
    for k in range(templates):
        family = families[k % len(families)]
        n = int(rng.integers(3, 13))
        stages = []
        for _ in range(n):
            tasks = int(min(400, 4 + 12 * rng.pareto(1.3)))
            base = rng.lognormal(0.2, 0.6) * rng.lognormal(0.0, 0.35, size=24)
            rest = {level: tuple(base * (1 + 0.05 * i)) for i, level in enumerate((5, 20, 50, 100))}
            first = {level: tuple(np.asarray(x) * 1.4) for level, x in rest.items()}
            fresh = {level: tuple(np.asarray(x) * 2.0) for level, x in rest.items()}
            stages.append(StageProfile(tasks, fresh, first, rest))
        jobs.append(JobTemplate(f"{family}-{k}", tuple(stages), tuple(_synthetic_edges(family, n, rng))))
    return Workload("cluster/synthetic", tuple(jobs), mean_interarrival_s)
