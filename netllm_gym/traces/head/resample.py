"""Head motion on a uniform clock, by spherical interpolation; a gap stays a gap."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.head import geometry

HZ = 5.0
MAX_GAP_S = 1.0
# A recording longer than a day, or one resampled to more samples than this, is not a head log.
MAX_SAMPLES = 5_000_000
# Nor is one of which less than a sample in so many was seen, beyond an hour or so: its clock is in another unit.
SPARSE, FEW_SAMPLES = 1_000, 20_000


def resample(
    time_s: ArrayLike, quaternion: ArrayLike, name: str, hz: float = HZ, max_gap_s: float = MAX_GAP_S
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Put orientations on a uniform clock that starts at the first stamp.

    Args:
        time_s: stamps ``[n]``; they may repeat with the same orientation (the first counts) but not go back.
        quaternion: orientations ``[n, 4]`` as x, y, z, w.
        name: for error messages.
        hz: samples per second of the result.
        max_gap_s: samples strictly inside a longer pause between stamps are invalid.

    Returns:
        Quaternions ``[m, 4]`` and validity ``[m]``.

    Raises:
        TraceFormatError: stamps go back, contradict each other, or span too much.
    """
    time, q = np.asarray(time_s, dtype=np.float64), np.asarray(quaternion, dtype=np.float64)
    steps = np.diff(time)
    if (steps < 0).any():
        line = int(np.flatnonzero(steps < 0)[0]) + 2
        raise TraceFormatError(name, f"time {time[line - 1]:g} s does not come after {time[line - 2]:g} s", line)
    keep = np.concatenate([[True], steps > 0])
    twice = np.flatnonzero(~keep)
    for i in twice:
        if abs(float(np.dot(q[i], q[i - 1]))) < 1.0 - 1e-3:  # more than about 5° apart
            raise TraceFormatError(name, f"two different orientations at {time[i]:g} s", int(i) + 1)
    time, q = time[keep], q[keep]
    span = float(time[-1] - time[0])
    if not span * hz < MAX_SAMPLES:
        raise TraceFormatError(name, f"spans {span:g} s: not a head log")
    if span * hz > max(FEW_SAMPLES, SPARSE * len(time)):
        raise TraceFormatError(
            name, f"{len(time)} samples over {span:g} s: not a head log, or its clock has another unit: --time-unit"
        )
    count = int(np.floor(span * hz + 1e-6)) + 1
    at = time[0] + np.arange(count) / hz
    left = np.clip(np.searchsorted(time, at, side="right") - 1, 0, max(len(time) - 2, 0))
    right = np.minimum(left + 1, len(time) - 1)
    on_stamp = np.minimum(at - time[left], np.abs(time[right] - at)) < 1e-9
    valid = on_stamp | (time[right] - time[left] <= max_gap_s)
    return geometry.slerp(time, q, at), valid
