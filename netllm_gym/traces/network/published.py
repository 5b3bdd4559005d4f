"""Chunk-by-chunk logs that authors published on a catalogued trace set, for paired comparisons with our own runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces import catalog
from netllm_gym.traces.fetch import Source, fetch_files
from netllm_gym.traces.text import decode, parse_float

# time, bitrate, buffer, stall, bytes, delay, and the reward last; some schemes write more columns before it.
LEAST_COLUMNS = 7


@dataclass(frozen=True, eq=False)
class PublishedLog:
    """One scheme on one trace; arrays of shape ``[chunks]``, the unrewarded first chunk included.

    Attributes:
        scheme: e.g. ``bola``.
        trace: name of the trace in its set.
        bitrate_kbps, buffer_s, stall_s, chunk_bytes, delay_s, reward: of each chunk, after its arrival.
    """

    scheme: str
    trace: str
    bitrate_kbps: NDArray[np.float64]
    buffer_s: NDArray[np.float64]
    stall_s: NDArray[np.float64]
    chunk_bytes: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    reward: NDArray[np.float64]

    @property
    def qoe(self) -> float:
        """Mean reward per chunk, first chunk left out."""
        return float(self.reward[1:].mean())


def _parse(data: bytes, path: str, scheme: str, trace: str) -> PublishedLog:
    rows: list[list[float]] = []
    for number, line in enumerate(decode(data, path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < LEAST_COLUMNS:
            raise TraceFormatError(path, f"expected at least {LEAST_COLUMNS} columns, found {len(fields)}", number)
        rows.append([parse_float(field, path, number) for field in (*fields[1:6], fields[-1])])
    if len(rows) < 2:
        raise TraceFormatError(path, f"needs at least two chunks, has {len(rows)}")
    bitrate, buffer, stall, size, delay_ms, reward = np.array(rows).T
    return PublishedLog(scheme, trace, bitrate, buffer, stall, size, delay_ms / 1000.0, reward)


def published_logs(name: str, progress: bool = False) -> dict[str, dict[str, PublishedLog]]:
    """Return the published logs on the test traces of `name`: scheme → trace name → log (fetched when absent).

    Raises:
        UnknownNameError: no such set.
        ConfigError: nobody published logs on it.
        DownloadError: the logs cannot be had or differ from the pinned ones.
        TraceFormatError: a log that cannot be read.
    """
    entry = catalog.describe(name)
    if "logs" not in entry:
        raise ConfigError(f"there are no published logs on {name}")
    logs = entry["logs"]
    source = Source(logs["repository"], logs["commit"])
    found: dict[str, dict[str, PublishedLog]] = {scheme: {} for scheme in logs["schemes"].values()}
    for path, data in fetch_files(source, [logs["files"]], logs["sha256"], progress).items():
        label = PurePosixPath(path).name.removeprefix(PurePosixPath(logs["files"]).name.rstrip("*"))
        prefix, _, rest = label.partition(f"_{logs['trace']}")
        trace, scheme = logs["trace"] + rest, logs["schemes"][prefix]
        found[scheme][trace] = _parse(data, path, scheme, trace)
    return found
