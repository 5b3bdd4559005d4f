"""Errors of predicted viewports, per window and horizon step, and confidence intervals over viewers.

All functions take predictions and truths of shape ``[..., f, 3]`` in degrees and return ``[..., f]``, so that
a mean over the last axis is a window's error and a mean over the others the error at each horizon.
"""

from __future__ import annotations

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
