"""What other viewers looked at: heatmaps and neighbours from *training* users, or maps a user has on disk.

The crowd has watched the video before (its logs are complete); the viewer to be predicted is never part of
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.head.geometry import (
    lonlat_to_vector,
    published_to_quaternion,
    quaternion_to_canonical,
)
from netllm_gym.traces.head.trace import HeadTrace

MAP_SHAPE = (16, 32)  # 11.25° a cell


class Crowd:
    """Logs of other viewers, by video.

    Args:
        traces: their traces, all of one rate.
    """

    shape = MAP_SHAPE

    def __init__(self, traces: Sequence[HeadTrace]) -> None:
        self._by_video: dict[str, list[HeadTrace]] = {}
        for trace in traces:
            self._by_video.setdefault(trace.video, []).append(trace)
        self._table = lru_cache(maxsize=64)(self._align)

    def _align(self, video: str) -> tuple[NDArray[np.str_], NDArray[np.float64], float]:
        """Users ``[U]``, directions ``[U, n, 3]`` on the video's clock (NaN where a log has none), and the
        rate."""
        traces = self._by_video.get(video, [])
        if not traces:
            raise ConfigError(f"the crowd has not watched video {video}")
        hz = traces[0].hz
        starts = [round(trace.start_s * hz) for trace in traces]
        table = np.full((len(traces), max(s + len(t) for s, t in zip(starts, traces, strict=True)), 3), np.nan)
        for i, (start, trace) in enumerate(zip(starts, traces, strict=True)):
            angles = trace.angles_deg
            if trace.reading == "published":
                angles = quaternion_to_canonical(published_to_quaternion(angles))
            table[i, start : start + len(trace)] = lonlat_to_vector(angles[:, 0], angles[:, 1])
            table[i, start : start + len(trace)][~trace.valid] = np.nan
        return np.array([trace.user for trace in traces]), table, hz

    def directions(self, video: str, first: int, last: int, without: str = "") -> NDArray[np.float64]:
        """Unit vectors of the other viewers at samples ``first … last - 1``, shape ``[U, last - first, 3]``.

        Viewers whose log has a hole there, or ends before, are left out; so is the user `without`.
        """
        users, table, _ = self._table(video)
        if first < 0 or last > table.shape[1]:
            return np.empty((0, last - first, 3))
        piece = table[users != without, first:last]
        return piece[np.isfinite(piece).all(axis=(1, 2))]

    def __call__(self, video: str, user: str, start_s: float, stop_s: float) -> NDArray[np.float32]:
        """Heatmap of where the others look between two moments, shape ``[16, 32]``, maximum 1 (zeros:
        nobody)."""
        users, table, hz = self._table(video)
        first = min(max(int(start_s * hz), 0), table.shape[1] - 1)
        piece = table[users != user, first : max(first + 1, int(stop_s * hz))].reshape(-1, 3)
        piece = piece[np.isfinite(piece).all(axis=1)]
        heat = _cell_kernel() @ _histogram(piece)
        top = heat.max()
        return (heat / top if top > 0 else heat).reshape(self.shape).astype(np.float32)


def _histogram(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = MAP_SHAPE
    lat, lon = np.arcsin(np.clip(directions[:, 1], -1, 1)), np.arctan2(directions[:, 0], directions[:, 2])
    row = np.clip(((0.5 - lat / np.pi) * rows).astype(int), 0, rows - 1)
    column = np.clip(((lon / (2 * np.pi) + 0.5) * columns).astype(int), 0, columns - 1)
    return np.bincount(row * columns + column, minlength=rows * columns).astype(np.float64)


@lru_cache(maxsize=1)
def _cell_kernel(width_deg: float = 10.0) -> NDArray[np.float64]:
    """Gaussian weights between cells by great-circle distance, ``[cells, cells]``: smoothing without a
    seam."""
    rows, columns = MAP_SHAPE
    lat = 90.0 - 180.0 * (np.arange(rows) + 0.5) / rows
    lon = -180.0 + 360.0 * (np.arange(columns) + 0.5) / columns
    v = lonlat_to_vector(np.tile(lon, rows), np.repeat(lat, columns))
    angle = np.degrees(np.arccos(np.clip(v @ v.T, -1, 1)))
    return np.exp(-0.5 * (angle / width_deg) ** 2)


class FolderMaps:
    """Maps or frame features a user has on disk: ``<folder>/<video>.npy``, shape ``[frames, H, W]``.

    Args:
        folder: where they lie.
        hz: frames per second of the arrays.

    Raises:
        TraceFormatError: no such maps.
        ConfigError: a rate that is none.
    """

    def __init__(self, folder: str | Path, hz: float = 5.0) -> None:
        if not 0 < hz <= 1000:
            raise ConfigError(f"image_hz is the maps' frames per second, at most 1000; got {hz}")
        self.folder, self.hz = Path(folder), float(hz)
        files = sorted(self.folder.glob("*.npy"))
        if not files:
            raise TraceFormatError(self.folder, "no <video>.npy in this folder")
        self.shape = self._load(files[0].stem).shape[1:]

    def _load(self, video: str) -> NDArray[np.float32]:
        path = self.folder / f"{video}.npy"
        try:
            maps = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise TraceFormatError(path, f"cannot be read ({error})") from None
        if maps.ndim != 3 or not len(maps):
            raise TraceFormatError(path, f"needs the shape [frames, H, W], got {maps.shape}")
        return maps

    def __call__(self, video: str, user: str, start_s: float, stop_s: float) -> NDArray[np.float32]:
        """Return the frame shown at `start_s` (the last known one; nothing of the future)."""
        maps = self._load(video)
        if maps.shape[1:] != self.shape:
            raise TraceFormatError(self.folder / f"{video}.npy", f"shape {maps.shape[1:]} differs from {self.shape}")
        return np.array(maps[min(max(int(start_s * self.hz + 1e-6), 0), len(maps) - 1)], dtype=np.float32)
