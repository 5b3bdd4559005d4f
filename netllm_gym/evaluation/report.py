"""What a report says: columns, sentences, sources; and all of it as Markdown (:mod:`page` makes HTML of it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from netllm_gym.evaluation.formats import interval, number, percent, percent_interval, pretty, table
from netllm_gym.evaluation.verdicts import MIN_GROUPS, MIN_TRAININGS, WORDS, plain

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord

CAPTIONS = {
    "metric-cdf": "Distribution over episodes: further to the better side is better.",
    "metric-box": "Median, quartiles, 5th and 95th percentile; the dot is the mean.",
    "reward-terms": "What the reward is made of.",
    "gap-closed": "How much of the way from the floor to the oracle each agent goes.",
    "performance-profile": "Share of the episodes in which an agent scores above a threshold.",
    "regret": "What a perfect agent would still gain.",
    "metric-latency": "Quality against the time of one decision.",
}

Cell = tuple[str, str]  # value, and its interval or "" (shown smaller)


def _plain(column: str) -> Callable[[pd.Series], Cell]:
    return lambda row: (number(row[column]), "")


Column = tuple[str, Callable[[pd.Series], Cell], str]  # heading, cell, and the column that sorts it


def main_columns(result: EvaluationRecord) -> list[Column]:
    """The six columns that a reader needs; a seventh where any agent failed."""
    name, baseline = pretty(result.metric["name"]), result.manifest["baseline"]
    better = f"{result.metric['better']} is better"
    columns: list[Column] = [
        ("agent", lambda r: (r["agent"], ""), "agent"),
        (f"{name}, {better}", lambda r: (number(r["mean"]), interval(r["ci_low"], r["ci_high"])), "mean"),
        (
            f"difference to {baseline}",
            lambda r: (
                number(r["difference"], signed=True),
                interval(r["difference_low"], r["difference_high"], signed=True),
            ),
            "difference",
        ),
        (
            "share of the gap closed",
            lambda r: (percent(r["score"]), percent_interval(r["score_low"], r["score_high"])),
            "score",
        ),
        (
            "one decision",
            lambda r: ("–" if r["privileged"] or pd.isna(r["latency_p50_ms"]) else _time(r["latency_p50_ms"]), ""),
            "latency_p50_ms",
        ),
        ("verdict", lambda r: (r["verdict"] or "–", ""), "verdict"),
    ]
    if result.summary()["failed"].sum():
        columns.append(("failed", lambda r: (f"{r['failed']} of {r['episodes'] * r['seeds']}", ""), "failed"))
    return columns


def _time(milliseconds: float) -> str:
    """Return a duration with a unit that keeps it readable."""
    if milliseconds < 0.1:
        return f"{1000 * milliseconds:.2g} µs"
    return f"{milliseconds:.3g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"


def rest_columns(result: EvaluationRecord) -> list[Column]:
    """Everything else that is known of an agent."""
    columns: list[Column] = [
        ("win rate", lambda r: (percent(r["win_rate"]), ""), "win_rate"),
        (
            "regret to the oracle",
            lambda r: (number(r["regret"]), interval(r["regret_low"], r["regret_high"])),
            "regret",
        ),
        (
            "P(improvement)",
            lambda r: (percent(r["improvement"]), percent_interval(r["improvement_low"], r["improvement_high"])),
            "improvement",
        ),
        ("p (Holm)", lambda r: (number(r["p_holm"]), ""), "p_holm"),
        ("half of it from", lambda r: (_half(r), ""), "half_of_lead"),
        ("without the three largest", lambda r: (number(r["without_three"]), ""), "without_three"),
        ("IQM", lambda r: (number(r["iqm"]), interval(r["iqm_low"], r["iqm_high"])), "iqm"),
        ("median", lambda r: (number(r["median"]), ""), "median"),
        ("worst 5 %", lambda r: (number(r["tail"]), ""), "tail"),
    ]
    for term, facts in result.terms.items():
        unit = f" ({facts['unit']})" if facts["unit"] else ""
        columns.append((f"{pretty(term)}{unit}", _plain(term), term))
    return [
        *columns,
        ("repeats", lambda r: (percent(r["repeat_rate"]), ""), "repeat_rate"),
        ("decision p99", lambda r: ("–" if pd.isna(r["latency_p99_ms"]) else _time(r["latency_p99_ms"]), ""), "p99"),
        ("failed", lambda r: (f"{r['failed']} of {r['episodes'] * r['seeds']}", ""), "failed"),
        ("trainings", lambda r: (str(r["seeds"]), ""), "seeds"),
    ]


def _half(row: pd.Series) -> str:
    return "–" if pd.isna(row["half_of_lead"]) else f"{int(row['half_of_lead'])} of {row['recordings']}"


def sentences(result: EvaluationRecord) -> list[tuple[str, str]]:
    """Return a (verdict, sentence) for every agent compared with the baseline."""
    summary = result.summary()
    margin = summary.attrs.get("margin")
    baseline, name = result.manifest["baseline"], pretty(result.metric["name"])
    found = []
    for _, row in summary.iterrows():
        agent, verdict = row["agent"], plain(row["verdict"])
        if verdict not in WORDS or (pd.isna(row["difference"]) and not row["failed"]):
            continue
        gap = (
            f"{name} differs by {number(row['difference'])} "
            f"{interval(row['difference_low'], row['difference_high'])} (95 % interval)"
        )
        which = f"This checkpoint of {agent}" if row["verdict"].startswith("checkpoint") else agent
        told = {
            "better": f"{which} is better than {baseline}: {gap}.",
            "worse": f"{which} is worse than {baseline}: {gap}.",
            "equivalent": f"{which} and {baseline} are equivalent: {gap}, within ±{number(margin)}.",
            "undecided": f"{agent} against {baseline}: {gap}; {row['why']}.",
        }[verdict]
        if row["failed"]:
            every = row["episodes"] * row["seeds"]
            told = f"{agent} failed in {row['failed']} episodes of {every}, whatever the rest says."
        elif row["why"].startswith("the interval holds zero") and row["difference"]:
            wanted = result.power(agent, abs(row["difference"]), relative=False).wanted
            told += (
                f" Were this the true difference, about {wanted} would be needed to show it."
                if wanted
                else " No number of traces would show it: the training seeds differ too much. Train more seeds."
            )
        found.append((verdict, told))
    return found


def legend_of(result: EvaluationRecord) -> str:
    """Say what the table's brackets and words mean."""
    facts = result.summary().attrs
    text = (
        f"Brackets: 95 % intervals of a studentised bootstrap over {facts['groups']} and training seeds, "
        f"{facts['draws']:,} draws. P(improvement): of two episodes drawn independently, the agent's is better. "
        "Better or worse: the interval of the paired difference leaves out zero and p, corrected by Holm for "
        f"{facts['family']} comparisons, is below 0.05 (no p can fall below {2 / (facts['draws'] + 1):.1g}). "
        f"A trained agent's verdict speaks of its method from {MIN_TRAININGS} trainings on, else of the checkpoint. "
        f"Fewer than {MIN_GROUPS} of any group decide nothing. "
    )
    if facts["margin"] is not None:
        why = f" ({facts['margin_reason']})" if facts["margin_reason"] else ""
        text += f"Equivalent: two one-sided tests, corrected alike, within ±{number(facts['margin'])}{why}. "
    else:
        text += "Nothing can be equivalent: name a floor and an oracle, or a margin. "
    text += "Half of it from: the least number of recordings that carry half of the difference. "
    text += (
        "Bounds see the future and are not ranked. Repeats: share of actions equal to the one before. "
        "Decision time: medians over episodes of an agent playing alone. "
    )
    return text + "Shown for failed agents are the episodes they finished." * bool(result.summary()["failed"].sum())


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def facts_of(result: EvaluationRecord) -> dict[str, str]:
    """Return where the numbers come from, by name."""
    m: Mapping[str, Any] = result.manifest
    traces = m["traces"]
    facts = {
        "environment": f"{m['env']} {m['env_kwargs'] or ''}",
        "traces": f"{traces['name']} ({traces['split']}), SHA-256 {traces['digest']}" if traces["digest"] else "none",
        "read as": "; ".join(traces.get("notes", ())),
        "licence, citation": "; ".join(filter(None, (traces.get("licence"), traces.get("citation")))),
        "episodes, seed": f"{m['episodes']}, seed {m['seed']}",
        "test uses": f"this test set was scored {_times(m['test_uses'])} on this machine, this run included"
        if m.get("test_uses")
        else "",
        "results": f"SHA-256 {result.digest} (clock readings left out)",
        "code": f"revision {m['revision'] or 'unknown'}, SHA-256 {m['code']}",
        "versions": ", ".join(f"{package} {number}" for package, number in m["versions"].items()),
        "machine, time": f"{m['machine']}, {m['finished']}",
        "command": m["command"],
    }
    for agent in m["agents"]:
        if agent["kwargs"] or agent["checkpoint"]:
            content = f", checkpoint SHA-256 {agent['checkpoint']}" if agent["checkpoint"] else ""
            facts[f"agent {agent['label']}"] = f"{agent['name']} {agent['kwargs'] or ''}{content}"
    return {key: value for key, value in facts.items() if value}


