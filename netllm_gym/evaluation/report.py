"""The report of an evaluation: one self-contained HTML page, and the same as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from netllm_gym.evaluation import canvas
from netllm_gym.evaluation.formats import interval, number, percent, percent_interval, pretty
from netllm_gym.evaluation.verdicts import MIN_GROUPS, MIN_TRAININGS, WORDS, plain
from netllm_gym.files import write_text

if TYPE_CHECKING:
    from netllm_gym.evaluation.result import EvaluationResult

_CAPTIONS = {
    "metric-cdf": "Distribution over episodes: further to the better side is better.",
    "metric-box": "Median, quartiles, 5th and 95th percentile; the dot is the mean.",
    "reward-terms": "What the reward is made of.",
    "gap-closed": "How much of the way from the floor to the oracle each agent goes.",
    "term-radar": "The reward's terms: further out is better; the rim is the best of the agents drawn.",
    "performance-profile": "Share of the episodes in which an agent scores above a threshold.",
    "regret": "What a perfect agent would still gain.",
    "metric-latency": "Quality against the time of one decision.",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
<h1>{title}</h1>
<p class="quiet">{subtitle}</p>
<h2>Verdicts</h2>
<ul>
{verdicts}
</ul>
<h2>Summary</h2>
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></div>
<p class="quiet">{legend}</p>
{failures}<h2>Figures</h2>
<div class="figures">
{figures}
</div>
<h2>How to reproduce</h2>
<pre>{command}</pre>
<dl>
{facts}
</dl>
</body>
</html>
"""


Cell = tuple[str, str]  # value, and its interval or "" (shown smaller)


def _plain(column: str) -> Callable[[pd.Series], Cell]:
    return lambda row: (number(row[column]), "")


def _columns(result: EvaluationResult) -> list[tuple[str, Callable[[pd.Series], Cell]]]:
    """Heading and cell of each column of the summary table."""
    name = pretty(result.metric["name"])
    columns: list[tuple[str, Callable[[pd.Series], Cell]]] = [
        ("agent", lambda r: (r["agent"], "")),
        (f"mean {name}", lambda r: (number(r["mean"]), interval(r["ci_low"], r["ci_high"]))),
        (
            f"difference to {result.manifest['baseline']}",
            lambda r: (number(r["difference"]), interval(r["difference_low"], r["difference_high"])),
        ),
        ("verdict", lambda r: (r["verdict"] or "–", "")),
        ("floor → oracle", lambda r: (percent(r["score"]), percent_interval(r["score_low"], r["score_high"]))),
        ("win rate", lambda r: (percent(r["win_rate"]), "")),
        ("regret to the oracle", lambda r: (number(r["regret"]), interval(r["regret_low"], r["regret_high"]))),
        (
            "P(improvement)",
            lambda r: (percent(r["improvement"]), percent_interval(r["improvement_low"], r["improvement_high"])),
        ),
        ("p (Holm)", lambda r: (number(r["p_holm"]), "")),
        ("half of it from", lambda r: (_half(r), "")),
        ("without the three largest", lambda r: (number(r["without_three"]), "")),
        ("IQM", lambda r: (number(r["iqm"]), interval(r["iqm_low"], r["iqm_high"]))),
        ("median", lambda r: (number(r["median"]), "")),
        ("worst 5 %", lambda r: (number(r["tail"]), "")),
    ]
    for term, facts in result.terms.items():
        unit = f" ({facts['unit']})" if facts["unit"] else ""
        columns.append((f"{pretty(term)}{unit}", _plain(term)))
    columns += [
        ("repeats", lambda r: (percent(r["repeat_rate"]), "")),
        ("decision p50 (ms)", lambda r: (number(r["latency_p50_ms"]), "")),
        ("p99 (ms)", lambda r: (number(r["latency_p99_ms"]), "")),
        ("failed", lambda r: (f"{r['failed']} of {r['episodes'] * r['seeds']}", "")),
    ]
    return columns


def _half(row: pd.Series) -> str:
    return "–" if pd.isna(row["half_of_lead"]) else f"{int(row['half_of_lead'])} of {row['recordings']}"


def sentences(result: EvaluationResult) -> list[tuple[str, str]]:
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
            "undecided": f"{agent} against {baseline} is undecided: {gap}; {row['why']}.",
        }[verdict]
        if row["failed"]:
            told = f"{agent} failed in {row['failed']} episodes: undecided, whatever the rest says."
        elif row["why"].startswith("the interval holds zero") and row["difference"]:
            wanted = result.power(agent, abs(row["difference"]), relative=False).wanted
            told += (
                f" Were this the true difference, about {wanted} would be needed to show it."
                if wanted
                else " No number of traces would show it: the training seeds differ too much. Train more seeds."
            )
        found.append((verdict, told))
    return found


def _legend(result: EvaluationResult) -> str:
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


