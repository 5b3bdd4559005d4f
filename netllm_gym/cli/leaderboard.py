"""``netllm-gym submit`` and ``leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netllm_gym.cli.output import console, emit, remarks


def submit_command(
    folder: Annotated[Path, typer.Argument(help="Folder that evaluate wrote, of a setting of the catalog.")],
    by: Annotated[str, typer.Option(help="Who submits.")] = "",
    note: Annotated[str, typer.Option(help="A sentence.")] = "",
    agent: Annotated[list[str] | None, typer.Option(help="Only these agents (and the baseline).")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: submission.json in the folder.")] = None,
) -> None:
    """Write one small JSON of an evaluation, for the leaderboard."""
    from netllm_gym.leaderboard import submit

    path = submit(folder, by, note, agent or (), out)
    console.print(f"{path}: put it into leaderboard/ and open a pull request", soft_wrap=True, markup=False)


def leaderboard_command(
    folder: Annotated[Path, typer.Argument(help="Folder of submissions.")] = Path("leaderboard"),
    rescore: Annotated[list[Path] | None, typer.Option(help="Play this submission again; may be repeated.")] = None,
    agent: Annotated[list[str] | None, typer.Option(help="Play only these agents again (and the baseline).")] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    page: Annotated[Path | None, typer.Option(help="Write the table as a page of the documentation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the leaderboard, or score submissions again from their agents (exit code 1 where one does not come out)."""
    from netllm_gym import leaderboard
    from netllm_gym.evaluation.formats import interval, number
    from netllm_gym.files import write_text

    if rescore:
        rows, wrong = [], 0
        for path in rescore:
            submission = leaderboard.read_submission(path)
            outcomes = leaderboard.rescore(
                submission, agent or (), workers, lambda line: remarks.print(line, markup=False)
            )
            wrong += len(leaderboard.failures_of(outcomes))
            rows += [{"file": path.name, "agent": label, "outcome": outcome} for label, outcome in outcomes.items()]
        emit(rows, as_json)
        if wrong:
            raise typer.Exit(1)
        return
    submissions = leaderboard.read_all(folder)
    if not submissions:
        remarks.print(f"{folder} holds no submission (netllm-gym submit writes one)", markup=False)
    if page:
        write_text(page, leaderboard.page_of(submissions))
    table = leaderboard.table_of(submissions)
    if as_json:
        emit(table, True)
        return
    for setting in dict.fromkeys(row["setting"] for row in table):
        some = [row for row in table if row["setting"] == setting]
        console.print(f"{setting}: {some[0]['metric']}, {some[0]['better']} is better", markup=False, soft_wrap=True)

        def both(value: float | None, pair: tuple[float | None, float | None], signed: bool = False) -> str:
            if value is None:
                return "-"
            low, high = (float("nan") if end is None else end for end in pair)
            return f"{number(value, signed=signed)} {interval(low, high, signed=signed)}"

        emit(
            [
                {
                    "agent": row["agent"],
                    "score": both(row["mean"], row["interval"]),
                    "difference": both(row["difference"], row["difference_interval"], True),
                    "verdict": row["verdict"],
                    "by": row["by"],
                    "test uses": row["test_uses"],
                }
                for row in some
            ],
            False,
        )
