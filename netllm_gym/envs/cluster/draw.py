"""Pictures of jobs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netllm_gym.traces.jobs.workload import JobTemplate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_job(job: JobTemplate) -> Figure:
    """Draw a job's stages, earliest on the left: number of tasks inside, mean seconds of a task below."""
    from matplotlib.figure import Figure

    depth = [0] * len(job.stages)
    for s in job.order:
        depth[s] = max((depth[a] + 1 for a, b in job.edges if b == s), default=0)
    height, met = Counter(depth), Counter[int]()
    place = []
    for d in depth:
        place.append((float(d), (height[d] - 1) / 2 - met[d]))
        met[d] += 1
    figure = Figure(figsize=(1.5 + 1.3 * max(depth, default=0), 1.2 + 0.8 * max(height.values())), layout="tight")
    axes = figure.add_subplot()
    for a, b in job.edges:
        axes.annotate(
            "", place[b], place[a], arrowprops={"arrowstyle": "->", "color": "0.5", "shrinkA": 13, "shrinkB": 13}
        )
    for (x, y), stage, seconds in zip(place, job.stages, job.mean_s, strict=True):
        axes.plot(x, y, "o", markersize=24, color="C0")
        axes.annotate(str(stage.tasks), (x, y), ha="center", va="center", color="white", fontsize=8)
        axes.annotate(f"{seconds:.1f} s", (x, y), xytext=(0, -20), textcoords="offset points", ha="center", fontsize=7)
    axes.margins(0.2)
    axes.set_axis_off()
    axes.set_title(job.name, fontsize=9)
    return figure
