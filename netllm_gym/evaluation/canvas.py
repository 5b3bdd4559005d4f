"""What all figures share: colours, one ink, and how a figure is written.

Figures are drawn without pyplot (no display, no global state). Colours are Okabe and Ito's; line styles and hatches
repeat what colour says, so that figures are legible in grey and for the colour-blind. Lines and letters are drawn in
one ink, which the HTML report replaces with the colour of its text, so that figures follow light and dark pages.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from netllm_gym.errors import ConfigError
from netllm_gym.files import atomic_path

if TYPE_CHECKING:
    from netllm_gym.evaluation.result import EvaluationResult

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#999999")
DASHES: tuple = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)), (0, (1, 1)))
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++", "oo")
INK = "#010203"

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
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


def canvas(width: float = 6.0, height: float = 3.4, rows: int = 1) -> tuple[Figure, np.ndarray]:
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


def look(result: EvaluationResult, agent: str) -> tuple[str, tuple | str, str]:
    """Colour, dash and hatch of an agent: the same in every figure of a result."""
    place = result.agents.index(agent)
    turn = place + place // len(COLOURS)  # agents of one colour differ in dash and hatch
    return COLOURS[place % len(COLOURS)], DASHES[turn % len(DASHES)], HATCHES[turn % len(HATCHES)]


def in_sight(result: EvaluationResult) -> list[str]:
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
    return text[text.index("<svg") :].replace(INK, "currentColor")


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
