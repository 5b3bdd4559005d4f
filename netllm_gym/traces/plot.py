"""Pictures of a trace set: links or views over time, the jobs of a workload, and how they are distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netllm_gym.files import atomic_path
from netllm_gym.traces.head import geometry
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.jobs.statistics import table
from netllm_gym.traces.jobs.trace import JobTrace
from netllm_gym.traces.network.trace import NetworkTrace
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


def plot_workload(traces: TraceSet[JobTrace], path: Path, shown: int = 3) -> None:
    """Write a figure (format by suffix): arrivals of the first sequences, and the jobs' work, paths and parallelism."""
    from matplotlib.figure import Figure

    workload = traces[0].workload
    found = table(workload.templates)
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for trace in traces[:shown]:
        count = 100 if workload.arrivals_s is None else min(100, len(workload.arrivals_s))
        left.step([at for at, _ in trace.jobs(count)], np.arange(count) + 1, where="post", lw=0.9, label=trace.name)
    left.set(xlabel="time (s)", ylabel="jobs arrived", title=f"{traces.name}, split {traces.split}")
    left.legend(fontsize=7, frameon=False)
    share = np.arange(1, len(workload.templates) + 1) / len(workload.templates)
    for key, label in (("work_s", "work, executor-seconds"), ("path_s", "critical path, seconds")):
        middle.step(np.sort(found[key]), share, where="post", label=label)
    middle.set(xscale="log", ylabel=f"share of {len(workload.templates)} jobs", ylim=(0, 1))
    middle.legend(fontsize=7, frameon=False)
    right.scatter(found["stages"], found["parallelism"], s=8)
    right.set(xlabel="stages", ylabel="parallelism (work / path)", yscale="log")
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def plot_heads(traces: TraceSet[HeadTrace], path: Path, shown: int = 4) -> None:
    """Write a figure (format by suffix): yaw and pitch of the first `shown` viewers of the first video over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    viewers = [trace for trace in traces if trace.video == traces[0].video]
    for trace in viewers[:shown]:
        angles = trace.angles_deg
        if trace.reading == "published":
            angles = geometry.quaternion_to_canonical(geometry.published_to_quaternion(angles))
        yaw, pitch = (np.where(trace.valid, angles[:, axis], np.nan) for axis in (0, 1))
        # A turn through the back of the frame is no line across it.
        yaw[1:][np.abs(np.diff(angles[:, 0])) > 180.0] = np.nan
        time = trace.start_s + np.arange(len(trace)) / trace.hz
        upper.plot(time, yaw, lw=0.9, label=f"viewer {trace.user}"[:32])
        lower.plot(time, pitch, lw=0.9)
    title = f"{traces.name}, split {traces.split}: video {traces[0].video}"
    upper.set(ylabel="yaw (degrees)", title=f"{title}, {min(shown, len(viewers))} of {len(viewers)} viewers")
    lower.set(xlabel="time (s)", ylabel="pitch (degrees)")
    upper.legend(fontsize=7, frameon=False)
    for axis, limit in ((upper, 180), (lower, 90)):
        axis.set(ylim=(-limit, limit), yticks=np.linspace(-limit, limit, 5))
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
