"""FastMPC: MPC's decisions looked up in a table made beforehand (Yin et al., SIGCOMM 2015, section 5).

A phone need not search plans: the best first level depends, for chunks of one size per level, on the buffer, the
throughput forecast and the last level only. All three are cut into bins, MPC decides once at the centre of every cell,
and the player looks its cell up. Neighbouring cells mostly agree, so the table is kept as runs of equal decisions; a
look-up is a binary search among the runs.

What the table rounds off: the chunks' own sizes (it plans with each level's mean), the end of the video (it always
plans a full horizon) and the position within a cell. Bins of throughput are geometric, a few per cent wide everywhere,
where the paper's are linear.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.basic import RobustMPC
from netllm_gym.agents.abr.mpc import choose_many
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.abr.qoe import QoE
from netllm_gym.errors import ConfigError
from netllm_gym.files import atomic_path, cache_dir, digest
from netllm_gym.traces import VideoManifest

MAX_BUFFER_S = 60.0
# Forecasts beyond these multiples of the lowest and highest level's rate decide as the outermost bins do.
LOWEST, HIGHEST = 0.1, 4.0
MAX_BINS = 1000


@dataclass(frozen=True, eq=False)
class DecisionTable:
    """The first level of MPC's best plan in every cell, run-length coded.

    Attributes:
        buffer_s: centres of the buffer's bins (s), evenly spaced from 0.
        mbps: centres of the forecast's bins (Mbit/s), evenly spaced in the logarithm.
        ends: where each run ends in the cells' order (last level, buffer, forecast), int64 ``[runs]``.
        decisions: the level of each run, uint8 ``[runs]``.
    """

    buffer_s: NDArray[np.float64]
    mbps: NDArray[np.float64]
    ends: NDArray[np.int64]
    decisions: NDArray[np.uint8]

    def cell(self, buffer_s: float, mbps: float, last: int) -> int:
        """Number of the cell that holds a state; states outside belong to the outermost bins."""
        width = float(self.buffer_s[1] - self.buffer_s[0])
        step = math.log(float(self.mbps[1] / self.mbps[0]))
        b = min(int(buffer_s / width), len(self.buffer_s) - 1)
        m = min(max(round(math.log(mbps / float(self.mbps[0])) / step), 0), len(self.mbps) - 1)
        return (last * len(self.buffer_s) + b) * len(self.mbps) + m

    def __call__(self, buffer_s: float, mbps: float, last: int) -> int:
        """Return the level for a buffer (s), a forecast (Mbit/s, positive) and the last level."""
        return int(self.decisions[np.searchsorted(self.ends, self.cell(buffer_s, mbps, last), side="right")])

    @property
    def nbytes(self) -> int:
        """Size of the coded table in bytes."""
        return self.ends.nbytes + self.decisions.nbytes


def build_table(
    sizes: NDArray[np.float64],
    quality: NDArray[np.float64],
    stall_weight: float,
    switch_weight: float,
    chunk_s: float,
    buffer_s: float,
    bins: int = 100,
    horizon: int = 5,
) -> DecisionTable:
    """Decide every cell.

    Args:
        sizes: bytes of a chunk at each level, ``[L]``.
        quality, stall_weight, switch_weight: the QoE that MPC maximises.
        chunk_s: seconds of video in a chunk.
        buffer_s: upper end of the buffer's bins.
        bins: of the buffer and of the forecast, each.
        horizon: chunks planned ahead.
    """
    levels = len(sizes)
    if levels > 255:
        raise ConfigError(f"a decision table holds up to 255 levels, the video has {levels}")
    rates = sizes * 8e-6 / chunk_s
    buffers = (np.arange(bins) + 0.5) * buffer_s / bins
    mbps = np.geomspace(LOWEST * rates.min(), HIGHEST * rates.max(), bins)
    last, b, m = (index.ravel() for index in np.indices((levels, bins, bins)))
    decided = choose_many(
        np.tile(sizes, (horizon, 1)), np.zeros(len(last), np.int64), horizon, quality, stall_weight, switch_weight,
        chunk_s, mbps[m] * 1e6 / 8.0, buffers[b], last,
    )  # fmt: skip
    ends = np.append(np.flatnonzero(np.diff(decided)) + 1, len(decided))
    return DecisionTable(buffers, mbps, ends, decided[ends - 1].astype(np.uint8))


def table_of(video: VideoManifest, qoe: QoE, buffer_cap_s: float, bins: int = 100, horizon: int = 5) -> DecisionTable:
    """Return the table for a video's mean chunk sizes, made once and kept in the cache folder."""
    sizes = video.chunk_bytes.mean(axis=0)
    arguments = (sizes.tobytes(), np.asarray(qoe.quality, np.float64).tobytes())
    numbers = (qoe.stall_weight, qoe.switch_weight, video.chunk_s, min(buffer_cap_s, MAX_BUFFER_S), bins, horizon)
    return _kept(arguments, numbers)


@lru_cache(maxsize=32)
def _kept(arrays: tuple[bytes, bytes], numbers: tuple[float, ...]) -> DecisionTable:
    sizes, quality = (np.frombuffer(data) for data in arrays)
    stall_weight, switch_weight, chunk_s, buffer_s, bins, horizon = numbers
    key = digest([b"fast-mpc 1", *arrays, np.array(numbers, np.float64).tobytes()])[:24]
    stored = cache_dir() / "fast-mpc" / f"{key}.npz"
    parts = ("buffer_s", "mbps", "ends", "decisions")
    try:
        with np.load(stored, allow_pickle=False) as found:
            kept = DecisionTable(*(found[part] for part in parts))
        if kept.ends[-1] == len(sizes) * len(kept.buffer_s) * len(kept.mbps) and kept.decisions.max() < len(sizes):
            return kept
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile):
        pass  # not there yet, or not whole: make it
    table = build_table(sizes, quality, stall_weight, switch_weight, chunk_s, buffer_s, round(bins), round(horizon))
    with atomic_path(stored) as path:
        np.savez(path, **{part: getattr(table, part) for part in parts})
    return table


@register_agent("abr/fast-mpc")
class FastMPC(RobustMPC):
    """FastMPC (Yin et al., SIGCOMM 2015): MPC's decisions from a table made on first use (see this module).

    Args:
        bins: of the buffer and of the forecast, each.
        horizon: chunks planned ahead.
        robust: look up RobustMPC's discounted forecast instead (the paper's theorem: planning for the worst of an
            interval of throughputs is planning for its lower end, so one table serves both).
    """

    def __init__(self, bins: int = 100, horizon: int = 5, robust: bool = False) -> None:
        super().__init__(horizon, robust)
        if not 2 <= bins <= MAX_BINS:
            raise ConfigError(f"bins must lie in 2 to {MAX_BINS}, got {bins}")
        self.bins = bins

    def reset(self, env_info: EnvInfo) -> None:
        """Fetch the table of the episode's video."""
        super().reset(env_info)
        self._table = table_of(self._video, self._qoe, env_info.static["buffer_cap_s"], self.bins, self.horizon)

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level of the cell."""
        forecast = self._forecast(observation["throughput_mbps"])
        if forecast <= 0:  # nothing measured yet: the first chunk of a video
            return 0
        return self._table(float(observation["buffer_s"][0]), forecast, int(observation["last_quality"]))
