"""Figures of a result, drawn without pyplot (no display, no global state), legible in grey and for the
colour-blind.

Colours are Okabe and Ito's; line styles and hatches repeat what colour says. Lines and letters are drawn in
one ink, which the HTML report replaces with the colour of its text, so that figures follow light and dark
pages.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError
from netllm_gym.files import atomic_path

if TYPE_CHECKING:
    from netllm_gym.evaluation.result import EvaluationResult

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#999999")
DASHES: tuple = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)), (0, (1, 1)))
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++", "oo")
INK = "#010203"

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def _canvas(width: float = 6.0, height: float = 3.4, rows: int = 1) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=rows > 1, squeeze=False)[:, 0]
    return figure, axes


def _look(result: EvaluationResult, agent: str) -> tuple[str, tuple | str, str]:
    """Colour, dash and hatch of an agent: the same in every figure of a result."""
    place = result.agents.index(agent) % len(COLOURS)
    return COLOURS[place], DASHES[place], HATCHES[place]


def _name(result: EvaluationResult) -> str:
    name = result.metric["name"]
    arrow = "higher is better" if result.metric["better"] == "higher" else "lower is better"
    return f"{pretty(name)} per episode ({arrow})"


def pretty(name: str) -> str:
    """Return a column's name as a heading: acronyms in capitals, and without the unit, which is shown beside
    it.
    """
    known = {"qoe": "QoE", "mae": "MAE", "jct": "JCT"}
    for unit in ("_s", "_ms", "_mbps", "_deg"):
        name = name.removesuffix(unit)
    return " ".join(known.get(word, word) for word in name.split("_"))


def _values(result: EvaluationResult, agent: str) -> np.ndarray:
    rows = result.frame[result.frame["agent"] == agent]
    return rows[result.metric["name"]].dropna().to_numpy(dtype=np.float64)


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    def wrapped(*arguments, **keywords) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*arguments, **keywords)

    wrapped.__doc__, wrapped.__name__ = draw.__doc__, draw.__name__
    return wrapped


def in_sight(result: EvaluationResult) -> list[str]:
    """The agents whose numbers fit on one axis: not those further below the floor than the oracle is above
    it.
    """
    summary = result.summary()
    shown = summary.loc[summary["mean"].notna() & ~(summary["score"] < -1), "agent"]
    return [agent for agent in result.agents if agent in set(shown)]


def _unseen(result: EvaluationResult) -> str:
    unseen = [agent for agent in result.agents if agent not in in_sight(result)]
    return f"; not shown: {', '.join(unseen)}" if unseen else ""


def _limits(axes: Axes, result: EvaluationResult) -> None:
    """End the axis where only the worst 2 % of all episodes lie, and say so: one stall would hide everything
    else.
    """
    pooled = np.concatenate([_values(result, agent) for agent in in_sight(result)] or [np.empty(0)])
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
    axes.set_xlabel(_name(result) + ("; worst 2 % outside" if cut else "") + _unseen(result), fontsize=8)


@_styled
def metric_cdf(result: EvaluationResult) -> Figure:
    """Distribution of the metric over episodes, one curve per agent."""
    figure, (axes,) = _canvas()
    for agent in in_sight(result):
        values = np.sort(_values(result, agent))
        if len(values):
            colour, dash, _ = _look(result, agent)
            share = np.arange(1, len(values) + 1) / len(values)
            axes.step(values, share, where="post", color=colour, linestyle=dash, linewidth=1.8, label=agent)
    _limits(axes, result)
    axes.set_ylabel("share of episodes below")
    axes.set_ylim(0, 1.01)
    if axes.get_lines():
        axes.legend(fontsize=8)
    return figure


@_styled
def metric_box(result: EvaluationResult) -> Figure:
    """Box plot of the metric: median, quartiles, 5th and 95th percentile; the dot is the mean."""
    agents = [agent for agent in result.summary()["agent"] if agent in in_sight(result)]
    figure, (axes,) = _canvas(height=0.9 + 0.42 * max(len(agents), 1))
    for place, agent in enumerate(reversed(agents)):
        colour, _, hatch = _look(result, agent)
        drawn = axes.boxplot(
            _values(result, agent), positions=[place], orientation="horizontal", widths=0.6, whis=(5, 95),
            showfliers=False, showmeans=True, patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.75, "hatch": hatch, "edgecolor": INK},
            medianprops={"color": INK, "linewidth": 1.6}, whiskerprops={"color": INK},
            capprops={"color": INK},
            meanprops={"marker": "o", "markersize": 5, "markerfacecolor": "white", "markeredgecolor": INK},
        )  # fmt: skip
        drawn["means"][0].set_clip_on(True)
    axes.set_yticks(range(len(agents)), list(reversed(agents)))
    _limits(axes, result)
    axes.grid(axis="y", visible=False)
    return figure


@_styled
def term_bars(result: EvaluationResult) -> Figure:
    """The reward's terms, one panel each, with a bar per agent."""
    summary = result.summary()
    summary = summary[summary["agent"].isin(in_sight(result))]
    terms = list(result.terms)
    figure = Figure(figsize=(6.4, 0.9 + 0.34 * len(summary)), layout="constrained")
    panels = figure.subplots(1, len(terms), squeeze=False, sharey=True)[0]
    order = summary.iloc[::-1].reset_index(drop=True)
    for axes, term in zip(panels, terms, strict=True):
        facts = result.terms[term]
        for place, row in order.iterrows():
            colour, _, hatch = _look(result, row["agent"])
            axes.barh(place, row[term], color=colour, hatch=hatch, edgecolor=INK, linewidth=0.5)
        unit = f" ({facts['unit']})" if facts["unit"] else ""
        axes.set_title(f"{pretty(term)}{unit}\n{facts['better']} is better", fontsize=8)
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(order)), order["agent"])
    if note := _unseen(result).removeprefix("; "):
        figure.supxlabel(note, fontsize=8)
    return figure


