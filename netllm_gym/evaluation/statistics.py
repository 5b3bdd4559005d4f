"""What a difference between agents is worth: intervals, tests and verdicts for paired, clustered episodes.

Traces cut from one recording resemble each other, and runs of one training recipe differ by their seed.
Intervals therefore resample *source recordings* × *training seeds* (a crossed cluster bootstrap) and never
single episodes. Every agent sees the same resampled recordings, so differences stay paired. Numpy only;
usable on anyone's logs.

Shapes: S training seeds, N episodes, B bootstrap draws, G groups (source recordings).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import ConfigError, DatasetError

Floats = NDArray[np.float64]

# A sign test on five pairs cannot reach p < 0.05 (2 / 2**5 = 0.0625): below six recordings no verdict is
# given.
MIN_GROUPS = 6
TAIL = 0.05
# Half-width of the equivalence region, as a share of the span from floor to oracle.
EQUIVALENCE = 0.02


def iqm(values: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Interquartile mean: the mean of the middle half of the weight.

    Args:
        values: ``[N]``.
        weights: ``[N]`` or ``[B, N]``, non-negative; by default 1 each. Values on a quartile count in part.

    Returns:
        A scalar, or ``[B]``.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(values.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    sorted_weights = weights[..., order]
    upper = np.cumsum(sorted_weights, axis=-1)
    total = upper[..., -1:]
    inside = np.minimum(upper, 0.75 * total) - np.maximum(upper - sorted_weights, 0.25 * total)
    return np.sum(np.maximum(inside, 0.0) * values[order], axis=-1) / (0.5 * total[..., 0])


def tail_mean(values: ArrayLike, better: str = "higher", share: float = TAIL) -> float:
    """Mean of the worst `share` of the values (at least one): what the unluckiest users get."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = max(1, math.ceil(share * len(ordered) - 1e-9))
    return float(ordered[:count].mean() if better == "higher" else ordered[-count:].mean())


def win_rate(differences: ArrayLike) -> float:
    """Share of episodes won (difference > 0); a tie counts one half."""
    differences = np.asarray(differences, dtype=np.float64)
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """P(a > b) for independently drawn episodes, ties one half (Agarwal et al., NeurIPS 2021; Mann–Whitney
    U).
    """
    a, b = np.asarray(a, dtype=np.float64), np.sort(np.asarray(b, dtype=np.float64))
    below = np.searchsorted(b, a, side="left") + np.searchsorted(b, a, side="right")
    return float(below.mean() / (2.0 * len(b)))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down correction (1979); NaN entries are left out of the family."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


