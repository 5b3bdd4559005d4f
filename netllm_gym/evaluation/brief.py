"""The summary in the six columns that a reader needs first; everything else stays in the frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from netllm_gym.evaluation.formats import interval, number, percent, pretty


class Summary(pd.DataFrame):
    """A frame with all columns of the summary that prints as :func:`brief` shows it.

    What is cut out of it is a plain frame. ``pandas.DataFrame(summary)`` prints everything.
    """

    _metadata = ["_headings"]  # noqa: RUF012  (pandas' own protocol)

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _shown(self) -> pd.DataFrame:
        metric, baseline = getattr(self, "_headings", ("", None))
        return pd.DataFrame(rows(self, metric, baseline)).set_index("agent")

    def __repr__(self) -> str:
        """Return the six columns as text, however narrow the terminal is."""
        shown = self._shown().to_string()
        return f"{shown}\n[{len(self.columns)} columns: {', '.join(self.columns[:6])}, …]"

    def _repr_html_(self) -> str:
        """Return the six columns for a notebook."""
        return f"{self._shown().to_html()}<p>{len(self.columns)} columns: see <code>.columns</code></p>"


def rows(summary: pd.DataFrame, metric: str, baseline: str | None, between: str = " ") -> list[dict[str, str]]:
    """Return one dict of texts per agent: agent, metric, difference, gap closed, decision time, verdict; and ``failed``
    where any agent failed in any episode.

    A value and its interval stand in one cell with `between` between them. An oracle has no decision time: it knows
    the future already.
    """
    failed = bool(summary["failed"].sum())
    compared = f"against {baseline}" if baseline else "difference"
    shown = []
    for _, row in summary.iterrows():
        wait = row["latency_p50_ms"]
        cells: dict[str, Any] = {
            "agent": row["agent"],
            pretty(metric) or "mean": with_interval(row, "mean", "ci", between),
            compared: with_interval(row, "difference", "difference", between),
            "gap closed": percent(row["score"]),
            "decision": "–" if row["privileged"] or pd.isna(wait) else f"{number(wait)} ms",
            "verdict": row["verdict"] or "–",
        }
        if failed:
            cells["failed"] = f"{row['failed']} of {row['episodes'] * row['seeds']}"
        shown.append(cells)
    return shown


def with_interval(row: Mapping[Any, Any] | pd.Series, value: str, stem: str, between: str = " ") -> str:
    """Return a value of a row and its interval, ``stem_low`` to ``stem_high``, with `between` between them."""
    signed = stem.endswith("difference")
    text = number(row[value], signed=signed)
    return between.join(filter(None, (text, interval(row[f"{stem}_low"], row[f"{stem}_high"], signed=signed))))


def brief(summary: Summary) -> list[dict[str, str]]:
    """Return a summary in :func:`rows` for a terminal: the interval below its value."""
    metric, baseline = getattr(summary, "_headings", ("", None))
    cells = rows(summary, metric, baseline, "\n")
    # Numbers stay whole: only words may go into the next line.
    return [{key: value.replace(" ", "\u00a0") for key, value in row.items()} for row in cells]
