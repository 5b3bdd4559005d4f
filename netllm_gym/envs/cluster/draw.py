"""Pictures of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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


def draw_cluster(
    bars: Sequence[tuple[int, int, float, float]],
    executors: int,
    now_s: float,
    jobs: Sequence[tuple[int, Sequence[float], Sequence[tuple[int, int]]]],
) -> NDArray[np.uint8]:
    """Draw executors over time, coloured by job, and beside them the DAGs of the jobs in the system.

    Args:
        bars: tasks as (executor, job, start, end), seconds.
        executors: how many there are.
        now_s: the present; tasks in progress are cut here.
        jobs: of the jobs in the system: index, share of each stage's tasks that were launched, edges (parent, child).

    Returns:
        RGB image, uint8 ``[420, 960, 3]``.
    """
    from matplotlib.figure import Figure

    from netllm_gym.envs.rendering import pixels

    figure = Figure(figsize=(9.6, 4.2), dpi=100, layout="constrained")
    chart, dags = figure.subplots(1, 2, width_ratios=(3, 1.3))
    recent = [bar for bar in bars if bar[3] > now_s - WINDOW_S][-MOST_BARS:]
    if recent:
        rows, job, start, end = (np.array(column) for column in zip(*recent, strict=True))
        chart.barh(
            rows, np.minimum(end, now_s) - start, left=start, height=0.9, linewidth=0, color=[f"C{j % 10}" for j in job]
        )
    chart.set(
        xlabel="time (s)", ylabel="executor", ylim=(-0.5, executors - 0.5),
        xlim=(max(0.0, now_s - WINDOW_S), max(now_s, 1.0)), title=f"{len(jobs)} jobs in the system",
    )  # fmt: skip
    chart.yaxis.get_major_locator().set_params(integer=True)
    shown = list(jobs)[:MOST_JOBS]
    for row, (index, launched, edges) in enumerate(shown):
        depth = [0] * len(launched)
        for _ in range(len(launched)):
            moved = False
            for a, b in edges:
                if depth[b] <= depth[a]:
                    depth[b], moved = depth[a] + 1, True
            if not moved:
                break
        met = Counter[int]()
        place = []
        for d in depth:
            place.append((d, -row - 0.35 + 0.7 * (met[d] + 0.5) / depth.count(d)))
            met[d] += 1
        for a, b in edges:
            dags.plot(*zip(place[a], place[b], strict=True), color="0.75", linewidth=0.7, zorder=1)
        dags.scatter(*zip(*place, strict=True), s=22, c=[(1.0 - 0.85 * done,) * 3 for done in launched], zorder=2,
                     edgecolors=f"C{index % 10}", linewidths=1.5)  # fmt: skip
    dags.set_title("their stages, dark when launched", fontsize=9)
    dags.set_ylim(-max(len(shown), 3) + 0.4, 0.6)
    dags.set_axis_off()
    return pixels(figure)


WINDOW_S = 120.0  # what the chart shows
MOST_BARS = 5_000  # more would be thinner than a pixel
MOST_JOBS = 8
