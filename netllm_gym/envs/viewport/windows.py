"""The window protocol of viewport prediction: which samples are history, which are future, and where windows
start.

NetLLM's protocol (SIGCOMM 2024; ``viewport_prediction`` in its code) at 5 Hz: windows at t = 30, 45, 60, …
below n - 60, whatever the history and the horizon; history is ``[t - h, t)``, future ``[t, t + f)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.settings import list_settings, load_setting
from netllm_gym.traces.catalog import split_name
from netllm_gym.traces.head.geometry import published_to_quaternion, wrap_deg
from netllm_gym.traces.head.trace import HeadTrace

# Exchanging left and right changes the sign of the first and the third angle in both readings (lon and roll; roll and
# yaw).
MIRROR = np.array([-1.0, 1.0, -1.0])


@dataclass(frozen=True)
class WindowProtocol:
    """Where windows lie in a trace, in samples.

    Attributes:
        history, future: samples seen and samples to predict.
        first: first possible start of a future.
        margin: windows start before n - margin.
        stride: samples between windows.
    """

    history: int = 10
    future: int = 20
    first: int = 30
    margin: int = 60
    stride: int = 15

    def __post_init__(self) -> None:
        if self.history < 2 or self.future < 1 or self.stride < 1:
            raise ConfigError("a window needs history ≥ 2, future ≥ 1 and stride ≥ 1 samples")
        if self.first < self.history or self.margin < self.future:
            raise ConfigError("windows would leave the trace: first ≥ history and margin ≥ future are needed")

    def anchors(self, trace: HeadTrace) -> NDArray[np.int64]:
        """Starts of the futures in a trace; windows that touch a gap are left out."""
        anchors = np.arange(self.first, len(trace) - self.margin, self.stride)
        if trace.valid.all() or not len(anchors):
            return anchors
        span = self.history + self.future
        whole = np.all(sliding_window_view(trace.valid, span), axis=1)
        return anchors[whole[anchors - self.history]]


@dataclass(frozen=True)
class Setting:
    """A named evaluation of the paper: a trace set and a window protocol."""

    traces: str
    protocol: WindowProtocol


def _published() -> dict[str, Setting]:
    """Return the catalog's settings that differ by trace set, history and horizon alone, as the paper's four do."""
    found = {}
    for task, name, profile in list_settings("viewport"):
        kwargs = load_setting(task, name, profile).kwargs
        if profile == "paper" and set(kwargs) <= {"traces", "split", "history", "future"}:
            window = {key: kwargs[key] for key in ("history", "future") if key in kwargs}
            found[name] = Setting(split_name(kwargs["traces"])[0], WindowProtocol(**window))
    return found


SETTINGS = _published()


def setting(name: str) -> Setting:
    """Return one of the paper's settings.

    Raises:
        UnknownNameError: no such setting.
    """
    if name not in SETTINGS:
        raise UnknownNameError("viewport setting", name, SETTINGS)
    return SETTINGS[name]


@dataclass(frozen=True)
class Windows:
    """Windows cut from many traces, as arrays.

    Attributes:
        history_deg: shape ``[N, h, 3]``, degrees, as the traces hold them (wrapped).
        future_deg: shape ``[N, f, 3]``.
        trace: index of the trace, ``[N]``.
        anchor: first future sample within it, ``[N]``.
        names: names of the traces; errors are resampled by them.
        reading: reading of the angles.
        hz: sample rate.
    """

    history_deg: NDArray[np.float64]
    future_deg: NDArray[np.float64]
    trace: NDArray[np.int64]
    anchor: NDArray[np.int64]
    names: tuple[str, ...]
    reading: str
    hz: float

    def __len__(self) -> int:
        return len(self.anchor)


def cut(traces: Sequence[HeadTrace], protocol: WindowProtocol) -> Windows:
    """Cut every window of a protocol, trace by trace.

    Raises:
        ConfigError: no trace is long enough, or the traces differ in reading or rate.
    """
    kinds = {(trace.reading, trace.hz) for trace in traces}
    if len(kinds) != 1:
        raise ConfigError(f"windows need traces of one reading and rate, got {sorted(kinds)}")
    reading, hz = kinds.pop()
    anchors = [protocol.anchors(trace) for trace in traces]
    if not sum(map(len, anchors)):
        raise ConfigError(f"no trace is long enough for a window ({protocol.first + protocol.margin} samples)")
    span = protocol.history + protocol.future
    pieces = [
        sliding_window_view(trace.angles_deg, span, axis=0)[found - protocol.history]
        for trace, found in zip(traces, anchors, strict=True)
        if len(found)
    ]
    windows = np.concatenate(pieces).transpose(0, 2, 1)
    return Windows(
        np.ascontiguousarray(windows[:, : protocol.history]),
        np.ascontiguousarray(windows[:, protocol.history :]),
        np.repeat(np.arange(len(traces)), [len(found) for found in anchors]),
        np.concatenate(anchors),
        tuple(trace.name for trace in traces),
        reading,
        hz,
    )


def displacements(windows: Windows) -> NDArray[np.float64]:
    """Motion from the last sample to each future one, by continuous steps, ``[N, f, 3]``.

    A head that turns past ±180° has moved on, not jumped back: steps are folded one by one and summed.
    """
    path = np.concatenate([windows.history_deg[:, -1:], windows.future_deg], axis=1)
    return np.cumsum(wrap_deg(np.diff(path, axis=1)), axis=1)


def turned(windows: Windows, by_deg: NDArray[np.float64]) -> Windows:
    """Turn every window's viewer about the vertical, as if he and the video had stood otherwise.

    Physics does not care, so turned windows are new training data; only what depends on the video's content is lost.

    Args:
        windows: in either reading.
        by_deg: one angle per window, ``[N]``, degrees.
    """
    length = windows.history_deg.shape[1]
    angles = np.concatenate([windows.history_deg, windows.future_deg], axis=1)
    if windows.reading == "canonical":
        angles[..., 0] = wrap_deg(angles[..., 0] + by_deg[:, None])
    else:
        flat = angles.reshape(-1, 3)
        turn = Rotation.from_euler("Y", np.repeat(by_deg, angles.shape[1])[:, None], degrees=True)
        turned_flat = (turn * Rotation.from_quat(published_to_quaternion(flat))).as_euler("ZXY", degrees=True)
        angles = turned_flat.reshape(angles.shape)
    return replace(windows, history_deg=angles[:, :length], future_deg=angles[:, length:])


def mirrored(windows: Windows) -> Windows:
    """Exchange left and right in every window, about longitude 0 (in the published reading about yaw 0)."""
    return replace(
        windows, history_deg=wrap_deg(windows.history_deg * MIRROR), future_deg=wrap_deg(windows.future_deg * MIRROR)
    )
