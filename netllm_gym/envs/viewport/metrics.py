"""Errors of predicted viewports, per window and horizon step, and confidence intervals over viewers.

All functions take predictions and truths of shape ``[..., f, 3]`` in degrees and return ``[..., f]``, so that
a mean over the last axis is a window's error and a mean over the others the error at each horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.viewport.tiles import TileView
from netllm_gym.envs.viewport.windows import Windows
from netllm_gym.traces.head import geometry

Array = NDArray[np.float64]


def mae_published(prediction: Array, truth: Array) -> Array:
    """NetLLM's error: mean over the three angles of ``min(|d|, |d + 360|, |d - 360|)``.

    It forgives one turn only, so extrapolations beyond ±540° cost more than 180°.
    """
    d = np.asarray(prediction, np.float64) - np.asarray(truth, np.float64)
    return np.minimum(np.abs(d), np.minimum(np.abs(d + 360.0), np.abs(d - 360.0))).mean(axis=-1)


def mae_wrapped(prediction: Array, truth: Array) -> Array:
    """Mean over the three angles of the difference folded into [-180, 180)."""
    return np.abs(geometry.wrap_deg(np.asarray(prediction) - np.asarray(truth))).mean(axis=-1)


def canonical(angles_deg: Array, reading: str) -> Array:
    """Read angles as canonical ones up to a constant longitude, shape unchanged.

    The published triples are turned back into quaternions; their data set's longitude offset is a multiple of
    90°, which changes neither distances nor, on grids of 4n columns, tile overlaps.
    """
    if reading == "canonical":
        return np.asarray(angles_deg, np.float64)
    flat = np.asarray(angles_deg, np.float64).reshape(-1, 3)
    return geometry.quaternion_to_canonical(geometry.published_to_quaternion(flat)).reshape(np.shape(angles_deg))


def great_circle(prediction: Array, truth: Array, reading: str = "canonical") -> Array:
    """Angle between the predicted and the true direction of view (the orthodromic error of TRACK)."""
    return geometry.great_circle_deg(canonical(prediction, reading), canonical(truth, reading))


def tile_scores(prediction: Array, truth: Array, view: TileView, reading: str = "canonical") -> dict[str, Array]:
    """Overlap of the tiles in the predicted and in the true view.

    Returns:
        ``hit_rate`` (share of truly visible tiles that were predicted), ``precision`` (share of predicted
        tiles that are visible), ``tile_iou``, and ``full_cover`` (1.0 where no visible tile is missing).
    """
    a = view.visible(canonical(prediction, reading))
    b = view.visible(canonical(truth, reading))
    both = (a & b).sum(axis=-1)
    return {
        "hit_rate": both / b.sum(axis=-1),
        "precision": both / a.sum(axis=-1),
        "tile_iou": both / (a | b).sum(axis=-1),
        "full_cover": (both == b.sum(axis=-1)).astype(np.float64),
    }


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(per_window: Array, cluster: NDArray[np.int64], seed: int = 0, draws: int = 2000) -> Interval:
    """Mean over windows with a bootstrap interval that resamples whole clusters (pairs of video and user).

    Windows of one viewer are alike; resampling windows would make the interval several times too narrow. Of several
    trainings of an agent, the trainings are resampled too.

    Args:
        per_window: error of each window, ``[N]``, or of each training and window, ``[S, N]``.
        cluster: cluster of each window, ``[N]``.
        seed: of the bootstrap.
        draws: bootstrap samples.
    """
    rows = np.atleast_2d(np.asarray(per_window, np.float64))
    _, index = np.unique(cluster, return_inverse=True)
    totals, counts = np.stack([np.bincount(index, row) for row in rows]), np.bincount(index)
    rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(0xB007,)))
    picked = rng.integers(len(counts), size=(draws, len(counts)))
    trained = rng.integers(len(rows), size=(draws, len(rows)))
    sums = totals[:, picked].sum(axis=2)  # [S, draws]
    means = sums[trained.T, np.arange(draws)].mean(axis=0) / counts[picked].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(np.mean(rows)), float(low), float(high))


def score(
    prediction: Array,
    windows: Windows,
    hold: Array | None = None,
    view: TileView | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the predictions of every window.

    Args:
        prediction: shape ``[N, f, 3]``, degrees.
        windows: the windows.
        hold: predictions of hold-last, against which `skill` is measured; default: the windows' last samples.
        view: also score tiles (costs about 20 microseconds a step).
        seed: of the bootstrap.

    Returns:
        ``mae_deg`` and ``mae_published_deg`` and ``great_circle_deg`` (:class:`Interval`), ``skill`` = 1 -
        error / error of hold-last (on ``mae_deg``), ``mae_at_s`` (published, per horizon second),
        ``axes_deg``, and with `view` the mean tile scores and their course over the horizon (``…_by_step``).
    """
    truth = windows.future_deg
    if hold is None:
        hold = np.repeat(windows.history_deg[:, -1:], truth.shape[1], axis=1)
    wrapped, published = mae_wrapped(prediction, truth), mae_published(prediction, truth)
    circle = great_circle(prediction, truth, windows.reading)
    by_step = published.mean(axis=0)
    seconds = [1 / windows.hz, *range(1, int(truth.shape[1] / windows.hz) + 1)]
    result: dict[str, Any] = {
        "mae_deg": interval(wrapped.mean(axis=1), windows.trace, seed),
        "mae_published_deg": interval(published.mean(axis=1), windows.trace, seed),
        "great_circle_deg": interval(circle.mean(axis=1), windows.trace, seed),
        "skill": 1.0 - float(wrapped.mean() / mae_wrapped(hold, truth).mean()),
        "mae_at_s": {f"{s:g}": float(by_step[round(s * windows.hz) - 1]) for s in seconds},
        "axes_deg": np.abs(geometry.wrap_deg(prediction - truth)).mean(axis=(0, 1)).tolist(),
        "great_circle_at_s": {f"{s:g}": float(circle.mean(axis=0)[round(s * windows.hz) - 1]) for s in seconds},
    }
    if view is not None:
        for name, values in tile_scores(prediction, truth, view, windows.reading).items():
            result[name] = interval(values.mean(axis=1), windows.trace, seed)
            result[f"{name}_by_step"] = values.mean(axis=0).tolist()
    return result


