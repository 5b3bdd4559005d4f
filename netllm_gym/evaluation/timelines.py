"""Samples: how single episodes went, step by step, agent beside agent.

ABR episodes become timelines, cluster episodes Gantt charts, any other episode the course of its metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError
from netllm_gym.evaluation.canvas import COLOURS, INK, canvas, in_sight, legend, mark, names, style_of, styled
from netllm_gym.evaluation.formats import pretty

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord

ABR = ("wall_time_s", "bitrate_mbps", "throughput_mbps", "buffer_s", "stall_s")


def timeline_agents(result: EvaluationRecord) -> list[str]:
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


def _chosen(
    result: EvaluationRecord, rows: pd.DataFrame, episode: int | None, agents: Sequence[str] | None
) -> tuple[int, list[str]]:
    """The episode and agents to draw, checked against what was recorded in `rows`."""
    recorded = sorted(set(rows["episode"]))
    episode = recorded[0] if episode is None else episode
    if episode not in recorded:
        raise ConfigError(f"episode {episode} was not recorded; recorded: {', '.join(map(str, recorded))}")
    for agent in agents or ():
        if agent not in result.agents:
            raise UnknownNameError("agent in these results", agent, result.agents)
    return episode, list(agents) if agents else timeline_agents(result)


def rows_of(rows: pd.DataFrame, agent: str, episode: int) -> pd.DataFrame:
    """Rows of one agent and episode, of its first training seed."""
    own = rows[(rows["agent"] == agent) & (rows["episode"] == episode)]
    return own[own["training_seed"] == own["training_seed"].min()]


def _title(result: EvaluationRecord, episode: int) -> str:
    return f"episode {episode}: {result.frame.loc[result.frame['episode'] == episode, 'trace'].iloc[0]}"


@styled
def abr_timeline(result: EvaluationRecord, episode: int | None = None, agents: Sequence[str] | None = None) -> Figure:
    """One video as 2–4 agents played it: the link and the chosen bitrates, the buffer, and the stalls.

    Args:
        result: an evaluation of the ABR environment with ``trace_steps``.
        episode: one of the recorded episodes, by default the first.
        agents: whose course to draw, by default the baseline, the best agents and the oracle, four at most.

    Raises:
        DatasetError: no steps were recorded, or not those of an ABR environment.
        UnknownNameError: an agent that did not play. ConfigError: an episode that was not recorded.
    """
    if result.steps.empty or any(name not in result.steps for name in ABR):
        raise DatasetError("a timeline needs an ABR evaluation with trace_steps=[episode, …]")
    episode, agents = _chosen(result, result.steps, episode, agents)
    figure, (link, buffer) = canvas(height=4.8, rows=2)
    called = names(result)
    for agent in agents:
        steps = rows_of(result.steps, agent, episode)
        if steps.empty:
            continue
        colour, dash, _ = style_of(result, agent)
        time = steps["wall_time_s"].to_numpy()
        if agent == agents[0]:  # what this agent's downloads measured; the link is the same for all
            link.fill_between(
                time, steps["throughput_mbps"], step="pre", color=INK, alpha=0.12, linewidth=0,
                label="throughput",
            )  # fmt: skip
        rate = link.step(
            time,
            steps["bitrate_mbps"],
            where="pre",
            color=colour,
            linestyle=dash,
            linewidth=1.6,
            label=called[agent],
        )
        level = buffer.plot(time, steps["buffer_s"], color=colour, linestyle=dash, linewidth=1.6)
        stalls = steps[steps["stall_s"] > 0.05]
        crosses = buffer.scatter(
            stalls["wall_time_s"], np.zeros(len(stalls)) - 1.5, s=12 + 12 * np.minimum(stalls["stall_s"], 10),
            color=colour, marker="x", linewidth=1.4,
        )  # fmt: skip
        mark(result, agent, rate, level, crosses)
    link.set_ylabel("Mbit/s")
    link.set_ylim(bottom=0)
    link.set_title(_title(result, episode))
    buffer.set_ylabel("buffer (s); × stall")
    buffer.set_xlabel("time since the first request (s)")
    buffer.set_ylim(-3.5, max(buffer.get_ylim()[1], 4.0))
    legend(figure, link, result)
    return figure


@styled
def metric_timeline(
    result: EvaluationRecord, episode: int | None = None, agents: Sequence[str] | None = None
) -> Figure:
    """The metric of every step of one episode, as 2–4 agents played it.

    Raises:
        DatasetError: no steps were recorded, or the environment tells no metric per step.
        UnknownNameError: an agent that did not play. ConfigError: an episode that was not recorded.
    """
    name = result.metric["name"]
    if result.steps.empty or name not in result.steps:
        raise DatasetError("a course needs an evaluation with trace_steps=[episode, …] and a metric in every info")
    episode, agents = _chosen(result, result.steps, episode, agents)
    figure, (axes,) = canvas(height=3.0)
    called = names(result)
    for agent in agents:
        steps = rows_of(result.steps, agent, episode)
        colour, dash, _ = style_of(result, agent)
        lines = axes.plot(steps["step"], steps[name], color=colour, linestyle=dash, linewidth=1.6, label=called[agent])
        mark(result, agent, lines)
    axes.set_xlabel("decision")
    axes.set_ylabel(f"{pretty(name)}; {result.metric['better']} is better")
    axes.set_title(_title(result, episode))
    legend(figure, axes, result)
    return figure


@styled
def gantt(result: EvaluationRecord, episode: int | None = None, agents: Sequence[str] | None = None) -> Figure:
    """Which job each executor worked for, one panel per agent; white is idle or on the way to another job.

    Raises:
        DatasetError: no such stays were recorded.
        UnknownNameError: an agent that did not play. ConfigError: an episode that was not recorded.
    """
    if result.timelines.empty:
        raise DatasetError("a Gantt chart needs a cluster evaluation with trace_steps=[episode, …]")
    episode, agents = _chosen(result, result.timelines, episode, agents)
    figure, panels = canvas(height=0.8 + 1.5 * len(agents), rows=len(agents))
    for axes, agent in zip(panels, agents, strict=True):
        stays = rows_of(result.timelines, agent, episode)
        for job, own in stays.groupby("job"):
            axes.barh(
                own["executor"], own["end_s"] - own["start_s"], left=own["start_s"], height=1.0, linewidth=0,
                color=COLOURS[int(job) % len(COLOURS)],
            )  # fmt: skip
        row = result.frame[(result.frame["agent"] == agent) & (result.frame["episode"] == episode)].iloc[0]
        told = f"{agent}: {pretty(result.metric['name'])} {row[result.metric['name']]:.1f} over the whole episode"
        axes.set_title(told, loc="left", color=INK)
        axes.set_ylabel("executor")
        axes.grid(visible=False)
        if len(stays):
            axes.set_ylim(-0.5, stays["executor"].max() + 0.5)
    panels[-1].set_xlabel("time (s); colours are jobs")
    figure.suptitle(_title(result, episode))
    return figure


def all_timelines(result: EvaluationRecord) -> dict[str, Figure]:
    """Every sample that was recorded, by name."""
    figures: dict[str, Figure] = {}
    for episode in sorted(set(result.timelines["episode"])) if len(result.timelines) else ():
        figures[f"gantt-{episode}"] = gantt(result, episode)
    if len(result.steps):
        abr = all(name in result.steps for name in ABR)
        for episode in sorted(set(result.steps["episode"])):
            if abr:
                figures[f"timeline-{episode}"] = abr_timeline(result, episode)
            elif result.metric["name"] in result.steps and result.metric["aggregate"] != "last":
                figures[f"timeline-{episode}"] = metric_timeline(result, episode)
    return figures
