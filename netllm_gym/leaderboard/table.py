"""The leaderboard as rows and as a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from netllm_gym.leaderboard.submission import Submission


def table_of(submissions: Sequence[Submission]) -> list[dict[str, Any]]:
    """Return a row per agent, best first within its setting: what ``netllm-gym leaderboard`` shows."""
    rows = []
    for one in submissions:
        for label, score in one.scores.items():
            rows.append(
                {
                    "setting": f"{one.task} {one.setting} ({one.profile})",
                    "agent": label,
                    one.metric["name"]: score["mean"],
                    "metric": one.metric["name"],
                    "better": one.metric["better"],
                    "mean": score["mean"],
                    "interval": (score["ci_low"], score["ci_high"]),
                    "difference": score["difference"],
                    "difference_interval": (score["difference_low"], score["difference_high"]),
                    "baseline": one.baseline,
                    "verdict": score["verdict"],
                    "trainings": sum(entry.label == label for entry in one.entries),
                    "by": one.by,
                    "file": one.path.name,
                    "test_uses": one.test_uses,
                }
            )

    def order(row: Mapping[str, Any]) -> tuple[str, bool, float]:
        mean = row["mean"]
        return row["setting"], mean is None, 0.0 if mean is None else mean * (-1 if row["better"] == "higher" else 1)

    return sorted(rows, key=order)


_PAGE = """# Leaderboard

Made by `netllm-gym leaderboard --page docs/leaderboard.md` from the files in `leaderboard/`. Every one of them can be
scored again from its agents: `netllm-gym leaderboard --rescore FILE`.
[How to add yours](https://github.com/netllm-gym/netllm-gym/blob/main/leaderboard/README.md).

*Test uses*: how often the submitter's machine had scored agents on that test split by then, the agents of other tables,
trainings and experiments included. Choosing among many on a test split makes the best of them look better than it is.
Agents called *as-published* have their authors' weights and may have trained on test traces:
see [results](results/bitrates.md#published-numbers-beside-ours).
"""


def page_of(submissions: Sequence[Submission]) -> str:
    """Return the page of the documentation, as Markdown."""

    def shown(value: float | None, sign: str = "") -> str:
        return "–" if value is None else f"{value:{sign}.3f}".replace("-", "−")

    def between(pair: tuple[float | None, float | None], sign: str = "") -> str:
        return "" if None in pair else f" [{shown(pair[0], sign)}, {shown(pair[1], sign)}]"

    def cell(text: str) -> str:
        return re.sub(r"([|<>\[\]*_`\\&])", r"\\\1", text)

    parts, last = [_PAGE], ""
    rows = table_of(submissions)
    for row in rows:
        if row["setting"] != last:
            last = row["setting"]
            files = {other["file"]: other for other in rows if other["setting"] == last}.values()
            uses = ", ".join(f"{other['test_uses']:,} by {cell(other['by'] or other['file'])}" for other in files)
            parts.append(
                f"\n## {cell(last)}\n\nTest uses: {uses}.\n\n"
                f"| agent | {cell(row['metric'])}, {row['better']} is better |"
                f" difference to {cell(row['baseline'])} |"
                " verdict | trainings | by |\n|---|---|---|---|---|---|\n"
            )
        parts.append(
            f"| {cell(row['agent'])} | {shown(row['mean'])}{between(row['interval'])} |"
            f" {shown(row['difference'], '+')}{between(row['difference_interval'], '+')} | {cell(row['verdict'])} |"
            f" {row['trainings']} | {cell(row['by'])} |\n"
        )
    return "".join(parts)
