"""Which episodes are worth looking at step by step: the best, the middle and the worst for the agent that matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netllm_gym.evaluation.formats import number, pretty
from netllm_gym.evaluation.rows import table

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord

KINDS = ("best", "median", "worst")


def hero(result: EvaluationRecord) -> str | None:
    """Return the agent whose episodes are chosen: the best rival that is neither baseline, floor nor bound; where there
    is none, the best of all that finished an episode.
    """
    summary = result.summary()
    finished = summary[summary["mean"].notna() & ~summary["privileged"]]["agent"].tolist()
    aside = {result.manifest["baseline"], result.manifest["floor"]}
    return next((agent for agent in finished if agent not in aside), finished[0] if finished else None)


def choose(result: EvaluationRecord) -> dict[str, int]:
    """Return kind → episode: where :func:`hero` gains most on the baseline, least, and in between.

    Without a baseline beside it, its own metric decides. Fewer than three episodes give fewer kinds.
    """
    agent = hero(result)
    if agent is None:
        return {}
    name, baseline = result.metric["name"], result.manifest["baseline"]
    values = table(result.frame, agent, name).mean(axis=0)
    if baseline and baseline != agent:
        values = values - table(result.frame, baseline, name).mean(axis=0)
    if result.metric["better"] == "lower":
        values = -values
    episodes = np.array(sorted(set(result.frame["episode"])))
    ranked = [int(episodes[i]) for i in np.argsort(values, kind="stable") if not np.isnan(values[i])]
    if not ranked:
        return {}
    places = {"best": len(ranked) - 1, "median": (len(ranked) - 1) // 2, "worst": 0}
    chosen: dict[str, int] = {}
    for kind in KINDS:
        if ranked[places[kind]] not in chosen.values():
            chosen[kind] = ranked[places[kind]]
    return chosen


def meaning(result: EvaluationRecord) -> str:
    """Say in one sentence by what the examples are chosen."""
    agent, baseline = hero(result), result.manifest["baseline"]
    what = pretty(result.metric["name"])
    if baseline and baseline != agent:
        return f"Best, median and worst by the difference in {what} between {agent} and {baseline}."
    return f"Best, median and worst by the {what} of {agent}."


def worth(result: EvaluationRecord, agent: str, episode: int) -> str:
    """Return the metric of an agent in an episode as text."""
    rows = result.frame[(result.frame["agent"] == agent) & (result.frame["episode"] == episode)]
    return number(float(rows[result.metric["name"]].iloc[0])) if len(rows) else "–"
