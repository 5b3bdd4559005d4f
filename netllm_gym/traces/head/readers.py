"""Readers of head logs: tables of any column order, JSON, a row a viewer, and NetLLM's own files.

All logs but NetLLM's own reading are resampled to a uniform clock by spherical interpolation. Where two stamps lie
further apart than `max_gap_s`, the samples between them are marked invalid: a gap stays a gap.
"""

from __future__ import annotations

import re

import numpy as np

from netllm_gym.errors import TraceFormatError, UnknownNameError
from netllm_gym.traces.head import geometry
from netllm_gym.traces.head.columns import understand
from netllm_gym.traces.head.fields import EXPLICIT, HeadFields
from netllm_gym.traces.head.log import sessions, to_trace
from netllm_gym.traces.head.resample import HZ, MAX_GAP_S, resample
from netllm_gym.traces.head.scales import HeadOptions, HeadScales, scales, stamps
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.reading import Notes
from netllm_gym.traces.tables import MAX_CELLS, Table, read_table

# Columns after the time stamp, by name (:func:`netllm_gym.traces.head.fields.explicit`).
COLUMNS = {key: letters for key, (_, letters) in EXPLICIT.items()}
# How a file begins whose first row is the clock: 0.0 0.1 0.2
_CLOCK_ROW = re.compile(r"\s*0(?:\.0*)?(?:[ ,\t]+\d*\.?\d+){19}")
NETLLM_FILE = re.compile(r"simple_5Hz_user(\d+)\.csv$", re.IGNORECASE)


def strict_table(data: bytes, name: str, columns: int) -> Table:
    """Parse a table that must hold numbers only, in so many columns.

    Raises:
        TraceFormatError: it does not.
    """
    table = read_table(data, name)
    if table.width != columns:
        raise TraceFormatError(name, f"expected {columns} columns, found {table.width}", int(table.lines[0]))
    for c, cells in table.texts.items():
        row = int(np.argmax(~np.isfinite(table.values[:, c])))
        what = "is not finite" if cells[row].lower().lstrip("+-")[:3] in ("nan", "inf") else "is not a number"
        raise TraceFormatError(name, f"{cells[row][:40]!r} {what}", int(table.lines[row]))
    return table


def read_netllm(data: bytes, user: str, video: str, dataset: str, lon_offset_deg: float) -> tuple[HeadTrace, HeadTrace]:
    """Read one ``simple_5Hz_user<u>.csv`` (time, roll, pitch, yaw) both ways.

    Returns:
        The published reading (rows as they stand, their clock taken as uniform) and the canonical one (turned
        back into quaternions, resampled by their stamps, Y-X-Z angles, 0 at the frame's centre). A few
        published files hold rows whose clock jumps back by a fraction of a second; the canonical reading
        leaves those rows out.

    Raises:
        TraceFormatError: as ``file:line: reason``.
    """
    name = f"{dataset}/video{video}/user{user}"
    table = strict_table(data, name, 4).values
    published = HeadTrace(user, video, HZ, table[:, 1:], "published", table[0, 0], dataset=dataset)
    forward = np.concatenate([[True], table[1:, 0] > np.maximum.accumulate(table[:-1, 0])])
    rows = table[forward]
    quaternion, valid = resample(rows[:, 0], geometry.published_to_quaternion(rows[:, 1:]), name)
    angles = geometry.quaternion_to_canonical(quaternion, lon_offset_deg)
    return published, HeadTrace(user, video, HZ, angles, "canonical", table[0, 0], valid, dataset)


