"""The physics of a download, compiled: shared by the single environment, the batched one and the planners.

A link is three arrays over its pieces: ``end`` (s, end of each piece), ``carried`` (bytes the link has delivered by
that end, payload only) and ``rate`` (bytes/s). Because the trace is cyclic and piecewise constant, the time a
download takes is a search in the prefix sum ``carried``, not a loop over samples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.traces.network.trace import NetworkTrace

BYTES_PER_MBIT = 1e6 / 8.0
# Unsigned, so that compiled code need not ask of every index whether it counts from the end.
Index = np.uint32
WINDOW = 16


def link_arrays(trace: NetworkTrace, payload: float) -> tuple[NDArray, NDArray, NDArray]:
    """Return ``(end, carried, rate)`` of a trace whose bytes are to the share `payload` video (headers excluded)."""
    rate = trace.throughput_mbps * BYTES_PER_MBIT * payload
    return trace.end_s, np.cumsum(rate * trace.duration_s), rate


@njit(cache=True, error_model="numpy")
def wrap(total: Any, offset: Any) -> Any:
    """Fold a time into one cycle, ``[0, total)``."""
    if offset >= total:
        offset -= total * math.floor(offset / total)
        if offset >= total:  # rounding
            offset = 0.0
    return offset


@njit(cache=True, error_model="numpy", inline="always")
def _seek(values: Any, x: Any, i: Any, stop: Any) -> Any:
    """Index of the first entry >= x of ``values[:stop]``, at the guess `i` or after it.

    How far a download reaches is unpredictable, and a mispredicted branch costs as much as a dozen comparisons.
    Hence the next entries are counted without branches (vectorised: the count's end is not known to the compiler,
    which would unroll it otherwise); only what lies farther is searched in steps that double.
    """
    near = Index(i)
    ahead = 0
    for k in range(min(WINDOW, stop - near)):
        ahead += values[near + Index(k)] < x
    left = near + ahead
    if ahead == WINDOW:
        stride, right = 1, left
        while right < stop and values[right] < x:
            left = right + 1
            right += stride
            stride <<= 1
        right = min(right, stop)
        while left < right:
            mid = (left + right) >> 1
            if values[mid] < x:
                left = mid + 1
            else:
                right = mid
    return left


@njit(cache=True, error_model="numpy", inline="always")
def _near(values: Any, x: Any, i: Any, low: Any, stop: Any) -> Any:
    """Index of the first entry >= x of ``values[low:stop]`` when the guess `i` is mostly right."""
    here = Index(i)
    if values[here] < x:
        return _seek(values, x, i, stop)
    while here > low and values[here - 1] >= x:
        here = Index(here - 1)
    return np.int64(here)


@njit(cache=True, error_model="numpy", inline="always")
def piece_at(end: Any, offset: Any, low: Any, stop: Any) -> Any:
    """Index of the piece that `offset` (s, within the cycle) lies in; a boundary belongs to the piece it ends."""
    return min(_seek(end, offset, low, stop), stop - 1)


@njit(cache=True, error_model="numpy")
def bytes_by(end: Any, carried: Any, rate: Any, offset: Any) -> Any:
    """Bytes delivered from the start of the cycle until `offset` (s, within the cycle)."""
    piece = piece_at(end, offset, 0, len(end))
    return carried[piece] - (end[piece] - offset) * rate[piece]


@njit(cache=True, error_model="numpy", inline="always")
def _transfer(end: Any, carried: Any, rate: Any, low: Any, stop: Any, piece: Any, offset: Any, size: Any) -> Any:
    """Seconds to deliver `size` bytes from `offset`, which lies in `piece`, and the piece in which it ends."""
    at = Index(piece)
    target = carried[at] - (end[at] - offset) * rate[at] + size
    whole = carried[stop - 1]
    cycles = 0.0
    if target > whole:
        cycles = math.floor(target / whole)
        target -= cycles * whole
        if target <= 0.0:  # ends exactly with a cycle: at the last byte of the one before
            cycles -= 1.0
            target = whole
        at = Index(low)
    i = Index(min(_seek(carried, target, at, stop), stop - 1))  # min: rounding at the very end of the cycle
    if rate[i] > 0.0:
        finish = end[i] - (carried[i] - target) / rate[i]
    else:  # an outage: bytes that rounding hides in `carried` wait for its end, no bytes for nothing
        finish = end[i] if size > 0.0 else offset
    return cycles * end[stop - 1] + finish - offset, i


@njit(cache=True, error_model="numpy")
def transfer_s(end: Any, carried: Any, rate: Any, offset: Any, size: Any) -> Any:
    """Seconds to deliver `size` bytes when the transfer begins at `offset` (s, within the cycle)."""
    stop = len(end)
    return _transfer(end, carried, rate, 0, stop, piece_at(end, offset, 0, stop), offset, size)[0]


@njit(cache=True, error_model="numpy", inline="always")
def download_from(
    end: Any,
    carried: Any,
    rate: Any,
    low: Any,
    stop: Any,
    piece: Any,
    offset: Any,
    size: Any,
    buffer: Any,
    rtt: Any,
    noise: Any,
    chunk: Any,
    cap: Any,
    quantum: Any,
) -> Any:
    """Fetch one chunk and play meanwhile (Pensieve, section 5.1; its simulator's order of events).

    Args:
        low, stop: the trace is ``[low:stop]`` of the three arrays, which may hold many traces.
        piece: the piece `offset` lies in, see :func:`piece_at`; carried along from chunk to chunk it makes the
            search short.
        offset: position in the trace's cycle when the request is sent (s).
        size: bytes of the chunk.
        buffer: seconds of video waiting.
        rtt: request latency (s); it delays the chunk but does not consume trace time.
        noise: factor on the whole delay.
        chunk: seconds of video in the chunk.
        cap: buffer above which the player waits, in steps of `quantum` seconds, before the next request.

    Returns:
        ``(delay, stall, buffer, sleep, offset, piece)``: seconds from request to arrival, of them without video, the
        buffer after arrival and sleep, the sleep, and the position in the cycle at the next request.
    """
    transfer, piece = _transfer(end, carried, rate, low, stop, piece, offset, size)
    delay = (transfer + rtt) * noise
    over = delay - buffer
    stall = 0.5 * (over + abs(over))  # max(over, 0), exactly, without a branch
    buffer = (stall - over) + chunk
    sleep = 0.0
    if buffer > cap:
        sleep = math.ceil((buffer - cap) / quantum) * quantum
        buffer -= sleep
    after = offset + transfer + sleep
    offset = wrap(end[stop - 1], after)
    # A transfer that ran into a later cycle ends where that cycle's piece says, a sleep across the end at the start.
    piece = _near(end, offset, low if offset < end[piece] and offset != after else piece, low, stop)
    return delay, stall, buffer, sleep, offset, piece


@njit(cache=True, error_model="numpy")
def download(
    end: Any,
    carried: Any,
    rate: Any,
    offset: Any,
    size: Any,
    buffer: Any,
    rtt: Any,
    noise: Any,
    chunk: Any,
    cap: Any,
    quantum: Any,
) -> Any:
    """Like :func:`download_from` when the piece is not known; it is not returned either."""
    delay, stall, after, sleep, position, _ = download_from(
        end, carried, rate, 0, len(end), piece_at(end, offset, 0, len(end)), offset, size, buffer, rtt, noise, chunk,
        cap, quantum,
    )  # fmt: skip
    return delay, stall, after, sleep, position
