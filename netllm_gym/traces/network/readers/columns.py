"""Any CSV with a header: the columns of time and throughput by name, in the units they are in.

    read_columns(data, name, time="ts_ms", throughput="rate_kbps", time_unit="ms", throughput_unit="kbps")

Without names the columns are found by what they are usually called, with the unit in the name (``time_s``,
``throughput_mbps``); a name without a unit is refused, because a guessed unit is a silent factor of a thousand.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

import numpy as np

from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.network.units import MEGABITS, SECONDS
from netllm_gym.traces.text import decode, parse_float

_TIME = re.compile(r"(time|timestamp|ts)[ _(\[]*(s|ms|us|ns)[)\]]?", re.IGNORECASE)
_RATE = re.compile(r"(throughput|bandwidth|rate|bitrate|capacity)[ _(\[]*([kmg]?bps|[km]?b/s)[)\]]?", re.IGNORECASE)


def csv_rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(line, fields)`` of the header and of every row after it that is not blank.

    Raises:
        TraceFormatError: a row with another number of fields than the header, or quotes that never close.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    width = 0
    try:
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            width = width or len(row)
            if len(row) != width:
                raise TraceFormatError(name, f"expected {width} fields, found {len(row)}", reader.line_num)
            yield reader.line_num, row
    except csv.Error as error:
        raise TraceFormatError(name, f"not CSV ({error})", reader.line_num) from None
    if not width:
        raise TraceFormatError(name, "holds no rows")


def column_index(header: Sequence[str], column: str, name: str) -> int:
    """Return the place of `column` in the header.

    Raises:
        TraceFormatError: it is not there, or twice.
    """
    places = [i for i, field in enumerate(header) if field.strip() == column]
    if len(places) != 1:
        found = ", ".join(repr(field.strip()[:30]) for field in header[:12])
        problem = "no column" if not places else f"{len(places)} columns"
        raise TraceFormatError(name, f"{problem} {column!r}; the header has: {found}", 1)
    return places[0]


def guess_columns(header: Sequence[str]) -> tuple[str, str, str, str] | None:
    """Return (time, unit, throughput, unit) when exactly one column each says so in its name."""
    times = [(field.strip(), match) for field in header if (match := _TIME.fullmatch(field.strip()))]
    rates = [(field.strip(), match) for field in header if (match := _RATE.fullmatch(field.strip()))]
    if len(times) != 1 or len(rates) != 1:
        return None
    unit = rates[0][1].group(2)
    if "/" in unit:
        # Upper case means bytes; "mb/s" could be either.
        unit = {"B/s": "B/s", "kB/s": "kB/s", "KB/s": "kB/s", "MB/s": "MB/s"}.get(unit, "")
    else:
        unit = {known.lower(): known for known in MEGABITS}[unit.lower()]
    return (times[0][0], times[0][1].group(2).lower(), rates[0][0], unit) if unit else None


def read_columns(
    data: bytes,
    name: str,
    group: str = "",
    time: str | None = None,
    throughput: str | None = None,
    time_unit: str = "s",
    throughput_unit: str = "Mbps",
) -> NetworkTrace:
    """Parse a CSV with a header; a value holds until the next row's time, so the last row only ends the trace.

    Args:
        data: content of the file.
        name: used for the trace and in error messages.
        group: source recording.
        time, throughput: names of the columns; both or neither (then found by :func:`guess_columns`).
        time_unit: a key of :data:`SECONDS`.
        throughput_unit: a key of :data:`MEGABITS`.

    Raises:
        TraceFormatError: no such columns, not a number, negative, or time that does not increase.
        UnknownNameError: no such unit.
    """
    for kind, unit, known in (("time unit", time_unit, SECONDS), ("throughput unit", throughput_unit, MEGABITS)):
        if unit not in known:
            raise UnknownNameError(kind, unit, known)
    rows = csv_rows(decode(data, name), name)
    _, header = next(rows)
    if (time is None) != (throughput is None):
        raise ConfigError("name the columns of time and throughput, or neither")
    if time is None or throughput is None:
        guessed = guess_columns(header)
        if guessed is None:
            raise TraceFormatError(name, "no pair of columns like time_s and throughput_mbps; name them", 1)
        time, time_unit, throughput, throughput_unit = guessed
    time_at, rate_at = (column_index(header, column, name) for column in (time, throughput))
    times: list[float] = []
    rates: list[float] = []
    for number, row in rows:
        moment = parse_float(row[time_at], name, number) * SECONDS[time_unit]
        rate = parse_float(row[rate_at], name, number) * MEGABITS[throughput_unit]
        if rate < 0:
            raise TraceFormatError(name, f"negative throughput {row[rate_at].strip()[:40]}", number)
        if times and moment <= times[-1]:
            raise TraceFormatError(name, f"time {row[time_at].strip()[:40]} does not come after the row above", number)
        times.append(moment)
        rates.append(rate)
    if len(times) < 2:
        raise TraceFormatError(name, f"needs at least two samples, has {len(times)}")
    return NetworkTrace(name, np.diff(times), rates[:-1], group)
