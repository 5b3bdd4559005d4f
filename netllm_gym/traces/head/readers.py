"""Readers of head logs: NetLLM's files, quaternion logs, and generic CSV of angles or unit vectors.

All logs but NetLLM's own reading are resampled to a uniform clock by spherical interpolation. Where two
stamps lie
further apart than `max_gap_s`, the samples between them are marked invalid: a gap stays a gap.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.traces.head import geometry
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.text import decode, parse_float

HZ = 5.0
MAX_GAP_S = 1.0
# A recording longer than a day, or one resampled to more samples than this, is not a head log.
MAX_SAMPLES = 5_000_000

# Columns after the time stamp.
COLUMNS = {
    "ypr": ("yaw", "pitch", "roll"),
    "quaternion-xyzw": ("x", "y", "z", "w"),
    "quaternion-wxyz": ("w", "x", "y", "z"),
    "vector": ("x", "y", "z"),
}


def _table(data: bytes, name: str, columns: int) -> NDArray[np.float64]:
    """Parse comma-separated numbers; one header line is allowed. Fast when clean, exact about errors when
    not."""
    text = decode(data, name)
    lines = text.splitlines()
    first = lines[0].split(",")[0].strip()
    header = 1 if first and not _is_number(first) else 0
    try:
        table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=header, ndmin=2)
    except ValueError:
        table = np.empty((0, 0))
    if table.shape[0] and table.shape[1] == columns and np.isfinite(table).all():
        return table
    rows = []
    for number, line in enumerate(lines[header:], start=header + 1):
        if not line.strip():
            continue
        fields = line.split(",")
        if len(fields) != columns:
            raise TraceFormatError(name, f"expected {columns} columns, found {len(fields)}", number)
        rows.append([parse_float(field, name, number) for field in fields])
    if not rows:
        raise TraceFormatError(name, "holds no samples")
    return np.array(rows)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def resample(
    time_s: ArrayLike, quaternion: ArrayLike, name: str, hz: float = HZ, max_gap_s: float = MAX_GAP_S
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Put orientations on a uniform clock that starts at the first stamp.

    Args:
        time_s: stamps ``[n]``; they may repeat with the same orientation (the first counts) but not go back.
        quaternion: orientations ``[n, 4]`` as x, y, z, w.
        name: for error messages.
        hz: samples per second of the result.
        max_gap_s: samples strictly inside a longer pause between stamps are invalid.

    Returns:
        Quaternions ``[m, 4]`` and validity ``[m]``.

    Raises:
        TraceFormatError: stamps go back, contradict each other, or span too much.
    """
    time, q = np.asarray(time_s, dtype=np.float64), np.asarray(quaternion, dtype=np.float64)
    steps = np.diff(time)
    if (steps < 0).any():
        line = int(np.flatnonzero(steps < 0)[0]) + 2
        raise TraceFormatError(name, f"time {time[line - 1]:g} s does not come after {time[line - 2]:g} s", line)
    keep = np.concatenate([[True], steps > 0])
    twice = np.flatnonzero(~keep)
    for i in twice:
        if abs(float(np.dot(q[i], q[i - 1]))) < 1.0 - 1e-3:  # more than about 5° apart
            raise TraceFormatError(name, f"two different orientations at {time[i]:g} s", int(i) + 1)
    time, q = time[keep], q[keep]
    count = int(np.floor((time[-1] - time[0]) * hz + 1e-6)) + 1
    if count > MAX_SAMPLES:
        raise TraceFormatError(name, f"spans {time[-1] - time[0]:g} s: not a head log")
    at = time[0] + np.arange(count) / hz
    left = np.clip(np.searchsorted(time, at, side="right") - 1, 0, max(len(time) - 2, 0))
    right = np.minimum(left + 1, len(time) - 1)
    on_stamp = np.minimum(at - time[left], np.abs(time[right] - at)) < 1e-9
    valid = on_stamp | (time[right] - time[left] <= max_gap_s)
    return geometry.slerp(time, q, at), valid


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
    table = _table(data, name, 4)
    published = HeadTrace(user, video, HZ, table[:, 1:], "published", table[0, 0], dataset=dataset)
    forward = np.concatenate([[True], table[1:, 0] > np.maximum.accumulate(table[:-1, 0])])
    rows = table[forward]
    quaternion, valid = resample(rows[:, 0], geometry.published_to_quaternion(rows[:, 1:]), name)
    angles = geometry.quaternion_to_canonical(quaternion, lon_offset_deg)
    return published, HeadTrace(user, video, HZ, angles, "canonical", table[0, 0], valid, dataset)


def head_logs(root: Path) -> list[Path]:
    """Return a folder's head logs, ``<video>/<user>.csv``, in sorted order; of a file, the file itself.

    Raises:
        TraceFormatError: there is none.
    """
    members = [root] if root.is_file() else sorted(root.glob("*/*.csv"))
    if not members:
        raise TraceFormatError(root, "no file <video>/<user>.csv below it")
    return members


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
) -> HeadTrace:
    """Read a log of ``time, ...`` at any rate, and resample it to `hz`.

    Args:
        data: content of the file; one header line is allowed.
        user, video: who watched what.
        columns: what follows the time: ``ypr`` (canonical lon, lat, roll in degrees), ``quaternion-xyzw``,
            ``quaternion-wxyz`` (headset frame, y up), or ``vector`` (canonical direction; roll becomes 0).
        hz: sample rate of the trace.
        lon_offset_deg, lat_sign: of quaternion logs, see
            :func:`netllm_gym.traces.head.geometry.quaternion_to_canonical`.
        max_gap_s: longer pauses between stamps are marked as gaps.
        dataset: name of the data set.

    Raises:
        TraceFormatError: as ``file:line: reason``.
        UnknownNameError: no such `columns`.
    """
    if columns not in COLUMNS:
        raise UnknownNameError("column format", columns, COLUMNS)
    if not (hz > 0 and np.isfinite(hz)):
        raise ConfigError(f"hz must be positive, got {hz}")
    name = f"{dataset}/video{video}/user{user}"
    table = _table(data, name, 1 + len(COLUMNS[columns]))
    values = table[:, 1:]
    if columns == "ypr":
        bad = np.abs(values) > np.array([360.0, 90.0, 180.0]) + 1e-6
        if bad.any():
            row, axis = np.argwhere(bad)[0]
            raise TraceFormatError(name, f"{COLUMNS['ypr'][axis]} {values[row, axis]:g}° is out of range", int(row) + 1)
        quaternion = geometry.canonical_to_quaternion(values)
        lon_offset_deg, lat_sign = 0.0, -1.0
    else:
        length = np.linalg.norm(values, axis=1)
        if (length < 1e-6).any():
            raise TraceFormatError(name, "a vector of length zero", int(np.flatnonzero(length < 1e-6)[0]) + 1)
        values = values / length[:, None]
        if columns == "vector":
            lonlat = geometry.vector_to_lonlat(values)
            angles = np.column_stack([lonlat, np.zeros(len(lonlat))])
            quaternion = geometry.canonical_to_quaternion(angles)
            lon_offset_deg, lat_sign = 0.0, -1.0
        else:
            quaternion = values if columns == "quaternion-xyzw" else values[:, [1, 2, 3, 0]]
    quaternion, valid = resample(table[:, 0], quaternion, name, hz, max_gap_s)
    angles = geometry.quaternion_to_canonical(quaternion, lon_offset_deg, lat_sign)
    return HeadTrace(user, video, hz, angles, "canonical", table[0, 0], valid, dataset)
