"""One agent, all tasks: the rows of an agent that plays several tasks, beside the best specialist of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from netllm_gym.evaluation.formats import interval, number, pretty, table
from netllm_gym.reproduce.plan import Outcome
from netllm_gym.reproduce.rivals import against, best_of, by_task


def generalists(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return label → title of the trained agents that play more than one task."""
    tasks: dict[str, set[str]] = {}
    titles: dict[str, str] = {}
    for outcome in outcomes:
        for agent in outcome.cell.learned:
            tasks.setdefault(agent.label, set()).add(outcome.cell.task.name)
            titles[agent.label] = agent.title or agent.label
    return {label: titles[label] for label, where in tasks.items() if len(where) > 1}


def _specialist(outcome: Outcome, generalists: Sequence[str]) -> str | None:
    """The best agent that was trained for this task alone; where none was, the best rule."""
    trained = [agent.label for agent in outcome.cell.learned if agent.label not in generalists]
    return best_of(outcome, trained) or best_of(outcome, outcome.cell.classical)


def across(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of the section: a row across all tasks, then every setting; nothing without such an agent."""
    labels = generalists(outcomes)
    if not labels:
        return []
    by = by_task(outcomes)
    short: dict[str, list[str]] = {label: [] for label in labels}
    body: list[list[str]] = []
    for own in by.values():
        playing = [[x for x in labels if x in {a.label for a in outcome.cell.learned}] for outcome in own]
        found = against(own, [_specialist(outcome, list(labels)) for outcome in own], playing)
        for row in found:
            outcome = next(o for o in own if o.cell.setting.name == row["setting"])
            means = outcome.result.summary().set_index("agent")
            ends = f"{number(row['difference'], signed=True)} {interval(row['low'], row['high'], True)}".strip()
            body.append(
                [
                    own[0].cell.task.name, row["setting"], row["agent"], number(means.loc[row["agent"], "mean"]),
                    f"{row['rival']} {number(means.loc[row['rival'], 'mean'])}", ends,
                    "–" if math.isnan(row["relative"]) else f"{100 * row['relative']:+.1f} %".replace("-", "−"),
                    str(row["trainings"]), row["verdict"] or "–",
                ]
            )  # fmt: skip
        for label in labels:
            first = next((row for row in body if row[0] == own[0].cell.task.name and row[2] == label), None)
            short[label].append("–" if first is None else f"{first[3]} ({first[6]})")
    heads = []
    for own in by.values():
        metric, better = own[0].result.metric, own[0].result.metric["better"]
        heads.append(f"{own[0].cell.task.name}, {pretty(metric['name'])}, {better} is better")
    rows = [[f"**{label}**, {labels[label]}", *cells] for label, cells in short.items()]
    return [
        "## One agent, all tasks", "",
        "Means on the first setting of each task; in brackets the difference to the best agent that was trained for "
        "that task alone (where none was: to the best rule), chosen on the same episodes.", "",
        *table(["agent", *heads], rows), "",
        *table(
            ["task", "setting", "agent", "mean", "best specialist", "difference", "relative", "trainings", "verdict"],
            body,
        ), "",
    ]  # fmt: skip
