"""The throughput forecast of the MPC family, once: harmonic mean of the last five, and how wrong it has been."""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.compiled import njit

WINDOW = 5


@njit(cache=True, error_model="numpy")
def harmonic_mean(throughputs: Any, stop: Any) -> Any:
    """Harmonic mean of the positive entries among the `WINDOW` before `stop`; 0 if there is none."""
    count, inverse = 0, 0.0
    for h in range(max(stop - WINDOW, 0), stop):
        past = np.float64(throughputs[h])
        if past > 0.0:
            count += 1
            inverse += 1.0 / past
    return count / inverse if count else 0.0


@njit(cache=True, error_model="numpy")
def harmonic_means(throughputs: Any) -> Any:
    """:func:`harmonic_mean` of the newest throughputs of each row, ``[n]`` of ``[n, history]``."""
    found = np.empty(len(throughputs))
    for i in range(len(throughputs)):
        found[i] = harmonic_mean(throughputs[i], throughputs.shape[1])
    return found


@njit(cache=True, error_model="numpy")
def largest_error(throughputs: Any) -> Any:
    """Largest relative error that the forecasts of the throughputs in view made, from what is in view alone.

    RobustMPC remembers its errors from the start of the video. In a window of eight, up to five forecasts can be made
    again, the earlier ones from fewer than five throughputs; the result needs no memory.
    """
    size, worst = len(throughputs), 0.0
    for h in range(max(size - WINDOW, 1), size):
        actual = np.float64(throughputs[h])
        before = harmonic_mean(throughputs, h)
        if before > 0.0 and actual > 0.0:
            worst = max(worst, abs(before - actual) / actual)
    return worst
