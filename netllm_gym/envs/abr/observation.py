"""What an ABR agent sees: the last downloads, the buffer, the next chunk's sizes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.traces import VideoManifest

HISTORY = 8


def observation_space(levels: int) -> spaces.Dict:
    """The space of the observations, see :class:`netllm_gym.envs.abr.env.ABREnv`."""
    infinite = np.inf
    return spaces.Dict(
        {
            "throughput_mbps": spaces.Box(0, infinite, (HISTORY,), np.float32),
            "download_time_s": spaces.Box(0, infinite, (HISTORY,), np.float32),
            "buffer_s": spaces.Box(0, infinite, (1,), np.float32),
            "last_quality": spaces.Discrete(levels),
            "next_chunk_bytes": spaces.Box(0, infinite, (levels,), np.float32),
            "chunks_left": spaces.Box(0, infinite, (1,), np.float32),
        }
    )


class Memory:
    """The downloads of one episode and the observation after each of them, in fresh arrays.

    Building the observation is most of a step's time. Therefore all downloads of an episode are kept, so that nothing
    is shifted and a history is a window of them; the windows and rows are cut once, and a step only copies them.

    Args:
        video: what is downloaded.
    """

    def __init__(self, video: VideoManifest) -> None:
        chunks, levels = video.chunks, video.levels
        self._keep(np.zeros((2, HISTORY + chunks), np.float32))
        self._next_bytes = list(np.vstack([video.chunk_bytes, np.zeros(levels)]).astype(np.float32))
        self._left = list(np.arange(chunks, -1, -1, dtype=np.float32)[:, None])
        self._levels = [np.int64(level) for level in range(levels)]
        self._buffer = np.zeros(1, np.float32)

    def _keep(self, downloads: NDArray[np.float32]) -> None:
        self._downloads = downloads
        self._throughputs, self._delays = downloads
        windows = np.lib.stride_tricks.sliding_window_view(downloads, HISTORY, axis=1)
        self._last_throughputs, self._last_delays = (list(rows) for rows in windows)

    def copy(self) -> Memory:
        """Return the same downloads in arrays of their own; the video's rows are shared."""
        twin = copy.copy(self)
        twin._keep(self._downloads.copy())
        twin._buffer = self._buffer.copy()
        return twin

    def clear(self) -> None:
        """Forget all downloads: a new episode."""
        self._downloads.fill(0.0)

    def add(self, chunk: int, throughput_mbps: float, delay_s: float) -> None:
        """Note the download of `chunk`."""
        self._throughputs[chunk + HISTORY] = throughput_mbps
        self._delays[chunk + HISTORY] = delay_s

    def observe(self, chunk: int, buffer_s: float, last: int) -> dict[str, Any]:
        """The observation before `chunk` is requested."""
        self._buffer[0] = buffer_s
        return {
            "throughput_mbps": self._last_throughputs[chunk].copy(),
            "download_time_s": self._last_delays[chunk].copy(),
            "buffer_s": self._buffer.copy(),
            "last_quality": self._levels[last],
            "next_chunk_bytes": self._next_bytes[chunk].copy(),
            "chunks_left": self._left[chunk].copy(),
        }
