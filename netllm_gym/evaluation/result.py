"""The result of an evaluation: its record, and the figures and the report drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netllm_gym.evaluation.record import CLOCK, EvaluationRecord, parsed_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CLOCK", "EvaluationResult", "parsed_rows"]


class EvaluationResult(EvaluationRecord):
    """Episodes played by several agents, all the same ones: see :class:`EvaluationRecord` for what it holds."""

    def plot(self, folder: str | Path | None = None, formats: Sequence[str] = ("png",)) -> dict[str, Figure]:
        """Return the figures by name, and write them into `folder` in the given `formats` (``png``, ``svg``,
        ``pdf``).
        """
        from netllm_gym.evaluation.plots import all_figures, write_figures

        figures = all_figures(self)
        if folder is not None:
            write_figures(figures, folder, formats)
        return figures

    def report(self, folder: str | Path, formats: Sequence[str] = ("png",)) -> Path:
        """Write ``report.html`` (self-contained), ``report.md`` and its figures; return the HTML's path.

        Args:
            folder: where to.
            formats: of the figures beside the pages; ``report.md`` shows the PNGs. PDFs (for papers) take seconds more,
                ``netllm-gym report`` draws them.
        """
        from netllm_gym.evaluation.page import write_report

        return write_report(self, Path(folder), formats)
