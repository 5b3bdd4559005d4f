"""How many traces, and how many training seeds, does it take to see a difference?

The pilot is a finished evaluation. Its paired differences d[s, n] of training seed s on episode n are read as
μ + a[s] + b[n] + e[s, n]: what the seed does everywhere, what the trace does to every seed, and the rest. Then

    variance of the mean = A / S + (B + E / S) / N

with A the variance of a, and B and E those of b and e per episode, clustered by source recording. More traces cannot
buy back A / S: an unlucky training run stays unlucky on every trace. The normal approximation turns the variance into
traces and seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.evaluation.statistics import Floats

SEEDS = (1, 2, 3, 5, 10)


@dataclass(frozen=True)
class Power:
    """What a number of episodes and training seeds can show.

    Attributes:
        episodes, seeds: as many as the pilot data have.
        effect: the difference asked for, in the metric's unit.
        detectable: smallest true difference found with the wanted power by the pilot's episodes and seeds.
        needed: episodes needed to find `effect` with the pilot's seeds, of recordings as large as the pilot's;
            ``None`` when no number is enough, because the seeds alone differ too much.
        seed_sd: standard deviation between training seeds, ``None`` when the pilot has one seed.
        plan: training seeds → episodes needed (or ``None``); empty when the pilot has one seed.
    """

    episodes: int
    seeds: int
    effect: float
    detectable: float
    needed: int | None
    seed_sd: float | None = None
    plan: dict[int, int | None] = field(default_factory=dict)


def _clustered(values: Floats, group_of: np.ndarray, groups: int) -> float:
    """Variance per episode of the mean of `values` ``[N]``, from sums over recordings (factor G/(G−1))."""
    sums = np.bincount(group_of, values - values.mean(), groups)
    return float(np.sum(sums**2)) * groups / (groups - 1) / len(values)


def power(
    differences: ArrayLike, groups: Sequence[object], effect: float, level: float = 0.05, wanted: float = 0.80
) -> Power:
    """How many traces and training seeds are needed to see a mean paired difference of `effect`?

    Args:
        differences: agent − baseline, ``[N]`` episodes or ``[S, N]``, training seeds × episodes.
        groups: source recording of each episode, ``[N]``.
        effect: in the metric's unit.
        level, wanted: of the two-sided test, and its power.

    Raises:
        ConfigError: `effect` is not positive, or `level` or `wanted` no probability.
        DatasetError: fewer than two recordings.
    """
    if effect <= 0 or not 0 < level < 1 or not 0 < wanted < 1:
        raise ConfigError("power needs effect > 0 and level and wanted power between 0 and 1")
    values = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    seeds, episodes = values.shape
    names, group_of = np.unique([str(group) for group in groups], return_inverse=True)
    if len(names) < 2:
        raise DatasetError("power needs episodes of at least two source recordings")
    normal = NormalDist()
    factor = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(wanted)
    target = (effect / factor) ** 2

    traces, rest, between = _clustered(values.mean(axis=0), group_of, len(names)), 0.0, 0.0
    if seeds > 1:
        residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        rest = np.mean([_clustered(row, group_of, len(names)) for row in residual]) * seeds / (seeds - 1)
        between = max(0.0, float(np.var(values.mean(axis=1), ddof=1)) - rest / episodes)
        traces = max(0.0, traces - rest / seeds)

    def needed(count: int) -> int | None:
        left = target - between / count
        if left <= 0:
            return None
        return max(1, math.ceil((traces + rest / count) / left - 1e-9))

    spread = between / seeds + (traces + rest / seeds) / episodes
    plan = {count: needed(count) for count in SEEDS} if seeds > 1 else {}
    sd = math.sqrt(between) if seeds > 1 else None
    return Power(episodes, seeds, effect, factor * math.sqrt(spread), needed(seeds), sd, plan)
