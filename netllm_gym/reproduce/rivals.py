"""Who is compared with whom in the headline table, and what is claimed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from netllm_gym.evaluation.summary import Assessment, assess
from netllm_gym.evaluation.verdicts import Verdict, judge
from netllm_gym.reproduce.plan import Outcome


def by_task(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes of each task, in the order of the table."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.cell.task.name, []).append(outcome)
    return found


def judged_together(assessments: Sequence[Assessment], better: str) -> list[dict[str, Verdict]]:
    """Return the verdicts of several settings, corrected over all of them: they are claimed together."""
    family = [
        (place, agent)
        for place, found in enumerate(assessments)
        for agent, said in found.verdicts.items()
        if agent in found.comparisons and said.p_difference == said.p_difference
    ]
    fresh = judge(
        [assessments[place].comparisons[agent] for place, agent in family],
        better,
        [assessments[place].margin for place, _ in family],
    )
    verdicts = [dict(found.verdicts) for found in assessments]
    for (place, agent), said in zip(family, fresh, strict=True):
        verdicts[place][agent] = said
    return verdicts


def best_of(outcome: Outcome, agents: Sequence[str]) -> str | None:
    """Return the best of `agents` by its mean in a cell; ``None`` where none of them played every episode."""
    summary = outcome.result.summary().set_index("agent")
    playing = [agent for agent in agents if agent in summary.index and not summary.loc[agent, "failed"]]
    means = summary.loc[playing, "mean"].dropna()
    if means.empty:
        return None
    return str(means.idxmax() if outcome.result.metric["better"] == "higher" else means.idxmin())


def against_best(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Compare every trained agent with the best rival of its cell, a rule or a published agent with its released
    weights, chosen on the same episodes: the choice favours the rivals. Verdicts are corrected over all cells given.
    """
    learned = [list(dict.fromkeys(agent.label for agent in outcome.cell.learned)) for outcome in outcomes]
    return against(outcomes, [best_of(o, (*o.cell.classical, *o.cell.museum)) for o in outcomes], learned)


def against(
    outcomes: Sequence[Outcome], rivals: Sequence[str | None], agents: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Compare in each cell some `agents` with its rival (``None``: no comparison), as :func:`against_best` does."""
    cells: list[tuple[Outcome, str, list[str], Assessment]] = []
    for outcome, best, labels in zip(outcomes, rivals, map(list, agents), strict=True):
        if best is None or not labels:
            continue
        result, roles = outcome.result, outcome.result.roles
        kept = result.frame[result.frame["agent"].isin([best, *labels, *filter(None, (roles.floor, roles.oracle))])]
        # The floor is no rival here: it stays for the margin of equivalence and out of the family of tests.
        aside = frozenset(filter(None, {*roles.privileged, roles.floor})) - {best}
        roles = replace(roles, baseline=best, privileged=aside)
        cells.append((outcome, best, labels, assess(kept, result.metric, {}, roles)))
    if not cells:
        return []
    verdicts = judged_together([found for *_, found in cells], outcomes[0].result.metric["better"])
    rows_ = []
    for (outcome, best, labels, found), said in zip(cells, verdicts, strict=True):
        table_ = found.table.set_index("agent")
        for label in labels:
            row, verdict = table_.loc[label], said.get(label)
            rows_.append(
                {
                    "setting": outcome.cell.setting.name, "agent": label, "rival": best,
                    "difference": float(row["difference"]), "low": float(row["difference_low"]),
                    "high": float(row["difference_high"]),
                    "relative": float(row["difference"] / abs(table_.loc[best, "mean"])),
                    "wins": float(row["win_rate"]), "improvement": float(row["improvement"]),
                    "half_of_lead": float(row["half_of_lead"]), "without_three": float(row["without_three"]),
                    "recordings": int(row["recordings"]), "trainings": int(row["seeds"]),
                    "verdict": str(verdict) if verdict else "", "why": verdict.reason if verdict else "",
                    "episodes": int(row["episodes"]),
                }
            )  # fmt: skip
    return rows_
