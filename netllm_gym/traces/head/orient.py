"""Orientations in the forms data sets write them, turned into canonical angles.

Every form is first taken to the directions of view and of the head's top in the frame's own axes (x right, y up, z to
the centre of the frame); angles follow from those. What a quaternion means depends on the axes of the headset:

| convention | hand | axes | looks along | who writes it |
|---|---|---|---|---|
| ``unity`` | left | x right, y up, z forward | +z | Unity (Wu2017, Jin2022 and most headset logs) |
| ``opengl`` | right | x right, y up, z back | -z | OpenVR, OpenXR, WebXR, three.js |
| ``hamilton`` | right | x forward, y left, z up | +x | robotics; Corbillon2017 |
| ``unreal`` | left | x forward, y right, z up | +x | Unreal Engine |
| ``opencv`` | right | x right, y down, z forward | +z | cameras; Nasrabadi2019 |
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from netllm_gym.traces.head.geometry import vector_to_lonlat, wrap_deg

Array = NDArray[np.float64]
# Rows: canonical right, up and forward, in the convention's own axes.
AXES: dict[str, Array] = {
    "unity": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "opengl": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]]),
    "hamilton": np.array([[0, -1.0, 0], [0, 0, 1], [1, 0, 0]]),
    "unreal": np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]]),
    "opencv": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]]),
}
# A logged vector agrees with a logged quaternion up to this; logs round to two digits and more.
AGREE_DEG = 2.0


def angles_of(forward: ArrayLike, up: ArrayLike | None = None) -> Array:
    """Return canonical angles ``[n, 3]`` of directions of view, and of the top of the head (without it roll is 0).

    Args:
        forward, up: shape ``[n, 3]``: x right, y up, z to the centre of the frame; any positive length.
    """
    lonlat = vector_to_lonlat(forward)
    if up is None:
        return np.column_stack([lonlat, np.zeros(len(lonlat))])
    lon, lat = np.radians(lonlat).T
    top = np.asarray(up, dtype=np.float64)
    right = np.column_stack([np.cos(lon), np.zeros_like(lon), -np.sin(lon)])
    level = np.column_stack([-np.sin(lat) * np.sin(lon), np.cos(lat), -np.sin(lat) * np.cos(lon)])
    roll = np.degrees(np.arctan2((top * right).sum(axis=1), (top * level).sum(axis=1)))
    return np.column_stack([lonlat, wrap_deg(roll)])


def from_quaternion(quaternion: ArrayLike, convention: str = "unity", inverse: bool = False) -> Array:
    """Return canonical angles ``[n, 3]`` of headset quaternions ``(x, y, z, w)`` in one of :data:`AXES`."""
    axes = AXES[convention]
    turn = Rotation.from_quat(np.asarray(quaternion, dtype=np.float64))
    turn = turn.inv() if inverse else turn
    # The left-handed conventions use the same algebra: a mirrored world mirrors rotation and reading alike.
    return angles_of(turn.apply(axes[2]) @ axes.T, turn.apply(axes[1]) @ axes.T)


def from_vector(vector: ArrayLike, convention: str = "unity") -> Array:
    """Return canonical angles ``[n, 3]`` of directions of view; roll is 0."""
    return angles_of(np.asarray(vector, dtype=np.float64) @ AXES[convention].T)


def scalar_first(quaternion: Array) -> bool:
    """Tell whether four columns must be w, x, y, z because heads would stand upside down as x, y, z, w."""
    sample = quaternion[:: max(1, len(quaternion) // 5000)]

    def upright(q: Array) -> float:
        turn = Rotation.from_quat(q)
        return max(float(turn.apply(np.eye(3)[axis])[:, axis].mean()) for axis in (1, 2))

    return upright(sample) < 0.0 and upright(sample[:, [1, 2, 3, 0]]) > 0.7


def up_axis(vectors: Array) -> str | None:
    """Return ``y`` or ``z``: the axis along which heads look least, or ``None`` when two are alike.

    People look around far more than up and down, so the vertical part of their directions of view is the smallest.
    """
    power = (vectors**2).mean(axis=0)
    if power[2] < 0.5 * min(power[0], power[1]):
        return "z"
    return "y" if power[1] < 0.5 * min(power[0], power[2]) else None


def matching(quaternion: Array, vector: Array) -> tuple[str, bool, str] | None:
    """Return how quaternions must be read so that they give the vectors logged beside them.

    Args:
        quaternion: four columns in the order they stand in.
        vector: three columns, read as ``unity`` axes.

    Returns:
        ``(order, inverse, convention)`` with order ``xyzw`` or ``wxyz``, or ``None`` when nothing fits.
    """
    sample = np.unique(np.linspace(0, len(quaternion) - 1, 200).astype(int))
    wanted = vector[sample] / np.linalg.norm(vector[sample], axis=1, keepdims=True)
    best: tuple[float, tuple[str, bool, str]] | None = None
    for order, inverse, convention in product(("xyzw", "wxyz"), (False, True), AXES):
        q = quaternion[sample] if order == "xyzw" else quaternion[sample][:, [1, 2, 3, 0]]
        turn = Rotation.from_quat(q)
        seen = (turn.inv() if inverse else turn).apply(AXES[convention][2]) @ AXES[convention].T
        apart = float(np.degrees(np.arccos(np.clip((seen * wanted).sum(axis=1), -1, 1))).mean())
        if best is None or apart < best[0] - 1e-9:
            best = apart, (order, inverse, convention)
    return best[1] if best and best[0] < AGREE_DEG else None
