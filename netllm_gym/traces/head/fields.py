"""What the columns of a head log mean: by their names where there are names, by their numbers where there are none.

The header decides. Without one only what the numbers themselves show is taken: a clock rises, a unit quaternion and a
unit vector have length one, a position lies in the unit square or on a frame twice as wide as high.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.tables import Table

Array = NDArray[np.float64]

FORMS = ("quaternion", "angles", "vector", "position")
# Explicit forms: what follows the time, in this order.
EXPLICIT = {
    "ypr": ("angles", ("yaw", "pitch", "roll")),
    "pyr": ("angles", ("pitch", "yaw", "roll")),
    "rpy": ("angles", ("roll", "pitch", "yaw")),
    "lonlat": ("angles", ("yaw", "pitch")),
    "quaternion-xyzw": ("quaternion", ("x", "y", "z", "w")),
    "quaternion-wxyz": ("quaternion", ("w", "x", "y", "z")),
    "vector": ("vector", ("x", "y", "z")),
    "xy": ("position", ("x", "y")),
}
NORMALISED = "normalised"


@dataclass(frozen=True)
class HeadFields:
    """Which columns hold what.

    Attributes:
        form: one of :data:`FORMS`.
        columns: quaternion x, y, z, w; angles yaw, pitch and perhaps roll; vector x, y, z; position x, y.
        time: column of the clock, -1 for rows that are counted.
        time_unit: of the clock as its name says it, or empty.
        unit: of angles and positions as the names say it (``deg``, ``rad``), or empty.
        polar: the second angle is counted from the north pole.
        beside: a vector logged beside a quaternion, or ().
        user, video: columns that name them, or -1.
        by: ``header`` or ``numbers``.
        axes: the convention that the names or numbers tell, or empty.
    """

    form: str
    columns: tuple[int, ...]
    time: int = -1
    time_unit: str = ""
    unit: str = ""
    polar: bool = False
    beside: tuple[int, ...] = ()
    user: int = -1
    video: int = -1
    by: str = "header"
    axes: str = ""


_UNITS = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "ms": "ms", "msec": "ms", "millis": "ms",
    "milliseconds": "ms", "millisecond": "ms", "us": "us", "usec": "us", "microseconds": "us", "micros": "us",
    "ns": "ns", "nsec": "ns", "nanoseconds": "ns", "nanos": "ns",
}  # fmt: skip
_TIME_NAMES = (
    r"(playback|media|video|content|movie)_?(time|timestamp|position|pts|clock)", r"pts", r"session_?time",
    r"(rel|relative|elapsed)_?(time|timestamp)?", r"(start_)?time_?(stamp)?", r"ts?", r"date_?time", r"seconds?|secs?",
    r"m?secs?|milliseconds?|ms", r"(unix|epoch|system|local|utc|recording|device)_?(time)?_?(stamp)?",
    r"timestamp_?(date|time|utc)?", r"capture_?time", r"clock",
)  # fmt: skip
_COUNT = re.compile(r"(no_)?(frame|frames|frame_?(id|no|idx|index|number)|no|idx|index|sample|row|i|n|id)")
_USER = re.compile(r"(user|viewer|subject|participant|person|uid|observer|player)(_?(id|name|no|number|index))?")
_VIDEO = re.compile(
    r"(video|vid|clip|content|stimulus|stimuli|movie|file_?name|scene)(_?(id|name|no|number|index|file))?"
)
_YAW = re.compile(r"(?:(.*)_)?(yaw|heading|pan|azimuth|azi|lon|long|longitude|lng|theta)")
_PITCH = re.compile(r"(?:(.*)_)?(pitch|tilt|elevation|elev|ele|lat|latitude|phi|altitude)")
_ROLL = re.compile(r"(?:(.*)_)?(roll|bank)")
_LEADING = re.compile(r"([wxyz])[ ._](head|hmd|view(?:port)?|cent(?:er|re)|gaze|eye)", re.I)  # x_head
_LESS = re.compile(r"raw|eye|gaze|hand|controller|left|right|body|position|pos\b|target|velocity|acc|gyro|fixation")
_MORE = re.compile(r"cal|head|hmd|view|cam|q|rot|ori|fwd|forward|dir|center|centre")


def _plain(name: str) -> str:
    """Lower case, words joined by underscores: ``cal. Yaw (deg)`` → ``cal_yaw_deg``; camel case is cut."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _unit(plain: str) -> tuple[str, str]:
    """Return the name without its unit, and the unit."""
    head, _, tail = plain.rpartition("_")
    if head and tail in _UNITS:
        return head, _UNITS[tail]
    if head and tail in ("deg", "degree", "degrees"):
        return head, "deg"
    if head and tail in ("rad", "radian", "radians"):
        return head, "rad"
    if head and tail in ("px", "pixel", "pixels"):
        return head, "px"
    return plain, ""


