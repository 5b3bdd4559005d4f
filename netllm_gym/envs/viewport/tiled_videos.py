"""The videos of a set of viewers, cut into tiles: what each tile weighs, and how much of every view it fills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.viewport.tiles import TileGrid, TileView
from netllm_gym.errors import ConfigError
from netllm_gym.traces import TraceSet
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.video.tiles import TileManifest, read_tile_table, synthetic_tiles

MOST_SHARES = 512  # viewers whose shares are kept
EMBEDDED = ((8.0, 8.0), 1.0)  # grid and chunk length, unless said otherwise


def _two(name: str, value: Any) -> tuple[float, float]:
    """Return both numbers of an argument."""
    try:
        first, second = value
        return float(first), float(second)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} needs two numbers, got {value!r}") from None


def _check_chunk(chunk_s: float, hz: float) -> None:
    if chunk_s * hz < 1.0:
        raise ConfigError(f"a chunk of {chunk_s:g} s holds no head sample at {hz:g} Hz")


class TiledVideos:
    """Sizes and views of every viewer's video.

    Args:
        traces: the viewers; whoever watched the same video shares its sizes.
        tiles: ``synthetic``, or a path for :func:`~netllm_gym.traces.video.tiles.read_tile_table`.
        grid: rows and columns of tiles of synthetic sizes.
        chunk_s: seconds of a chunk of synthetic sizes.
        projection: of the frame (:class:`~netllm_gym.envs.viewport.tiles.TileGrid`).
        fov_deg: width and height of the view.

    Attributes:
        view: the field of view over the tiles.
        chunk_s: seconds of a chunk.

    Raises:
        ConfigError: arguments that do not fit each other, the table or the rate of the head samples.
    """

    def __init__(
        self,
        traces: TraceSet[HeadTrace],
        tiles: str | Path,
        grid: tuple[int, int],
        chunk_s: float,
        projection: str,
        fov_deg: tuple[float, float],
    ) -> None:
        if not isinstance(tiles, str | Path):
            raise ConfigError(f"tiles is 'synthetic' or a path, got {tiles!r}")
        self._traces, hz = traces, traces[0].hz
        self._tables = None if tiles == "synthetic" else read_tile_table(tiles)
        rows, columns = _two("grid", grid)
        if rows % 1 or columns % 1:
            raise ConfigError(f"grid is a number of rows and one of columns, got {grid!r}")
        self._grid, self._chunk_s = TileGrid(int(rows), int(columns), projection), float(chunk_s)
        if not (np.isfinite(chunk_s) and chunk_s > 0):
            raise ConfigError(f"chunk_s must be positive, got {chunk_s}")
        _check_chunk(chunk_s, hz)  # before sizes are drawn for millions of chunks
        if self._tables is not None:
            if ((rows, columns), chunk_s) != EMBEDDED:
                raise ConfigError(f"grid and chunk_s are of the embedded model; those of {tiles} stand in the file")
            missing = sorted({trace.video for trace in traces} - set(self._tables))
            if missing:
                raise ConfigError(f"{tiles} has no sizes for video {missing[0]} of {traces.name}")
        self._videos: dict[str, TileManifest] = {}
        self._shares: dict[int, NDArray[np.float64]] = {}
        first = self.manifest(0)
        _check_chunk(first.chunk_s, hz)
        self.view = TileView(TileGrid(first.rows, first.columns, projection), _two("fov_deg", fov_deg))
        self.chunk_s, self._per_chunk = first.chunk_s, first.chunk_s * hz

    def manifest(self, index: int) -> TileManifest:
        """Return the sizes of the video that viewer `index` watches."""
        video = self._traces[index].video
        if video not in self._videos:
            if self._tables is not None:
                self._videos[video] = self._tables[video]
            else:
                # As long as its longest viewer, whoever comes first: an episode must not depend on those before it.
                longest = max(other.duration_s for other in self._traces if other.video == video)
                chunks, grid = max(2, int(longest / self._chunk_s + 1e-9)), self._grid
                self._videos[video] = synthetic_tiles(
                    video, chunks, grid.rows, grid.columns, self._chunk_s, solid_angle=grid.solid_angle
                )
        return self._videos[video]

    def share(self, index: int) -> NDArray[np.float64]:
        """Return the mean share of the true view per chunk and tile, ``[chunks, T]`` (computed once per viewer)."""
        if index not in self._shares:
            if len(self._shares) > MOST_SHARES:
                self._shares.clear()
            per_sample = self.view.weights(self._traces[index].angles_deg)
            # Where a chunk holds no whole number of samples, neighbours hold one more or one less.
            chunks = int(len(per_sample) / self._per_chunk + 1e-9)
            edges = [self.first_sample(n) for n in range(chunks + 1)]
            sums = np.add.reduceat(per_sample[: edges[-1]], edges[:-1], axis=0)
            self._shares[index] = sums / np.diff(edges)[:, None]
        return self._shares[index]

    def first_sample(self, chunk: int) -> int:
        """First head sample of a chunk."""
        return int(np.ceil(chunk * self._per_chunk - 1e-9))
