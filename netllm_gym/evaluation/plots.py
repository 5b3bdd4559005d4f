"""Figures of a result: distributions over episodes, the reward's terms, what is left to the oracle, and costs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from netllm_gym.evaluation import statistics as stats
from netllm_gym.evaluation import timelines
from netllm_gym.evaluation.canvas import (
    INK,
    WIDTH,
    canvas,
    in_sight,
    legend,
    mark,
    names,
    rivals,
    style_of,
    styled,
    write,
)
from netllm_gym.evaluation.formats import pretty
from netllm_gym.evaluation.rows import table
from netllm_gym.files import sweep

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord


def _name(result: EvaluationRecord) -> str:
    name = result.metric["name"]
    arrow = "higher is better" if result.metric["better"] == "higher" else "lower is better"
    return f"{pretty(name)} per episode ({arrow})"


def _values(result: EvaluationRecord, agent: str) -> np.ndarray:
    rows = result.frame[result.frame["agent"] == agent]
    return rows[result.metric["name"]].dropna().to_numpy(dtype=np.float64)


def _unseen(result: EvaluationRecord) -> str:
    unseen = [agent for agent in result.agents if agent not in in_sight(result)]
    # A line of its own: beside the axis' name it would be cut off at the figure's edge.
    called = names(result)
    return "\n" + textwrap.fill(f"not shown: {', '.join(called[agent] for agent in unseen)}", 80) if unseen else ""


def _name_rows(axes: Axes, result: EvaluationRecord, agents: Sequence[str]) -> None:
    """Write the agents' names beside their rows, from below."""
    agents, called = list(agents), names(result)
    axes.set_yticks(range(len(agents)), [called[agent] for agent in agents])
    for agent, label in zip(agents, axes.get_yticklabels(), strict=True):
        mark(result, agent, label)


def _limits(axes: Axes, result: EvaluationRecord) -> None:
    """End the axis where only the worst 2 % of all episodes lie, and say so: one stall would hide everything
    else.
    """
    pooled = np.concatenate([_values(result, agent) for agent in rivals(result)] or [np.empty(0)])
    if not len(pooled):
        return
    if result.metric["better"] == "higher":
        low, high = np.quantile(pooled, 0.02), pooled.max()
        cut = low > pooled.min()
    else:
        low, high = pooled.min(), np.quantile(pooled, 0.98)
        cut = high < pooled.max()
    pad = 0.03 * (high - low) or 0.5
    axes.set_xlim(low - pad, high + pad)
    # A line of its own: beside the axis' name it would be cut off where agents have long names.
    axes.set_xlabel(_name(result) + ("\nworst 2 % outside" if cut else "") + _unseen(result))


@styled
def metric_cdf(result: EvaluationRecord) -> Figure:
    """Distribution of the metric over episodes, one curve per agent."""
    figure, (axes,) = canvas()
    called = names(result)
    for agent in rivals(result):
        values = np.sort(_values(result, agent))
        if len(values):
            colour, dash, _ = style_of(result, agent)
            share = np.arange(1, len(values) + 1) / len(values)
            lines = axes.step(
                values, share, where="post", color=colour, linestyle=dash, linewidth=1.8, label=called[agent]
            )
            mark(result, agent, lines)
    _limits(axes, result)
    axes.set_ylabel("share of episodes below")
    axes.set_ylim(0, 1.01)
    legend(figure, axes, result)
    return figure


@styled
def metric_box(result: EvaluationRecord) -> Figure:
    """Box plot of the metric: median, quartiles, 5th and 95th percentile; the dot is the mean."""
    agents = [agent for agent in result.summary()["agent"] if agent in rivals(result)]
    figure, (axes,) = canvas(height=0.9 + 0.42 * max(len(agents), 1))
    for place, agent in enumerate(reversed(agents)):
        colour, _, hatch = style_of(result, agent)
        drawn = axes.boxplot(
            _values(result, agent), positions=[place], orientation="horizontal", widths=0.6, whis=(5, 95),
            showfliers=False, showmeans=True, patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.75, "hatch": hatch, "edgecolor": INK},
            medianprops={"color": INK, "linewidth": 1.6}, whiskerprops={"color": INK},
            capprops={"color": INK},
            meanprops={"marker": "o", "markersize": 5, "markerfacecolor": "white", "markeredgecolor": INK},
        )  # fmt: skip
        drawn["means"][0].set_clip_on(True)
        mark(result, agent, drawn)
    _name_rows(axes, result, list(reversed(agents)))
    _limits(axes, result)
    axes.grid(axis="y", visible=False)
    return figure


