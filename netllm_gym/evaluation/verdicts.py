"""Who decided better, said only as far as the data carry it: comparisons, families of tests, verdicts.

A verdict speaks of what was sampled. Rules are what they are: ``better``. A trained agent is one draw of its recipe:
``checkpoint better`` speaks of these weights, ``method better`` of the recipe, and needs :data:`MIN_TRAININGS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.evaluation import statistics as stats
from netllm_gym.evaluation.bootstrap import Bootstrap, Estimate, percentile_interval

# A sign test on five pairs cannot reach p < 0.05 (2 / 2**5 = 0.0625): below six levels of any factor no verdict.
MIN_GROUPS = 6
# With fewer trainings than this a spread over trainings is hardly known: a verdict speaks of the checkpoint.
MIN_TRAININGS = 5
LEVEL = 0.05
WORDS = ("better", "worse", "equivalent", "undecided")


@dataclass(frozen=True)
class Margin:
    """Half-width of the region in which two agents count as equivalent.

    Attributes:
        value: in the metric's unit.
        reason: why differences below it do not matter.
    """

    value: float
    reason: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ConfigError(f"a margin of equivalence is a number of at least 0, got {self.value}")


@dataclass(frozen=True)
class Influence:
    """How much of a difference hangs on how few recordings.

    Attributes:
        half: the least number of recordings that carry half of the difference.
        recordings: of how many.
        without_three: the difference without the three recordings that carry most of it.
    """

    half: int
    recordings: int
    without_three: float


@dataclass(frozen=True)
class Comparison:
    """An agent against the baseline; differences are agent - baseline in the metric's own sign.

    Attributes:
        estimate: of the mean paired difference.
        wins: share of episodes in which the agent is better, ties one half.
        improvement: probability of improvement, with its 95 % interval.
        influence: how few recordings carry the difference.
        smallest: the factor with the fewest levels, and how many: ``("video", 6)``.
        trainings: of whichever side has fewer; ``None`` when neither is trained.
    """

    estimate: Estimate
    wins: float
    improvement: tuple[float, float, float]
    influence: Influence
    smallest: tuple[str, int]
    trainings: int | None = None
    interval: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval", self.estimate.interval())

    @property
    def difference(self) -> float:
        """Mean paired difference."""
        return self.estimate.value

    @property
    def p_value(self) -> float:
        """Two-sided p value of no difference, before correction; 1 when nothing differs at all."""
        return self.estimate.p_value()

    def p_equivalent(self, margin: Margin | None) -> float:
        """P value of a difference of `margin` or more (two one-sided tests), before correction; NaN without margin."""
        if margin is None:
            return math.nan
        return max(self.estimate.p_below(-margin.value), self.estimate.p_above(margin.value))


def influence(differences: ArrayLike, cells: Sequence[object]) -> Influence:
    """Return how few recordings carry the mean of `differences`.

    Args:
        differences: per episode, ``[N]``.
        cells: the recording of each episode, ``[N]``: the combination of its groups.
    """
    values = np.asarray(differences, dtype=np.float64)
    names, cell = np.unique([str(c) for c in cells], return_inverse=True)
    sums = np.bincount(cell, values, len(names))
    total = float(sums.sum())
    order = np.argsort(-sums if total >= 0 else sums, kind="stable")
    carried = np.cumsum(sums[order])
    half = int(np.argmax(np.abs(carried) >= abs(total) / 2) + 1) if total else 0
    kept = ~np.isin(cell, order[:3])
    return Influence(half, len(names), float(values[kept].mean()) if kept.any() else math.nan)


def compare(
    a: ArrayLike,
    b: ArrayLike,
    bootstrap: Bootstrap,
    better: str = "higher",
    who: tuple[str, str] = ("a", "b"),
    cells: Sequence[object] | None = None,
    trainings: int | None = None,
) -> Comparison:
    """Compare agent `a` with baseline `b` (``[N]`` or ``[S, N]`` each, same episodes).

    Args:
        a, b: the metric.
        bootstrap: over the groups of the episodes.
        better: ``higher`` or ``lower``.
        who: names of the two: draws of training seeds are keyed by them.
        cells: recording of each episode, for the influence; by default every episode is one.
        trainings: of whichever side has fewer, ``None`` when neither is trained.

    Raises:
        DatasetError: the episodes differ in number.
    """
    a, b = (np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in (a, b))
    if a.shape[1] != b.shape[1]:
        raise DatasetError(f"paired agents need the same episodes, got {a.shape[1]} and {b.shape[1]}")
    sign = 1.0 if better == "higher" else -1.0
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    first, second = (sign * a).ravel(), (sign * b).ravel()

    def improved(weights: dict[str, np.ndarray]) -> np.ndarray:
        return stats.probability_of_improvement(first, second, weights["a"], weights["b"])

    drawn = bootstrap.resampled({"a": a, "b": b}, improved)
    return Comparison(
        bootstrap.difference(a, b, who),
        stats.win_rate(sign * (mean_a - mean_b)),
        (float(stats.probability_of_improvement(first, second)), *percentile_interval(drawn)),
        influence(mean_a - mean_b, range(a.shape[1]) if cells is None else cells),
        bootstrap.smallest,
        trainings,
    )


@dataclass(frozen=True)
class Verdict:
    """What is said of a comparison.

    Attributes:
        word: ``better``, ``worse``, ``equivalent`` or ``undecided``.
        scope: ``checkpoint`` or ``method`` where a trained agent is judged, else empty.
        p_difference, p_equivalent: corrected over the family.
        reason: why it is undecided, in a line.
    """

    word: str
    scope: str = ""
    p_difference: float = math.nan
    p_equivalent: float = math.nan
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.scope} {self.word}" if self.scope and self.word != "undecided" else self.word


def plain(verdict: str) -> str:
    """Return a verdict's word without its scope: ``better`` of ``checkpoint better``."""
    return verdict.rpartition(" ")[2]


