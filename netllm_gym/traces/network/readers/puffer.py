"""Puffer's ``video_sent`` CSV: one row a chunk sent, with the TCP delivery rate at that moment.

Columns used, as the public data describe them: the time (``time`` or ``time (ns GMT)``, nanoseconds since 1970),
``session_id``, ``index`` (the stream within the session; optional) and ``delivery_rate`` in *bytes* per second. A day's
file holds many streams: each becomes a trace, and a session a recording. (Files derived from them that call MB/s
"Mbps" are a known trap; read those with the ``csv`` reader and their true unit.)
"""

from __future__ import annotations

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network.readers.columns import MEGABITS, column_index, csv_rows
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.text import decode, parse_float

TIME_COLUMNS = ("time (ns GMT)", "time")
# 2001 to 2128 in nanoseconds: anything else is another unit, and would stretch the trace a thousandfold.
EARLIEST_NS, LATEST_NS = 10**18, 5 * 10**18


def read_puffer(data: bytes, name: str, group: str = "") -> tuple[NetworkTrace, ...]:
    """Parse the streams of a file, in order of appearance; those of one chunk only are left out.

    Args:
        data: content of the file.
        name: used in error messages and as the first part of each trace's name when there are several streams.
        group: source recording of all streams; by default each session is its own.

    Raises:
        TraceFormatError: not such a CSV, a value out of range, time that goes back within a stream, or no stream of
            two chunks.
    """
    rows = csv_rows(decode(data, name), name)
    header = [field.strip() for field in next(rows)[1]]
    time_name = next((column for column in TIME_COLUMNS if column in header), TIME_COLUMNS[0])
    time_at, session_at, rate_at = (column_index(header, c, name) for c in (time_name, "session_id", "delivery_rate"))
    index_at = column_index(header, "index", name) if "index" in header else None
    streams: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for number, row in rows:
        field = row[time_at].strip()
        if not (field.isascii() and field.isdigit() and len(field) == 19 and EARLIEST_NS <= int(field) < LATEST_NS):
            raise TraceFormatError(name, f"{field[:40]!r} is not a time in nanoseconds since 1970", number)
        rate = parse_float(row[rate_at], name, number)
        if rate < 0:
            raise TraceFormatError(name, f"negative delivery rate {rate:g}", number)
        key = row[session_at].strip(), "" if index_at is None else row[index_at].strip()
        times, rates = streams.setdefault(key, ([], []))
        if times and int(field) <= times[-1]:
            raise TraceFormatError(name, f"time {field} does not come after the stream's row above", number)
        times.append(int(field))
        rates.append(rate * MEGABITS["B/s"])
    whole = {key: columns for key, columns in streams.items() if len(columns[0]) > 1}
    if not whole:
        raise TraceFormatError(name, "no stream of at least two chunks")
    traces = []
    for (session, index), (times, rates) in whole.items():
        label = name if len(whole) == 1 else "/".join(part for part in (name, session, index) if part)
        # Differences of integers: nanoseconds since 1970 do not fit the digits of a float.
        traces.append(NetworkTrace(label, np.diff(np.array(times)) * 1e-9, rates[:-1], group or session))
    return tuple(traces)
