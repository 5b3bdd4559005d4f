"""Rows that say when they end: a value holds until its own end, and what follows later begins after a pause."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.network.names import split_unit
from netllm_gym.traces.tables import Table

BEGAN = re.compile(r"(\w+_)?(start|begin|began|request|sent)(_?(time|ts|at))?(_?stamp)?")
ENDED = re.compile(r"(\w+_)?(end|finish|finished|complete|completed|done|stop)(_?(time|ts|at))?(_?stamp)?")
# Tests now and then, each a sample of what follows it, have pauses nearly everywhere: those are no pauses of a log.
MOST_PAUSES = 0.2


def end_column(header: list[str], time: int) -> int:
    """Return the column of the ends of rows whose beginnings are the clock, in the same unit; else -1."""
    if time < 0:
        return -1
    begun, unit = split_unit(header[time])
    if not BEGAN.fullmatch(begun):
        return -1
    found = ((i, *split_unit(name)) for i, name in enumerate(header))
    return next((i for i, name, its in found if i != time and its == unit and ENDED.fullmatch(name)), -1)


def ends_of(table: Table, time: int, end: int) -> NDArray[np.float64] | None:
    """Return when each row ends, on the clock of the beginnings; ``None`` where the rows are no log without gaps."""
    if end < 0 or (time in table.texts) != (end in table.texts):
        return None
    pair = [seconds_of(table.texts[c]) if c in table.texts else table.values[:, c] for c in (time, end)]
    if pair[0] is None or pair[1] is None:
        return None
    begins, ends = pair[0], pair[1]
    if len(begins) < 3 or not np.isfinite(begins).all() or not np.isfinite(ends).all() or (ends <= begins).any():
        return None
    forward = np.diff(begins) > 0
    late = late_rows(begins, ends)
    return ends if forward.mean() > 0.9 and late.mean() <= MOST_PAUSES else None


def late_rows(begins: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell of each row but the first whether it begins later than half a row after the end of the one above."""
    late: NDArray[np.bool_] = begins[1:] - ends[:-1] > 0.5 * float(np.median(ends - begins))
    return late
