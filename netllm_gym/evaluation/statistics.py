"""What is said of episodes and of pairs of episodes: means, tails, shares, scores, and Holm's correction.

How sure these are is the business of :mod:`netllm_gym.evaluation.bootstrap`, and what follows from it that of
:mod:`netllm_gym.evaluation.verdicts`. Numpy only; usable on anyone's logs.

Shapes: S training seeds, N episodes, B bootstrap draws.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from netllm_gym.evaluation.bootstrap import Floats

TAIL = 0.05


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
    with np.errstate(divide="ignore", invalid="ignore"):
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


def probability_of_improvement(
    a: ArrayLike, b: ArrayLike, of_a: ArrayLike | None = None, of_b: ArrayLike | None = None
) -> Floats:
    """P(a > b) for independently drawn runs, ties one half (Agarwal et al., NeurIPS 2021; Mann–Whitney U).

    Args:
        a, b: ``[N]`` and ``[M]``, larger is better.
        of_a, of_b: weights ``[N]`` or ``[B, N]``, and ``[M]`` or ``[B, M]``; by default 1 each.

    Returns:
        A scalar, or ``[B]``.
    """
    a, b = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    of_a = np.ones(len(a)) if of_a is None else np.asarray(of_a, dtype=np.float64)
    of_b = np.ones(len(b)) if of_b is None else np.asarray(of_b, dtype=np.float64)
    order = np.argsort(b, kind="stable")
    below = np.concatenate([np.zeros((*of_b.shape[:-1], 1)), np.cumsum(of_b[..., order], axis=-1)], axis=-1)
    twice = below[..., np.searchsorted(b[order], a, "left")] + below[..., np.searchsorted(b[order], a, "right")]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sum(of_a * twice, axis=-1) / (2.0 * of_a.sum(axis=-1) * below[..., -1])


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down correction (1979); NaN entries are left out of the family."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


def normalised_score(x: ArrayLike, floor: ArrayLike, oracle: ArrayLike) -> float:
    """Share of the way from floor to oracle: ``Σ(x − floor) / Σ(oracle − floor)``.

    A ratio of sums, not a mean of ratios: episodes in which nothing can be gained do not blow it up. The sign of
    the metric cancels out.
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
