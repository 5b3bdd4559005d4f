"""Real and simulated buffer over time, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from netllm_gym.evaluation.canvas import COLOURS, canvas, styled
from netllm_gym.testbed.comparison import Comparison


@styled
def buffers(comparisons: Mapping[str, Comparison], agent: str | None = None) -> Figure:
    """Draw one episode a condition: the buffer after each segment, real and replayed with the same levels,
    by the simulator as it is and by the calibrated one.

    Args:
        comparisons: as of :func:`netllm_gym.testbed.compare`.
        agent: whose episode; by default the best agent's that a simulator can play, the floor aside.
    """
    figure, axes = canvas(6.0, 1.9 * len(comparisons) + 0.4, rows=len(comparisons))
    for axis, (name, comparison) in zip(axes, comparisons.items(), strict=True):
        means = comparison.agents().dropna(subset=["plain_twin"])
        means = means.drop(index=[comparison.real.manifest["floor"]], errors="ignore")
        chosen = agent if agent in means.index else str(means.index[0])
        own = comparison.segments[comparison.segments["agent"] == chosen]
        episode = int(own["episode"].min())
        part = own[(own["episode"] == episode) & (own["training_seed"] == own["training_seed"].min())]
        part = part.sort_values("step")
        axis.plot(part["real_wall_s"], part["real_buffer_s"], color=COLOURS[0], label="real")
        axis.plot(part["plain_wall_s"], part["plain_buffer_s"], ":", color=COLOURS[1], label="simulated")
        axis.plot(part["calibrated_wall_s"], part["calibrated_buffer_s"], "--", color=COLOURS[2], label="calibrated")
        axis.set_ylabel("buffer (s)")
        axis.set_title(f"{name}: {chosen}, {comparison.condition.traces[episode].name[:40]}", loc="left")
    axes[0].legend(loc="upper left")
    axes[-1].set_xlabel("time since the first request (s)")
    return figure