def title_of(result: EvaluationRecord) -> tuple[str, str]:
    """Return heading and subheading."""
    setting = result.manifest["setting"]
    where = f"{setting['task']} · {setting['name']} ({setting['profile']})" if setting else result.manifest["env"]
    note = f": {setting['note']}" if setting and setting["note"] else ""
    agents = len(result.agents)
    return f"Evaluation: {where}", f"{agents} agents on the same {result.manifest['episodes']} episodes{note}"


def failures_of(result: EvaluationRecord) -> pd.DataFrame:
    """Return one row per agent and reason: how often, and on which trace first."""
    failed = result.frame[result.frame["failed"].astype(bool)]
    counts = failed.groupby(["agent", "reason"], sort=False).agg(count=("episode", "size"), first=("trace", "first"))
    return counts.reset_index()


def markdown_report(result: EvaluationRecord, figures: Mapping[str, Any]) -> str:
    """Return the same as Markdown; the figures are files beside it."""

    def safe(text: str) -> str:
        return escape(" ".join(str(text).split()), quote=False).replace("|", "\\|")

    title, subtitle = title_of(result)
    summary = result.summary()
    lines = [f"# {safe(title)}", "", safe(subtitle), "", "## Verdicts", ""]
    lines += [f"- **{kind}**: {safe(told)}" for kind, told in sentences(result)] or ["- Nothing to compare: one agent."]
    lines += ["", "## Summary", ""]
    for number_of, columns in enumerate((main_columns(result), [main_columns(result)[0], *rest_columns(result)])):
        lines += ["", "### All the other numbers", ""] if number_of else []
        rows = [[safe(" ".join(filter(None, cell(row)))) for _, cell, _ in columns] for _, row in summary.iterrows()]
        lines += table([safe(heading) for heading, _, _ in columns], rows)
    lines += ["", safe(legend_of(result)), ""]
    if len(failed := failures_of(result)):
        lines += ["## Failed episodes", ""]
        lines += [f"- {safe(r['agent'])}: {r['count']} × {safe(r['reason'])}" for _, r in failed.iterrows()] + [""]
    if result.notices:
        lines += ["## Outside their training", ""]
        lines += [f"- {safe(agent)}: {safe(told)}" for agent, told in result.notices.items()] + [""]
    if result.undeclared:
        lines += ["## The environment", "", f"It shows what its spaces do not declare: {safe(result.undeclared)}", ""]
    lines += ["## Figures", ""]
    for name in figures:
        lines += [f"![{CAPTIONS.get(name, 'One episode, step by step.')}](figures/{name}.png)", ""]
    lines += [
        "## How to reproduce",
        "",
        "```python",
        snippet(result).replace("```", "'''"),
        "```",
        "",
    ]
    lines += [f"- {safe(key)}: {safe(value)}" for key, value in facts_of(result).items()]
    return "\n".join(lines) + "\n"


def snippet(result: EvaluationRecord) -> str:
    """Return Python that plays these episodes again and says whether the rows are the same."""
    return f'{result.manifest["call"]}\nprint(result.digest == "{result.digest}")  # the same rows, clock aside'
