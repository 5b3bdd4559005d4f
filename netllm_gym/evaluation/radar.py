"""The reward's terms as a radar: who pays for what with what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from netllm_gym.evaluation.canvas import INK, names, style_of, styled
from netllm_gym.evaluation.formats import compact, pretty
from netllm_gym.evaluation.timelines import timeline_agents

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord


def drawn(result: EvaluationRecord) -> list[str]:
    """The agents on the radar: the best ones and the baseline. The oracle would push everybody else into the centre."""
    return [agent for agent in timeline_agents(result) if agent != result.manifest["oracle"]]


@styled
def term_radar(result: EvaluationRecord) -> Figure:
    """One spoke per term of the reward, the better the further out; scaled to the agents drawn.

    The rim is the best of the agents drawn and the centre the worst; both values stand at the spoke's end.
    """
    agents, terms, called = drawn(result), list(result.terms), names(result)
    means = result.summary().set_index("agent")
    means = means.loc[[agent for agent in agents if agent in means.index], terms].dropna()
    angles = [2 * math.pi * i / len(terms) for i in range(len(terms))]
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    axes.set_theta_offset(math.pi / 2)  # type: ignore[attr-defined]
    labels, shares = [], []
    for term in terms:
        values, facts = means[term].to_numpy(dtype=np.float64), result.terms[term]
        if facts["better"] == "lower":
            values = -values
        worst, best = (values.min(), values.max()) if len(values) else (0.0, 0.0)
        shares.append((values - worst) / (best - worst) if best > worst else np.ones(len(values)))
        sign = -1.0 if facts["better"] == "lower" else 1.0
        ends = f"{compact(sign * worst)} → {compact(sign * best)}"
        labels.append(f"{pretty(term)}\n{ends} {facts['unit']}".rstrip())
    for place, agent in enumerate(means.index):
        colour, dash, _ = style_of(result, agent)
        spokes = [share[place] for share in shares]
        axes.plot(
            [*angles, angles[0]],
            [*spokes, spokes[0]],
            color=colour,
            linestyle=dash,
            linewidth=1.8,
            label=called[agent],
        )
    axes.set_xticks(angles, labels, fontsize=8)
    axes.tick_params(axis="x", pad=14)
    axes.set_yticks([0.5, 1.0], [])
    axes.set_ylim(-0.15, 1.05)
    axes.spines["polar"].set_edgecolor(INK)
    axes.spines["polar"].set_alpha(0.3)
    if len(means):
        figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure
