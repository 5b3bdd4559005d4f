"""Tiles of a frame that shows the whole sphere, and which of them a view shows.

A view is rectilinear (what a headset's screen shows): rays through a regular grid on the image plane. A tile
is visible when a ray meets it; its weight is the share of the view's solid angle whose rays meet it. Tile
``row * columns + column``; row 0 is the top, column 0 the left edge of the frame (longitude -180 in an
equirectangular one).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.compiled import njit
from netllm_gym.errors import ConfigError, UnknownNameError

PROJECTIONS = ("equirectangular", "cubemap")
# Faces of a cubemap in the frame, as FFmpeg's v360 filter lays out c3x2: the axis a face looks along, its right and
# its up, in (right, up, forward) of the video. Top row: right, left, up; bottom row: down, front, back.
_FACES = np.array(
    [
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[-1, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[0, 1, 0], [1, 0, 0], [0, 0, -1]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
        [[0, 0, -1], [-1, 0, 0], [0, 1, 0]],
    ],
    dtype=np.float64,
)


def _solid_angle_to(x: Any, y: Any) -> Any:
    """Solid angle of the rectangle in the plane z = 1 between its middle and (x, y), steradians."""
    return np.arctan(x * y / np.sqrt(x**2 + y**2 + 1.0))


@dataclass(frozen=True)
class TileGrid:
    """A frame of the whole sphere cut into equal rectangles.

    Attributes:
        rows, columns: how many.
        projection: of the sphere onto the frame, ``equirectangular`` or ``cubemap`` (three faces beside each other, two
            above each other: right, left, up; down, front, back).

    Raises:
        ConfigError: a grid without rows or columns, or with more than 64 of either; an unknown projection; tiles that
            would lie on two faces of a cubemap.
    """

    rows: int = 8
    columns: int = 8
    projection: str = "equirectangular"

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 64 and 1 <= self.columns <= 64):
            raise ConfigError(f"a tile grid has 1 to 64 rows and columns, got {self.rows} × {self.columns}")
        if self.projection not in PROJECTIONS:
            raise UnknownNameError("projection", self.projection, PROJECTIONS)
        if self.projection == "cubemap" and (self.rows % 2 or self.columns % 3):
            raise ConfigError(
                f"a cubemap has 2 × 3 faces: {self.rows} rows must be even, {self.columns} columns divisible by 3"
            )

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
        if self.projection == "cubemap":
            x = np.linspace(-1.0, 1.0, self.columns // 3 + 1)
            y = np.linspace(1.0, -1.0, self.rows // 2 + 1)[:, None]
            face = np.abs(np.diff(np.diff(_solid_angle_to(x, y), axis=0), axis=1)) / (4.0 * np.pi)
            return np.tile(face, (2, 3)).ravel()
        edges = np.sin(np.radians(90.0 - 180.0 * np.arange(self.rows + 1) / self.rows))
        return np.repeat((edges[:-1] - edges[1:]) / 2.0 / self.columns, self.columns)

    def tile_of(self, directions: ArrayLike) -> NDArray[np.int64]:
        """Return the tile in which directions ``(right, up, forward)``, shape ``[..., 3]``, lie, shape ``[...]``."""
        rays = np.asarray(directions, dtype=np.float64)
        flat = np.ascontiguousarray(rays.reshape(-1, 3))
        out = np.empty(len(flat), np.int64)
        _tiles_of(flat, self.rows, self.columns, self.projection == "cubemap", out)
        return out.reshape(rays.shape[:-1])


@njit(cache=True)
def _tile(side: Any, up: Any, front: Any, rows: Any, columns: Any, cube: Any) -> Any:
    """Tile that one direction of unit length meets."""
    if not cube:
        row = int((0.5 - np.arcsin(min(max(up, -1.0), 1.0)) / np.pi) * rows)
        column = int((np.arctan2(side, front) / (2.0 * np.pi) + 0.5) * columns)
        return min(row, rows - 1) * columns + min(column, columns - 1)
    a, b, c = abs(side), abs(up), abs(front)
    if a >= b and a >= c:
        face = 0 if side > 0 else 1
    elif b >= c:
        face = 2 if up > 0 else 3
    else:
        face = 4 if front > 0 else 5
    axes = _FACES[face]
    depth = axes[0, 0] * side + axes[0, 1] * up + axes[0, 2] * front
    x = (axes[1, 0] * side + axes[1, 1] * up + axes[1, 2] * front) / depth
    y = (axes[2, 0] * side + axes[2, 1] * up + axes[2, 2] * front) / depth
    tall, wide = rows // 2, columns // 3
    row = min(int((0.5 - 0.5 * y) * tall), tall - 1) + face // 3 * tall
    return row * columns + min(int((0.5 + 0.5 * x) * wide), wide - 1) + face % 3 * wide


@njit(cache=True)
def _tiles_of(rays: Any, rows: Any, columns: Any, cube: Any, out: Any) -> None:
    """Write the tile of every direction into `out`."""
    for i in range(len(rays)):
        x, y, z = rays[i, 0], rays[i, 1], rays[i, 2]
        length = np.sqrt(x * x + y * y + z * z)
        out[i] = _tile(x / length, y / length, z / length, rows, columns, cube)


@njit(cache=True)
def _weights(angles: Any, rays: Any, ray_weight: Any, rows: Any, columns: Any, cube: Any, out: Any) -> None:
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
            out[i, _tile(side, up, front, rows, columns, cube)] += ray_weight[j]


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

    @property
    def share_of_sphere(self) -> float:
        """Share of the whole sphere that the view covers."""
        x, y = np.tan(np.radians(np.array(self.fov_deg) / 2.0))
        return float(4.0 * _solid_angle_to(x, y) / (4.0 * np.pi))

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
        grid = self.grid
        _weights(flat, *self._bundle, grid.rows, grid.columns, grid.projection == "cubemap", out)
        return out.reshape(*angles.shape[:-1], self.grid.tiles)

    def visible(self, angles_deg: ArrayLike) -> NDArray[np.bool_]:
        """Which tiles a view shows, bool ``[..., tiles]``."""
        return self.weights(angles_deg) > 0.0
