"""Mahimahi's format: one line per packet-delivery opportunity, its time in whole milliseconds.

Each opportunity carries one packet of 1504 bytes (Netravali et al., USENIX ATC 2015); several may share a millisecond.
The last line's time is the length of the cycle.
"""

from __future__ import annotations

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.text import decode, parse_float

PACKET_BYTES = 1504
BIN_MS = 200
MAX_CYCLE_MS = 7 * 24 * 3_600_000  # a week: bounds the memory a single absurd number could ask for


def read_mahimahi(data: bytes, name: str, group: str = "") -> NetworkTrace:
    """Parse a mahimahi trace into pieces of 0.2 s (the last one may be shorter).

    Raises:
        TraceFormatError: not text, not whole milliseconds, negative, decreasing, or a cycle of no length or over a
            week.
    """
    times: list[int] = []
    for number, line in enumerate(decode(data, name).splitlines(), start=1):
        field = line.strip()
        if not field or field.startswith("#"):
            continue
        value = parse_float(field, name, number)
        if value < 0 or value != int(value):
            raise TraceFormatError(name, f"expected a whole number of milliseconds, found {field[:40]!r}", number)
        if times and value < times[-1]:
            raise TraceFormatError(name, f"time {value:g} ms comes before {times[-1]} ms", number)
        if value > MAX_CYCLE_MS:
            raise TraceFormatError(name, f"time {value:g} ms is more than a week", number)
        times.append(int(value))
    if not times:
        raise TraceFormatError(name, "no delivery opportunity")
    if times[-1] == 0:
        raise TraceFormatError(name, "the cycle has no length: every opportunity is at 0 ms")
    cycle = times[-1]
    # Opportunity t falls into the piece (a, b] that ends at or after it; time 0 belongs to the first piece.
    pieces = -(-cycle // BIN_MS)
    index = np.maximum(-(-np.array(times) // BIN_MS) - 1, 0)
    edges = np.minimum(np.arange(pieces + 1) * BIN_MS, cycle)
    seconds = np.diff(edges) / 1000.0
    megabits = np.bincount(index, minlength=pieces) * PACKET_BYTES * 8e-6
    return NetworkTrace(name, seconds, megabits / seconds, group)
