"""Tile manifests: what every tile of a 360-degree chunk weighs at each quality, real or synthetic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.arrays import read_arrays
from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.files import digest

# Twenty times the largest public table, unpacked; an archive that claims more is refused by its headers.
MAX_TABLE_BYTES = 128 * 2**20
MAX_SIDE = 256
# Full-frame rates of the synthetic ladder in kbit/s: the medians of the public tile table of Wu2017.
LADDER_KBPS = (3430.0, 9620.0, 15570.0, 23600.0, 31470.0, 41140.0)


@dataclass(frozen=True, eq=False, init=False)
class TileManifest:
    """A video cut into chunks and tiles, each tile encoded at every level of a ladder.

    Attributes:
        name: of the video.
        ladder_kbps: nominal rate of each level (of a tile or of the frame; only ratios matter), ``[L]``,
            rising.
        chunk_s: seconds of video in a chunk.
        rows, columns: the grid; tile = row * columns + column, row 0 the top.
        tile_bytes: sizes, ``[chunks, L, rows * columns]``, all positive.

    Raises:
        TraceFormatError: shapes that do not fit, sizes that are not positive, or a ladder that does not rise.
    """

    name: str
    ladder_kbps: NDArray[np.float64]
    chunk_s: float
    rows: int
    columns: int
    tile_bytes: NDArray[np.float64]

    def __init__(
        self,
        name: str,
        ladder_kbps: ArrayLike,
        chunk_s: float,
        rows: int,
        columns: int,
        tile_bytes: ArrayLike,
    ) -> None:
        ladder, sizes = np.array(ladder_kbps, dtype=np.float64), np.array(tile_bytes, dtype=np.float64)
        if ladder.ndim != 1 or len(ladder) == 0 or (ladder <= 0).any() or (np.diff(ladder) <= 0).any():
            raise TraceFormatError(name, "the ladder must be positive and strictly increasing")
        if sizes.ndim != 3 or len(sizes) == 0 or sizes.shape[1:] != (len(ladder), rows * columns):
            raise TraceFormatError(
                name,
                f"sizes of shape {sizes.shape} do not fit {len(ladder)} levels of {rows} × {columns} tiles",
            )
        if not np.isfinite(sizes).all() or (sizes <= 0).any():
            bad = np.argwhere(~np.isfinite(sizes) | (sizes <= 0))[0]
            raise TraceFormatError(name, f"chunk {bad[0]}, level {bad[1]}, tile {bad[2]} has no positive size")
        if not (np.isfinite(chunk_s) and chunk_s > 0):
            raise TraceFormatError(name, f"the chunk length must be positive, got {chunk_s}")
        for array in (ladder, sizes):
            array.flags.writeable = False
        values = (name, ladder, float(chunk_s), int(rows), int(columns), sizes)
        for key, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, key, value)

    @property
    def levels(self) -> int:
        """Number of quality levels."""
        return len(self.ladder_kbps)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return len(self.tile_bytes)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns

    @property
    def digest(self) -> str:
        """SHA-256 of ladder, grid and sizes."""
        shape = np.array([self.chunk_s, self.rows, self.columns])
        return digest([self.ladder_kbps.tobytes(), shape.tobytes(), self.tile_bytes.tobytes()])


def synthetic_tiles(
    video: str,
    chunks: int,
    rows: int = 8,
    columns: int = 8,
    chunk_s: float = 1.0,
    seed: int = 0,
    solid_angle: ArrayLike | None = None,
) -> TileManifest:
    """Draw the sizes of a tiled video.

    A tile's bytes at level l are ``rate_l · chunk_s / 8 · share · complexity``. Shares are proportional to
    the tile's solid angle raised to 0.7 (an equirectangular frame spends many pixels, but smooth ones, at the
    poles) times a log-normal static texture (σ = 0.6). Complexity is log-normal (σ = 0.3) and drifts from
    chunk to chunk as a first-order autoregression (0.9), half of it shared by all tiles. No tile weighs less
    than 650 bytes, which an encoder spends on an empty one.

    Args:
        video: identifier; different videos draw different textures.
        chunks: number of chunks.
        rows, columns: grid.
        chunk_s: seconds of video in a chunk.
        seed: the same seed and video give the same sizes.
        solid_angle: share of the sphere that each tile covers, ``[rows * columns]``; default: of an equirectangular
            frame.
    """
    if chunks < 1 or rows < 1 or columns < 1:
        raise ConfigError("a tiled video needs at least one chunk, row and column")
    key = int.from_bytes(str(video).encode()[-8:], "little")
    rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(0x711E5, key)))
    tiles = rows * columns
    if solid_angle is None:
        edges = np.sin(np.radians(90.0 - 180.0 * np.arange(rows + 1) / rows))
        solid_angle = np.repeat(edges[:-1] - edges[1:], columns)
    share = np.asarray(solid_angle, np.float64) ** 0.7 * np.exp(0.6 * rng.standard_normal(tiles))
    share /= share.sum()
    shocks = rng.standard_normal((chunks, tiles + 1))
    drift = np.empty_like(shocks)
    drift[0] = shocks[0]
    for n in range(1, chunks):
        drift[n] = 0.9 * drift[n - 1] + np.sqrt(1 - 0.81) * shocks[n]
    z = np.sqrt(0.5) * (drift[:, :-1] + drift[:, -1:])
    complexity = np.exp(0.3 * z - 0.3**2 / 2)
    ladder = np.array(LADDER_KBPS)
    sizes = ladder[None, :, None] * 125.0 * chunk_s * (share * complexity)[:, None, :]
    return TileManifest(f"synthetic-{video}", ladder, chunk_s, rows, columns, np.maximum(np.round(sizes), 650.0))


def read_tile_table(path: str | Path) -> dict[str, TileManifest]:
    """Read a table of tile sizes, ``.npz`` without pickles, one manifest per video.

    Keys: ``grid`` [2], ``chunk_s``, a ladder (``per_tile_ladder_kbps`` or ``ladder_mbps``), and either
        ``v<video>``
    [chunks, levels, tiles] per video, or ``size_bytes`` [videos, chunks, levels, tiles] with ``chunks``
    [videos].

    Raises:
        TraceFormatError: not such a table.
    """
    columns = read_arrays(Path(path), str(path), MAX_TABLE_BYTES)
    try:
        rows, cols = (int(x) for x in columns["grid"])
        chunk_s = float(columns["chunk_s"])
        if "per_tile_ladder_kbps" in columns:
            ladder = columns["per_tile_ladder_kbps"].astype(np.float64)
        else:
            ladder = columns["ladder_mbps"] * 1000.0
        if "size_bytes" in columns:
            tables = {
                str(i + 1): t[: int(n)]
                for i, (t, n) in enumerate(zip(columns["size_bytes"], columns["chunks"], strict=True))
            }
        else:
            tables = {key[1:]: value for key, value in columns.items() if key[0] == "v" and key[1:].isdigit()}
        if not tables:
            raise KeyError("a table of sizes, size_bytes or v<video>")
        if not (0 < rows <= MAX_SIDE and 0 < cols <= MAX_SIDE):
            raise ValueError(f"a grid of {rows} x {cols} tiles")
    except (ValueError, KeyError, TypeError, OverflowError, IndexError) as error:
        raise TraceFormatError(path, f"not a table of tile sizes ({error})") from None
    return {v: TileManifest(f"video{v}", ladder, chunk_s, rows, cols, sizes) for v, sizes in tables.items()}
