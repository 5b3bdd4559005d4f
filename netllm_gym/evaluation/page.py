"""The report as one HTML page: self-contained, readable on a phone and on paper, in light and dark, offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netllm_gym.evaluation import canvas, examples, player, plots, report
from netllm_gym.evaluation.verdicts import plain
from netllm_gym.files import write_text

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord

ABREAST = 5  # agents side by side in the table of all other numbers: that many fit on paper
_PLAYER = """<section class="on-screen">
<h2>Episodes, step by step</h2>
<p class="quiet">@@meaning@@</p>
<div id="player" hidden>
<div class="controls"><select aria-label="episode"></select><button type="button">▶ play</button>
<input type="range" min="0" max="1000" value="1000" aria-label="time"/></div>
<div class="stage"></div>
<ul class="values"></ul>
</div>
<script type="application/json" id="episodes">@@data@@</script>
</section>
<noscript><style>.on-paper { display: block; }</style></noscript>
"""


def _part(name: str) -> str:
    return files("netllm_gym.evaluation").joinpath(name).read_text(encoding="utf-8")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Put each value in place of its ``@@name@@``, once: what a value contains is not looked at again."""
    first, *rest = template.split("@@")
    if len(rest) % 2:
        raise ValueError("a placeholder of the template is not closed")
    pieces = [first]
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        pieces += [values[name], text]
    return "".join(pieces)


def _cell(cell: report.Cell, tag: str = "td", attributes: str = "") -> str:
    value, interval = map(escape, cell)
    return f"<{tag}{attributes}>{value}{f'<br> <small>{interval}</small>' if interval else ''}</{tag}>"


def _main_table(result: EvaluationRecord) -> tuple[str, str]:
    """Return head and body of the six columns."""
    columns = report.main_columns(result)
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading, _, _ in columns)
    body = []
    for _, row in result.summary().iterrows():
        cells = []
        for heading, cell, key in columns:
            value = "" if row[key] != row[key] or (key.startswith("latency") and row["privileged"]) else row[key]
            kind = f' class="{escape(plain(str(value)))}"' if key == "verdict" else ""
            attributes = f'{kind} data-label="{escape(heading)}" data-value="{escape(str(value))}"'
            cells.append(_cell(cell(row), attributes=attributes))
        number = result.agents.index(row["agent"])
        bound = ' class="bound"' if row["privileged"] else ""
        body.append(f'<tr data-agent="{number}"{bound}>{"".join(cells)}</tr>')
    return head, "\n".join(body)


def _rest_tables(result: EvaluationRecord) -> str:
    """Return all other numbers, a row each, at most :data:`ABREAST` agents side by side."""
    rows = [row for _, row in result.summary().iterrows()]
    tables = []
    for some in (rows[begin : begin + ABREAST] for begin in range(0, len(rows), ABREAST)):
        head = "".join(_cell((row["agent"], ""), "th", ' scope="col"') for row in some)
        body = [
            f'<tr><th scope="row">{escape(heading)}</th>{"".join(_cell(cell(row)) for row in some)}</tr>'
            for heading, cell, _ in report.rest_columns(result)
        ]
        tables.append(
            f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )
    return "\n".join(tables)


def _boxes(result: EvaluationRecord) -> str:
    """Return a box per agent that shows and hides it everywhere."""
    boxes = []
    for agent in result.summary()["agent"]:
        colour, _, _ = canvas.style_of(result, agent)
        boxes.append(
            f'<label><input type="checkbox" checked value="{result.agents.index(agent)}"/>'
            f'<i style="background:{colour}"></i>{escape(agent)}</label>'
        )
    return "\n".join(boxes)


def _figures(result: EvaluationRecord, figures: Mapping[str, Any], played: bool) -> str:
    drawn = []
    for name, figure in figures.items():
        caption = report.CAPTIONS.get(name, "One episode, step by step.")
        sample = name.startswith(("timeline", "gantt"))
        kind = ' class="on-paper"' if sample and played else ""  # on the screen the player shows it
        drawn.append(f"<figure{kind}>{canvas.svg(figure, name)}<figcaption>{escape(caption)}</figcaption></figure>")
    return "\n".join(drawn)


def html_report(result: EvaluationRecord, figures: Mapping[str, Any]) -> str:
    """Return the page; everything that came from outside (names, reasons, commands) is escaped."""
    title, subtitle = report.title_of(result)
    head, body = _main_table(result)
    failures = ""
    if len(failed := report.failures_of(result)):
        items = "".join(
            f"<li>{escape(r['agent'])}: {r['count']} × {escape(r['reason'])} <span class=quiet>"
            f"(first on {escape(r['first'])})</span></li>\n"
            for _, r in failed.iterrows()
        )
        failures = f"<h2>Failed episodes</h2>\n<ul>\n{items}</ul>\n"
    if result.notices:
        items = "".join(f"<li>{escape(agent)}: {escape(told)}</li>\n" for agent, told in result.notices.items())
        failures += f"<h2>Outside their training</h2>\n<ul>\n{items}</ul>\n"
    if result.undeclared:
        failures += (
            f"<h2>The environment</h2>\n<p>It shows what its spaces do not declare: {escape(result.undeclared)}</p>\n"
        )
    verdicts = [
        f'<li><span class="{kind}">{kind}</span>: {escape(told)}</li>' for kind, told in report.sentences(result)
    ]
    data = player.episodes(result)
    shown = ""
    if data is not None:
        chosen = "examples" in result.manifest
        meaning = examples.meaning(result) if chosen else "The episodes whose steps were recorded."
        shown = filled(_PLAYER, {"meaning": escape(meaning), "data": player.as_script(data)})
    values = {
        "title": escape(title),
        "subtitle": escape(subtitle),
        "css": _part("report.css"),
        "verdicts": "\n".join(verdicts) or "<li>Nothing to compare: one agent.</li>",
        "boxes": _boxes(result),
        "head": head,
        "body": body,
        "legend": escape(report.legend_of(result)),
        "rest": _rest_tables(result),
        "failures": failures,
        "player": shown,
        "figures": _figures(result, figures, data is not None),
        "command": escape(report.snippet(result)),
        "facts": "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report.facts_of(result).items()),
        "script": _part("report.js"),
    }
    return filled(_part("report.html"), values)


def write_report(result: EvaluationRecord, folder: Path, formats: Sequence[str]) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/*`` in `formats`; return the path of the HTML page."""
    figures = plots.all_figures(result)
    plots.write_figures(figures, folder / "figures", formats)
    write_text(folder / "report.md", report.markdown_report(result, figures))
    page = folder / "report.html"
    write_text(page, html_report(result, figures))
    return page
