"""Video manifests: what a chunk weighs at each quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.files import digest


@dataclass(frozen=True, eq=False, init=False)
class VideoManifest:
    """A video cut into chunks, each encoded at every level of a ladder (variable bitrate).

    Attributes:
        name: catalog name or path.
        bitrates_kbps: nominal bitrate of each level, shape ``[L]``, strictly increasing.
        chunk_s: seconds of video in a chunk.
        chunk_bytes: size of each chunk at each level in bytes, shape ``[n, L]``, all positive.
        quality_tables: measured quality by name (``vmaf``, ``ssim``), each of shape ``[n, L]``; often empty.

    Raises:
        TraceFormatError: shapes that do not fit, sizes that are not positive, or a ladder that does not rise.
    """

    name: str
    bitrates_kbps: NDArray[np.float64]
    chunk_s: float
    chunk_bytes: NDArray[np.float64]
    quality_tables: Mapping[str, NDArray[np.float64]]

    def __init__(
        self,
        name: str,
        bitrates_kbps: ArrayLike,
        chunk_s: float,
        chunk_bytes: ArrayLike,
        quality_tables: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        ladder = np.array(bitrates_kbps, dtype=np.float64)
        sizes = np.array(chunk_bytes, dtype=np.float64)
        if ladder.ndim != 1 or len(ladder) == 0 or (np.diff(ladder) <= 0).any() or not (ladder > 0).all():
            raise TraceFormatError(name, "bitrates must be positive and strictly increasing")
        if sizes.ndim != 2 or sizes.shape[1] != len(ladder) or len(sizes) == 0:
            raise TraceFormatError(name, f"sizes of shape {sizes.shape} do not fit a ladder of {len(ladder)} levels")
        if not np.isfinite(sizes).all() or (sizes <= 0).any():
            bad = np.argwhere(~np.isfinite(sizes) | (sizes <= 0))[0]
            raise TraceFormatError(name, f"chunk {bad[0]} at level {bad[1]} has no positive size")
        if not chunk_s > 0 or not np.isfinite(chunk_s):
            raise TraceFormatError(name, "the chunk length must be positive")
        tables = {key: np.array(table, dtype=np.float64) for key, table in (quality_tables or {}).items()}
        for key, table in tables.items():
            if table.shape != sizes.shape or not np.isfinite(table).all():
                raise TraceFormatError(name, f"the {key} table must hold {sizes.shape} finite numbers")
            table.flags.writeable = False
        ladder.flags.writeable = False
        sizes.flags.writeable = False
        for key, value in (
            ("name", name),
            ("bitrates_kbps", ladder),
            ("chunk_s", float(chunk_s)),
            ("chunk_bytes", sizes),
            ("quality_tables", tables),
        ):
            object.__setattr__(self, key, value)

    @property
    def levels(self) -> int:
        """Number of quality levels."""
        return len(self.bitrates_kbps)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return len(self.chunk_bytes)

    @property
    def digest(self) -> str:
        """SHA-256 of ladder, chunk length, sizes and quality tables."""
        tables = [
            part for key in sorted(self.quality_tables) for part in (key.encode(), self.quality_tables[key].tobytes())
        ]
        content = [self.bitrates_kbps.tobytes(), np.float64(self.chunk_s).tobytes(), self.chunk_bytes.tobytes()]
        return digest([*content, *tables])


def assembled(
    name: str, levels: Sequence[Sequence[float]], bitrates_kbps: Sequence[float] | None, chunk_s: float
) -> VideoManifest:
    """Return the video of levels in any order.

    Args:
        name: of the manifest.
        levels: the sizes of the chunks in bytes, one sequence a level.
        bitrates_kbps: of each level; without them, the mean of its sizes.
        chunk_s: seconds of video in a chunk.

    Raises:
        TraceFormatError: levels of different lengths, or what :class:`VideoManifest` refuses.
    """
    lengths = [len(level) for level in levels]
    if len(set(lengths)) != 1:
        raise TraceFormatError(name, f"levels have different numbers of chunks: {lengths[:12]}")
    sizes = np.array(levels, dtype=np.float64).T
    if bitrates_kbps is None:
        bitrates_kbps = (sizes.mean(axis=0) * 8 / 1000 / chunk_s).tolist() if chunk_s > 0 else []
    if len(bitrates_kbps) != len(levels):
        raise TraceFormatError(name, f"{len(bitrates_kbps)} bitrates but {len(levels)} levels")
    order = np.argsort(np.array(bitrates_kbps, dtype=np.float64), kind="stable")
    return VideoManifest(name, np.array(bitrates_kbps, dtype=np.float64)[order], chunk_s, sizes[:, order])


PENSIEVE_LADDER_KBPS = (300.0, 750.0, 1200.0, 1850.0, 2850.0, 4300.0)


def synthetic_video(
    seed: int = 0,
    bitrates_kbps: ArrayLike = PENSIEVE_LADDER_KBPS,
    chunks: int = 48,
    chunk_s: float = 4.0,
    variation: float = 0.09,
    overhead: float = 1.0,
    name: str | None = None,
) -> VideoManifest:
    """Draw a variable-bitrate video.

    A chunk's size is nominal bitrate × chunk length × complexity; complexity follows a lag-1 autoregression
    (coefficient 0.3) in the logarithm with standard deviation `variation`, is shared by all levels, and has a
    small part of its own (a fifth) per level. The default variation is that of Envivio-Dash3, whose sizes vary by
    9 % at the middle levels.

    Args:
        seed: the same seed gives the same video.
        bitrates_kbps: ladder, shape ``[L]``.
        chunks: number of chunks.
        chunk_s: seconds of video in a chunk.
        variation: standard deviation of the log size.
        overhead: mean size over nominal size (NetLLM's second video has 1.2).
        name: of the manifest.
    """
    rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(0x71DE0,)))
    ladder = np.asarray(bitrates_kbps, dtype=np.float64)
    shocks = rng.standard_normal(chunks)
    shared = np.empty(chunks)
    shared[0] = shocks[0]
    for n in range(1, chunks):
        shared[n] = 0.3 * shared[n - 1] + np.sqrt(1 - 0.3**2) * shocks[n]
    own = rng.standard_normal((chunks, len(ladder)))
    log_size = variation * (np.sqrt(0.8) * shared[:, None] + np.sqrt(0.2) * own)
    sizes = overhead * ladder * 1000.0 / 8.0 * chunk_s * np.exp(log_size - variation**2 / 2)
    return VideoManifest(name or f"synthetic-{seed}", ladder, chunk_s, np.round(sizes))