def read_head_csv(
    data: bytes,
    user: str,
    video: str,
    columns: str = "ypr",
    hz: float = HZ,
    lon_offset_deg: float = 0.0,
    lat_sign: float = -1.0,
    max_gap_s: float = MAX_GAP_S,
    dataset: str = "user",
    time_unit: str = "s",
) -> HeadTrace:
    """Read a log of ``time, ...`` whose columns and units you name, at any rate, and resample it to `hz`.

    Args:
        data: content of the file; one header line is allowed.
        user, video: who watched what.
        columns: what follows the time: a key of :data:`COLUMNS`, such as ``ypr`` (canonical lon, lat, roll in
            degrees), ``quaternion-xyzw``, ``quaternion-wxyz`` (headset frame, y up), or ``vector`` (canonical
            direction; roll becomes 0).
        hz: sample rate of the trace.
        lon_offset_deg, lat_sign: of quaternion logs, see
            :func:`netllm_gym.traces.head.geometry.quaternion_to_canonical`.
        max_gap_s: longer pauses between stamps are marked as gaps.
        dataset: name of the data set.
        time_unit: of the stamps: ``s``, ``ms``, ``us`` or ``ns``.

    Raises:
        TraceFormatError: as ``file:line: reason``.
        UnknownNameError: no such `columns`.
    """
    if columns not in COLUMNS:
        raise UnknownNameError("column format", columns, COLUMNS)
    options = HeadOptions(time_unit, "deg", "unity", None, 0.0, False, 0.0, hz, max_gap_s, dataset)
    name = f"{dataset}/video{video}/user{user}"
    table = strict_table(data, name, 1 + len(COLUMNS[columns]))
    fields = understand(table, columns)
    if fields.form in ("quaternion", "vector"):
        length = np.linalg.norm(table.values[:, list(fields.columns)], axis=1)
        if (length < 1e-6).any():
            raise TraceFormatError(name, "a vector of length zero", int(table.lines[np.argmax(length < 1e-6)]))
    notes = Notes()
    trace = to_trace(table, fields, scales([table], fields, options, notes), options, notes, user, video)
    if fields.form != "quaternion" or (lon_offset_deg == 0.0 and lat_sign == -1.0):
        return trace
    angles = trace.angles_deg * np.array([1.0, -lat_sign, -lat_sign])
    angles[:, 0] = geometry.wrap_deg(angles[:, 0] + lon_offset_deg)
    return HeadTrace(user, video, hz, angles, "canonical", trace.start_s, trace.valid, dataset)


def viewer_rows(table: Table) -> list[tuple[str, Table]] | None:
    """Return the logs of a file whose first row is the clock and whose others are, in turn, a viewer's pitch and yaw.

    That is the layout of the aggregated set of Nguyen et al. ("A large dataset of 360 video user behaviour"): radians.
    A viewer who stopped early has shorter rows: the empty cells at their end are left out.

    Returns:
        ``(user, table of time, yaw, pitch)`` each, or ``None`` when the file is not laid out so.
    """
    if table.header is not None or table.texts or len(table) < 3 or len(table) % 2 == 0 or table.width < 20:
        return None
    clock = table.values[0]
    if not (np.diff(clock) > 0).all() or np.nanmax(np.abs(table.values[1::2])) > np.pi / 2 + 0.05:
        return None
    logs = []
    for i in range(1, len(table), 2):
        values = np.column_stack([clock, table.values[i + 1], table.values[i]])
        values = values[: int(np.isfinite(values).all(axis=1).sum())]
        if not len(values):
            continue
        lines = np.full(len(values), table.lines[i])
        logs.append((str(i // 2 + 1), Table(table.name, ["time", "yaw rad", "pitch rad"], values, {}, lines)))
    return logs


def begins_with_clock(data: bytes) -> bool:
    """Tell whether the first row of a file is a clock: twenty numbers from 0."""
    return _CLOCK_ROW.match(data[:2000].decode("ascii", "replace")) is not None


def read_viewer_rows(data: bytes, name: str) -> list[tuple[str, Table]] | None:
    """Return :func:`viewer_rows` of a file whose rows differ in length, or ``None`` when it is no such file.

    Raises:
        TraceFormatError: more fields than a table may have.
    """
    if not begins_with_clock(data):
        return None
    rows = [line.replace(",", " ").split() for line in data.decode("ascii", "replace").splitlines() if line.strip()]
    width = len(rows[0])
    if len(rows) < 3 or len(rows) % 2 == 0 or max(map(len, rows)) > width:
        return None
    if any(len(pitch) != len(yaw) for pitch, yaw in zip(rows[1::2], rows[2::2], strict=True)):
        return None
    if len(rows) * width > MAX_CELLS:
        raise TraceFormatError(name, f"more than {MAX_CELLS} fields")
    values = np.full((len(rows), width), np.nan)
    try:
        for i, row in enumerate(rows):
            values[i, : len(row)] = np.array(row, dtype=np.float64)
    except ValueError:
        return None
    return viewer_rows(Table(name, None, values, {}, np.arange(1, len(rows) + 1, dtype=np.int64)))


__all__ = [
    "COLUMNS", "HZ", "MAX_GAP_S", "NETLLM_FILE", "HeadFields", "HeadOptions", "HeadScales",
    "begins_with_clock", "read_head_csv", "read_netllm", "read_viewer_rows", "resample", "scales", "sessions", "stamps",
    "strict_table", "to_trace", "understand",
]  # fmt: skip
