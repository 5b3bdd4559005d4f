"""G-NetTrack's CSV (a drive-test logger): one row a sample, local time to the second, downlink in kbit/s.

Times look like ``2019.12.16_13.40.04``. Rows of the same second are averaged. The logger writes what it counted since
its last row, so a value holds over the time up to its own second; the first only sets the clock. What the phone
downloaded bounds what the link could carry from below: a set of downloads is a set of links, a set of video sessions is
not.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network.readers.columns import column_index, csv_rows
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.text import decode, parse_float

TIME_COLUMN, RATE_COLUMN = "Timestamp", "DL_bitrate"
MISSING = 0.02  # share of rows without a value ("-") that are left out
TIME_FORMAT = "%Y.%m.%d_%H.%M.%S"


def read_gnettrack(data: bytes, name: str, group: str = "") -> NetworkTrace:
    """Parse a G-NetTrack log.

    Raises:
        TraceFormatError: not such a CSV, a value that is no number, negative, or time that goes back.
    """
    rows = csv_rows(decode(data, name), name)
    header = next(rows)[1]
    time_at, rate_at = (column_index(header, column, name) for column in (TIME_COLUMN, RATE_COLUMN))
    seconds: list[float] = []
    sums: list[float] = []
    counts: list[int] = []
    missing: list[int] = []
    before, second = "", 0.0
    for number, row in rows:
        field = row[time_at].strip()
        if field != before:  # several rows share a second, and parsing its name is most of the work
            try:
                time = datetime.strptime(field, TIME_FORMAT)
            except ValueError:
                raise TraceFormatError(name, f"{field[:40]!r} is not a time like 2019.12.16_13.40.04", number) from None
            # Local time without zone, whatever this machine's zone.
            before, second = field, (time - datetime(1970, 1, 1)).total_seconds()
        if row[rate_at].strip() in ("", "-"):
            missing.append(number)
            continue
        rate = parse_float(row[rate_at], name, number)
        if rate < 0:
            raise TraceFormatError(name, f"negative throughput {rate:g}", number)
        if seconds and second < seconds[-1]:
            raise TraceFormatError(name, f"time {field} comes before the row above it", number)
        if seconds and second == seconds[-1]:
            sums[-1] += rate
            counts[-1] += 1
        else:
            seconds.append(second)
            sums.append(rate)
            counts.append(1)
    if len(missing) > MISSING * (sum(counts) + len(missing)):
        raise TraceFormatError(name, "'-' is not a number, nor is '': no throughput", missing[0])
    if len(seconds) < 2:
        raise TraceFormatError(name, f"needs at least two seconds, has {len(seconds)}")
    rates = np.array(sums) / np.array(counts) / 1000.0
    return NetworkTrace(name, np.diff(seconds), rates[1:], group)
