"""Geometry of head motion: angles that wrap, directions on the sphere, and the Euler orders data sets use.

Canonical angles are ``(lon, lat, roll)`` in degrees: longitude 0 is the centre of the equirectangular frame
and grows to the right, in [-180, 180); latitude grows upward; roll is positive when the right ear goes down.
The direction of view is ``(cos lat sin lon, sin lat, cos lat cos lon)``: x to the right, y up, z to the
centre of the frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


def wrap_deg(angles: ArrayLike) -> Array:
    """Fold angles into [-180, 180)."""
    return (np.asarray(angles, dtype=np.float64) + 180.0) % 360.0 - 180.0


def unwrap_to_last(angles: ArrayLike) -> Array:
    """Make histories continuous, without moving their last sample.

    Args:
        angles: shape ``[..., h, 3]``, degrees.

    Returns:
        The same angles plus whole turns, so that no two neighbours differ by more than 180°. What is fitted
        to them never sees the seam.
    """
    angles = np.asarray(angles, dtype=np.float64)
    flat = angles.reshape(-1, *angles.shape[-2:])
    # Few histories cross the seam (5 % in Jin2022); the others are continuous as they are.
    jumps = np.flatnonzero((np.abs(np.diff(flat, axis=1)) > 180.0).any(axis=(1, 2)))
    if not len(jumps):
        return angles
    result = flat.copy()
    steps = wrap_deg(np.diff(flat[jumps], axis=1))
    after = np.flip(np.cumsum(np.flip(steps, 1), axis=1), 1)  # motion from each sample to the last
    result[jumps, :-1] = flat[jumps, -1:] - after
    return result.reshape(angles.shape)


def lonlat_to_vector(lon_deg: ArrayLike, lat_deg: ArrayLike) -> Array:
    """Return unit vectors, shape ``[..., 3]``, of directions given in degrees."""
    lon, lat = np.radians(lon_deg), np.radians(lat_deg)
    return np.stack([np.cos(lat) * np.sin(lon), np.sin(lat), np.cos(lat) * np.cos(lon)], axis=-1)


def vector_to_lonlat(vector: ArrayLike) -> Array:
    """Return ``(lon, lat)`` in degrees, shape ``[..., 2]``, of directions of any positive length."""
    v = np.asarray(vector, dtype=np.float64)
    lon = np.degrees(np.arctan2(v[..., 0], v[..., 2]))
    lat = np.degrees(np.arctan2(v[..., 1], np.hypot(v[..., 0], v[..., 2])))
    return np.stack([wrap_deg(lon), lat], axis=-1)


def great_circle_deg(a: ArrayLike, b: ArrayLike) -> Array:
    """Angle between directions in degrees.

    Computed as ``atan2(|a × b|, a · b)``, which stays exact for small and for opposite directions.

    Args:
        a, b: ``(lon, lat)`` or canonical ``(lon, lat, roll)``, shape ``[..., 2 or 3]``, degrees; roll is
            ignored. Longitudes may lie outside [-180, 180); a latitude beyond a pole is read as the direction
            over it.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    u, v = lonlat_to_vector(a[..., 0], a[..., 1]), lonlat_to_vector(b[..., 0], b[..., 1])
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), np.sum(u * v, axis=-1)))


# --- quaternions and Euler orders
# -------------------------------------------------------------------------------------


def published_to_quaternion(triple_deg: ArrayLike) -> Array:
    """Turn NetLLM's ``(roll, pitch, yaw)`` back into quaternions ``(x, y, z, w)``, shape ``[n, 4]``.

    Its files hold the intrinsic Z-X-Y angles of the headset's quaternion. Head angles need Y-X-Z: with the
    stored order, pitch and roll exchange roles as the head turns by 90°.
    """
    return Rotation.from_euler("ZXY", np.asarray(triple_deg, dtype=np.float64), degrees=True).as_quat()


def quaternion_to_canonical(quaternion: ArrayLike, lon_offset_deg: float = 0.0, lat_sign: float = -1.0) -> Array:
    """Read headset quaternions as canonical angles, shape ``[n, 3]``.

    Args:
        quaternion: ``(x, y, z, w)``, y up, any positive length.
        lon_offset_deg: added to the yaw: where the data set's zero lies in the frame (-90 for Jin2022, +90
            for Wu2017).
        lat_sign: sign of the pitch; -1 for left-handed headset frames, in which a positive pitch looks down.
            Roll changes sign with it.
    """
    yaw, pitch, roll = Rotation.from_quat(np.asarray(quaternion, dtype=np.float64)).as_euler("YXZ", degrees=True).T
    return np.stack([wrap_deg(yaw + lon_offset_deg), lat_sign * pitch, lat_sign * roll], axis=-1)


def canonical_to_quaternion(angles_deg: ArrayLike) -> Array:
    """Inverse of :func:`quaternion_to_canonical` with its defaults, shape ``[n, 4]``."""
    lon, lat, roll = np.moveaxis(np.asarray(angles_deg, dtype=np.float64), -1, 0)
    return Rotation.from_euler("YXZ", np.stack([lon, -lat, -roll], axis=-1), degrees=True).as_quat()


def canonical_to_published(angles_deg: ArrayLike) -> Array:
    """Write canonical angles as NetLLM's ``(roll, pitch, yaw)``, shape ``[n, 3]``; see `published_to_quaternion`."""
    return Rotation.from_quat(canonical_to_quaternion(angles_deg)).as_euler("ZXY", degrees=True)


def slerp(time_s: ArrayLike, quaternion: ArrayLike, at_s: ArrayLike) -> Array:
    """Interpolate orientations along great arcs.

    Args:
        time_s: strictly increasing stamps, shape ``[n]``.
        quaternion: unit quaternions at the stamps, shape ``[n, 4]``; q and -q are the same orientation.
        at_s: where to interpolate, shape ``[m]``, within the stamps (clamped to them).

    Returns:
        Unit quaternions, shape ``[m, 4]``.
    """
    time, q = np.asarray(time_s, dtype=np.float64), np.asarray(quaternion, dtype=np.float64)
    at = np.clip(at_s, time[0], time[-1])
    left = np.clip(np.searchsorted(time, at, side="right") - 1, 0, max(len(time) - 2, 0))
    right = np.minimum(left + 1, len(time) - 1)
    span = time[right] - time[left]
    share = np.divide(at - time[left], span, out=np.zeros_like(at), where=span > 0)[:, None]
    a, b = q[left], q[right]
    dot = np.sum(a * b, axis=-1, keepdims=True)
    b = np.where(dot < 0, -b, b)  # the short way round
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    sine = np.sin(angle)
    close = sine < 1e-9
    safe = np.where(close, 1.0, sine)
    weight_a = np.where(close, 1.0 - share, np.sin((1.0 - share) * angle) / safe)
    weight_b = np.where(close, share, np.sin(share * angle) / safe)
    mixed = weight_a * a + weight_b * b
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
