"""The headline table as one page, with a heatmap of generalisation per task and links to the report of every cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import pandas as pd

from netllm_gym.evaluation import canvas
from netllm_gym.evaluation.formats import interval, number, percent, percent_interval, pretty
from netllm_gym.evaluation.generalisation import meaning_of_standing, standings
from netllm_gym.evaluation.heatmap import heatmap
from netllm_gym.evaluation.verdicts import plain
from netllm_gym.files import sweep, write_text
from netllm_gym.reproduce.plan import Outcome
from netllm_gym.reproduce.rivals import against_best, by_task
from netllm_gym.reproduce.table import LEGEND, MARKS, columns, command_of, gaps, headline

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Headline table</title>
<style>
{css}</style>
</head>
<body>
<h1>Headline table</h1>
<p class="quiet">{subtitle}</p>
{sections}
{left_out}<h2>How to reproduce</h2>
<div class="wide"><table>
<thead><tr><th>cell</th><th>episodes</th><th>results (SHA-256)</th><th>command</th></tr></thead>
<tbody>
{commands}
</tbody></table></div>
</body>
</html>
"""


def standing_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return agents × settings of one task: the standing of each, best on the first setting first."""
    found: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        oracle = outcome.result.manifest["oracle"]
        for row in standings(outcome.result, draws=100).to_dict("records"):
            if row["agent"] != oracle:
                found.setdefault(row["agent"], {}).setdefault(outcome.cell.setting.name, row["standing"])
    frame = pd.DataFrame.from_dict(found, orient="index").reindex(columns=columns(outcomes))
    first = outcomes[0].cell.setting.name
    return frame.sort_values(first, ascending=False, kind="stable")


def _html_table(lines: Sequence[str]) -> str:
    """Turn the lines of a Markdown table into HTML; `**`, `*` and marks become markup."""

    def cell(text: str) -> str:
        shown = escape(text.strip())
        for mark, kind in {mark: plain(name) for name, mark in MARKS.items()}.items():
            if f"] {mark}" in shown:
                shown = shown.replace(f"] {mark}", f']&nbsp;<span class="{kind}">{mark}</span>')
        if "[" in shown and "]" in shown:
            shown = shown.replace("[", "<br><small>[", 1).replace("]", "]</small>", 1)
        if shown.startswith("**"):
            shown = "<b>" + shown[2:].replace("**", "</b>", 1)
        elif shown.startswith("*") and shown.endswith("*"):
            shown = f'<span class="quiet">{shown[1:-1]}</span>'
        return shown

    rows = [line.strip("|").split("|") for line in lines]
    head = "".join(f"<th>{cell(text)}</th>" for text in rows[0])
    body = "\n".join("<tr>" + "".join(f"<td>{cell(text)}</td>" for text in row) + "</tr>" for row in rows[2:])
    table = f'<table class="settings">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _sentences(outcomes: Sequence[Outcome]) -> str:
    """What the trained agents reach against the best rival, and where they and the baseline fall."""
    name = pretty(outcomes[0].result.metric["name"])
    lines = []
    for row in against_best(outcomes):
        if math.isnan(row["difference"]):
            continue
        lines.append(
            f'<li>{escape(row["setting"])}: <span class="{plain(row["verdict"])}">{row["verdict"]}</span>: '
            f"{escape(row['agent'])} against {escape(row['rival'])}: {name} {number(row['difference'], signed=True)} "
            f"{escape(interval(row['low'], row['high'], True))}, {percent(row['relative'], True)}</li>"
        )
    watched = {a.label for o in outcomes for a in o.cell.learned} | {outcomes[0].result.manifest["baseline"]}
    for row in gaps(outcomes):
        if row["agent"] in watched and row["gap_high"] < 0:
            lines.append(
                f"<li>{escape(row['setting'])}: {escape(row['agent'])} falls from {percent(row['seen'])} of the way on "
                f"default to {percent(row['unseen'])}: {percent(row['gap'], True)} "
                f"{escape(percent_interval(row['gap_low'], row['gap_high'], True))}</li>"
            )
    return f"<ul>\n{chr(10).join(lines)}\n</ul>\n" if lines else ""


def write_page(
    outcomes: Sequence[Outcome], path: Path, profile: str, seed: int, left_out: Mapping[str, str]
) -> dict[str, Path]:
    """Write the page and its heatmaps (PNG and PDF beside it, for papers); return the heatmaps by task."""
    sections, drawn = [], {}
    sweep(path.parent / "figures")
    for name, own in by_task(outcomes).items():
        task, result = own[0].cell.task, own[0].result
        links = " · ".join(f'<a href="{o.cell.name}/report.html">{escape(o.cell.name)}</a>' for o in own)
        told = f"{task.title}: {pretty(result.metric['name'])}, {result.metric['better']} is better"
        figure = heatmap(standing_table(own), meaning_of_standing(own[0].result))
        for suffix in ("png", "pdf"):
            canvas.write(figure, path.parent / "figures" / f"generalisation-{name}.{suffix}")
        drawn[name] = path.parent / "figures" / f"generalisation-{name}.png"
        sections.append(
            f"<h2>{escape(told)}</h2>\n{f'<p>{escape(task.note)}</p>' if task.note else ''}"
            f"{_html_table(headline(own))}\n{_sentences(own)}"
            f'<div class="figures"><figure class="full">{canvas.svg(figure, name)}'
            f"<figcaption>Generalisation: {escape(meaning_of_standing(own[0].result))}.</figcaption></figure></div>\n"
            f'<p class="quiet">Verdicts, figures, latency, samples and provenance of every cell: {links}</p>'
        )
    missing = "".join(f"<li>{escape(agent)}: {escape(reason)}</li>" for agent, reason in left_out.items())
    commands = "\n".join(
        f"<tr><td>{escape(o.cell.name)}</td><td>{o.result.manifest['episodes']}</td><td>{o.result.digest[:12]}</td>"
        f"<td><code>{escape(command_of(o, profile))}</code></td></tr>"
        for o in outcomes
    )
    page = _PAGE.format(
        css=files("netllm_gym.evaluation").joinpath("report.css").read_text(encoding="utf-8"),
        subtitle=escape(f"Profile {profile}, seed {seed}. {LEGEND}"),
        sections="\n".join(sections),
        left_out=f"<h2>Left out</h2>\n<ul>{missing}</ul>\n" if missing else "",
        commands=commands,
    )
    write_text(path, page)
    return drawn