def _rank(prefix: str) -> int:
    return (-2 if _LESS.search(prefix) else 0) + (1 if _MORE.search(prefix) else 0)


def _lettered(names: list[str]) -> dict[str, dict[str, int]]:
    """Group columns that end in w, x, y or z by what stands before: ``qx`` → q, ``Rot.x`` → rot."""
    groups: dict[str, dict[str, int]] = {}
    for i, name in enumerate(names):
        match = re.fullmatch(r"(.*?)[ ._\-\[(]*([wxyzWXYZ])[)\]]?", name.strip())
        if leading := _LEADING.fullmatch(name.strip()):
            groups.setdefault(_plain(leading[2]), {}).setdefault(leading[1].lower(), i)
            continue
        if not match:
            continue
        prefix, letter = match[1], match[2]
        glued = bool(prefix) and name.strip()[len(prefix)] == letter
        last = re.split(r"[ ._]", prefix)[-1]  # hmd_qx
        if glued and not (letter.isupper() or len(last) <= 4 or prefix[-1].isdigit()):
            continue  # a word that happens to end in such a letter
        if (
            glued
            and letter.islower()
            and last.lower() not in ("q", "quat", "rot", "r", "v", "dir", "vec", "h", "head", "p", "pos", "u", "f")
        ):
            continue
        groups.setdefault(_plain(prefix), {}).setdefault(letter.lower(), i)
    return groups


def _time_column(names: list[str], table: Table) -> tuple[int, str]:
    """Return the column of the clock and the unit in its name; -1 if there is none."""
    best: tuple[int, int, str] | None = None
    for i, name in enumerate(names):
        plain, unit = _unit(_plain(name))
        unit = unit if unit in ("s", "ms", "us", "ns") else ""
        if not unit and (given := _UNITS.get(plain)) and plain not in ("s",):
            unit = given
        for rank, pattern in enumerate(_TIME_NAMES):
            if re.fullmatch(pattern, plain):
                if i in table.texts and "date" in plain and any("time" in _plain(n) for n in names if n != name):
                    rank += 20  # a date without its time of day
                if best is None or rank < best[0]:
                    best = rank, i, unit
                break
    return (best[1], best[2]) if best else (-1, "")


