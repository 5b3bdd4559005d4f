"""Play angles of one reading with what was learnt on the other.

Head traces come as canonical angles (lon, lat, roll: every set but one) or as NetLLM stores them (roll, pitch, yaw).
Both name the same orientations, so a predictor of one reading answers for the other: its input is translated, and its
answer translated back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.traces.head import geometry

READINGS = ("canonical", "published")


def translate(angles_deg: ArrayLike, shown: str, wanted: str) -> NDArray[np.float64]:
    """Translate angles ``[…, 3]`` in degrees from one reading to another, up to a constant longitude; nan stays nan."""
    angles = np.asarray(angles_deg, np.float64)
    if shown == wanted:
        return angles
    flat = angles.reshape(-1, 3)
    known = np.isfinite(flat).all(axis=1)
    result = np.full(flat.shape, np.nan)
    if known.any():
        result[known] = (
            geometry.canonical_to_published(flat[known])
            if wanted == "published"
            else geometry.quaternion_to_canonical(geometry.published_to_quaternion(flat[known]))
        )
    return result.reshape(angles.shape)


def through(
    predict: Callable[[NDArray[np.float64]], NDArray[np.float64]], history_deg: ArrayLike, shown: str, wanted: str
) -> NDArray[np.float64]:
    """Ask a predictor of `wanted` angles about a history of `shown` ones.

    Args:
        predict: histories ``[N, h, 3]`` to futures ``[N, future, 3]``, degrees.
        history_deg: ``[N, h, 3]``.

    Returns:
        ``[N, future, 3]``, in the reading of the history, continued from its last sample without a jump.
    """
    history = geometry.unwrap_to_last(np.asarray(history_deg, np.float64))
    if shown == wanted:
        return predict(history)
    there = geometry.unwrap_to_last(translate(history, shown, wanted))
    back = translate(np.concatenate([there[:, -1:], predict(there)], axis=1), wanted, shown)
    steps = geometry.wrap_deg(np.diff(back, axis=1))  # a predicted head turns less than half a turn in a sample
    return history[:, -1:] + np.cumsum(steps, axis=1)


def at_least(history_deg: ArrayLike, samples: int) -> NDArray[np.float64]:
    """Lengthen histories ``[N, h, 3]`` to `samples` at least: before its first sample the head was at rest."""
    history = np.asarray(history_deg, np.float64)
    lacking = max(0, samples - history.shape[1])
    return np.concatenate([np.repeat(history[:, :1], lacking, axis=1), history], axis=1)


def to_horizon(path_deg: ArrayLike, future: int) -> NDArray[np.float64]:
    """Cut paths ``[…, f, 3]`` to `future` samples, or hold their last sample until then."""
    path = np.asarray(path_deg)[..., :future, :]
    return np.concatenate([path, np.repeat(path[..., -1:, :], future - path.shape[-2], axis=-2)], axis=-2)