MOTION_BINS_DEG = (10.0, 30.0, 60.0)


def by_motion(prediction: Array, windows: Windows) -> dict[str, dict[str, float]]:
    """Error by how far the head went: a mean over all windows hides that hold-last fails where it matters.

    Args:
        prediction: shape ``[N, f, 3]``, degrees.
        windows: the windows; they fall into bins by the greatest angle between the last sample and a future one.

    Returns:
        Bin (``<10°``, ``10-30°``, ``30-60°``, ``≥60°``) → ``share`` of the windows, ``mae_deg`` and
        ``great_circle_deg`` (NaN in an empty bin).
    """
    hold = np.repeat(windows.history_deg[:, -1:], windows.future_deg.shape[1], axis=1)
    reach = great_circle(hold, windows.future_deg, windows.reading).max(axis=1)
    wrapped = mae_wrapped(prediction, windows.future_deg).mean(axis=1)
    circle = great_circle(prediction, windows.future_deg, windows.reading).mean(axis=1)
    number = np.digitize(reach, MOTION_BINS_DEG)
    low, middle, high = (f"{edge:g}" for edge in MOTION_BINS_DEG)
    result = {}
    for index, label in enumerate((f"<{low}°", f"{low}-{middle}°", f"{middle}-{high}°", f"≥{high}°")):
        inside = number == index
        result[label] = {
            "share": float(inside.mean()),
            "mae_deg": float(wrapped[inside].mean()) if inside.any() else float("nan"),
            "great_circle_deg": float(circle[inside].mean()) if inside.any() else float("nan"),
        }
    return result
