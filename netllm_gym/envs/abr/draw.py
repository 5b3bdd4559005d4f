"""A player's timeline: throughput, chosen bitrate, buffer and stalls, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.rendering import pixels

BLUE, ORANGE, RED, GREY = "#0072b2", "#e69f00", "#d55e00", "#999999"


def draw_timeline(
    steps: Sequence[dict[str, Any]], bitrates_mbps: Sequence[float], cap_s: float, length_s: float
) -> NDArray[np.uint8]:
    """Draw an episode so far.

    Args:
        steps: per chunk ``wall_time_s`` (when it had arrived), ``throughput_mbps``, ``bitrate_mbps``, ``buffer_s`` and
            ``stall_s``.
        bitrates_mbps: the ladder.
        cap_s: buffer cap, s.
        length_s: of the video, s.

    Returns:
        RGB image, uint8 ``[400, 720, 3]``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.0), dpi=100, layout="constrained")
    rate, buffer = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    time = np.array([step["wall_time_s"] for step in steps])
    told = np.array(
        [[step[key] for key in ("throughput_mbps", "bitrate_mbps", "buffer_s", "stall_s")] for step in steps]
    )
    for level in bitrates_mbps:
        rate.axhline(level, color=GREY, linewidth=0.5, alpha=0.5)
    if len(steps):
        throughput, bitrate, filled, stalled = told.T
        rate.step(time, throughput, where="pre", color=GREY, label="throughput")
        rate.step(time, bitrate, where="pre", color=BLUE, linewidth=2, label="bitrate")
        buffer.fill_between(time, filled, color=ORANGE, alpha=0.35, linewidth=0)
        buffer.plot(time, filled, color=ORANGE, label="buffer")
        for end, stall in zip(time, stalled, strict=True):
            if stall > 0:
                for axes in (rate, buffer):
                    axes.axvspan(max(end - stall, 0.0), end, color=RED, alpha=0.3, linewidth=0)
        buffer.set_title(
            f"chunk {len(steps)}: {bitrate[-1]:.2f} Mbit/s, buffer {filled[-1]:.1f} s, "
            f"stalled {stalled.sum():.1f} s (red)",
            fontsize=9,
            loc="left",
        )
        rate.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)
    top = 1.15 * max(max(bitrates_mbps), float(np.percentile(told[:, 0], 95)) if len(steps) else 0.0)
    rate.set(ylabel="Mbit/s", ylim=(0.0, top), xlim=(0.0, max(length_s, float(time[-1]) if len(steps) else 0.0)))
    buffer.set(ylabel="buffer (s)", xlabel="time (s)", ylim=(0.0, cap_s))
    return pixels(figure)
