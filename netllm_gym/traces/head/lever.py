"""Which way a head looks, from how it moves: a headset in front of the neck rises while its wearer looks up.

Logs that hold a place beside an orientation tell by this which of two readings is meant: does a quaternion look along
z or against it, does a positive angle look up or down. Walking and turning do not matter, as heights are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym.traces.head.fields import HeadFields
from netllm_gym.traces.tables import Table

Array = NDArray[np.float64]

STEP_S = 0.1  # changes are compared over so long
CLEAR = 0.1  # a correlation below it tells nothing, nor does one
SIGMA = 5.0  # that chance could give
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