class Bootstrap:
    """Crossed cluster bootstrap over the recordings of a fixed list of episodes.

    Args:
        groups: source recording of each episode, ``[N]``.
        draws: number of resamples B.
        seed: the same seed gives the same resamples.
    """

    CHUNK = 512  # resamples held in memory at a time

    def __init__(self, groups: Sequence[object], draws: int = 4000, seed: int = 0) -> None:
        if len(groups) == 0:
            raise DatasetError("no episodes to resample")
        if draws < 100:
            raise ConfigError(f"a bootstrap needs at least 100 draws, got {draws}")
        _, self._group_of = np.unique([str(group) for group in groups], return_inverse=True)
        self.groups = int(self._group_of.max()) + 1
        self.draws, self.seed = draws, seed
        rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(0xB007,)))
        self._counts = rng.multinomial(self.groups, np.full(self.groups, 1.0 / self.groups), size=draws)

    def _seed_weights(self, seeds: int, who: int) -> Floats:
        """How often each of an agent's training seeds is drawn, ``[B, S]``, as shares."""
        if seeds == 1:
            return np.ones((self.draws, 1))
        rng = np.random.default_rng(np.random.SeedSequence(entropy=self.seed, spawn_key=(0x5EED, who)))
        return rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=self.draws) / seeds

    def _sums(self, values: Floats, who: int) -> Floats:
        """Resampled sums of `values` ``[S, N]`` over episodes, averaged over the seeds drawn: ``[B]``."""
        per_group = np.stack([np.bincount(self._group_of, row, self.groups) for row in values])
        return np.sum((self._counts @ per_group.T) * self._seed_weights(len(values), who), axis=1)

    def mean(self, values: ArrayLike, who: int = 0) -> Floats:
        """Resampled means of `values` (``[N]`` or ``[S, N]``), ``[B]``; `who` keys the draws of training
        seeds.
        """
        values = np.atleast_2d(np.asarray(values, dtype=np.float64))
        return self._sums(values, who) / (self._counts @ np.bincount(self._group_of))

    def difference(self, a: ArrayLike, b: ArrayLike, who: tuple[int, int] = (0, 1)) -> Floats:
        """Resampled means of the paired difference ``a − b``, ``[B]``: same recordings, seeds of each its
        own.
        """
        return self.mean(a, who[0]) - self.mean(b, who[1])

    def score(self, x: ArrayLike, floor: ArrayLike, oracle: ArrayLike, who: int = 0) -> Floats:
        """Resampled normalised scores of `x` (``[N]`` or ``[S, N]``), ``[B]``."""
        x = np.atleast_2d(np.asarray(x, dtype=np.float64))
        low, high = np.asarray(floor, dtype=np.float64)[None], np.asarray(oracle, dtype=np.float64)[None]
        span = self._sums(high - low, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._sums(x - low, who) / span

    def improvement(self, a: ArrayLike, b: ArrayLike) -> Floats:
        """Resampled probabilities of improvement of `a` over `b` (``[N]`` each, larger is better), ``[B]``."""
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
        member = np.eye(self.groups)[self._group_of]
        won, size = member.T @ wins @ member, np.bincount(self._group_of)
        return np.einsum("bg,gh,bh->b", self._counts, won, self._counts, optimize=True) / (self._counts @ size) ** 2

    def statistic(self, values: ArrayLike, function: Callable[[Floats, Floats], Floats]) -> Floats:
        """Resampled ``function(values, weights)`` of one value per episode, ``[B]`` (for the IQM, say)."""
        values = np.asarray(values, dtype=np.float64)
        parts = []
        for begin in range(0, self.draws, self.CHUNK):
            weights = self._counts[begin : begin + self.CHUNK][:, self._group_of].astype(np.float64)
            parts.append(function(values, weights))
        return np.concatenate(parts)


def interval(resampled: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the resampled statistic."""
    low, high = np.quantile(np.asarray(resampled), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p(resampled_difference: ArrayLike) -> float:
    """Two-sided p value of 'no difference' from resampled differences; 1 when nothing differs at all."""
    resampled = np.asarray(resampled_difference)
    if not resampled.any():
        return 1.0
    side = min(int(np.sum(resampled <= 0)), int(np.sum(resampled >= 0)))
    return min(1.0, 2.0 * (side + 1) / (len(resampled) + 1))


def normalised_score(x: ArrayLike, floor: ArrayLike, oracle: ArrayLike) -> float:
    """Share of the way from floor to oracle: ``Σ(x − floor) / Σ(oracle − floor)``.

    A ratio of sums, not a mean of ratios: episodes in which nothing can be gained do not blow it up. The sign
        of the
    metric cancels out.
    """
    x, low, high = (np.asarray(v, dtype=np.float64) for v in (x, floor, oracle))
    span = float(np.sum(high - low))
    return float(np.sum(x - low)) / span if span else math.nan


def episode_scores(x: ArrayLike, floor: ArrayLike, oracle: ArrayLike) -> Floats:
    """Normalised score of each episode: 1 − regret / mean span, ``[N]`` or ``[S, N]``, whose mean is exactly
    :func:`normalised_score`.

    The regret (oracle − x) of an episode is measured by the *mean* span from floor to oracle, since an episode's own
    may be zero.
    """
    x, low, high = (np.asarray(v, dtype=np.float64) for v in (x, floor, oracle))
    span = float(np.mean(high - low))
    return 1.0 - (high - x) / span if span else np.full(x.shape, math.nan)


def performance_profile(values: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Share of the runs whose score is above each threshold, ``[T]`` (Agarwal et al., NeurIPS 2021).

    Args:
        values: scores, ``[N]`` or ``[S, N]``.
        thresholds: ``[T]``.
    """
    flat = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    return 1.0 - np.searchsorted(flat, np.asarray(thresholds), side="right") / len(flat)


@dataclass(frozen=True)
class Comparison:
    """An agent against the baseline; differences are agent − baseline in the metric's own sign.

    Attributes:
        difference, low, high: mean paired difference and its 95 % interval.
        p_value: two-sided, before correction.
        inner: 90 % interval, for the equivalence test (two one-sided tests at 5 %).
        wins: share of episodes in which the agent is better, ties one half.
        improvement: probability of improvement, with its 95 % interval.
    """

    difference: float
    low: float
    high: float
    p_value: float
    inner: tuple[float, float]
    wins: float
    improvement: tuple[float, float, float]


def compare(
    a: ArrayLike, b: ArrayLike, bootstrap: Bootstrap, better: str = "higher", who: tuple[int, int] = (0, 1)
) -> Comparison:
    """Compare agent `a` with baseline `b` (``[N]`` or ``[S, N]`` each, same episodes).

    Raises:
        DatasetError: the episodes differ in number.
    """
    a, b = (np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in (a, b))
    if a.shape[1] != b.shape[1]:
        raise DatasetError(f"paired agents need the same episodes, got {a.shape[1]} and {b.shape[1]}")
    resampled = bootstrap.difference(a, b, who)
    sign = 1.0 if better == "higher" else -1.0
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    return Comparison(
        float(np.mean(mean_a - mean_b)),
        *interval(resampled),
        bootstrap_p(resampled),
        interval(resampled, 0.90),
        win_rate(sign * (mean_a - mean_b)),
        (
            probability_of_improvement(sign * mean_a, sign * mean_b),
            *interval(bootstrap.improvement(sign * mean_a, sign * mean_b)),
        ),
    )


def verdict(
    comparison: Comparison, p_holm: float, groups: int, better: str = "higher", margin: float | None = None
) -> str:
    """Return ``better``, ``equivalent``, ``worse`` or ``undecided``.

    A difference counts only when its 95 % interval leaves out zero *and* the corrected p value is below 5 %.
    Equivalent means that the 90 % interval lies within ± `margin`, even when the tiny difference is certain.

    Args:
        comparison: of the agent with the baseline.
        p_holm: the p value corrected over all agents compared.
        groups: number of source recordings; fewer than ``MIN_GROUPS`` decide nothing.
        better: ``higher`` or ``lower``.
        margin: half-width of the equivalence region in the metric's unit, ``None`` when the span is unknown.
    """
    if groups < MIN_GROUPS:
        return "undecided"
    if margin is not None and -margin <= comparison.inner[0] and comparison.inner[1] <= margin:
        return "equivalent"
    if p_holm < 0.05 and not comparison.low <= 0.0 <= comparison.high:
        return "better" if (comparison.difference > 0) == (better == "higher") else "worse"
    return "undecided"
