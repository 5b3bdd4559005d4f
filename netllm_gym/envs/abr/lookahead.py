"""What each level is worth when the link keeps a given speed: dynamic programming over a few chunks, without a ladder.

MPC's search gives one decision for one forecast. A learner wants more: how much worse every other level is, and how
that changes when the link turns out slower or faster than forecast. Everything here is in units that no ladder or
chunk length changes: time in chunk lengths, quality in ranges of the ladder (lowest level 0, highest 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.compiled import njit

# Points of the buffer's grid, denser near empty, where a stall begins.
POINTS = 16


@njit(cache=True, error_model="numpy", inline="always")
def _between(ahead: Any, a: Any, buffer: Any, top: Any, per_top: Any, grid: Any, per_step: Any) -> Any:
    """Interpolate row `a` of `ahead` linearly on the `grid` ``top · (j / (POINTS − 1))²``."""
    held = min(buffer, top)
    j = min(np.uint32(np.sqrt(held * per_top) * (POINTS - 1)), np.uint32(POINTS - 2))
    low = ahead[a, j]
    return low + (ahead[a, j + 1] - low) * (held - grid[j]) * per_step[j]


@njit(cache=True, error_model="numpy")
def level_values(
    times: Any,
    scale: Any,
    delay: Any,
    quality: Any,
    before: Any,
    stall: Any,
    up: Any,
    down: Any,
    buffer: Any,
    cap: Any,
    worth: Any,
    useful: Any,
    out: Any,
) -> None:
    """Write the best sum of rewards that begins with each level into `out` ``[L]``.

    Args:
        times: download times of the coming chunks, chunk lengths, ``[H, L]``.
        scale: factor on them.
        delay: request latency, chunk lengths.
        quality: of each level, not falling, ``[L]``.
        before: quality of the last chunk; NaN if there was none.
        stall, up, down: cost of a chunk length of stall, and of a unit of rising and falling quality.
        buffer, cap: chunk lengths.
        worth: what a chunk length of buffer at the end is worth, up to `useful`.
    """
    horizon, levels = times.shape
    top = max(min(cap, buffer + horizon), 1.0)
    ahead, now = np.empty((levels, POINTS)), np.empty((levels, POINTS))
    gains, grid, per_step = np.empty(levels), np.empty(POINTS), np.empty(POINTS)
    per_top = 1.0 / top
    for j in range(POINTS):
        grid[j] = top * (j / (POINTS - 1)) ** 2
        per_step[j] = (POINTS - 1) ** 2 * per_top / (2 * j + 1)
        rest = worth * min(grid[j], useful)
        for a in range(levels):
            ahead[a, j] = rest
    for k in range(horizon - 1, 0, -1):
        for j in range(POINTS):
            for a in range(levels):
                over = times[k, a] * scale + delay - grid[j]
                rest = _between(ahead, a, max(-over, 0.0) + 1.0, top, per_top, grid, per_step)
                gains[a] = quality[a] - stall * max(over, 0.0) + rest
            # What follows level a: the best of staying, falling (first sweep) and rising (second).
            best = gains[0]
            now[0, j] = best
            for a in range(1, levels):
                best = max(best - down * (quality[a] - quality[a - 1]), gains[a])
                now[a, j] = best
            best = gains[levels - 1]
            for a in range(levels - 2, -1, -1):
                best = max(best - up * (quality[a + 1] - quality[a]), gains[a])
                now[a, j] = max(now[a, j], best)
        ahead, now = now, ahead
    for a in range(levels):
        over = times[0, a] * scale + delay - buffer
        change = quality[a] - before
        cost = 0.0 if np.isnan(before) else (up * change if change > 0.0 else -down * change)
        rest = _between(ahead, a, max(-over, 0.0) + 1.0, top, per_top, grid, per_step)
        out[a] = quality[a] - stall * max(over, 0.0) - cost + rest
