"""The physics of a download, compiled: shared by the single environment, the batched one and the planners.

A link is three arrays over its pieces: ``end`` (s, end of each piece), ``carried`` (bytes the link has delivered by
that end, payload only) and ``rate`` (bytes/s). Because the trace is cyclic and piecewise constant, the time a
download takes is a search in the prefix sum ``carried``, not a loop over samples.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from netllm_gym.traces.network import NetworkTrace

BYTES_PER_MBIT = 1e6 / 8.0


def link_arrays(trace: NetworkTrace, payload: float) -> tuple[NDArray, NDArray, NDArray]:
    """Return ``(end, carried, rate)`` of a trace whose bytes are to the share `payload` video (headers excluded)."""
    rate = trace.throughput_mbps * BYTES_PER_MBIT * payload
    return trace.end_s, np.cumsum(rate * trace.duration_s), rate


@njit(cache=True)
def wrap(total, offset):
    """Fold a time into one cycle, ``[0, total)``."""
    if offset >= total:
        offset -= total * math.floor(offset / total)
        if offset >= total:  # rounding
            offset = 0.0
    return offset


@njit(cache=True, inline="always")
def _seek(values, x, i, low, stop):
    """Index of the first entry >= x of ``values[low:stop]``, near the guess `i`: steps outwards that double."""
    if values[i] >= x:
        while i > low and values[i - 1] >= x:
            i -= 1
        return i
    left, stride = i + 1, 1
    right = left
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


@njit(cache=True, inline="always")
def piece_at(end, offset, low, stop):
    """Index of the piece that `offset` (s, within the cycle) lies in; a boundary belongs to the piece it ends."""
    return min(_seek(end, offset, low, low, stop), stop - 1)


@njit(cache=True)
def bytes_by(end, carried, rate, offset):
    """Bytes delivered from the start of the cycle until `offset` (s, within the cycle)."""
    piece = piece_at(end, offset, 0, len(end))
    return carried[piece] - (end[piece] - offset) * rate[piece]


@njit(cache=True, inline="always")
def _transfer(end, carried, rate, low, stop, piece, offset, size):
    """Seconds to deliver `size` bytes from `offset`, which lies in `piece`, and the piece in which it ends."""
    target = carried[piece] - (end[piece] - offset) * rate[piece] + size
    whole = carried[stop - 1]
    cycles = 0.0
    if target > whole:
        cycles = math.floor(target / whole)
        target -= cycles * whole
        if target <= 0.0:  # ends exactly with a cycle: at the last byte of the one before
            cycles -= 1.0
            target = whole
        piece = low
    i = _seek(carried, target, piece, low, stop)
    if i >= stop:  # rounding at the very end of the cycle
        i = stop - 1
    finish = end[i] - (carried[i] - target) / rate[i]
    return cycles * end[stop - 1] + finish - offset, i


@njit(cache=True)
def transfer_s(end, carried, rate, offset, size):
    """Seconds to deliver `size` bytes when the transfer begins at `offset` (s, within the cycle)."""
    stop = len(end)
    return _transfer(end, carried, rate, 0, stop, piece_at(end, offset, 0, stop), offset, size)[0]


@njit(cache=True, inline="always")
def download_from(end, carried, rate, low, stop, piece, offset, size, buffer, rtt, noise, chunk, cap, quantum):
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
    stall = max(delay - buffer, 0.0)
    buffer = max(buffer - delay, 0.0) + chunk
    sleep = 0.0
    if buffer > cap:
        sleep = math.ceil((buffer - cap) / quantum) * quantum
        buffer -= sleep
    after = offset + transfer + sleep
    offset = wrap(end[stop - 1], after)
    # A transfer that ran into a later cycle ends where that cycle's piece says, a sleep across the end at the start.
    piece = _seek(end, offset, low if offset < end[piece] and offset != after else piece, low, stop)
    return delay, stall, buffer, sleep, offset, piece


@njit(cache=True)
def download(end, carried, rate, offset, size, buffer, rtt, noise, chunk, cap, quantum):
    """Like :func:`download_from` when the piece is not known; it is not returned either."""
    delay, stall, after, sleep, position, _ = download_from(
        end, carried, rate, 0, len(end), piece_at(end, offset, 0, len(end)), offset, size, buffer, rtt, noise, chunk,
        cap, quantum,
    )  # fmt: skip
    return delay, stall, after, sleep, position
