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
from netllm_gym.traces.head.letters import ANGLES, PIXELS, lettered, of_place
from netllm_gym.traces.head.letters import plain as _plain
from netllm_gym.traces.moments import seconds_of
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
        listed: a quaternion stands as four numbers under one name, which does not say their order.
        place: x, y and z of where the head is, or ().
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
    listed: bool = False
    place: tuple[int, ...] = ()


_UNITS = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "ms": "ms", "msec": "ms", "millis": "ms",
    "milliseconds": "ms", "millisecond": "ms", "us": "us", "usec": "us", "microseconds": "us", "micros": "us",
    "ns": "ns", "nsec": "ns", "nanoseconds": "ns", "nanos": "ns",
}  # fmt: skip
_TIME_NAMES = (
    r"(playback|media|video|content|movie)_?(time|timestamp|position|pts|clock)",
    r"pts",
    r"session_?time",
    r"(rel|relative|elapsed)_?(time|timestamp)?",
    r"(start_)?time_?(stamp)?",
    r"ts?",
    r"date_?time",
    r"seconds?|secs?",
    r"m?secs?|milliseconds?|ms",
    r"(unix|epoch|system|local|utc|recording|device)_?(time)?_?(stamp)?",
    r"timestamp_?(date|time|utc)?",
    r"capture_?time",
    r"clock",
    r"timer|time_?line|play_?head|\w+_time_?(stamp)?",
    r"time_?steps?|ticks?|\w+_ts|ts_\w+|t(ime)?_\w{2,}",
    r"start|onset|begin|zeit(_?stempel)?|temps|tiempo|tempo",
)
_TIME_ONLY = {"min": "min", "minutes": "min", "mins": "min", "h": "h", "hours": "h"}  # "pitch_min" is no pitch
_STEP = re.compile(r"(time_?)?steps?|ticks?")
_HAMILTON = (("qi", "qj", "qk", "qr", "qw", "qs", "q0"), ("i", "j", "k", "real", "w", "r", "scalar"))
_COUNT = re.compile(r"(no_)?(frame|frames|frame_?(id|no|idx|index|number)|no|idx|index|sample|row|i|n|id)")
_USER = re.compile(r"(user|viewer|subject|participant|person|uid|observer|player)(_?(id|name|no|number|index))?")
_VIDEO = re.compile(
    r"(video|vid|clip|content|stimulus|stimuli|movie|file_?name|scene)(_?(id|name|no|number|index|file))?"
)
_YAW = re.compile(r"(?:(.*)_)?(yaw|gier|lacet|heading|pan|azimuth|azi|lon|long|longitude|lng|theta)")
_PITCH = re.compile(r"(?:(.*)_)?(pitch|nick|tangage|tilt|elevation|elev|ele|lat|latitude|phi|altitude)")
_ROLL = re.compile(r"(?:(.*)_)?(roll|roulis|bank)")
# Where a head is: bare x, y and z, Pos, HmdPosition, head_loc; not those of a hand or of what is looked at.
_HEAD = (
    r"(?:head|hmd|helmet|headset|camera|cam|main_camera|view|viewer|user|player|center_eye|world|local|unity|unreal)"
)
_PLACE = re.compile(rf"(?:{_HEAD}_?)*(?:{_HEAD}|p|position|pos|loc|location|translation|trans|t|)(?:_{_HEAD})?")
_LESS = re.compile(r"raw|eye|gaze|hand|controller|left|right|body|position|pos\b|target|velocity|acc|gyro|fixation")
_MORE = re.compile(r"cal|head|hmd|view|cam|q|rot|ori|fwd|forward|dir|center|centre")


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


def _angle_unit(name: str) -> str:
    """Return the unit that a name such as ``Rotation X (deg)`` or ``rot_x_rad`` ends in, or nothing."""
    match = ANGLES.search(name.strip())
    return "" if match is None else "rad" if "rad" in match[0].lower() else "deg"


def _rank(prefix: str) -> int:
    return (-2 if _LESS.search(prefix) else 0) + (1 if _MORE.search(prefix) else 0)