def needed_draws(tests: int) -> int:
    """Least number of draws whose p values can survive Holm's correction over `tests` tests: 2/(B + 1) < 5 %/tests."""
    return math.ceil(2 * max(tests, 1) / LEVEL)


def judge(
    comparisons: Sequence[Comparison], better: str = "higher", margins: Sequence[Margin | None] | Margin | None = None
) -> list[Verdict]:
    """Judge comparisons that are claimed together, corrected by Holm over all of them.

    A difference counts when its corrected p value is below 5 % and its 95 % interval leaves out zero. Equivalent means
    that both one-sided tests against ± the margin stay below 5 % after the same correction, even when the tiny
    difference is certain.

    Args:
        comparisons: the family.
        better: ``higher`` or ``lower``.
        margins: one for all, or one each; ``None`` where none is known.
    """
    each = margins if isinstance(margins, Sequence) else [margins] * len(comparisons)
    differ = stats.holm([c.p_value for c in comparisons])
    same = stats.holm([c.p_equivalent(m) for c, m in zip(comparisons, each, strict=True)])
    return [_verdict(c, float(p), float(q), better) for c, p, q in zip(comparisons, differ, same, strict=True)]


def _verdict(found: Comparison, p: float, q: float, better: str) -> Verdict:
    scope = "" if found.trainings is None else "method" if found.trainings >= MIN_TRAININGS else "checkpoint"
    factor, levels = found.smallest
    low, high = found.interval
    if levels < MIN_GROUPS:
        many = f"{levels} {factor}{'s' * (levels != 1)}"
        reason = f"{many}: fewer than {MIN_GROUPS} say nothing about others"
        return Verdict("undecided", scope, p, q, reason)
    if q < LEVEL:
        return Verdict("equivalent", scope, p, q)
    if p < LEVEL and not low <= 0.0 <= high:
        word = "better" if (found.difference > 0) == (better == "higher") else "worse"
        return Verdict(word, scope, p, q)
    reason = (
        "the interval holds zero" if low <= 0.0 <= high else "p, corrected for all that is claimed, is not below 5 %"
    )
    return Verdict("undecided", scope, p, q, reason)
