"""Tiles of an equirectangular frame, and which of them a view shows.

A view is rectilinear (what a headset's screen shows): rays through a regular grid on the image plane. A tile
is visible when a ray meets it; its weight is the share of the view's solid angle whose rays meet it. Tile
``row * columns + column``; row 0 is the top, column 0 the left edge of the frame (longitude -180).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.compiled import njit
from netllm_gym.errors import ConfigError


@dataclass(frozen=True)
class TileGrid:
    """An equirectangular frame cut into equal rectangles.

    Attributes:
        rows, columns: how many.

    Raises:
        ConfigError: a grid that does not divide a frame of 360 × 180 degrees into whole degrees' fractions,
            i.e. one without rows or columns, or with more than 64 of either.
    """

    rows: int = 8
    columns: int = 8

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 64 and 1 <= self.columns <= 64):
            raise ConfigError(f"a tile grid has 1 to 64 rows and columns, got {self.rows} × {self.columns}")

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns

    def check_frame(self, width_px: int, height_px: int) -> None:
        """Refuse a frame that the grid does not divide into whole pixels.

        Raises:
            ConfigError: it does not.
        """
        if width_px % self.columns or height_px % self.rows:
            raise ConfigError(f"{self.rows} × {self.columns} tiles do not divide a frame of {width_px} × {height_px}")

    @cached_property
    def solid_angle(self) -> NDArray[np.float64]:
        """Share of the sphere each tile covers, shape ``[tiles]``, sums to 1."""
        edges = np.sin(np.radians(90.0 - 180.0 * np.arange(self.rows + 1) / self.rows))
        return np.repeat((edges[:-1] - edges[1:]) / 2.0 / self.columns, self.columns)

    @cached_property
    def centres_deg(self) -> NDArray[np.float64]:
        """``(lon, lat)`` of each tile's centre, shape ``[tiles, 2]``."""
        lat = 90.0 - 180.0 * (np.arange(self.rows) + 0.5) / self.rows
        lon = -180.0 + 360.0 * (np.arange(self.columns) + 0.5) / self.columns
        return np.stack([np.tile(lon, self.rows), np.repeat(lat, self.columns)], axis=-1)


@njit(cache=True)
def _weights(angles: Any, rays: Any, ray_weight: Any, rows: Any, columns: Any, out: Any) -> None:
    """Add each ray's weight to the tile it meets, for every view."""
    for i in range(len(angles)):
        lon, lat, roll = np.radians(angles[i, 0]), np.radians(angles[i, 1]), np.radians(angles[i, 2])
        sl, cl, sp, cp, sr, cr = (
            np.sin(lon),
            np.cos(lon),
            np.sin(lat),
            np.cos(lat),
            np.sin(roll),
            np.cos(roll),
        )
        # The view's axes in the frame of the video: right, up and forward, after roll, pitch and yaw.
        for j in range(len(rays)):
            # Right ear down (positive roll) turns the view clockwise: its right axis leans down.
            x = rays[j, 0] * cr + rays[j, 1] * sr
            y = -rays[j, 0] * sr + rays[j, 1] * cr
            z = rays[j, 2]
            up = y * cp + z * sp
            ahead = -y * sp + z * cp
            side = x * cl + ahead * sl
            front = -x * sl + ahead * cl
            row = int((0.5 - np.arcsin(min(max(up, -1.0), 1.0)) / np.pi) * rows)
            column = int((np.arctan2(side, front) / (2.0 * np.pi) + 0.5) * columns)
            out[i, min(row, rows - 1) * columns + min(column, columns - 1)] += ray_weight[j]


@dataclass(frozen=True)
class TileView:
    """A field of view over a tile grid.

    Attributes:
        grid: the tiles.
        fov_deg: horizontal and vertical field of view.
        rays: rays per side of the view; 21 find every tile of an 8 × 8 grid that fills more than 0.2 % of it.
    """

    grid: TileGrid = TileGrid()
    fov_deg: tuple[float, float] = (100.0, 100.0)
    rays: int = 21

    def __post_init__(self) -> None:
        if not all(0.0 < fov < 180.0 for fov in self.fov_deg):
            raise ConfigError(f"a rectilinear field of view lies between 0 and 180 degrees, got {self.fov_deg}")
        if self.rays < 2:
            raise ConfigError(f"a view needs at least 2 rays a side, got {self.rays}")

    @cached_property
    def _bundle(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        half = np.tan(np.radians(np.array(self.fov_deg) / 2.0))
        axis = np.linspace(-1.0, 1.0, self.rays)
        x, y = np.meshgrid(axis * half[0], axis * half[1])
        length = np.sqrt(x**2 + y**2 + 1.0).ravel()
        rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=-1) / length[:, None]
        weight = length**-3  # solid angle of an equal patch of the image plane
        return rays, weight / weight.sum()

    def weights(self, angles_deg: ArrayLike) -> NDArray[np.float64]:
        """Share of the view each tile fills, shape ``[..., tiles]``; each view's sums to 1.

        Args:
            angles_deg: canonical ``(lon, lat, roll)``, shape ``[..., 3]``.
        """
        angles = np.asarray(angles_deg, dtype=np.float64)
        flat = np.ascontiguousarray(angles.reshape(-1, 3))
        out = np.zeros((len(flat), self.grid.tiles))
        _weights(flat, *self._bundle, self.grid.rows, self.grid.columns, out)
        return out.reshape(*angles.shape[:-1], self.grid.tiles)

    def visible(self, angles_deg: ArrayLike) -> NDArray[np.bool_]:
        """Which tiles a view shows, bool ``[..., tiles]``."""
        return self.weights(angles_deg) > 0.0
