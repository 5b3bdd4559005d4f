"""Pictures of a trace set: a few traces over time, and the distribution of their means."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netllm_gym.files import atomic_path
from netllm_gym.traces.network import NetworkTrace
from netllm_gym.traces.traceset import TraceSet


def plot_network(traces: TraceSet[NetworkTrace], path: Path, shown: int = 4) -> None:
    """Write a figure (format by suffix): the first `shown` traces, and the CDF of mean throughput over all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for trace in traces[:shown]:
        left.step(trace.end_s, trace.throughput_mbps, where="pre", lw=0.9, label=trace.name[:32])
    left.set(xlabel="time (s)", ylabel="throughput (Mbit/s)", title=f"{traces.name}, split {traces.split}")
    left.set_ylim(bottom=0)
    left.legend(fontsize=7, frameon=False)
    means = np.sort([trace.mean_mbps for trace in traces])
    right.step(means, np.arange(1, len(means) + 1) / len(means), where="post")
    right.set(xlabel="mean throughput (Mbit/s)", ylabel=f"share of {len(means)} traces", ylim=(0, 1))
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
