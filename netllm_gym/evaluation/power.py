"""How many traces, and how many training seeds, does it take to see a difference?

The pilot is a finished evaluation. Its paired differences d[s, n] of training seed s on episode n are read as
μ + a[s] + b[n] + e[s, n]: what the seed does everywhere, what the trace does to every seed, and the rest. Then

    variance of the mean = A / S + (B + E / S) / N

with A the variance of a, and B and E those of b and e per episode, clustered by the episodes' groups. More traces
cannot buy back A / S: an unlucky training run stays unlucky on every trace. The normal approximation turns the
variance into traces and seeds. Where groups are crossed (videos and viewers), all factors are taken to grow in the
same proportion: more viewers of the same six videos do not buy back what the videos differ by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.evaluation.bootstrap import Bootstrap, Floats

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
        levels: factor → levels needed with the pilot's seeds, where several factors are crossed.
    """

    episodes: int
    seeds: int
    effect: float
    detectable: float
    needed: int | None
    seed_sd: float | None = None
    plan: dict[int, int | None] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """What is needed, in words: ``120 traces``, or ``14 videos × 49 users``; empty when nothing is enough."""
        if self.needed is None:
            return ""
        if self.levels:
            return " × ".join(f"{count} {factor}s" for factor, count in self.levels.items())
        return f"{self.needed} traces"


def power(
    differences: ArrayLike,
    groups: ArrayLike | Mapping[str, ArrayLike],
    effect: float,
    level: float = 0.05,
    wanted: float = 0.80,
) -> Power:
    """How many traces and training seeds are needed to see a mean paired difference of `effect`?

    Args:
        differences: agent − baseline, ``[N]`` episodes or ``[S, N]``, training seeds × episodes.
        groups: source recording of each episode, ``[N]``, or factor → level of each episode.
        effect: in the metric's unit.
        level, wanted: of the two-sided test, and its power.

    Raises:
        ConfigError: `effect` is not positive, or `level` or `wanted` no probability.
        DatasetError: a factor with fewer than two levels.
    """
    if effect <= 0 or not 0 < level < 1 or not 0 < wanted < 1:
        raise ConfigError("power needs effect > 0 and level and wanted power between 0 and 1")
    values = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    seeds, episodes = values.shape
    sample = Bootstrap(groups, 100)
    factor_name, least = sample.smallest
    if least < 2:
        raise DatasetError(f"power needs episodes of at least two levels of each factor, got one {factor_name}")
    normal = NormalDist()
    factor = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(wanted)
    target = (effect / factor) ** 2

    def per_episode(row: Floats) -> float:
        return sample.variance(row) * episodes

    traces, rest, between = per_episode(values.mean(axis=0)), 0.0, 0.0
    if seeds > 1:
        residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        rest = float(np.mean([per_episode(row) for row in residual])) * seeds / (seeds - 1)
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
    enough = needed(seeds)
    levels = {}
    if enough is not None and len(sample.crossed) > 1:
        levels = {name: math.ceil(size * enough / episodes - 1e-9) for name, size in sample.levels.items()}
    return Power(episodes, seeds, effect, factor * math.sqrt(spread), enough, sd, plan, levels)
