"""Two columns of numbers in files too large to hold as text: read in pieces, into arrays of their final size."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import is_number
from netllm_gym.traces.network import units
from netllm_gym.traces.network.trace import NetworkTrace

FROM_BYTES = 32 * 2**20
ROWS = 250_000
MAX_ROWS = 60_000_000


def is_large(path: Path, start: bytes) -> bool:
    """Tell whether a file is large and begins with two numbers a line between blanks."""
    if path.stat().st_size < FROM_BYTES:
        return False
    fields = [line.split() for line in start.decode("utf-8", "replace").splitlines()[:50]]
    return bool(fields) and all(len(f) == 2 and is_number(f[0]) and is_number(f[1]) for f in fields)


def read_large(path: Path, name: str, tick_s: float | None, mbps: float | None, notes: list[str]) -> NetworkTrace:
    """Read a large file of time and throughput, the value holding since the row above.

    Args:
        path: of the file.
        name: of the trace.
        tick_s, mbps: seconds and Mbit/s of one unit; ``None``: settled from the numbers, and noted.
        notes: what was taken is added here.

    Raises:
        TraceFormatError: a line that is no two numbers, a clock that goes back, or units that nothing tells.
    """
    import pandas as pd

    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(2**20)
    expected = min(int(size / max(len(start) / max(start.count(b"\n"), 1), 2.0) * 1.3) + ROWS, MAX_ROWS)
    columns = np.empty((2, expected))
    count = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer pandas deprecate the argument: there, exact is the default
            pieces = pd.read_csv(
                path, sep=r"\s+", header=None, dtype=np.float64, chunksize=ROWS, na_filter=False,
                float_precision="round_trip", names=[0, 1], index_col=False,
            )  # fmt: skip
            for piece in pieces:
                if count + len(piece) > columns.shape[1]:
                    columns = np.concatenate([columns, np.empty((2, columns.shape[1] // 4 + ROWS))], axis=1)
                columns[:, count : count + len(piece)] = piece.to_numpy().T
                count += len(piece)
                if count > MAX_ROWS:
                    raise TraceFormatError(path, f"more than {MAX_ROWS} rows")
    except (ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, TraceFormatError):
            raise
        raise TraceFormatError(path, f"not two numbers a line ({str(error)[:80]})") from None
    time, rates = columns[0, :count], columns[1, 1:count]
    if count < 2 or not (np.isfinite(time[0]) and np.isfinite(time[-1])):
        raise TraceFormatError(path, f"needs at least two samples, has {count}")
    if tick_s is None:
        tick_s, sentence = units.seconds_per_tick([time[:100_000]], str(path))
        notes.append(sentence)
    if mbps is None:
        mbps, sentence = units.megabits_per_unit(rates[:: max(1, count // 100_000)], tick_s == 1e-3, str(path))
        notes.append(sentence)
    for first in range(0, count - 1, ROWS):  # in place: the array of times becomes the one of durations
        last = min(first + ROWS, count - 1)
        steps = (time[first + 1 : last + 1] - time[first:last]) * tick_s
        if not (steps > 0).all():
            line = first + int(np.argmax(~(steps > 0))) + 2
            raise TraceFormatError(path, f"time {time[line - 1]:g} does not come after {time[line - 2]:g}", line)
        time[first:last] = steps
    rates *= mbps
    return NetworkTrace(name, _adopted(time[: count - 1]), _adopted(rates))


def _adopted(column: NDArray[np.float64]) -> NDArray[np.float64]:
    column.flags.writeable = False
    return column