@styled
def term_bars(result: EvaluationRecord) -> Figure:
    """The reward's terms, one panel each, with a bar per agent."""
    summary = result.summary()
    summary = summary[summary["agent"].isin(rivals(result))]
    terms = list(result.terms)
    figure = Figure(figsize=(WIDTH, len(terms) * (0.6 + 0.24 * max(len(summary), 1))), layout="constrained")
    panels = figure.subplots(len(terms), 1, squeeze=False)[:, 0]
    order = summary.iloc[::-1].reset_index(drop=True)
    for axes, term in zip(panels, terms, strict=True):
        facts = result.terms[term]
        for place, row in order.iterrows():
            colour, _, hatch = style_of(result, row["agent"])
            bars = axes.barh(place, row[term], color=colour, hatch=hatch, edgecolor=INK, linewidth=0.5)
            mark(result, row["agent"], bars)
        _name_rows(axes, result, order["agent"])
        unit = f" ({facts['unit']})" if facts["unit"] else ""
        axes.set_title(f"{pretty(term)}{unit}; {facts['better']} is better")
        axes.grid(axis="y", visible=False)
    if note := _unseen(result).removeprefix("; "):
        figure.supxlabel(note)
    return figure


@styled
def gap_closed(result: EvaluationRecord) -> Figure:
    """How much of the way from the floor agent to the oracle each agent goes, with 95 % intervals."""
    summary = result.summary()
    summary = (
        summary[summary["score"].notna() & summary["agent"].isin(rivals(result))].iloc[::-1].reset_index(drop=True)
    )
    figure, (axes,) = canvas(height=0.9 + 0.34 * max(len(summary), 1))
    for place, row in summary.iterrows():
        colour, _, hatch = style_of(result, row["agent"])
        bars = axes.barh(place, 100 * row["score"], color=colour, hatch=hatch, edgecolor=INK, linewidth=0.5)
        span = axes.plot([100 * row["score_low"], 100 * row["score_high"]], [place, place], color=INK, linewidth=1.4)
        mark(result, row["agent"], bars, span)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.axvline(100, color=INK, linewidth=0.8, linestyle=":")
    _name_rows(axes, result, summary["agent"])
    axes.set_xlim(min(0.0, 110 * float(summary["score"].min())) if len(summary) else 0.0, 108)
    floor, oracle = result.manifest["floor"], result.manifest["oracle"]
    axes.set_xlabel(f"share of the gap, %\nfrom {floor} to {oracle}{_unseen(result)}")  # long names need a line
    axes.grid(axis="y", visible=False)
    return figure


