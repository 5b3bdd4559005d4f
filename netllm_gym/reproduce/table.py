"""The headline table as Markdown and as data: what was played, beside what was published.

Nothing in here depends on the clock, the machine or a path, so that two runs write the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from netllm_gym.evaluation.bootstrap import DRAWS
from netllm_gym.evaluation.formats import interval, number, percent, percent_interval, pretty, table
from netllm_gym.evaluation.generalisation import generalisation_gap, meaning_of_standing
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.rows import training_seeds
from netllm_gym.evaluation.verdicts import MIN_GROUPS, MIN_TRAININGS
from netllm_gym.reproduce.across import across
from netllm_gym.reproduce.overlap import overlap
from netllm_gym.reproduce.plan import Outcome
from netllm_gym.reproduce.rivals import against_best, by_task, judged_together

MARKS = {
    "better": "▲", "method better": "▲", "checkpoint better": "△",
    "worse": "▼", "method worse": "▼", "checkpoint worse": "▽",
    "equivalent": "=", "method equivalent": "=", "checkpoint equivalent": "=", "undecided": "?",
}  # fmt: skip
LEGEND = (
    "Brackets: 95 % intervals of a studentised bootstrap over the crossed groups of the episodes and over training "
    f"seeds. Against the baseline, on the same episodes, corrected by Holm over all agents and settings of a task "
    f"({DRAWS:,} draws, so no p below {2 / (DRAWS + 1):.0e}): ▲ better, ▼ worse, = equivalent, ? undecided; △ and ▽ "
    f"speak of one checkpoint, as the agent has fewer than {MIN_TRAININGS} trainings here. Fewer than {MIN_GROUPS} "
    "recordings, videos or viewers decide nothing. Bounds see the future and are not ranked. Published numbers are on "
    "other episodes and carry no verdict."
)


SHARED = " †"


def _overlap_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Say of how many test traces of each setting published agents have seen the recordings in training."""
    found: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        for agent in outcome.cell.museum:
            seen = overlap(agent, outcome.cell.setting)
            if seen and seen.shared:
                where = found.setdefault(f"{agent} ({seen.source})", {})
                where[outcome.cell.setting.name] = f"{seen.shared} of {seen.of} on {outcome.cell.setting.name}"
    if not found:
        return []
    told = [f"{agent}: {', '.join(where.values())}" for agent, where in found.items()]
    return [f"† Test traces whose recordings the agent's authors trained on: {'; '.join(told)}.", ""]