def by_header(table: Table) -> HeadFields | None:
    """Return what the header says, or ``None`` where it names no orientation."""
    names = table.header or []
    time, time_unit = _time_column(names, table)
    plain = [_unit(_plain(name)) for name in names]
    user = next((i for i, (n, _) in enumerate(plain) if _USER.fullmatch(n)), -1)
    video = next((i for i, (n, _) in enumerate(plain) if _VIDEO.fullmatch(n) and i != time), -1)
    base = HeadFields("", (), time, time_unit, user=user, video=video)
    groups = _lettered(names)
    # three.js writes its private fields: quaternion._x, rotation._order; it is a right-handed world, y up.
    three = "opengl" if any(re.search(r"(^|[ .])_[wxyz]$|\._order$|^_order$", name.strip()) for name in names) else ""
    fours = [(p, g) for p, g in groups.items() if len(g) == 4]
    quaternions = [(p, g) for p, g in fours if _unit_length(table, [g[c] for c in "xyzw"])] or fours
    threes = [(p, g) for p, g in groups.items() if set(g) == set("xyz")]
    directions = [(p, g) for p, g in threes if _unit_length(table, [g[c] for c in "xyz"])]
    vectors = directions or [(p, g) for p, g in threes if not p]  # bare x, y, z of any length
    if quaternions:
        _, group = max(quaternions, key=lambda item: _rank(item[0]))
        # Other triples beside a quaternion are where the head is, not where it looks.
        beside = tuple(directions[0][1][c] for c in "xyz") if len(directions) == 1 else ()
        return replace(base, form="quaternion", columns=tuple(group[c] for c in "xyzw"), beside=beside, axes=three)
    numbered = {n: i for i, (n, _) in enumerate(plain)}
    if {"q0", "q1", "q2", "q3"} <= set(numbered):  # Corbillon2017 counts from the scalar part
        return replace(base, form="quaternion", columns=tuple(numbered[f"q{k}"] for k in (1, 2, 3, 0)))
    if {"q1", "q2", "q3", "q4"} <= set(numbered):
        raise _ambiguous(table, "q1 to q4 are a quaternion whose order nothing tells")
    found = _angles(plain, time)
    if found:
        columns, unit, words = found
        form = "angles"
        if unit == "px" or (words[0].startswith(("lon", "lng")) and _within(table, columns[:2], 0.0, 1.0)):
            form, columns = "position", columns[:2]
        if words == ("theta", "phi"):
            return _theta_phi(table, replace(base, form=form, columns=columns, unit=unit))
        return replace(base, form=form, columns=columns, unit=unit)
    if vectors:
        _, group = max(vectors, key=lambda item: _rank(item[0]))
        return replace(base, form="vector", columns=tuple(group[c] for c in "xyz"))
    turns = [
        (p, g)
        for p, g in groups.items()
        if {"x", "y", "z"} <= set(g) and re.search(r"euler|rot|angle|hmdr|ori|head_?r$", p)
    ]
    if turns:
        _, group = max(turns, key=lambda item: _rank(item[0]))
        # Unity's Euler angles: about y (yaw), x (pitch, down positive) and z.
        axes = "three-euler" if three else "unity-euler"
        return replace(base, form="angles", columns=(group["y"], group["x"], group["z"]), axes=axes)
    pairs = [(p, g) for p, g in groups.items() if {"x", "y"} <= set(g) and "z" not in g]
    if pairs:
        _, group = max(pairs, key=lambda item: _rank(item[0]))
        return replace(base, form="position", columns=(group["x"], group["y"]))
    uv = {n: i for i, (n, _) in enumerate(plain)}
    if "u" in uv and "v" in uv:
        return replace(base, form="position", columns=(uv["u"], uv["v"]))
    return None


def _angles(plain: list[tuple[str, str]], time: int) -> tuple[tuple[int, ...], str, tuple[str, str]] | None:
    """Return the columns of yaw, pitch and perhaps roll, their unit, and the words that named the first two."""

    def best(pattern: re.Pattern[str]) -> tuple[int, str, str, str] | None:
        hits = [
            (_rank(m[1] or ""), -i, i, m[1] or "", m[2], u)
            for i, (n, u) in enumerate(plain)
            if i != time and (m := pattern.fullmatch(n))
        ]
        if not hits:
            return None
        _, _, i, prefix, word, unit = max(hits)
        return i, prefix, word, unit

    yaw, pitch, roll = best(_YAW), best(_PITCH), best(_ROLL)
    if yaw is None or pitch is None:
        return None
    columns = (yaw[0], pitch[0]) + ((roll[0],) if roll else ())
    return columns, yaw[3] or pitch[3], (yaw[2], pitch[2])


def _unit_length(table: Table, columns: list[int], tolerance: float = 0.02) -> bool:
    values = table.values[:, columns]
    lengths = np.linalg.norm(values[np.isfinite(values).all(axis=1)], axis=1)
    return len(lengths) > 0 and float(np.mean(np.abs(lengths - 1.0) < tolerance)) > 0.95


def _within(table: Table, columns: tuple[int, ...], low: float, high: float) -> bool:
    values = table.values[:, list(columns)]
    values = values[np.isfinite(values).all(axis=1)]
    return len(values) > 0 and bool(((values >= low - 1e-9) & (values <= high + 1e-9)).all())


def _theta_phi(table: Table, found: HeadFields) -> HeadFields:
    """Tell which of theta and phi turns and which tilts: mathematicians and physicists name them the other way round.

    Raises:
        AmbiguousColumnsError: both readings fit.
    """
    values = table.values[:, list(found.columns[:2])]
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return found
    if found.unit == "deg" or (not found.unit and np.abs(values).max() > 2 * np.pi + 0.05):
        values = np.radians(values)
    theta, phi = values[:, 0], values[:, 1]

    def polar(angles: Array) -> bool:  # an angle from the pole: heads look near the equator
        return bool((angles >= 0).all() and (angles <= np.pi + 0.05).all() and 0.6 < float(np.median(angles)) < 2.6)

    if polar(phi) and (not polar(theta) or abs(np.median(phi) - np.pi / 2) < abs(np.median(theta) - np.pi / 2)):
        return replace(found, polar=True, axes="theta-phi")  # TRACK counts both from the frame's top left corner
    if polar(theta):
        if np.abs(phi).max() > np.pi / 2 + 0.05 or polar(phi):
            return replace(found, columns=(found.columns[1], found.columns[0], *found.columns[2:]), axes="phi-theta")
        raise _ambiguous(table, "theta may be the angle from the pole or the one around it: call them yaw and pitch")
    return found