@_styled
def gap_closed(result: EvaluationResult) -> Figure:
    """How much of the way from the floor agent to the oracle each agent goes, with 95 % intervals."""
    summary = result.summary()
    summary = (
        summary[summary["score"].notna() & summary["agent"].isin(in_sight(result))].iloc[::-1].reset_index(drop=True)
    )
    figure, (axes,) = _canvas(height=0.9 + 0.34 * max(len(summary), 1))
    for place, row in summary.iterrows():
        colour, _, hatch = _look(result, row["agent"])
        axes.barh(place, 100 * row["score"], color=colour, hatch=hatch, edgecolor=INK, linewidth=0.5)
        axes.plot([100 * row["score_low"], 100 * row["score_high"]], [place, place], color=INK, linewidth=1.4)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.axvline(100, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(summary)), summary["agent"])
    axes.set_xlim(min(0.0, 110 * float(summary["score"].min())) if len(summary) else 0.0, 108)
    floor, oracle = result.manifest["floor"], result.manifest["oracle"]
    axes.set_xlabel(f"share of the gap from {floor} to {oracle}, %{_unseen(result)}", fontsize=8)
    axes.grid(axis="y", visible=False)
    return figure


@_styled
def metric_latency(result: EvaluationResult) -> Figure:
    """The metric against the time of one decision: what quality costs."""
    figure, (axes,) = _canvas()
    summary = result.summary()
    summary = summary[summary["agent"].isin(in_sight(result)) & (summary["latency_p50_ms"] > 0)]
    for _, row in summary.iterrows():
        colour, _, _ = _look(result, row["agent"])
        error = [[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]]
        axes.errorbar(row["latency_p50_ms"], row["mean"], yerr=error, fmt="o", color=colour, capsize=3)
        axes.annotate(
            row["agent"],
            (row["latency_p50_ms"], row["mean"]),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_xlabel("time of one decision, median (ms)" + _unseen(result), fontsize=8)
    axes.set_ylabel(f"mean {pretty(result.metric['name'])} with 95 % interval")
    return figure


@_styled
def abr_timeline(result: EvaluationResult, episode: int | None = None, agents: Sequence[str] | None = None) -> Figure:
    """One video as 2–4 agents played it: the link and the chosen bitrates, the buffer, and the stalls.

    Args:
        result: an evaluation of the ABR environment with ``trace_steps``.
        episode: one of the recorded episodes, by default the first.
        agents: whose course to draw, by default the baseline, the best agents and the oracle, four at most.

    Raises:
        DatasetError: no steps were recorded, or not those of an ABR environment.
        UnknownNameError: an agent that did not play. ConfigError: an episode that was not recorded.
    """
    needed = ("wall_time_s", "bitrate_mbps", "throughput_mbps", "buffer_s", "stall_s")
    if result.steps.empty or any(name not in result.steps for name in needed):
        raise DatasetError("a timeline needs an ABR evaluation with trace_steps=[episode, …]")
    recorded = sorted(set(result.steps["episode"]))
    episode = recorded[0] if episode is None else episode
    if episode not in recorded:
        raise ConfigError(f"episode {episode} was not recorded; recorded: {', '.join(map(str, recorded))}")
    for agent in agents or ():
        if agent not in result.agents:
            raise UnknownNameError("agent in these results", agent, result.agents)
    agents = list(agents) if agents else timeline_agents(result)
    figure, (link, buffer) = _canvas(6.4, 4.6, rows=2)
    for agent in agents:
        steps = result.steps[(result.steps["agent"] == agent) & (result.steps["episode"] == episode)]
        steps = steps[steps["training_seed"] == steps["training_seed"].min()]
        if steps.empty:
            continue
        colour, dash, _ = _look(result, agent)
        time = steps["wall_time_s"].to_numpy()
        if agent == agents[0]:  # what this agent's downloads measured; the link is the same for all
            link.fill_between(
                time, steps["throughput_mbps"], step="pre", color=INK, alpha=0.12, linewidth=0,
                label=f"throughput seen by {agent}",
            )  # fmt: skip
        link.step(time, steps["bitrate_mbps"], where="pre", color=colour, linestyle=dash, linewidth=1.6, label=agent)
        buffer.plot(time, steps["buffer_s"], color=colour, linestyle=dash, linewidth=1.6)
        stalls = steps[steps["stall_s"] > 0.05]
        buffer.scatter(
            stalls["wall_time_s"], np.zeros(len(stalls)) - 1.5, s=12 + 12 * np.minimum(stalls["stall_s"], 10),
            color=colour, marker="x", linewidth=1.4, label=f"{agent}: {steps['stall_s'].sum():.1f} s stalled",
        )  # fmt: skip
    link.set_ylabel("Mbit/s")
    link.set_ylim(0, 1.35 * link.get_ylim()[1])  # room for the legend
    link.legend(fontsize=7, ncols=3, loc="upper left")
    trace = result.frame.loc[result.frame["episode"] == episode, "trace"].iloc[0]
    link.set_title(f"episode {episode}: {trace}", fontsize=9)
    buffer.set_ylabel("buffer (s); × stall")
    buffer.set_xlabel("time since the first request (s)")
    buffer.set_ylim(-3.5, 1.35 * max(buffer.get_ylim()[1], 4.0))
    buffer.legend(fontsize=7, ncols=2, loc="upper left")
    return figure


def timeline_agents(result: EvaluationResult) -> list[str]:
    """The agents worth a timeline: the best ones, the baseline among them, and the oracle; four at most."""
    summary = result.summary()
    seen = summary[~summary["privileged"] & summary["agent"].isin(in_sight(result))]
    rivals = [agent for agent in seen["agent"] if agent != result.manifest["floor"]]
    baseline, oracle = result.manifest["baseline"], result.manifest["oracle"]
    bounds = [oracle] if oracle else []
    chosen = rivals[: 4 - len(bounds)]
    if baseline in rivals and baseline not in chosen:
        chosen[-1] = baseline
    return chosen + bounds


def all_figures(result: EvaluationResult) -> dict[str, Figure]:
    """Every figure that the result has the data for, by name."""
    figures = {"metric-cdf": metric_cdf(result), "metric-box": metric_box(result)}
    if result.terms:
        figures["reward-terms"] = term_bars(result)
    if result.summary()["score"].notna().any():
        figures["gap-closed"] = gap_closed(result)
    figures["metric-latency"] = metric_latency(result)
    if len(result.steps) and "bitrate_mbps" in result.steps:
        for episode in sorted(set(result.steps["episode"])):
            figures[f"timeline-{episode}"] = abr_timeline(result, episode)
    return figures


def svg(figure: Figure, salt: str) -> str:
    """Return the figure as an inline SVG element whose ink is the page's text colour; the same figure gives
    the same text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def write(figure: Figure, path: Path) -> None:
    """Write the figure by atomic rename; the suffix (``png``, ``svg``, ``pdf``) decides the format.

    Raises:
        ConfigError: another suffix.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise ConfigError(f"figures are written as png, svg or pdf, not {kind!r}")
    dates: dict[str, dict] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    with atomic_path(path) as temporary, matplotlib.rc_context({**_STYLE, "svg.hashsalt": path.stem}):
        figure.savefig(temporary, format=kind, dpi=160, facecolor="white", metadata=dates[kind])
