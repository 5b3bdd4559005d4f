"""Random workloads for training: DAGs of many shapes, task counts and durations over decades.

A scheduler that has only seen one workload learns its seconds by heart. Here every workload is drawn anew: the shape of
its jobs (chains, forks, layers, map and reduce, trees, pipelines like the scientific workflows of Montage, Epigenomics
and CyberShake, wide fronts of independent stages), how many tasks a stage has, how long they take, how much they
scatter and how much slower fresh executors and high parallelism make them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from netllm_gym.errors import UnknownNameError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload

Edges = list[tuple[int, int]]
LEVELS = (5, 20, 50, 100)
SAMPLES = 16


def _chain(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    return n, [(i, i + 1) for i in range(n - 1)]


def _fork_join(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    n = max(3, n)
    return n, [(0, i) for i in range(1, n - 1)] + [(i, n - 1) for i in range(1, n - 1)]


def _map_reduce(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    return n, [(i, n - 1) for i in range(n - 1)]


def _layered(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    layer = np.sort(rng.integers(0, max(2, n // 3), size=n))
    return n, [(a, b) for b in range(n) for a in range(b) if layer[a] == layer[b] - 1 and rng.random() < 0.5]


def _tree(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    """Two by two into one, as joins in a query plan; some sides are deep."""
    open_ends, edges, made = list(range(max(2, n // 2))), [], max(2, n // 2)
    while len(open_ends) > 1:
        a, b = open_ends.pop(int(rng.integers(len(open_ends)))), open_ends.pop(int(rng.integers(len(open_ends))))
        edges += [(a, made), (b, made)]
        open_ends.append(made)
        made += 1
    return made, edges


def _montage(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    """Project every image, fit overlaps, one model, correct every image, add: Montage's levels."""
    k = max(2, n // 4)
    edges: Edges = []
    fits = list(range(k, 2 * k - 1))
    for i, fit in enumerate(fits):
        edges += [(i, fit), (i + 1, fit)]
    model = 2 * k - 1
    edges += [(fit, model) for fit in fits]
    corrected = list(range(model + 1, model + 1 + k))
    edges += [(model, c) for c in corrected] + [(i, c) for i, c in enumerate(corrected)]
    end = model + 1 + k
    return end + 1, edges + [(c, end) for c in corrected]


def _lanes(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    """Split, parallel chains, merge: Epigenomics' lanes."""
    depth = int(rng.integers(2, 5))
    lanes = max(2, n // depth)
    edges: Edges = []
    for lane in range(lanes):
        first = 1 + lane * depth
        edges += [(0, first)] + [(i, i + 1) for i in range(first, first + depth - 1)]
        edges.append((first + depth - 1, 1 + lanes * depth))
    return 2 + lanes * depth, edges


def _pairs(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    """Two roots feed many, each of which feeds one of its own, and two collect: CyberShake."""
    k = max(2, (n - 4) // 2)
    roots, synth, peak = (0, 1), range(2, 2 + k), range(2 + k, 2 + 2 * k)
    edges = [(roots[i % 2], s) for i, s in enumerate(synth)] + list(zip(synth, peak, strict=True))
    edges += [(s, 2 + 2 * k) for s in synth] + [(p, 3 + 2 * k) for p in peak]
    return 4 + 2 * k, edges


def _wide(n: int, rng: np.random.Generator) -> tuple[int, Edges]:
    return n, []


SHAPES: dict[str, Callable[[int, np.random.Generator], tuple[int, Edges]]] = {
    "chain": _chain, "fork-join": _fork_join, "map-reduce": _map_reduce, "layered": _layered, "tree": _tree,
    "montage": _montage, "lanes": _lanes, "pairs": _pairs, "wide": _wide,
}  # fmt: skip


def random_workload(
    rng: np.random.Generator, shapes: Sequence[str] = tuple(SHAPES), templates: int = 24, name: str = "random"
) -> Workload:
    """Draw a workload of one to three shapes.

    Tasks take 0.1 to 100 s in the middle; stages have 1 to 300 tasks, or, as in scientific workflows, mostly one.

    Raises:
        UnknownNameError: a shape that is not in :data:`SHAPES`.
    """
    for shape in shapes:
        if shape not in SHAPES:
            raise UnknownNameError("shape of jobs", shape, SHAPES)
    chosen = rng.choice(np.array(shapes), size=min(len(shapes), int(rng.integers(1, 4))), replace=False)
    middle_s, between, within = 10.0 ** rng.uniform(-1.0, 2.0), rng.uniform(0.2, 1.2), rng.uniform(0.05, 0.6)
    fresh, first, slower = rng.uniform(1.0, 2.5), rng.uniform(1.0, 1.6), rng.uniform(0.0, 0.08)
    most, single = int(10.0 ** rng.uniform(0.5, 2.5)), rng.random() < 0.3
    size = 10.0 ** rng.uniform(0.5, 1.7 if single else 1.2)
    jobs = []
    for k in range(templates):
        shape = str(chosen[k % len(chosen)])
        n, edges = SHAPES[shape](int(np.clip(rng.lognormal(np.log(size), 0.5), 2, 120)), rng)
        job_s = middle_s * rng.lognormal(0.0, between)
        stages = []
        for _ in range(n):
            tasks = 1 if single and rng.random() < 0.9 else int(np.clip(most * rng.pareto(1.5) * 0.3, 1, 300))
            base = job_s * rng.lognormal(0.0, 0.5) * rng.lognormal(0.0, within, size=SAMPLES)
            rest = {level: tuple(base * (1.0 + slower * i)) for i, level in enumerate(LEVELS)}
            begun, other = (
                {level: tuple(np.array(xs) * factor) for level, xs in rest.items()} for factor in (fresh, first)
            )
            stages.append(StageProfile(tasks, begun, other, rest))
        jobs.append(JobTemplate(f"{shape}-{k}", tuple(stages), tuple(edges)))
    return Workload(name, tuple(jobs))
