"""Logs of mahimahi's ``mm-link``: what the emulated link could carry, from its ``#`` lines.

A line is ``<ms> <event> <bytes>``: ``+`` a packet came, ``-`` one left (with its delay), ``d`` drops, ``#`` an
opportunity of so many bytes. Without opportunities the packets that left are counted.
"""

from __future__ import annotations

import re

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network.readers.mahimahi import BIN_MS, MAX_CYCLE_MS
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.text import decode

_LINE = re.compile(r"(\d{1,15}) ([-+#d]) (\d{1,9})(?: \d{1,12})*")


def is_link_log(text: str) -> bool:
    """Tell whether lines look like such a log."""
    rows = [line for line in text[:20_000].splitlines()[:60] if line.strip() and not line.startswith("#")]
    return len(rows) > 1 and all(_LINE.fullmatch(line.strip()) for line in rows[:-1])


def read_link_log(data: bytes, name: str, group: str = "") -> NetworkTrace:
    """Parse a log into pieces of 0.2 s, from its first event to its last.

    Raises:
        TraceFormatError: no such log, a time that goes back, or nothing that was carried.
    """
    found: dict[str, tuple[list[int], list[int]]] = {"#": ([], []), "-": ([], [])}
    first, last = -1, -1
    for number, line in enumerate(decode(data, name).splitlines(), start=1):
        if line.startswith("#") or not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise TraceFormatError(name, f"{line[:40]!r} is no event of mm-link", number)
        at, event, size = int(match[1]), match[2], int(match[3])
        if at < last:
            raise TraceFormatError(name, f"time {at} ms comes before {last} ms", number)
        first, last = at if first < 0 else first, at
        if last - first > MAX_CYCLE_MS:
            raise TraceFormatError(name, "lasts more than a week", number)
        if event in found:
            found[event][0].append(at)
            found[event][1].append(size)
    times, sizes = found["#"] if found["#"][0] else found["-"]
    if not times or last == first:
        raise TraceFormatError(name, "no opportunity (#) and no packet that left (-)")
    edges = np.append(np.arange(first, last, BIN_MS), last)
    index = np.minimum((np.array(times) - first) // BIN_MS, len(edges) - 2)
    seconds = np.diff(edges) / 1000.0
    return NetworkTrace(name, seconds, np.bincount(index, sizes, len(seconds)) * 8e-6 / seconds, group)
