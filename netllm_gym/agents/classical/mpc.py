"""The search behind MPC: the best plan over a short horizon under a constant throughput forecast.

A plan's value is its quality minus stalls minus changes; the buffer has no cap and requests no latency (Yin et al.,
SIGCOMM 2015, section 4; Pensieve's enumeration). The search is depth-first over all ``levels ** horizon`` plans and
skips a branch when even the top quality for the rest could not reach the best plan found, so its choice is that of
the full enumeration.

Ties are everywhere (raising the last chunk by one level gains exactly what the change costs), so qualities are
summed as integers (thousandths): the value of a plan then does not depend on the order of summation.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAX_HORIZON = 8


@njit(cache=True)
def _search(seconds, quality, stall_weight, switch_weight, chunk_s, buffer, last):
    """Return the first action of the best plan; `seconds` [H, L] are forecast download times."""
    horizon, levels = seconds.shape
    top = quality[levels - 1]
    level = np.zeros(MAX_HORIZON + 1, np.int64)
    buffers, stalls = np.zeros(MAX_HORIZON + 1), np.zeros(MAX_HORIZON + 1)
    gains, switches = np.zeros(MAX_HORIZON + 1, np.int64), np.zeros(MAX_HORIZON + 1, np.int64)
    chosen = np.zeros(MAX_HORIZON + 1, np.int64)
    chosen[0] = last
    buffers[0] = buffer
    best, answer = -np.inf, 0
    depth = 0
    while depth >= 0:
        a = level[depth]
        if a == levels:
            level[depth] = 0
            depth -= 1
            continue
        level[depth] = a + 1
        time = seconds[depth, a]
        stall = stalls[depth]
        ahead = buffers[depth]
        if time > ahead:
            stall += time - ahead
            ahead = 0.0
        else:
            ahead -= time
        gain = gains[depth] + quality[a]
        switch = switches[depth] + abs(quality[a] - quality[chosen[depth]])
        left = horizon - 1 - depth
        # What is still open can at best play the top level without stall or change; 1e-6 keeps ties in the race.
        bound = (gain + left * top) / 1000.0 - stall_weight * stall - switch_weight * (switch / 1000.0)
        if bound < best - 1e-6:
            continue
        if left == 0:
            value = gain / 1000.0 - stall_weight * stall - switch_weight * (switch / 1000.0)
            if value >= best:
                best = value
                answer = a if depth == 0 else chosen[1]
        else:
            depth += 1
            chosen[depth] = a
            buffers[depth], stalls[depth] = ahead + chunk_s, stall
            gains[depth], switches[depth] = gain, switch
    return answer


def choose(
    sizes: NDArray[np.float64],
    quality: NDArray[np.float64],
    stall_weight: float,
    switch_weight: float,
    chunk_s: float,
    bytes_per_s: float,
    buffer_s: float,
    last: int,
) -> int:
    """Return the first level of the best plan over the chunks of `sizes` (bytes, ``[H, L]``)."""
    thousandths = np.rint(np.asarray(quality) * 1000.0).astype(np.int64)
    return int(_search(sizes / bytes_per_s, thousandths, stall_weight, switch_weight, chunk_s, buffer_s, last))
