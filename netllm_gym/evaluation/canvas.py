"""What all figures share: colours, one ink, and how a figure is written.

Figures are drawn without pyplot (no display, no global state). Colours are Okabe and Ito's; line styles and hatches
repeat what colour says, so that figures are legible in grey and for the colour-blind. Lines and letters are drawn in
one ink, which the HTML report replaces with the colour of its text, so that figures follow light and dark pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from netllm_gym.errors import ConfigError
from netllm_gym.files import atomic_path

if TYPE_CHECKING:
    from netllm_gym.evaluation.record import EvaluationRecord

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#999999")
DASHES: tuple = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)), (0, (1, 1)))
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++", "oo")
INK = "#010203"
_GID = "agent-"

_STYLE: Any = {
    "font.family": "sans-serif",
    # One size for everything: all figures are equally wide, so letters are equally large in all of them.
    "font.size": 9,
    "text.parse_math": False,  # a name such as "$\\frac$" is drawn as it is
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "figure.titlesize": 9,
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


LONGEST_NAME = 34  # letters; a longer one, such as a folder's path, would leave no room for what is drawn
WIDTH = 4.8  # inches of every figure: two stand side by side on a page, and one fits a phone


def canvas(width: float = WIDTH, height: float = 3.2, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """Return a figure of `width` × `height` inches and its axes, one below the other."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=rows > 1, squeeze=False)[:, 0]
    return figure, axes


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw a figure in the style of this package, whatever the user's own settings."""

    def wrapped(*arguments: Any, **keywords: Any) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*arguments, **keywords)

    wrapped.__doc__, wrapped.__name__ = draw.__doc__, draw.__name__
    return wrapped


def style_of(result: EvaluationRecord, agent: str) -> tuple[str, tuple | str, str]:
    """Colour, dash and hatch of an agent: the same in every figure of a result."""
    place = result.agents.index(agent)
    turn = place + place // len(COLOURS)  # agents of one colour differ in dash and hatch
    return COLOURS[place % len(COLOURS)], DASHES[turn % len(DASHES)], HATCHES[turn % len(HATCHES)]


def short(name: str) -> str:
    """Return `name`, or the end of a long one."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def names(result: EvaluationRecord) -> dict[str, str]:
    """Agent → what figures call it: long paths by their ends, numbered where these do not tell them apart."""
    ends = [short(agent) for agent in result.agents]
    return {
        agent: end if ends.count(end) == 1 else f"{end} ({place + 1})"
        for place, (agent, end) in enumerate(zip(result.agents, ends, strict=True))
    }


def rivals(result: EvaluationRecord) -> list[str]:
    """The agents to draw: those in sight that do not see the future. A bound is a line, not an agent."""
    bounds = set(result.manifest["privileged"])
    return [agent for agent in in_sight(result) if agent not in bounds]


def mark(result: EvaluationRecord, agent: str, *artists: Any) -> None:
    """Say whose these artists are, so that the page can hide and show an agent in every figure."""
    for artist in artists:
        if isinstance(artist, dict):
            mark(result, agent, *artist.values())
        elif isinstance(artist, list | tuple):  # containers of bars and error bars are tuples
            mark(result, agent, *artist)
        elif artist is not None:
            artist.set_gid(f"{_GID}{result.agents.index(agent)}")


def legend(figure: Figure, axes: Axes, result: EvaluationRecord, columns: int = 2) -> None:
    """Put the labelled lines of `axes` into a legend below the figure, each marked as its agent's."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    drawn = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    agents = {name: agent for agent, name in names(result).items()}
    for handle, text in zip(drawn.legend_handles, drawn.get_texts(), strict=True):
        if text.get_text() in agents:
            mark(result, agents[text.get_text()], handle, text)


def in_sight(result: EvaluationRecord) -> list[str]:
    """The agents whose numbers fit on one axis: not those further below the floor than the oracle is above
    it.
    """
    summary = result.summary()
    shown = summary.loc[summary["mean"].notna() & ~(summary["score"] < -1), "agent"]
    return [agent for agent in result.agents if agent in set(shown)]


def svg(figure: Figure, salt: str) -> str:
    """Return the figure as an inline SVG element whose ink is the page's text colour; the same figure gives
    the same text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(rf'<g id="{_GID}(\d+)"', r'<g data-agent="\1"', text)


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
