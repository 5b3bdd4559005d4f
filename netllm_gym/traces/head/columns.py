"""Which columns of a head log hold what: as the user says, as the header says, or as the numbers show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.head.fields import (
    _COUNT,
    _STEP,
    EXPLICIT,
    HeadFields,
    _ambiguous,
    _plain,
    _within,
    by_header,
    counts,
    unit_length,
)
from netllm_gym.traces.tables import Table

Array = NDArray[np.float64]


def by_numbers(table: Table) -> HeadFields:
    """Return what a table without a header shows.

    Raises:
        TraceFormatError: two readings fit, or none.
    """
    if (marked := _marked(table)) is not None:
        return marked
    numeric = [c for c in range(table.width) if c not in table.texts]
    clocks = [c for c in numeric if _rises(table.values[:, c])]
    clocks.sort(key=lambda c: (counts(table.values[:, c]), c))
    if not clocks and len(table) == 1 and numeric:
        clocks = numeric[:1]
    if not clocks:
        raise TraceFormatError(
            table.name, "no column rises like a clock; name the columns in a header", int(table.lines[0])
        )
    time = clocks[0]
    indices = [c for c in clocks[1:] if counts(table.values[:, c]) or (table.values[:, c] % 1.0 == 0.0).all()]
    rest = [c for c in numeric if c != time and c not in indices]
    base = HeadFields("", (), time, by="numbers")
    if len(rest) == 7 and unit_length(table, rest[:4]) and unit_length(table, rest[4:]):
        return replace(base, form="quaternion", columns=tuple(rest[:4]), beside=tuple(rest[4:]))
    if len(rest) == 7 and unit_length(table, rest[:3]) and unit_length(table, rest[3:]):
        return replace(base, form="quaternion", columns=tuple(rest[3:]), beside=tuple(rest[:3]))
    if len(rest) == 4 and unit_length(table, rest):
        if indices:  # Corbillon2017: time, frame, w, x, y, z
            w, x, y, z = rest
            return replace(base, form="quaternion", columns=(x, y, z, w), axes="hamilton")
        raise _ambiguous(table, "four numbers after the time are a quaternion whose order nothing tells")
    if len(rest) == 3:
        if unit_length(table, rest):
            return replace(base, form="vector", columns=tuple(rest))
        turn, roll = table.values[:, rest[0]], table.values[:, rest[2]]
        if float(np.nanpercentile(np.abs(roll), 99)) > 75.0 and np.ptp(roll) > 2.0 * np.ptp(turn):
            raise _ambiguous(table, "the third angle turns further than a head can roll: not yaw, pitch, roll")
        _turns_first(table, rest)
        return replace(base, form="angles", columns=tuple(rest))
    if len(rest) == 2:
        across, down = (table.values[:, c] for c in rest)
        if _within(table, tuple(rest), 0.0, 1.0) or np.nanmax(np.abs(down)) > 180.0 or np.nanmax(across) > 720.0:
            return replace(base, form="position", columns=tuple(rest))
        _turns_first(table, rest)
        return replace(base, form="angles", columns=tuple(rest))
    raise TraceFormatError(
        table.name, f"cannot tell the columns ({len(rest)} beside the time); say which: {', '.join(EXPLICIT)}",
        int(table.lines[0]),
    )  # fmt: skip


def _turns_first(table: Table, columns: list[int]) -> None:
    """Refuse a yaw that hardly moves beside a pitch that does: heads turn further than they nod."""
    yaw, pitch = (np.ptp(table.values[np.isfinite(table.values[:, c]), c]) for c in columns[:2])
    if pitch > max(60.0, 2.0 * yaw):
        # No ambiguous log: what no angles are is to be read as another kind of table.
        raise TraceFormatError(
            table.name, "the second angle turns further than the first: not yaw, pitch; say which: "
            + ", ".join(EXPLICIT), int(table.lines[0])
        )  # fmt: skip


def _marked(table: Table) -> HeadFields | None:
    """Return the fields of rows that mark them with words: ``frame,1,forward,x,y,eye,x,y`` (Xu et al., CVPR 2018)."""
    first = {c: column[0].lower() for c, column in table.texts.items()}
    forward = next((c for c, word in first.items() if word == "forward"), None)
    frame = next((c for c, word in first.items() if word == "frame"), None)
    if forward is None or frame is None or max(forward + 2, frame + 1) >= table.width:
        return None
    return HeadFields("position", (forward + 1, forward + 2), frame + 1, "frame", by="numbers", axes="bottom-left")


def _rises(column: Array) -> bool:
    column = column[np.isfinite(column)]
    if len(column) < 2:
        return False
    steps = np.diff(column)
    return float((steps >= 0).mean()) > 0.99 and float((steps > 0).mean()) > 0.5


def explicit(table: Table, columns: str) -> HeadFields:
    """Return the fields of a table whose columns a user named: a key of :data:`EXPLICIT`, time first.

    Raises:
        TraceFormatError: the table has another number of columns.
    """
    form, letters = EXPLICIT[columns]
    expected = 1 + len(letters)
    if table.width != expected:
        raise TraceFormatError(table.name, f"expected {expected} columns, found {table.width}", int(table.lines[0]))
    order = {"quaternion": "xyzw", "vector": "xyz", "position": "xy"}.get(form, "")
    wanted = list(order) if order else [n for n in ("yaw", "pitch", "roll") if n in letters]
    return HeadFields(form, tuple(1 + letters.index(letter) for letter in wanted), 0)


def understand(table: Table, columns: str | None = None) -> HeadFields:
    """Return what the columns of a head log mean.

    Raises:
        TraceFormatError: it cannot be told.
    """
    if columns is not None:
        return explicit(table, columns)
    if table.header is None:
        return by_numbers(table)
    found = by_header(table)
    if found is None:
        names = ", ".join(repr(name[:30]) for name in table.header[:12])
        raise TraceFormatError(table.name, f"no column names an orientation; the header has: {names}", 1)
    if found.time < 0:
        counted = next(
            (i for i, n in enumerate(map(_plain, table.header))
             if ("frame" in n and _COUNT.fullmatch(n)) or (_STEP.fullmatch(n) and counts(table.values[:, i]))), -1,
        )  # fmt: skip
        if counted < 0:
            raise TraceFormatError(
                table.name, "no column names a time: call it time_s, time_ms, or frame for one that counts frames", 1
            )
        return replace(found, time=counted, time_unit="frame")
    return found