def _time_column(names: list[str], table: Table) -> tuple[int, str]:
    """Return the column of the clock and the unit in its name; -1 if there is none, or rows are but counted."""
    best: tuple[int, int, str] | None = None
    for i, name in enumerate(names):
        plain, unit = _unit(_plain(name))
        unit = unit if unit in ("s", "ms", "us", "ns") else ""
        head, _, tail = plain.rpartition("_")
        if head and tail in _TIME_ONLY:
            plain, unit = head, _TIME_ONLY[tail]
        if unit and _VIDEO.fullmatch(plain):  # video_ms: where the video stands
            plain = "video_time"
        if not unit and (given := _UNITS.get(plain)) and plain not in ("s",):
            unit = given
        cells: list[str] | list[float] = table.texts.get(i) or table.values[:, i].tolist()
        if len(cells) > 2 and len(set(cells)) == 1:
            continue  # when the session began, in every row
        if _STEP.fullmatch(plain) and counts(table.values[:, i]):
            continue  # the number of a row
        for rank, pattern in enumerate(_TIME_NAMES):
            if re.fullmatch(pattern, plain):
                if i in table.texts and "date" in plain and any("time" in _plain(n) for n in names if n != name):
                    rank += 20  # a date without its time of day
                if best is None or rank < best[0]:
                    best = rank, i, unit
                break
    if best is None:  # a column of moments by any name
        for i, cells in sorted(table.texts.items()):
            if not np.isfinite(table.values[:, i]).any() and seconds_of(cells[:50]) is not None:
                return i, ""
    return (best[1], best[2]) if best else (-1, "")


def counts(column: Array) -> bool:
    """Tell whether a column is a row or frame number: whole numbers that grow by one, now and then by more."""
    column = column[np.isfinite(column)]
    steps = np.diff(column)
    return bool((column == np.round(column)).all()) and len(steps) > 0 and float(np.median(steps)) in (0.0, 1.0)


def by_header(table: Table) -> HeadFields | None:
    """Return what the header says, or ``None`` where it names no orientation."""
    unreal = "unreal" if any(name.endswith("=") for name in table.header or []) else ""
    names = [name.rstrip("=") for name in table.header or []]
    time, time_unit = _time_column(names, table)
    plain = [_unit(_plain(name)) for name in names]
    user = next((i for i, (n, _) in enumerate(plain) if _USER.fullmatch(n)), -1)
    video = next((i for i, (n, u) in enumerate(plain) if _VIDEO.fullmatch(n) and not u and i != time), -1)
    base = HeadFields("", (), time, time_unit, user=user, video=video)
    groups = lettered(names)
    # three.js writes its private fields: quaternion._x, rotation._order; it is a right-handed world, y up.
    three = "opengl" if any(re.search(r"(^|[ .])_[wxyz]$|\._order$|^_order$", name.strip()) for name in names) else ""
    fours = [(p, g) for p, g in groups.items() if len(g) == 4]
    quaternions = [(p, g) for p, g in fours if unit_length(table, [g[c] for c in "xyzw"])] or fours
    threes = [(p, g) for p, g in groups.items() if set(g) == set("xyz")]
    directions = [(p, g) for p, g in threes if unit_length(table, [g[c] for c in "xyz"])]
    vectors = directions or [(p, g) for p, g in threes if not p]  # bare x, y, z of any length
    base = replace(base, place=_place(threes, directions))
    if quaternions:
        _, group = max(quaternions, key=lambda item: _rank(item[0]))
        # Other triples beside a quaternion are where the head is, not where it looks; a gaze may turn inside the head.
        heads = [g for p, g in directions if _rank(p) >= 0]
        beside = tuple(heads[0][c] for c in "xyz") if len(heads) == 1 else ()
        columns = tuple(group[c] for c in "xyzw")
        listed = all(names[i].endswith(f"[{c}]") for i, c in zip(columns, "xyzw", strict=True))
        return replace(
            base, form="quaternion", columns=columns, beside=beside, axes=three or unreal, listed=listed
        )  # fmt: skip
    numbered = {re.sub(r"^q_(?=\w$)", "q", n): i for i, (n, _) in enumerate(plain)}
    for parts in _HAMILTON:  # its i, j and k
        if set(parts[:3]) <= set(numbered) and (scalar := next((n for n in parts[3:] if n in numbered), "")):
            return replace(base, form="quaternion", columns=tuple(numbered[n] for n in (*parts[:3], scalar)))
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
    if {"alpha", "beta", "gamma"} <= {re.sub(r"^.*_", "", n) for n in numbered}:
        raise _ambiguous(
            table, "alpha, beta and gamma turn about other axes in every program: call them yaw, pitch, roll"
        )
    turns = [
        (p, g)
        for p, g in groups.items()
        if {"x", "y", "z"} <= set(g) and re.search(r"euler|rot|angle|hmdr|ori|head_?r$", p)
    ]
    # Gaze is told inside the head: where the head itself turns is told beside it.
    eyes = bool(vectors) and max(_rank(p) for p, _ in vectors) < 0
    if vectors and not (turns and eyes):
        _, group = max(vectors, key=lambda item: _rank(item[0]))
        if not directions:
            _same_length(table, [group[c] for c in "xyz"])
        return replace(base, form="vector", columns=tuple(group[c] for c in "xyz"), axes=unreal)
    if turns:
        _, group = max(turns, key=lambda item: _rank(item[0]))
        # Unity's Euler angles: about y (yaw), x (pitch, down positive) and z.
        axes = "three-euler" if three else "unity-euler"
        columns = group["y"], group["x"], group["z"]
        return replace(base, form="angles", columns=columns, axes=axes, unit=_angle_unit(names[columns[0]]))
    pairs = [(p, g) for p, g in groups.items() if {"x", "y"} <= set(g) and "z" not in g]
    if pairs:
        _, group = max(pairs, key=lambda item: _rank(item[0]))
        across = names[group["x"]]
        unit = "px" if PIXELS.search(across.strip()) and not of_place(across, names) else ""
        return replace(base, form="position", columns=(group["x"], group["y"]), unit=unit)
    uv = {n: i for i, (n, _) in enumerate(plain)}
    whose = [n[:-1] for n in uv if re.fullmatch(r"(.*_)?u", n) and f"{n[:-1]}v" in uv]
    if whose:
        best = max(whose, key=_rank)
        return replace(base, form="position", columns=(uv[f"{best}u"], uv[f"{best}v"]))
    return None


