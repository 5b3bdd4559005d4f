"""Network traces: how much a link carries, second by second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.files import digest


def _frozen(column: ArrayLike) -> NDArray[np.float64]:
    """Return a copy that nobody else can change; what nobody can change already is taken as it is."""
    if isinstance(column, np.ndarray) and column.dtype == np.float64 and not column.flags.writeable:
        return column
    return np.array(column, dtype=np.float64)


@dataclass(frozen=True, eq=False, init=False)
class NetworkTrace:
    """The throughput of a link, piecewise constant and cyclic: after the last piece the first follows.

    Attributes:
        name: unique within its set.
        duration_s: length of each piece in seconds, shape ``[n]``, all positive.
        throughput_mbps: what the link carries during each piece in Mbit/s (1e6), shape ``[n]``, none negative,
            at least one positive.
        group: the source recording it was cut from; statistics resample by it. Default: its own name.
        start_s: where a playback begins unless told otherwise, in seconds from the first piece.

    Raises:
        TraceFormatError: empty, of unequal lengths, not finite, negative, or carrying nothing at all.
    """

    name: str
    duration_s: NDArray[np.float64]
    throughput_mbps: NDArray[np.float64]
    group: str = ""
    start_s: float = 0.0

    def __init__(
        self,
        name: str,
        duration_s: ArrayLike,
        throughput_mbps: ArrayLike,
        group: str = "",
        start_s: float = 0.0,
    ) -> None:
        durations, rates = (_frozen(column) for column in (duration_s, throughput_mbps))
        if durations.ndim != 1 or durations.shape != rates.shape:
            raise TraceFormatError(name, f"{durations.shape} durations but {rates.shape} throughputs")
        if len(durations) == 0:
            raise TraceFormatError(name, "no samples")
        if not (np.isfinite(durations).all() and np.isfinite(rates).all()):
            raise TraceFormatError(name, "a duration or throughput is not finite")
        if (durations <= 0).any():
            raise TraceFormatError(name, f"piece {int(np.argmax(durations <= 0))} has no positive duration")
        if (rates < 0).any():
            raise TraceFormatError(name, f"piece {int(np.argmax(rates < 0))} has a negative throughput")
        if not (rates > 0).any():
            raise TraceFormatError(name, "the link carries nothing: throughput is zero throughout")
        total = float(durations.sum())
        if not 0 <= start_s < total:
            raise TraceFormatError(name, f"start {start_s:g} s lies outside the trace of {total:g} s")
        durations.flags.writeable = False
        rates.flags.writeable = False
        for key, value in (
            ("name", name),
            ("duration_s", durations),
            ("throughput_mbps", rates),
            ("group", group or name),
            ("start_s", float(start_s)),
        ):
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.duration_s)

    @cached_property
    def end_s(self) -> NDArray[np.float64]:
        """End of each piece in seconds from the start of the trace, shape ``[n]``."""
        return np.cumsum(self.duration_s)

    @property
    def total_s(self) -> float:
        """Length of one cycle in seconds."""
        return float(self.end_s[-1])

    @property
    def mean_mbps(self) -> float:
        """Time-weighted mean throughput."""
        return float(np.dot(self.duration_s, self.throughput_mbps) / self.duration_s.sum())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content (durations and throughputs); equal content has an equal digest whatever its name."""
        return digest([self.duration_s.tobytes(), self.throughput_mbps.tobytes()])

    def resampled(self, step_s: float = 1.0) -> NDArray[np.float64]:
        """Mean throughput in Mbit/s over consecutive steps of `step_s` seconds, the incomplete last step left out."""
        edges = np.arange(0.0, self.total_s + step_s * 1e-9, step_s)
        if len(edges) < 2:
            return np.array([self.mean_mbps])
        ends = np.concatenate([[0.0], self.end_s])
        carried = np.concatenate([[0.0], np.cumsum(self.duration_s * self.throughput_mbps)])
        return np.diff(np.interp(edges, ends, carried)) / step_s

    def starting_at(self, start_s: float) -> NetworkTrace:
        """Return the same trace with another default start."""
        return NetworkTrace(self.name, self.duration_s, self.throughput_mbps, self.group, start_s)


def statistics(trace: NetworkTrace, step_s: float = 1.0) -> dict[str, float]:
    """Mean (Mbit/s), coefficient of variation and lag-1 autocorrelation of the trace resampled at `step_s`."""
    rates = trace.resampled(step_s)
    mean, std = float(rates.mean()), float(rates.std())
    if len(rates) < 3 or std == 0.0:
        return {"mean_mbps": mean, "cv": 0.0, "lag1": 0.0}
    centred = rates - mean
    return {
        "mean_mbps": mean,
        "cv": std / mean,
        "lag1": float(np.dot(centred[1:], centred[:-1]) / np.dot(centred, centred)),
    }
