"""Tables of links without names: what their numbers show."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.network.fields import LinkFields
from netllm_gym.traces.network.units import cell_rate, rate_unit
from netllm_gym.traces.tables import Table


def by_numbers(table: Table) -> LinkFields | None:
    """Return what a table without a header shows: a clock that rises and a throughput beside it, or ``None``."""
    found = _by_numbers(table)
    return None if found is None else replace(found, holds="before")


def _by_numbers(table: Table) -> LinkFields | None:
    units = [c for c, cells in table.texts.items() if all(rate_unit(cell) for cell in cells[:20])]
    moments = [c for c in table.texts if c not in units and _is_moment(table, c)]
    rates_in_cells = [
        c for c, cells in table.texts.items() if c not in units and all(cell_rate(x) is not None for x in cells[:20])
    ]
    numeric = [c for c in range(table.width) if c not in table.texts]
    if is_speedtest(table):
        return LinkFields(3, 6, rate_unit="bps", holds="after")
    if is_bwm(table):
        return LinkFields(0, 3, "s", "B/s", sessions=(1,))
    if moments:
        rest = rates_in_cells or [c for c in numeric if c != moments[0]]
        return LinkFields(moments[0], rest[0], unit_column=units[0] if units else -1) if len(rest) in (1, 2) else None
    if rates_in_cells:  # a loss or a delay beside them is no clock
        return LinkFields(next((c for c in numeric if _runs(table, c)), -1), rates_in_cells[0])
    if table.width == 6 and len(numeric) == 6 and is_ride(table.values):
        return LinkFields(1, 4, "ms", "B", counts="bytes", span=5)
    if table.width == 4 and len(numeric) == 4 and _is_drive(table.values):
        return LinkFields(0, 3, "s", unread_unit="-")  # published in kbit/s, but nothing in the file says so
    if units and len(numeric) == 1 and table.width == 2:
        return LinkFields(-1, numeric[0], unit_column=units[0])
    if table.width == 1 and len(numeric) == 1:
        return LinkFields(-1, 0)
    if len(numeric) in (2, 3) and len(numeric) + len(units) == table.width:
        unit = units[0] if units else -1
        if len(numeric) == 2 and _is_calendar(table, numeric[1]) and not _is_calendar(table, numeric[0]):
            return LinkFields(numeric[1], numeric[0], unit_column=unit)
        return LinkFields(numeric[0], numeric[1], unit_column=unit)
    return None


def _is_moment(table: Table, column: int) -> bool:
    """Tell whether cells are moments: dates, clocks, or spans that grow (``10ms`` over ``10ms`` is a delay)."""
    cells = table.texts[column][:50]
    moments = seconds_of(cells)
    if moments is None or not all(re.fullmatch(r"[\d.]+ ?[a-z]+", cell.strip()) for cell in cells):
        return moments is not None
    steps = np.diff(moments)
    return bool((steps > 0).any() and (steps >= 0).mean() > 0.9)


def _runs(table: Table, column: int) -> bool:
    steps = np.diff(table.values[:, column])
    return bool((steps >= 0).all() and (steps > 0).any())


def _is_calendar(table: Table, column: int) -> bool:
    """Tell whether a column counts from 1970, in s, ms, us or ns, and rises."""
    values = table.values[:, column]
    epoch = any(1e9 * tick <= values.min() and values.max() < 5e9 * tick for tick in (1.0, 1e3, 1e6, 1e9))
    return bool(epoch and _runs(table, column))


def is_bwm(table: Table) -> bool:
    """Tell the rows of ``bwm-ng -o csv``: epoch, interface, bytes a second out, in and both, and more."""
    if table.width < 10 or list(table.texts) != [1] or not _is_calendar(table, 0):
        return False
    out, came, both = table.values[:, 2:5].T
    return bool((np.abs(out + came - both) <= 0.02 + 1e-6 * both).mean() > 0.98 and (both > 0).any())


def is_speedtest(table: Table) -> bool:
    """Tell the rows of ``speedtest-cli --csv``, which has no header unless it is asked for one."""
    text = {c: cells[:20] for c, cells in table.texts.items()}
    return (
        table.width == 10
        and all(c in text for c in (1, 2, 3, 9))
        and all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", cell) for cell in text[3])
        and all(re.fullmatch(r"[\da-fA-F.:]*", cell) for cell in text[9])
        and bool(np.isfinite(table.values[:, [4, 5, 6, 7]]).mean() > 0.9)
    )


def _is_drive(values: np.ndarray) -> bool:
    """Tell a drive's log (Yao et al., Sydney): epoch, latitude, longitude, throughput."""
    epoch = (values[:, 0] > 1e9) & (values[:, 0] < 5e9)
    place = (np.abs(values[:, 1]) <= 90) & (np.abs(values[:, 2]) <= 180) & (values[:, 1] % 1 != 0)
    return bool(epoch.all() and place.mean() > 0.9 and (values[:, 3] >= 0).all())


def is_ride(values: np.ndarray) -> bool:
    """Tell a ride's log (Riiser et al., van der Hooft et al.): epoch, ms from start, latitude, longitude, bytes, ms."""
    return bool(
        (values[:, 0] > 1e9).all() and (np.abs(values[:, 2]) <= 90).all() and (np.abs(values[:, 3]) <= 180).all()
        and (values[:, 4] >= 0).all() and (values[:, 5] >= 0).all()
    )  # fmt: skip
