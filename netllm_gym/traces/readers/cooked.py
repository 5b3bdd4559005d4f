"""Pensieve's "cooked" format: one line per sample, time in seconds and throughput in Mbit/s.

The value of line *i* holds from the time of line *i - 1* to the time of line *i*; the first line only sets the
clock (its throughput is never played). That is how Pensieve's simulator, and every simulator derived from it,
reads these files.
"""

from __future__ import annotations

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network import NetworkTrace
from netllm_gym.traces.readers.text import decode, parse_float


def read_cooked(data: bytes, name: str, group: str = "") -> NetworkTrace:
    """Parse a cooked trace.

    Args:
        data: content of the file, two columns separated by white space.
        name: used for the trace and in error messages.
        group: source recording.

    Raises:
        TraceFormatError: not text, wrong columns, not a number, negative, or time that does not increase.
    """
    times: list[float] = []
    rates: list[float] = []
    for number, line in enumerate(decode(data, name).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise TraceFormatError(name, f"expected two columns (s, Mbps), found {len(fields)}", number)
        time, rate = (parse_float(field, name, number) for field in fields)
        if rate < 0:
            raise TraceFormatError(name, f"negative throughput {rate:g}", number)
        if times and time <= times[-1]:
            raise TraceFormatError(name, f"time {time:g} s does not come after {times[-1]:g} s", number)
        times.append(time)
        rates.append(rate)
    if len(times) < 2:
        raise TraceFormatError(name, f"needs at least two samples, has {len(times)}")
    return NetworkTrace(name, np.diff(times), rates[1:], group)