def _place(threes: list[tuple[str, dict[str, int]]], directions: list[tuple[str, dict[str, int]]]) -> tuple[int, ...]:
    """Return the columns of where the head is: x, y and z by a usual name; nothing where several are as good."""
    taken = {p for p, _ in directions}
    named = [(p, g) for p, g in threes if p not in taken and _PLACE.fullmatch(p)]
    return tuple(named[0][1][c] for c in "xyz") if len(named) == 1 else ()


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


def rivals(table: Table, fields: HeadFields) -> str:
    """Return a sentence on other columns that name a yaw as well as the one that is read; empty if there is none."""
    if table.header is None or fields.form != "angles" or fields.axes:
        return ""
    matches = {i: m for i, n in enumerate(table.header) if (m := _YAW.fullmatch(_unit(_plain(n))[0]))}
    chosen = matches.get(fields.columns[0])
    if chosen is None:
        return ""
    alike = [
        table.header[i] for i, m in matches.items() if m[1] != chosen[1] and _rank(m[1] or "") == _rank(chosen[1] or "")
    ]
    return f"read {table.header[fields.columns[0]]!r}, not {', '.join(map(repr, alike[:5]))}" if alike else ""


def unit_length(table: Table, columns: list[int], tolerance: float = 0.02) -> bool:
    """Tell whether nearly all rows of some columns have length one."""
    values = table.values[:, columns]
    lengths = np.linalg.norm(values[np.isfinite(values).all(axis=1)], axis=1)
    return len(lengths) > 0 and float(np.mean(np.abs(lengths - 1.0) < tolerance)) > 0.95


def _same_length(table: Table, columns: list[int]) -> None:
    """Refuse triples whose lengths differ: where a head is, not where it looks.

    Raises:
        AmbiguousColumnsError: they are no directions.
    """
    values = table.values[:, columns]
    lengths = np.linalg.norm(values[np.isfinite(values).all(axis=1)], axis=1)
    low, high = np.percentile(lengths, [2, 98]) if len(lengths) else (1.0, 1.0)
    if high > 1.25 * low + 1e-9:
        raise _ambiguous(
            table, f"x, y and z of lengths from {low:.3g} to {high:.3g} are places, not directions of view"
        )


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
    upright = [bool((np.abs(angle) <= np.pi / 2 + 0.01).all()) for angle in (theta, phi)]
    if any(upright) and not polar(theta):  # an elevation never exceeds a quarter turn
        if all(upright):
            raise _ambiguous(table, "either of theta and phi may turn: call them yaw and pitch")
        turned = (found.columns[1], found.columns[0], *found.columns[2:])
        return replace(found, columns=turned) if upright[0] else found
    if polar(theta):
        if np.abs(phi).max() > np.pi / 2 + 0.05 or polar(phi):
            return replace(found, columns=(found.columns[1], found.columns[0], *found.columns[2:]), axes="phi-theta")
        raise _ambiguous(table, "theta may be the angle from the pole or the one around it: call them yaw and pitch")
    return found


class AmbiguousColumnsError(TraceFormatError):
    """Numbers that are directions of view, but whose order or kind nothing tells."""


def _ambiguous(table: Table, why: str) -> AmbiguousColumnsError:
    known = ", ".join(EXPLICIT)
    return AmbiguousColumnsError(
        table.name, f"cannot tell the columns ({why}); say which: {known}", int(table.lines[0])
    )