def columns(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the settings that one task's outcomes cover; the published protocol, with published numbers, first."""
    names = list(dict.fromkeys(outcome.cell.setting.name for outcome in outcomes))
    return sorted(names, key=lambda name: name not in outcomes[0].cell.task.rules_only)


def rows(outcomes: Sequence[Outcome]) -> dict[str, dict[str, tuple[Outcome, pd.Series]]]:
    """Return agent → setting → (cell, row of its summary) of one task, best on the first setting first.

    A slow agent's cell repeats the classical agents on fewer episodes; of those, the full cell counts.
    """
    found: dict[str, dict[str, tuple[Outcome, pd.Series]]] = {}
    verdicts = judged_together([o.result.assessment for o in outcomes], outcomes[0].result.metric["better"])
    for outcome, said in zip(outcomes, verdicts, strict=True):
        for _, row in outcome.result.summary().iterrows():
            if row["agent"] in said:
                row["verdict"], row["why"] = str(said[row["agent"]]), said[row["agent"]].reason
            found.setdefault(row["agent"], {}).setdefault(outcome.cell.setting.name, (outcome, row))
    return found


def _cell(outcome: Outcome, row: pd.Series) -> str:
    text = f"{number(row['mean'])} {interval(row['ci_low'], row['ci_high'])} {MARKS.get(row['verdict'], '')}".strip()
    found = overlap(row["agent"], outcome.cell.setting)
    text += SHARED if found and found.shared else ""
    if not outcome.cell.first:
        text += f" (first {outcome.cell.episodes})"
    return text + (f" ({row['failed']} failed)" if row["failed"] else "")


def headline(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of one task's table: agents × settings, then the published numbers."""
    first = outcomes[0]
    names = columns(outcomes)
    titles = {a.label: a.title for outcome in outcomes for a in outcome.cell.learned if a.title}
    body = []
    for agent, cells in rows(outcomes).items():
        row = next(iter(cells.values()))[1]
        shown = f"**{agent}**, {titles[agent]}" if agent in titles else agent
        role = {"bound": " (bound)", "baseline": " (baseline)"}.get(row["verdict"], "")
        floor = " (floor)" if agent == first.result.manifest["floor"] and not role else ""
        body.append([shown + role + floor, *(_cell(*cells[name]) if name in cells else "" for name in names)])
    published = first.cell.task.known(first.cell.setting)
    together = any(name.startswith("unseen") for name in names) and any("unseen" in k.values for k in published)
    if together:
        body = [[*row, ""] for row in body]
    for known in published:
        keys = [*names, "unseen"] if together else names
        values = [number(float(known.values[name])) if name in known.values else "" for name in keys]
        if any(values):
            body.append([f"*published: {known.name}*", *values])
    return table(["agent", *names, *(["all unseen"] if together else [])], body)


def gaps(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return, for every agent and unseen setting, its standing there and on default, and the gap with its interval.

    Several trainings may have been played in some settings only: an agent counts with those that all its settings have.
    """
    seen = next((o for o in outcomes if o.cell.setting.name == "default" and o.cell.first), None)
    others = [o for o in outcomes if o.cell.setting.name.startswith("unseen") and o.cell.first]
    found: list[dict[str, Any]] = []
    if seen is None or not others:
        return found
    known, *results = _with_shared_trainings([o.result for o in (seen, *others)])
    for outcome, result in zip(others, results, strict=True):
        for row in generalisation_gap(known, result).to_dict("records"):
            if row["agent"] != known.manifest["oracle"]:
                found.append({"setting": outcome.cell.setting.name, **{str(k): v for k, v in row.items()}})
    return found


def _with_shared_trainings(results: Sequence[EvaluationResult]) -> list[EvaluationResult]:
    """Return results in which every agent has the same trainings: those of all the results that it is in."""
    everywhere: dict[str, set[int]] = {}
    for result in results:
        for agent in result.agents:
            own = set(training_seeds(result.frame, agent))
            everywhere[agent] = everywhere.get(agent, own) & own
    kept = []
    for result in results:
        pairs = zip(result.frame["agent"], result.frame["training_seed"], strict=True)
        inside = [int(seed) in everywhere[agent] for agent, seed in pairs]
        kept.append(replace(result, frame=result.frame[inside].reset_index(drop=True)))
    return kept


def _gap_lines(outcomes: Sequence[Outcome]) -> list[str]:
    found = gaps(outcomes)
    if not found:
        return []
    names = list(dict.fromkeys(row["setting"] for row in found))
    body = []
    for agent in dict.fromkeys(row["agent"] for row in found):
        own = {row["setting"]: row for row in found if row["agent"] == agent}
        seen = next(iter(own.values()))["seen"]
        if math.isnan(seen):
            continue
        cells = [
            f"{percent(row['gap'], True)} {percent_interval(row['gap_low'], row['gap_high'], True)}".strip()
            if (row := own.get(name))
            else ""
            for name in names
        ]
        body.append([agent, percent(seen), *cells])
    shared = "; where two settings share recordings, on those" if any(row["shared"] for row in found) else ""
    return [
        f"Generalisation: {meaning_of_standing(outcomes[0].result)} on default, and its change on the unseen settings, "
        f"in points{shared} (default: as beside {names[0]}).", "",
        *table(["agent", "default", *names], body), "",
    ]  # fmt: skip


def _rival_lines(outcomes: Sequence[Outcome]) -> list[str]:
    found = against_best(outcomes)
    if not found:
        return []
    body = [
        [
            row["setting"], row["agent"], row["rival"],
            f"{number(row['difference'], signed=True)} {interval(row['low'], row['high'], True)}".strip(),
            percent(row["relative"], True), percent(row["wins"]),
            "–" if math.isnan(row["half_of_lead"]) else f"{row['half_of_lead']:.0f} of {row['recordings']}",
            number(row["without_three"], signed=True), str(row["trainings"]), row["verdict"] or "–",
        ]
        for row in found
    ]  # fmt: skip
    head = [
        "setting", "trained agent", "best rival there", "difference", "relative", "wins", "half of it from",
        "without the three largest", "trainings", "verdict",
    ]  # fmt: skip
    return [
        "Trained agents against the best rival of each setting, a rule or a published agent with its released weights, "
        "chosen on the same episodes: that favours the rival. *Half of it from*: the least number of recordings that "
        "carry half of it.",
        "", *table(head, body), "",
    ]  # fmt: skip


def command_of(outcome: Outcome, profile: str) -> str:
    """Return the command that plays one cell alone."""
    cell = outcome.cell
    count = f" --episodes {cell.episodes}" if cell.episodes else ""
    return f"netllm-gym reproduce --task {cell.task.name} --setting {cell.setting.name} --profile {profile}{count}"


def as_markdown(outcomes: Sequence[Outcome], profile: str, seed: int, left_out: Mapping[str, str]) -> str:
    """Return ``reproduce.md``."""
    what = "public traces" if profile == "paper" else "synthetic traces that come with the package"
    lines = ["# Headline table", "", f"Profile {profile} ({what}), seed {seed}. {LEGEND}", ""]
    for own in by_task(outcomes).values():
        task, result = own[0].cell.task, own[0].result
        better = result.metric["better"]
        lines += [f"## {task.title}: {pretty(result.metric['name'])}, {better} is better", "", *headline(own), ""]
        lines += _overlap_lines(own)
        lines += [task.note, ""] if task.note else []
        lines += [f"- {o.cell.setting.name}: {o.cell.setting.note}" for o in own if o.cell.first]
        known = [k for k in task.known(own[0].cell.setting) if set(k.values) & {*columns(own), "unseen"}]
        lines += [f"- published, {k.name}: {k.source}" for k in known] + [""]
        lines += _rival_lines(own) + _gap_lines(own)
    lines += across(outcomes)
    if left_out:
        lines += ["## Left out", ""] + [f"- {name}: {' '.join(reason.split())}" for name, reason in left_out.items()]
        lines.append("")
    lines += ["## How to reproduce", "", "`results` is the SHA-256 over all rows without clock readings.", ""]
    body = [
        [
            o.cell.name, str(o.result.manifest["episodes"]), str(o.result.summary().attrs["groups"]),
            str(o.result.manifest["traces"]["digest"])[:12], o.result.digest[:12], f"`{command_of(o, profile)}`",
        ]
        for o in outcomes
    ]  # fmt: skip
    lines += table(["cell", "episodes", "groups", "traces", "results", "command"], body)
    return "\n".join(lines) + "\n"


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the cells as data: every number of the table, and the digests."""
    clock = ("latency_p50_ms", "latency_p99_ms", "decision_cost_ms")
    return [
        {
            "task": o.cell.task.name,
            "setting": o.cell.setting.name,
            "episodes": o.result.manifest["episodes"],
            "traces": o.result.manifest["traces"]["digest"],
            "results": o.result.digest,
            "agents": [
                {k: (None if isinstance(v, float) and math.isnan(v) else v) for k, v in row.items() if k not in clock}
                for row in o.result.summary().to_dict("records")
            ],
            "against best": against_best([o]),
        }
        for o in outcomes
    ]
