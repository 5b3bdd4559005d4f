"""Quality of experience per chunk: quality − μ·stall − λ·|change of quality|, and its published weightings.

``lin``: quality is Mbit/s, μ = 4.3 (Pensieve, section 5.1). ``log``: quality is ln(bitrate / lowest bitrate),
μ = 2.66. ``hd``: quality is 1, 2, 3, 12, 15, 20 for a six-level ladder, μ = 8. λ = 1 in all three.

The name of a quality table of the video (``vmaf``, ``ssim``): quality is the table's entry for the chunk and level; the
weights, which depend on the table's unit, are the user's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.traces.video.manifest import VideoManifest

HD_SCORES = (1.0, 2.0, 3.0, 12.0, 15.0, 20.0)
PRESETS = ("lin", "log", "hd")


@dataclass(frozen=True)
class QoE:
    """Weights of a per-chunk QoE.

    Attributes:
        quality: the quality of each level, shape ``[L]`` (with a table: its mean over the chunks, for planners).
        stall_weight: μ, QoE lost per second of stall.
        switch_weight: λ, QoE lost per unit of change in quality between consecutive chunks.
        falling_weight: λ of changes for the worse, where they cost another price; ``None``: the same.
        table: the quality of each chunk at each level, shape ``[n, L]``, or ``None`` where chunks do not differ.
    """

    quality: NDArray[np.float64]
    stall_weight: float
    switch_weight: float = 1.0
    table: NDArray[np.float64] | None = None
    falling_weight: float | None = None

    @property
    def falling(self) -> float:
        """λ of changes for the worse."""
        return self.switch_weight if self.falling_weight is None else self.falling_weight

    def per_chunk(self, chunks: int) -> NDArray[np.float64]:
        """Quality of each chunk at each level, shape ``[chunks, L]``."""
        return np.broadcast_to(self.quality, (chunks, len(self.quality))) if self.table is None else self.table

    @classmethod
    def preset(
        cls,
        name: str,
        video: VideoManifest,
        stall_weight: float | None = None,
        switch_weight: float | None = None,
        falling_weight: float | None = None,
    ) -> QoE:
        """Return the published weighting `name` for a video's ladder, single weights replaced on demand.

        Raises:
            UnknownNameError: no such preset.
            ConfigError: ``hd`` on a ladder without six levels, a table without weights, or a negative weight.
        """
        table = None
        if name == "lin":
            quality, stall = video.bitrates_kbps / 1000.0, 4.3
        elif name == "log":
            quality, stall = np.log(video.bitrates_kbps / video.bitrates_kbps[0]), 2.66
        elif name == "hd":
            if video.levels != len(HD_SCORES):
                raise ConfigError(f"QoE 'hd' is defined for {len(HD_SCORES)} levels, {video.name} has {video.levels}")
            quality, stall = np.array(HD_SCORES), 8.0
        elif name in video.quality_tables:
            if stall_weight is None or switch_weight is None:
                raise ConfigError(f"QoE {name!r} is in the table's own unit: give stall_weight and switch_weight")
            table = video.quality_tables[name]
            quality, stall = table.mean(axis=0), stall_weight
        else:
            raise UnknownNameError("QoE", name, (*PRESETS, *video.quality_tables))
        stall = stall if stall_weight is None else stall_weight
        switch = 1.0 if switch_weight is None else switch_weight
        if stall < 0 or switch < 0 or (falling_weight or 0.0) < 0:
            raise ConfigError("QoE weights must not be negative")
        return cls(np.asarray(quality, dtype=np.float64), float(stall), float(switch), table, falling_weight)
