"""Which way a head looks, from how it moves: a headset in front of the neck rises while its wearer looks up.

Logs that hold a place beside an orientation tell by this which of two readings is meant: does a quaternion look along
z or against it, does a positive angle look up or down. Walking and turning do not matter, as heights are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym.traces.head.fields import HeadFields
from netllm_gym.traces.tables import Table

Array = NDArray[np.float64]

STEP_S = 0.1  # changes are compared over so long
CLEAR = 0.1  # a correlation below it tells nothing, nor does one
SIGMA = 5.0  # that chance could give
CLEARLY = 0.3  # a head that sinks as its pitch grows
STILL = 1e-3  # a head whose sine of the pitch changes by less per step does not nod


def rises(
    tables: Sequence[Table], fields: HeadFields, seconds: float, height: Callable[[Array], Array], axis: int = 1
) -> float:
    """Return how far heads rise while `height` does: a correlation from -1 to 1, 0 where logs do not tell.

    Args:
        tables: logs whose `fields` name a place.
        fields: their columns.
        seconds: of one unit of their clocks.
        height: from values ``[n, columns]`` of the orientation to what should rise, ``[n]``.
        axis: of the place that points up.
    """
    if not fields.place:
        return 0.0
    moved: list[Array] = []
    looked: list[Array] = []
    for table in tables:
        values = table.values[:, [*fields.place, *fields.columns]]
        values = values[np.isfinite(values).all(axis=1)]
        time = table.values[:, fields.time] * seconds if fields.time >= 0 else np.empty(0)
        steps = np.diff(time[np.isfinite(time)])
        usual = float(np.median(steps)) if len(steps) else 0.0
        every = min(max(1, round(STEP_S / usual)), 100) if usual > 0 else 1
        chosen = values[::every]
        if len(chosen) < 3:
            continue
        moved.append(np.diff(chosen[:, axis]))
        looked.append(np.diff(height(chosen[:, 3:])))
    if not moved:
        return 0.0
    place, gaze = np.concatenate(moved), np.concatenate(looked)
    far = np.percentile(np.abs(place), 99)  # where a head was carried off
    place = np.clip(place, -far, far)
    scale = float(np.sqrt((place**2).sum() * (gaze**2).sum()))
    if scale <= 0.0 or float(np.sqrt((gaze**2).mean())) < STILL:
        return 0.0
    found = float((place * gaze).sum()) / scale
    return found if abs(found) > max(CLEAR, SIGMA / np.sqrt(len(place))) else 0.0


def right_handed(tables: Sequence[Table]) -> str:
    """Return what names a right-handed world, y up, in the names of files, folders or columns; empty if none."""
    names = " ".join("/".join(t.name.split("/")[-3:]) + " " + " ".join(t.header or []) for t in tables[:50])
    found = re.search(r"(?i)web_?xr|open_?xr|open_?vr|(?<![a-z])a-?frame|three\.?js", names)
    return found[0] if found else ""


def z_height(quaternion: Array) -> Array:
    """Return how far the z axis of heads points up, where y does."""
    from scipy.spatial.transform import Rotation

    turns = np.where((np.linalg.norm(quaternion, axis=1) > 1e-6)[:, None], quaternion, [0.0, 0.0, 0.0, 1.0])
    return np.asarray(Rotation.from_quat(turns).apply([0.0, 0.0, 1.0])[:, 1])


def sine(unit: str, column: int = 1) -> Callable[[Array], Array]:
    """Return what turns angles into the sine of one of them, by default of the second, the pitch."""
    return lambda angles: np.asarray(np.sin(angles[:, column] if unit == "rad" else np.radians(angles[:, column])))


def sinks(tables: Sequence[Table], fields: HeadFields, seconds: float, unit: str) -> bool:
    """Tell whether heads clearly sink as the pitch grows, whichever axis of their places points up: y or z."""
    found = [rises(tables, fields, seconds, sine(unit), axis) for axis in range(3)]
    most = max(range(3), key=lambda axis: abs(found[axis]))
    return most > 0 and found[most] < -CLEARLY