@styled
def metric_latency(result: EvaluationRecord) -> Figure:
    """The metric against the time of one decision: what quality costs."""
    figure, (axes,) = canvas()
    called = names(result)
    summary = result.summary()
    summary = summary[summary["agent"].isin(rivals(result)) & (summary["latency_p50_ms"] > 0)]
    for _, row in summary.iterrows():
        colour, _, _ = style_of(result, row["agent"])
        # An agent that always scores the same has an interval of no width, up to rounding.
        error = np.maximum([[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]], 0.0)
        dot = axes.errorbar(row["latency_p50_ms"], row["mean"], yerr=error, fmt="o", color=colour, capsize=3)
        name = axes.annotate(
            called[row["agent"]],
            (row["latency_p50_ms"], row["mean"]),
            xytext=(6, 4),
            textcoords="offset points",
        )
        mark(result, row["agent"], dot, name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(LogFormatter())  # the usual one writes formulas, which names of agents must not be
    axes.xaxis.set_minor_formatter(LogFormatter())
    axes.margins(x=0.25)
    axes.set_xlabel("time of one decision, median (ms)" + _unseen(result))
    axes.set_ylabel(f"mean {pretty(result.metric['name'])} with 95 % interval")
    return figure


def _episode_scores(result: EvaluationRecord, agent: str) -> np.ndarray:
    """Normalised scores of an agent's finished runs, flat; empty without floor and oracle."""
    m, name = result.manifest, result.metric["name"]
    if not (m["floor"] and m["oracle"]):
        return np.empty(0)
    low, high = (table(result.frame, end, name).mean(axis=0) for end in (m["floor"], m["oracle"]))
    whole = ~np.isnan(low) & ~np.isnan(high)
    scores = stats.episode_scores(table(result.frame, agent, name)[:, whole], low[whole], high[whole])
    return scores[~np.isnan(scores)]


@styled
def performance_profile(result: EvaluationRecord) -> Figure:
    """Share of the episodes in which an agent scores above a threshold: 0 is the floor's mean, 1 the oracle."""
    figure, (axes,) = canvas()
    called = names(result)
    shown = [agent for agent in in_sight(result) if agent != result.manifest["oracle"]]
    scores = {agent: _episode_scores(result, agent) for agent in shown}
    pooled = np.concatenate([*scores.values(), np.empty(0)])
    low = max(-1.0, float(np.quantile(pooled, 0.02))) if len(pooled) else 0.0
    thresholds = np.linspace(min(low, 0.0), 1.05, 211)
    for agent, values in scores.items():
        if len(values):
            colour, dash, _ = style_of(result, agent)
            lines = axes.plot(
                thresholds, stats.performance_profile(values, thresholds), color=colour, linestyle=dash,
                linewidth=1.8, label=called[agent],
            )  # fmt: skip
            mark(result, agent, lines)
    axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel(f"normalised score τ of an episode (1: {result.manifest['oracle']}){_unseen(result)}")
    axes.set_ylabel("share of episodes above τ")
    axes.set_ylim(0, 1.01)
    legend(figure, axes, result)
    return figure


@styled
def regret(result: EvaluationRecord) -> Figure:
    """Mean regret to the oracle with 95 % intervals: what a perfect agent would still gain."""
    summary = result.summary()
    shown = summary["regret"].notna() & summary["agent"].isin(in_sight(result)) & ~summary["privileged"]
    summary = summary[shown].iloc[::-1].reset_index(drop=True)
    figure, (axes,) = canvas(height=0.9 + 0.34 * max(len(summary), 1))
    for place, row in summary.iterrows():
        colour, _, hatch = style_of(result, row["agent"])
        bars = axes.barh(place, row["regret"], color=colour, hatch=hatch, edgecolor=INK, linewidth=0.5)
        span = axes.plot([row["regret_low"], row["regret_high"]], [place, place], color=INK, linewidth=1.4)
        mark(result, row["agent"], bars, span)
    _name_rows(axes, result, summary["agent"])
    name = pretty(result.metric["name"])
    axes.set_xlabel(f"regret to {result.manifest['oracle']}, {name}; lower is better{_unseen(result)}")
    axes.grid(axis="y", visible=False)
    return figure


def all_figures(result: EvaluationRecord) -> dict[str, Figure]:
    """Every figure that the result has the data for, by name."""
    figures = {"metric-cdf": metric_cdf(result), "metric-box": metric_box(result)}
    if result.terms:
        figures["reward-terms"] = term_bars(result)
    summary = result.summary()
    if summary["score"].notna().any():
        figures["gap-closed"] = gap_closed(result)
        figures["performance-profile"] = performance_profile(result)
    if summary["regret"].notna().any():
        figures["regret"] = regret(result)
    figures["metric-latency"] = metric_latency(result)
    return figures | timelines.all_timelines(result)


def write_figures(figures: Mapping[str, Figure], folder: str | Path, formats: Sequence[str] = ("png",)) -> None:
    """Write figures into `folder` by their names, in each of the `formats`.

    Raises:
        ConfigError: a format other than ``png``, ``svg`` and ``pdf``.
    """
    sweep(Path(folder))
    for name, figure in figures.items():
        for suffix in formats:
            write(figure, Path(folder) / f"{name}.{suffix}")
