"""From the numbers of a head log to traces: angles, sessions, repairs within stated tolerances, a uniform clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.head import geometry, orient
from netllm_gym.traces.head.fields import HeadFields
from netllm_gym.traces.head.resample import resample
from netllm_gym.traces.head.scales import HeadOptions, HeadScales, stamps
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.reading import Notes
from netllm_gym.traces.tables import Table

Array = NDArray[np.float64]

# Repairs: what is left out or clipped, and counted. Beyond these a log is refused.
BACK_S = 0.1  # a stamp that goes back by no more
SHARE = 0.01  # of the rows of a log
OVER_DEG = 1.0  # a latitude beyond a pole by no more
EARLY_S = 60.0  # logged before the video began, by no more
LATEST_S = 1e18  # beyond what any clock shows, since .NET's first year, in any unit


def angles_deg(values: Array, table: Table, fields: HeadFields, how: HeadScales, options: HeadOptions) -> Array:
    """Return canonical angles ``[n, 3]`` of rows of orientations (latitudes may still exceed a pole)."""
    if fields.form == "quaternion":
        if how.order == "wxyz":
            values = values[:, [1, 2, 3, 0]]
        angles = orient.from_quaternion(values, how.convention, how.inverse)
    elif fields.form == "vector":
        angles = orient.from_vector(values, how.convention)
    elif fields.form == "position":
        width, height = how.frame or (1.0, 1.0)
        lon, lat = (values[:, 0] / width - 0.5) * 360.0, (0.5 - values[:, 1] / height) * 180.0
        angles = np.column_stack([lon, -lat if fields.axes == "bottom-left" else lat, np.zeros(len(lon))])
    else:
        columns = np.degrees(values) if how.angle_unit == "rad" else values.copy()
        if columns.shape[1] == 2:
            columns = np.column_stack([columns, np.zeros(len(columns))])
        if how.euler:
            signs = [-1.0, 1.0, -1.0] if how.convention == "opengl" else [1.0, -1.0, -1.0]
            columns = geometry.wrap_deg(columns) * np.array(signs)
        if fields.axes == "phi-theta":  # the second from the pole, the first from the frame's centre
            columns[:, 1] = 90.0 - columns[:, 1]
        if fields.polar:  # both angles from the frame's top left corner
            columns[:, 0] -= 180.0
            columns[:, 1] = 90.0 - columns[:, 1]
        if options.pitch_down or how.pitch_down:
            columns[:, 1] = -columns[:, 1]
        angles = columns
    angles[:, 0] = angles[:, 0] + options.lon_offset_deg
    return angles


def sessions(table: Table, moments: Array, fields: HeadFields) -> list[tuple[str, str, NDArray[np.intp]]]:
    """Cut a file into its logs: by the columns that name viewer and video, else where the clock starts anew.

    Returns:
        ``(user, video, rows)``; empty names where the file does not say.
    """
    rows = np.arange(len(table))
    named = [_labels(table, column) for column in (fields.user, fields.video)]
    if any(label is not None for label in named):
        keys: dict[tuple[str, str], list[int]] = {}
        for i in range(len(table)):
            key = tuple(label[i] if label is not None else "" for label in named)
            keys.setdefault((key[0], key[1]), []).append(i)
        return [(*key, piece) for key, members in keys.items() for piece in _anew(np.array(members), moments)]
    pieces = _anew(rows, moments)
    if len(pieces) == 1:
        return [("", "", rows)]
    return [(str(i), "", piece) for i, piece in enumerate(pieces, start=1)]


def _anew(rows: NDArray[np.intp], moments: Array) -> list[NDArray[np.intp]]:
    """Cut rows where their clock starts anew."""
    time = moments[rows]
    back = np.flatnonzero(np.diff(time) < -max(1.0, 0.5 * (np.nanmax(time) - np.nanmin(time))))
    return np.split(rows, back + 1)


def _labels(table: Table, column: int) -> list[str] | None:
    if column < 0:
        return None
    return [table.cell(column, row) or "-" for row in range(len(table))]


def to_trace(
    table: Table, fields: HeadFields, how: HeadScales, options: HeadOptions, notes: Notes, user: str, video: str
) -> HeadTrace:
    """Return the trace of one log.

    Raises:
        TraceFormatError: it needs more repair than the tolerances of this module allow.
    """
    name = table.name
    moments, text = stamps(table, fields)
    time = moments * (1.0 if text else how.seconds)
    columns = list(fields.beside if how.vector_only else fields.columns)
    values = table.values[:, columns]
    whole = (np.abs(time) < LATEST_S) & np.isfinite(values).all(axis=1)
    if fields.form in ("quaternion", "vector"):
        lengths = np.linalg.norm(np.where(np.isfinite(values), values, 0.0), axis=1)
        whole &= (lengths > 1e-6) & np.isfinite(lengths)
    _tolerate(~whole, table, notes, "rows without a whole sample left out", "a row without a whole sample")
    time, values, lines = time[whole], values[whole], table.lines[whole]
    if not len(time):
        raise TraceFormatError(name, "holds no samples")
    form = "vector" if how.vector_only else fields.form
    angles = angles_deg(values, table, HeadFields(form, (), axes=fields.axes, polar=fields.polar), how, options)
    limits = np.array([3600.0, 90.0 + OVER_DEG, 360.0])
    bad = np.abs(angles) > limits + 1e-6
    if bad.any():
        row, axis = np.argwhere(bad)[0]
        label = ("yaw", "pitch", "roll")[axis]
        if axis == 1 and np.ptp(geometry.wrap_deg(angles[:, 0])) < 180.0 < np.ptp(geometry.wrap_deg(angles[:, 1])):
            raise TraceFormatError(
                name, "the pitch turns all around and the yaw does not: their columns are named the other way round",
                int(lines[row]),
            )  # fmt: skip
        raise TraceFormatError(name, f"{label} {angles[row, axis]:g}° is out of range", int(lines[row]))
    over = np.abs(angles[:, 1]) > 90.0 + 1e-6
    if over.any():
        notes.repairs[f"latitudes up to {OVER_DEG:g}° beyond a pole clipped"] += int(over.sum())
        angles[:, 1] = np.clip(angles[:, 1], -90.0, 90.0)
    spread = _spread(time, angles)
    if spread is not None:
        notes.guess("rows of one stamp are spread evenly until the next: the clock is coarse")
        time = spread
    if time[0] < 0 or time[0] > 1e8 or text:
        if -EARLY_S <= time[0] < 0 < time[-1] and not text:
            before = time < 0
            notes.repairs["rows before the video starts left out"] += int(before.sum())
            time, angles, lines = time[~before], angles[~before], lines[~before]
        else:
            time = time - time[0]  # a calendar's time says nothing about the video
    time, angles, lines = _forward(time, angles, lines, table, notes)
    return _sampled(time, angles, lines, name, options, notes, user, video)


def _spread(time: Array, angles: Array) -> Array | None:
    """Return the stamps of a log whose clock is coarser than its rows, evenly spread; ``None`` where it is not.

    Such a clock gives several rows of one motion the same stamp; rows that jump are several logs mixed.
    """
    steps = np.diff(time)
    first = np.concatenate([[True], steps > 0])
    if (steps < 0).any() or len(time) < 20 or first.sum() > 0.6 * len(time) or first.sum() < 3:
        return None
    apart = geometry.great_circle_deg(angles[1:], angles[:-1])
    if np.median(apart) > 2.0 or np.percentile(apart, 99) > 20.0:
        return None
    at = np.flatnonzero(first)
    usual = float(np.median(np.diff(time[at])))
    ends = np.append(at, len(time))
    until = np.append(time[at][1:], time[at][-1] + usual)
    held = np.minimum(until - time[at], usual)  # a pause stays one
    within = np.arange(len(time)) - np.repeat(at, np.diff(ends))
    return np.repeat(time[at], np.diff(ends)) + within * np.repeat(held / np.diff(ends), np.diff(ends))


def _tolerate(bad: NDArray[np.bool_], table: Table, notes: Notes, what: str, problem: str) -> None:
    count = int(bad.sum())
    if not count:
        return
    if count > max(SHARE * len(bad), 0):
        line = int(table.lines[np.argmax(bad)])
        raise TraceFormatError(table.name, f"{problem} ({count} of {len(bad)} rows; at most {SHARE:.0%})", line)
    notes.repairs[what] += count


def _forward(
    time: Array, angles: Array, lines: NDArray[np.int64], table: Table, notes: Notes
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Leave out rows whose stamp goes back by a little; refuse a clock that goes back by more."""
    before = np.maximum.accumulate(np.concatenate([[time[0]], time[:-1]]))
    behind = before - time
    if (behind > BACK_S + 1e-9).any():
        row = int(np.argmax(behind > BACK_S + 1e-9))
        raise TraceFormatError(
            table.name, f"time {time[row]:g} s does not come after {before[row]:g} s", int(lines[row])
        )
    back = behind > 0
    if back.any():
        _tolerate(
            back, table, notes, f"rows whose stamp goes back by at most {BACK_S:g} s left out", "a stamp that goes back"
        )
        time, angles, lines = time[~back], angles[~back], lines[~back]
    return time, angles, lines


def _sampled(
    time: Array, angles: Array, lines: NDArray[np.int64], name: str, options: HeadOptions, notes: Notes, user: str,
    video: str,
) -> HeadTrace:  # fmt: skip
    twice = np.flatnonzero(np.diff(time) == 0) + 1
    if len(twice):
        apart = geometry.great_circle_deg(angles[twice], angles[twice - 1]) > 5.0
        if apart.sum() > SHARE * len(time):
            row = twice[np.argmax(apart)]
            raise TraceFormatError(name, f"two different orientations at {time[row]:g} s", int(lines[row]))
        if apart.any():
            notes.repairs["second orientations of one stamp left out"] += int(apart.sum())
        keep = np.concatenate([[True], np.diff(time) > 0])
        time, angles = time[keep], angles[keep]
    quaternion = geometry.canonical_to_quaternion(angles)
    sampled, valid = resample(time, quaternion, name, options.hz, options.max_gap_s)
    canonical = orient.from_quaternion(sampled)
    return HeadTrace(user, video, options.hz, canonical, "canonical", float(time[0]), valid, options.dataset)
