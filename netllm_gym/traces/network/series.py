"""Which rows of a table are one recording: runs, devices and operators apart, and the downlink without the uplink."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.network.names import plain_name
from netllm_gym.traces.tables import Table

MOST_KINDS = 12  # different words in a column that tells directions
MOST_SERIES = 500  # beside each other
FEWEST_ROWS = 3  # of a device or an operator that is a recording of its own

_SESSIONS = re.compile(
    r"(session|run|trip|trace|test|experiment|measurement|ride|drive|flow|connection|unit|stream|iteration|trajectory)"
    r"_?(id|num|no|number|name|uuid|index)?|uuid|target|file_?name"
)
# Series that are logged side by side, a row each at every stamp.
_BESIDE = re.compile(
    r"(interface|iface|if|nic|device|dev|adapter|ue|imsi|rnti|client|host|ip|node|cell|operator|carrier|provider|network|"
    r"modem|sim|phone|user|subscriber|bearer)_?(id|name|no|num|number|addr|address)?"
)
# Who measured, which no handover changes: rows of two of them are two recordings, whenever they were taken.
_WHO = re.compile(
    r"((serving|network|sim|mobile|cellular|home|test)_?)?(interface|iface|nic|device|adapter|ue|imsi|imei|iccid|client|"
    r"node|operator|carrier|provider|isp|mno|modem|sim|phone|handset|user|subscriber|vehicle|dish|terminal|probe|worker|peer)"
    r"_?(id|name|no|num|number|model)?"
)
_WAY = re.compile(r"direction|dir|link|way|(test_?)?type|test|link_?direction")
_DOWNWARD = {"dl", "down", "downlink", "download", "rx", "in", "ingress", "receive", "received", "downstream"}
_UPWARD = {"ul", "up", "uplink", "upload", "tx", "out", "egress", "send", "sent", "upstream"}
# What tells a direction in a column of any name: "up" alone may be the state of a link.
_SURELY_DOWN, _SURELY_UP = {"dl", "downlink", "download", "downstream"}, {"ul", "uplink", "upload", "upstream"}


def session_columns(table: Table, taken: tuple[int, ...], time: int) -> tuple[tuple[int, ...], bool]:
    """Return the columns that part recordings, and whether some of them are series of devices, operators and the like.

    Args:
        table: with a header.
        taken: columns that mean something else: the clock, the throughput.
        time: the clock's column, or -1.
    """
    names = {i: plain_name(name) for i, name in enumerate(table.header or []) if i not in taken}
    names = {i: n for i, n in names.items() if any(p.fullmatch(n) for p in (_SESSIONS, _BESIDE, _WHO))}
    names = {i: n for i, n in names.items() if _repeats(table, i)}
    found = [i for i, name in names.items() if _SESSIONS.fullmatch(name)]
    runs, series = len(found), [i for i in names if i not in found]
    if time >= 0 and (beside := _beside(table, series, found, time, taken)) >= 0:
        found.append(beside)
    for i in series:
        if i in found or not _WHO.fullmatch(names[i]):
            continue
        rows = Counter(_cells(table, i))
        if "" not in rows and min(rows.values()) >= FEWEST_ROWS and _parts(table, [*found, i]) > _parts(table, found):
            found.append(i)
    return tuple(found), len(found) > runs


def counts_apart(table: Table, columns: tuple[int, ...], values: NDArray[np.float64]) -> bool:
    """Tell whether a column of counts rises in each series: a counter each, where all of them together fall."""
    each = [part[np.isfinite(part)] for part in (values[rows] for rows in rows_apart(table, columns))]
    return all((np.diff(part) >= 0).all() for part in each) and any(np.ptp(part) > 0 for part in each if len(part))


def _cells(table: Table, column: int) -> list[str] | list[float]:
    return table.texts.get(column) or table.exact.get(column) or table.values[:, column].tolist()


def _repeats(table: Table, column: int) -> bool:
    values = _cells(table, column)
    return 1 < len(set(values)) <= max(2, len(values) // 2)


def rows_apart(table: Table, columns: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Return the rows of each series that some columns tell apart; all rows where there is no column."""
    places = _places(table, list(columns))
    order = np.argsort(places, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(places[order])) + 1)


def _places(table: Table, columns: list[int]) -> NDArray[np.intp]:
    """Return which series each row belongs to, by the cells of some columns."""
    numbers: dict[tuple[str | float, ...], int] = {}
    keys = zip(*(_cells(table, c) for c in columns), strict=True) if columns else iter([()] * len(table))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def _parts(table: Table, columns: list[int]) -> int:
    return len(np.unique(_places(table, columns)))


def _beside(table: Table, columns: list[int], runs: list[int], time: int, taken: tuple[int, ...]) -> int:
    """Return the column that tells apart series (two interfaces, say) within the runs, or -1.

    Their rows have the same stamps, or stand one series below another: then the clock rises in each, not in all. Where
    no column has such a name, one of which nearly each value stands at nearly each stamp tells them apart.
    """
    stamps = list(zip(_places(table, runs).tolist(), _cells(table, time), strict=True))
    moments = len(set(stamps))
    beside = moments <= 0.75 * len(stamps)
    clock = table.values[:, time] if time not in table.texts else seconds_of(table.texts[time])
    below = not runs and clock is not None and bool((np.diff(clock) < 0).any())
    for i in columns:
        if beside and len(set(zip(stamps, _cells(table, i), strict=True))) > 0.95 * len(stamps):
            return i
        if below and clock is not None:
            places = _places(table, [i])
            order = np.argsort(places, kind="stable")
            in_series = np.diff(places[order]) == 0
            if (np.diff(clock[order])[in_series] > 0).all():
                return i
    for i in range(table.width) if beside else ():
        kinds = len(set(_cells(table, i)))
        if i in taken or i in runs or not 1 < kinds <= min(MOST_SERIES, len(stamps) / (0.8 * moments)):
            continue
        if len(set(zip(stamps, _cells(table, i), strict=True))) > 0.95 * len(stamps):
            return i
    return -1


def downward(table: Table) -> tuple[Table, str]:
    """Return the rows of the downlink where a column says each row's direction, and a sentence about the others."""
    for i, cells in table.texts.items():
        if table.header is None:
            break
        words = [cell.strip().lower() for cell in cells]
        kinds = Counter(words)
        if not 1 < len(kinds) <= MOST_KINDS:
            continue
        told = _WAY.fullmatch(plain_name(table.header[i])) is not None
        down = {kind for kind in kinds if _goes(kind, _DOWNWARD if told else set(), _SURELY_DOWN, _SURELY_UP)}
        up = {kind for kind in kinds if _goes(kind, _UPWARD if told else set(), _SURELY_UP, _SURELY_DOWN)}
        if down and up and sum(kinds[kind] for kind in down | up) > 0.5 * len(words):
            keep = np.array([word in down for word in words])
            return table.rows(keep), f"rows of the uplink left out, as column {table.header[i][:40]!r} tells them"
    return table, ""


def _goes(kind: str, alone: set[str], surely: set[str], against: set[str]) -> bool:
    """Tell whether a cell names a direction: by itself, or as one of its words (``tcp_dl``)."""
    words = set(re.findall(r"[a-z]+", kind))
    return kind in alone or bool(words & surely and not words & against)