def by_numbers(table: Table) -> HeadFields:
    """Return what a table without a header shows.

    Raises:
        TraceFormatError: two readings fit, or none.
    """
    if (marked := _marked(table)) is not None:
        return marked
    numeric = [c for c in range(table.width) if c not in table.texts]
    clocks = [c for c in numeric if _rises(table.values[:, c])]
    clocks.sort(key=lambda c: (_counts(table.values[:, c]), c))
    if not clocks and len(table) == 1 and numeric:
        clocks = numeric[:1]
    if not clocks:
        raise TraceFormatError(
            table.name, "no column rises like a clock; name the columns in a header", int(table.lines[0])
        )
    time = clocks[0]
    indices = [c for c in clocks[1:] if _counts(table.values[:, c])]
    rest = [c for c in numeric if c != time and c not in indices]
    base = HeadFields("", (), time, by="numbers")
    if len(rest) == 7 and _unit_length(table, rest[:4]) and _unit_length(table, rest[4:]):
        return replace(base, form="quaternion", columns=tuple(rest[:4]), beside=tuple(rest[4:]))
    if len(rest) == 7 and _unit_length(table, rest[:3]) and _unit_length(table, rest[3:]):
        return replace(base, form="quaternion", columns=tuple(rest[3:]), beside=tuple(rest[:3]))
    if len(rest) == 4 and _unit_length(table, rest):
        if indices:  # Corbillon2017: time, frame, w, x, y, z
            w, x, y, z = rest
            return replace(base, form="quaternion", columns=(x, y, z, w), axes="hamilton")
        raise _ambiguous(table, "four numbers after the time are a quaternion whose order nothing tells")
    if len(rest) == 3:
        if _unit_length(table, rest):
            return replace(base, form="vector", columns=tuple(rest))
        turn, roll = table.values[:, rest[0]], table.values[:, rest[2]]
        if float(np.nanpercentile(np.abs(roll), 99)) > 75.0 and np.ptp(roll) > 2.0 * np.ptp(turn):
            raise _ambiguous(table, "the third angle turns further than a head can roll: not yaw, pitch, roll")
        return replace(base, form="angles", columns=tuple(rest))
    if len(rest) == 2:
        across, down = (table.values[:, c] for c in rest)
        if _within(table, tuple(rest), 0.0, 1.0) or np.nanmax(np.abs(down)) > 180.0 or np.nanmax(across) > 720.0:
            return replace(base, form="position", columns=tuple(rest))
        return replace(base, form="angles", columns=tuple(rest))
    raise TraceFormatError(
        table.name, f"cannot tell the columns ({len(rest)} beside the time); say which: {', '.join(EXPLICIT)}",
        int(table.lines[0]),
    )  # fmt: skip


class AmbiguousColumnsError(TraceFormatError):
    """Numbers that are directions of view, but whose order or kind nothing tells."""


def _ambiguous(table: Table, why: str) -> AmbiguousColumnsError:
    known = ", ".join(EXPLICIT)
    return AmbiguousColumnsError(
        table.name, f"cannot tell the columns ({why}); say which: {known}", int(table.lines[0])
    )


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


def _counts(column: Array) -> bool:
    """Tell whether a column is a row or frame number: whole numbers that grow by one, now and then by more."""
    column = column[np.isfinite(column)]
    steps = np.diff(column)
    return bool((column == np.round(column)).all()) and len(steps) > 0 and float(np.median(steps)) in (0.0, 1.0)


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
            (i for i, n in enumerate(table.header) if "frame" in _plain(n) and _COUNT.fullmatch(_plain(n))), -1
        )
        if counted < 0:
            raise TraceFormatError(table.name, "no column names a time", 1)
        return replace(found, time=counted, time_unit="frame")
    return found