def _facts(result: EvaluationResult) -> dict[str, str]:
    m: Mapping[str, Any] = result.manifest
    traces = m["traces"]
    facts = {
        "environment": f"{m['env']} {m['env_kwargs'] or ''}",
        "traces": f"{traces['name']} ({traces['split']}), SHA-256 {traces['digest']}" if traces["digest"] else "none",
        "licence, citation": "; ".join(filter(None, (traces.get("licence"), traces.get("citation")))),
        "episodes, seed": f"{m['episodes']}, seed {m['seed']}",
        "test looks": f"this test set was scored {m['test_looks']} times on this machine, this run included"
        if m.get("test_looks")
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


def _title(result: EvaluationResult) -> tuple[str, str]:
    setting = result.manifest["setting"]
    where = f"{setting['task']} · {setting['name']} ({setting['profile']})" if setting else result.manifest["env"]
    note = f": {setting['note']}" if setting and setting["note"] else ""
    agents = len(result.agents)
    return f"Evaluation: {where}", f"{agents} agents on the same {result.manifest['episodes']} episodes{note}"


def _failures(result: EvaluationResult) -> pd.DataFrame:
    failed = result.frame[result.frame["failed"].astype(bool)]
    counts = failed.groupby(["agent", "reason"], sort=False).agg(count=("episode", "size"), first=("trace", "first"))
    return counts.reset_index()


def html_report(result: EvaluationResult, figures: Mapping[str, Any]) -> str:
    """Return the page; everything that came from outside (names, reasons, commands) is escaped."""
    title, subtitle = _title(result)
    columns = _columns(result)
    body = []
    for _, row in result.summary().iterrows():
        cells = []
        for heading, cell in columns:
            value, interval = map(escape, cell(row))
            kind = f' class="{plain(value)}"' if heading == "verdict" else ""
            cells.append(f"<td{kind}>{value}{f'<br><small>{interval}</small>' if interval else ''}</td>")
        body.append(f"<tr{' class=bound' if row['privileged'] else ''}>{''.join(cells)}</tr>")
    drawn = []
    for name, figure in figures.items():
        caption = _CAPTIONS.get(name, "One episode, step by step.")
        full = ' class="full"' if name.startswith(("timeline", "gantt", "course")) or name == "reward-terms" else ""
        drawn.append(f"<figure{full}>{canvas.svg(figure, name)}<figcaption>{escape(caption)}</figcaption></figure>")
    failures = ""
    if len(failed := _failures(result)):
        items = "".join(
            f"<li>{escape(r['agent'])}: {r['count']} × {escape(r['reason'])} <span class=quiet>"
            f"(first on {escape(r['first'])})</span></li>\n"
            for _, r in failed.iterrows()
        )
        failures = f"<h2>Failed episodes</h2>\n<ul>\n{items}</ul>\n"
    if result.notices:
        items = "".join(f"<li>{escape(agent)}: {escape(told)}</li>\n" for agent, told in result.notices.items())
        failures += f"<h2>Outside their training</h2>\n<ul>\n{items}</ul>\n"
    verdicts = [f'<li><span class="{kind}">{kind}</span>: {escape(told)}</li>' for kind, told in sentences(result)]
    return _PAGE.format(
        title=escape(title),
        subtitle=escape(subtitle),
        css=files("netllm_gym.evaluation").joinpath("report.css").read_text(encoding="utf-8"),
        verdicts="\n".join(verdicts) or "<li>Nothing to compare: one agent.</li>",
        head="".join(f"<th>{escape(heading)}</th>" for heading, _ in columns),
        body="\n".join(body),
        legend=escape(_legend(result)),
        failures=failures,
        figures="\n".join(drawn),
        command=escape(result.manifest["call"]),
        facts="\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _facts(result).items()),
    )


def markdown_report(result: EvaluationResult, figures: Mapping[str, Any]) -> str:
    """Return the same as Markdown; the figures are files beside it."""

    def safe(text: str) -> str:
        return escape(" ".join(str(text).split()), quote=False).replace("|", "\\|")

    title, subtitle = _title(result)
    columns = _columns(result)
    lines = [f"# {safe(title)}", "", safe(subtitle), "", "## Verdicts", ""]
    lines += [f"- **{kind}**: {safe(told)}" for kind, told in sentences(result)] or ["- Nothing to compare: one agent."]
    lines += ["", "## Summary", "", "| " + " | ".join(safe(heading) for heading, _ in columns) + " |"]
    lines.append("|---|" + "---:|" * (len(columns) - 1))
    for _, row in result.summary().iterrows():
        cells = [" ".join(filter(None, cell(row))) for _, cell in columns]
        lines.append("| " + " | ".join(map(safe, cells)) + " |")
    lines += ["", safe(_legend(result)), ""]
    if len(failed := _failures(result)):
        lines += ["## Failed episodes", ""]
        lines += [f"- {safe(r['agent'])}: {r['count']} × {safe(r['reason'])}" for _, r in failed.iterrows()] + [""]
    if result.notices:
        lines += ["## Outside their training", ""]
        lines += [f"- {safe(agent)}: {safe(told)}" for agent, told in result.notices.items()] + [""]
    lines += ["## Figures", ""]
    for name in figures:
        lines += [f"![{_CAPTIONS.get(name, 'One episode, step by step.')}](figures/{name}.png)", ""]
    lines += [
        "## How to reproduce",
        "",
        "```python",
        result.manifest["call"].replace("```", "'''"),
        "```",
        "",
    ]
    lines += [f"- {safe(key)}: {safe(value)}" for key, value in _facts(result).items()]
    return "\n".join(lines) + "\n"


def write_report(result: EvaluationResult, folder: Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/*.png``; return the path of the HTML page."""
    figures = result.plot(folder / "figures")
    write_text(folder / "report.md", markdown_report(result, figures))
    page = folder / "report.html"
    write_text(page, html_report(result, figures))
    return page
