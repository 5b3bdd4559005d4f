"""What the numbers of head logs mean: units and conventions, as said by the user or guessed from the logs.

What nothing in the files tells is decided from all logs of a set together and said in a note; what stays open is
refused with the option that settles it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.traces.head import geometry, orient
from netllm_gym.traces.head.fields import HeadFields
from netllm_gym.traces.head.lever import right_handed, rises, sine, sinks, z_height
from netllm_gym.traces.head.resample import HZ, MAX_GAP_S
from netllm_gym.traces.moments import calendar_seconds, seconds_of
from netllm_gym.traces.reading import Notes
from netllm_gym.traces.tables import Table

Array = NDArray[np.float64]

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
FRAME_HZ = 30.0
# Frames twice as wide as high, from which the one of pixel positions is guessed.
WIDTHS = (360, 512, 640, 720, 1000, 1024, 1280, 1440, 1920, 2000, 2048, 2160, 2560, 2880, 3000, 3840, 4096, 5760, 6144,
          7680, 8192)  # fmt: skip


@dataclass(frozen=True)
class HeadOptions:
    """What a user says about his logs; empty means: guess and say so.

    Attributes:
        time_unit: a key of :data:`SECONDS`.
        angle_unit: ``deg`` or ``rad``.
        convention: of quaternions and vectors, a key of :data:`netllm_gym.traces.head.orient.AXES`.
        frame: width and height of the frame that pixel positions are on.
        lon_offset_deg: added to every longitude.
        pitch_down: positive pitch looks down.
        frame_hz: frames per second of logs that count frames.
        hz, max_gap_s: of the traces.
        dataset: name of the data set.
    """

    time_unit: str = ""
    angle_unit: str = ""
    convention: str = ""
    frame: tuple[float, float] | None = None
    lon_offset_deg: float = 0.0
    pitch_down: bool = False
    frame_hz: float = 0.0
    hz: float = HZ
    max_gap_s: float = MAX_GAP_S
    dataset: str = "user"

    def __post_init__(self) -> None:
        if self.time_unit not in ("", *SECONDS):
            raise UnknownNameError("time unit", self.time_unit, SECONDS)
        if self.angle_unit not in ("", "deg", "rad"):
            raise UnknownNameError("angle unit", self.angle_unit, ("deg", "rad"))
        if self.convention not in ("", *orient.AXES):
            raise UnknownNameError("convention", self.convention, orient.AXES)
        if not (self.hz > 0 and np.isfinite(self.hz)):
            raise ConfigError(f"hz must be positive, got {self.hz}")
        if self.frame is not None and not all(np.isfinite(x) and x > 0 for x in self.frame):
            raise ConfigError(f"a frame has a positive width and height, got {self.frame}")


@dataclass(frozen=True)
class HeadScales:
    """How the numbers of logs with the same fields become seconds and angles."""

    seconds: float
    angle_unit: str = "deg"
    convention: str = "unity"
    inverse: bool = False
    order: str = "xyzw"
    frame: tuple[float, float] | None = None
    normalised: bool = False
    vector_only: bool = False
    euler: bool = False  # Unity's: from 0 to 360 degrees, positive pitch looks down
    pitch_down: bool = False


def stamps(table: Table, fields: HeadFields) -> tuple[Array, bool]:
    """Return the stamps of the rows as written, and whether they are moments in text.

    Raises:
        TraceFormatError: the column of the clock is no clock.
    """
    if fields.time in table.texts:
        moments = seconds_of(table.texts[fields.time])
        if moments is not None:
            return moments, True
        if not np.isfinite(table.values[:, fields.time]).any():
            cell = table.texts[fields.time][0]
            raise TraceFormatError(table.name, f"{cell[:40]!r} is not a time", int(table.lines[0]))
    written = None if fields.time_unit else calendar_seconds(table.values[:, fields.time])
    return (table.values[:, fields.time], False) if written is None else (written, True)


def scales(tables: Sequence[Table], fields: HeadFields, options: HeadOptions, notes: Notes) -> HeadScales:
    """Decide the units and conventions of logs that share their columns.

    Raises:
        TraceFormatError: they cannot be told; the message names the option that settles it.
    """
    name = tables[0].name
    seconds = _seconds(tables, fields, options, notes)
    pooled = np.concatenate([table.values[:, list(fields.columns)] for table in tables])
    pooled = pooled[np.isfinite(pooled).all(axis=1)]
    if not len(pooled):
        raise TraceFormatError(name, "no row holds a whole orientation")
    if fields.form == "quaternion":
        return _quaternion_scales(tables, pooled, fields, options, notes, seconds)
    if fields.form == "vector":
        told = options.convention or fields.axes
        return HeadScales(seconds, convention=told or _vector_axes(pooled, options, notes))
    if fields.form == "position":
        if options.frame is None and pooled.max() > 1.01 and (frame := _frame_of(tables)) is not None:
            options = replace(options, frame=frame)
            notes.guess(f"pixels on a frame of {frame[0]:g} x {frame[1]:g}, as their columns say")
        return _position_scales(pooled, fields, options, notes, seconds, name)
    unit = options.angle_unit or fields.unit
    if not unit:
        span = sum(float(np.ptp(stamps(t, fields)[0])) for t in tables) * seconds
        unit = "rad" if _radians(pooled, span, fields.polar or fields.axes == "phi-theta") else "deg"
        if unit == "rad" and not fields.polar and fields.axes != "phi-theta" and _shares(pooled):
            raise TraceFormatError(
                name, "angles that all lie from 0 to 1 may be radians or shares of the frame; say which: --angle-unit "
                "rad, or call the columns u and v", 1
            )  # fmt: skip
        if unit == "rad":
            notes.guess("angles in radians: none exceeds a turn of 2π (--angle-unit deg says otherwise)")
    euler = fields.axes in ("unity-euler", "three-euler")
    convention = options.convention or ("opengl" if fields.axes == "three-euler" else "")
    if fields.axes == "three-euler":
        notes.guess("angles about x, y and z are three.js's: their names tell")
    if fields.axes == "unity-euler" and not convention:
        along = rises(tables, fields, seconds, sine(unit))
        told = "" if along else right_handed(tables)
        convention = "opengl" if along > 0 or told else "unity"
        why = f": the head {'rises' if along > 0 else 'sinks'} as the angle about x grows" if along else ""
        why = f": their names say {told}" if told else why
        whose, other = ("A-Frame's and three.js's", "unity") if convention == "opengl" else ("Unity's", "opengl")
        notes.guess(f"angles about x, y and z are {whose}{why} (--convention {other}: the other reading)")
    if fields.axes == "theta-phi":
        notes.guess("theta and phi from the frame's top left corner: theta turns, phi tilts")
    if fields.axes == "phi-theta":
        notes.guess("phi turns from the frame's centre, theta is the angle from the pole above")
    if (
        not euler
        and not fields.polar
        and fields.axes != "phi-theta"
        and _full_turns(np.degrees(pooled[:, 1]) if unit == "rad" else pooled[:, 1])
    ):
        euler = True
        notes.guess("pitch counts from 0 to 360 as Unity's Euler angles do: 350 looks up by 10")
    down = not (euler or fields.polar or fields.axes or options.pitch_down) and sinks(tables, fields, seconds, unit)
    if down:
        notes.guess("positive pitch looks down: the head sinks as it grows")
    return HeadScales(seconds, angle_unit=unit, convention=convention or "unity", euler=euler, pitch_down=down)


def _full_turns(pitch: Array) -> bool:
    """Tell whether one side of the horizon is written as 270 to 360 degrees."""
    return bool((pitch > 180.0).any() and pitch.max() <= 360.0 and (np.abs(geometry.wrap_deg(pitch)) <= 91.0).all())


def _seconds(tables: Sequence[Table], fields: HeadFields, options: HeadOptions, notes: Notes) -> float:
    if fields.time_unit == "frame":
        rate = options.frame_hz or (25.0 if fields.axes == "bottom-left" else FRAME_HZ)
        if not options.frame_hz:
            notes.guess(f"the clock counts frames, taken at {rate:g} a second (--frame-rate says otherwise)")
        return 1.0 / rate
    unit = options.time_unit or fields.time_unit
    if unit:
        return SECONDS[unit]
    steps: list[Array] = []
    for table in tables:
        moments, text = stamps(table, fields)
        if text:
            return 1.0
        moments = moments[np.isfinite(moments)]
        if len(moments) and moments[0] > 1e9:  # since 1970
            for unit, low in (("ns", 1e18), ("us", 1e15), ("ms", 1e12), ("s", 1e9)):
                if moments[0] >= low:
                    return SECONDS[unit]
        step = np.diff(moments)
        steps.append(step[step > 0])
    joined = np.concatenate(steps) if steps else np.empty(0)
    if not len(joined):
        return 1.0
    median = float(np.median(joined))
    for unit, low, high in (("s", 0.0, 1.75), ("ms", 1.75, 1_500.0), ("us", 1_500.0, 1.5e6), ("ns", 1.5e6, 1.5e9)):
        if low < median <= high:
            if unit != "s":
                notes.guess(f"the clock in {unit}: its steps are {median:g} (--time-unit says otherwise)")
            span = max((float(np.ptp(t.values[:, fields.time])) for t in tables), default=0.0) * SECONDS[unit]
            if unit != "s" and span < 1.0 and len(joined) >= 50:
                break
            return SECONDS[unit]
    raise TraceFormatError(
        tables[0].name, f"nothing tells the unit of a clock whose steps are {median:g}; say which: --time-unit"
    )


def _radians(pooled: Array, span_s: float, polar: bool) -> bool:
    yaw, pitch = pooled[:, 0], pooled[:, 1]
    tilts = np.abs(pitch).max() <= np.pi + 0.05 if polar else _tilts(pitch, np.pi / 2)
    if np.abs(pooled).max() > 2 * np.pi + 0.05 or len(pooled) < 10:
        return False
    if (np.abs(np.abs(np.diff(pooled, axis=0)) - 2 * np.pi) < 0.3).any() and np.ptp(pooled, axis=0).max() > 6.0:
        return True  # an angle that jumps by a turn of 2π
    if not tilts:
        return False
    if pooled.shape[1] > 2 and not _tilts(pooled[:, 2], np.pi):
        return False
    moved = max(float(np.ptp(yaw)), float(np.ptp(pitch)))
    return moved > 0.5 or (moved > 0.02 and span_s >= 5.0)


def _tilts(angles: Array, limit: float) -> bool:
    """Tell whether angles in radians stay below a limit, or do so as Unity writes them: -0.1 as 6.18."""
    slack = limit + 0.05
    if np.abs(angles).max() <= slack:
        return True
    turned = np.minimum(angles, 2 * np.pi - angles)
    return bool(angles.min() >= 0.0 and angles.max() <= 2 * np.pi + 0.05 and turned.max() <= min(slack, np.pi / 2))


def _shares(pooled: Array) -> bool:
    """Tell whether angles are shares of a frame more likely than radians: around 0.5, never outside 0 to 1."""
    turns = pooled[:, :2]
    return bool((turns >= 0.0).all() and (turns <= 1.0).all() and 0.25 < float(np.median(turns[:, 1])) < 0.75)


def _quaternion_scales(
    tables: Sequence[Table], pooled: Array, fields: HeadFields, options: HeadOptions, notes: Notes, seconds: float
) -> HeadScales:
    lengths = np.linalg.norm(pooled, axis=1)
    turns = pooled[lengths > 1e-6]
    if fields.beside and not options.convention:
        vectors = np.concatenate([table.values[:, list(fields.beside)] for table in tables])
        both = np.concatenate([table.values[:, list(fields.columns)] for table in tables])
        good = np.isfinite(vectors).all(axis=1) & np.isfinite(both).all(axis=1)
        good &= np.linalg.norm(both, axis=1) > 1e-6
        found = orient.matching(both[good], vectors[good])
        if found is None:
            notes.guess("quaternions disagree with the vectors beside them: the vectors are read, roll is 0")
            return HeadScales(seconds, convention=_vector_axes(vectors[good], options, notes), vector_only=True)
        order, inverse, convention = found
        notes.guess(
            f"quaternions {order}{' inverted' if inverse else ''}, {convention}: so they give the vectors beside"
        )
        return HeadScales(seconds, convention=convention, inverse=inverse, order=order)
    order = "xyzw"
    if fields.listed and len(turns) and orient.scalar_first(turns):
        order, turns = "wxyz", turns[:, [1, 2, 3, 0]]
        notes.guess("quaternions w, x, y, z: the other order turns heads upside down")
    convention = options.convention or fields.axes
    if fields.axes == "opengl" and not options.convention:
        notes.guess("quaternion convention opengl: the names of the columns are three.js's")
    if not convention and len(turns):
        from scipy.spatial.transform import Rotation

        turn = Rotation.from_quat(turns[:: max(1, len(turns) // 5000)])
        upright = {a: float(turn.apply(v)[:, i].mean()) for a, v, i in (("y", (0, 1, 0), 1), ("z", (0, 0, 1), 2))}
        # Heads turn about the vertical far more than they tilt it.
        tilts = {axis: 1.0 - mean for axis, mean in upright.items()}
        convention = "hamilton" if tilts["y"] > 0.01 and tilts["z"] < 0.5 * tilts["y"] else "unity"
        why = "the head turns about z" if convention == "hamilton" else "the usual one of headset logs"
        if convention == "unity" and order == "xyzw" and (along := rises(tables, fields, seconds, z_height)):
            convention = "unity" if along > 0 else "opengl"
            why = f"the head rises as its {'' if along > 0 else '-'}z does, as that of one who looks up"
        elif convention == "unity" and (told := right_handed(tables)):
            convention, why = "opengl", f"their names say {told}"
        notes.guess(f"quaternion convention {convention}: {why} (--convention says otherwise)")
    return HeadScales(seconds, convention=convention or "unity", order=order)


def _vector_axes(pooled: Array, options: HeadOptions, notes: Notes) -> str:
    if options.convention:
        return options.convention
    up = orient.up_axis(pooled) if len(pooled) >= 50 else None
    convention = "hamilton" if up == "z" else "unity"
    notes.guess(
        "vectors "
        + (
            "x forward, y left, z up: heads look least along z"
            if up == "z"
            else "x right, y up, z to the frame's centre"
        )
        + " (--convention says otherwise)"
    )
    return convention


def _frame_of(tables: Sequence[Table]) -> tuple[float, float] | None:
    """Return the width and height that columns of such names hold in every row, or ``None``."""
    found = set()
    for table in tables:
        names = [re.fullmatch(r"((video|frame|image|content|equirect\w*)[ _.]?)?(width|height)", n.strip().lower())
                 for n in table.header or []]  # fmt: skip
        columns = {match[3]: table.values[:, i] for i, match in enumerate(names) if match}
        if set(columns) != {"width", "height"} or any(np.ptp(column) != 0 for column in columns.values()):
            return None
        found.add((float(columns["width"][0]), float(columns["height"][0])))
    size = found.pop() if len(found) == 1 else (0.0, 0.0)
    return size if min(size) >= 2.0 else None


def _position_scales(
    pooled: Array, fields: HeadFields, options: HeadOptions, notes: Notes, seconds: float, name: str
) -> HeadScales:
    low, high = pooled.min(axis=0), pooled.max(axis=0)
    if options.frame is None and fields.unit != "px" and (low >= -0.01).all() and (high <= 1.01).all():
        notes.guess(
            "positions as shares of the frame, (0, 0) its " + ("bottom" if fields.axes else "top") + " left corner"
        )
        return HeadScales(seconds, normalised=True, frame=(1.0, 1.0))
    if options.frame is not None:
        return HeadScales(seconds, frame=options.frame)
    widths = [w for w in WIDTHS if high[0] <= w * 1.001 and high[1] <= w / 2 * 1.001]
    if not widths or (low < -1.0).any():
        raise TraceFormatError(
            name, f"positions up to {high[0]:g}, {high[1]:g} fit no usual frame; say it: --frame WxH"
        )
    middle = np.median(pooled, axis=0)
    width = widths[0]
    if (
        low[0] > 0.03 * width or high[0] < 0.97 * width
    ):  # nobody crossed the seam: the frame whose middle people look at
        width = min(widths, key=lambda w: abs(middle[0] / w - 0.5) + abs(middle[1] / (w / 2) - 0.5))
    notes.guess(f"pixels on a frame of {width} x {width // 2}, (0, 0) its top left corner (--frame says otherwise)")
    return HeadScales(seconds, frame=(float(width), width / 2))
