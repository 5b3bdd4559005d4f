"""``netllm-gym reproduce``."""

from __future__ import annotations

from typing import Annotated

import typer

from netllm_gym.cli.output import console


def reproduce_command(
    task: Annotated[list[str] | None, typer.Option(help="Only this task, may be repeated.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Only this setting, may be repeated.")] = None,
    profile: Annotated[str, typer.Option(help="paper (public traces) or embedded (synthetic ones).")] = "paper",
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train every agent of the zoo again by its recorded recipe.")
    ] = False,
    episodes: Annotated[int | None, typer.Option(help="At most so many per setting, for a quick look.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes; the numbers do not depend on them.")] = 2,
    out: Annotated[str, typer.Option(help="Folder for the table and the reports.")] = "runs/reproduce",
) -> None:
    """Rebuild the headline table from the shipped weights; the same command resumes a stopped run."""
    from netllm_gym.errors import UnknownNameError
    from netllm_gym.reproduce import reproduce

    if profile not in ("paper", "embedded"):
        raise UnknownNameError("profile", profile, ("paper", "embedded"))
    table = reproduce(
        task or (), profile, setting or (), from_scratch, out, workers, episodes, seed,
        say=lambda line: console.print(line, soft_wrap=True, markup=False),
    )  # fmt: skip
    console.print(f"table: {table}\nreport: {table.with_name('report.html')}", soft_wrap=True, markup=False)
