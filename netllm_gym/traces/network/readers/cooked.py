"""Pensieve's "cooked" format: one line per sample, time in seconds and throughput in Mbit/s.

The value of line *i* holds from the time of line *i - 1* to the time of line *i*; the first line only sets the
clock (its throughput is never played). That is how Pensieve's simulator, and every simulator derived from it,
reads these files.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.text import decode, parse_float

# What a well-formed file consists of; its lines end in "\n" only.
PLAIN = b"0123456789.eE+- \t\n"
FAST_FROM = 100_000  # characters


def read_cooked(data: bytes, name: str, group: str = "") -> NetworkTrace:
    """Parse a cooked trace.

    Args:
        data: content of the file, two columns separated by white space.
        name: used for the trace and in error messages.
        group: source recording.

    Raises:
        TraceFormatError: not text, wrong columns, not a number, negative, or time that does not increase.
    """
    text = decode(data, name)
    columns = _fast(text) if len(text) >= FAST_FROM else None
    times, rates = columns if columns is not None else _slow(text, name)
    if len(times) < 2:
        raise TraceFormatError(name, f"needs at least two samples, has {len(times)}")
    return NetworkTrace(name, np.diff(times), rates[1:], group)


def _fast(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Parse the whole text at once; ``None`` when anything in it is unusual, for the slow path to say what."""
    data = text.encode()
    if data.translate(None, PLAIN):
        return None
    blank = np.frombuffer(b"\n" + data + b"\n", dtype=np.uint8) <= ord(" ")
    # Two fields a line, or none: pandas would fill up or shorten others.
    starts = np.flatnonzero(blank[:-1] & ~blank[1:])
    ends = np.flatnonzero(np.frombuffer(data + b"\n", dtype=np.uint8) == ord("\n"))
    fields = np.diff(np.searchsorted(starts, ends), prepend=0)
    if not ((fields == 0) | (fields == 2)).all():
        return None
    import pandas as pd  # its parser is six times as fast as numpy's; only large files are worth the import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer pandas deprecate the argument: there, exact is the default
            table = pd.read_csv(
                io.BytesIO(data), sep=r"\s+", header=None, dtype=np.float64, float_precision="round_trip"
            ).to_numpy()
    except ValueError:  # includes pandas' own parser errors
        return None
    if table.shape != (np.count_nonzero(fields), 2) or not np.isfinite(table).all():
        return None
    times, rates = table.T
    if (rates < 0).any() or (np.diff(times) <= 0).any():
        return None
    return times, rates


def _slow(text: str, name: str) -> tuple[list[float], list[float]]:
    """Parse line by line and name the first that is wrong."""
    times: list[float] = []
    rates: list[float] = []
    for number, line in enumerate(text.splitlines(), start=1):
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
    return times, rates
