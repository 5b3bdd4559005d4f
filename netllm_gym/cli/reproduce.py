"""``netllm-gym reproduce`` and ``matrix``: many settings in one command."""

from __future__ import annotations

from typing import Annotated

import typer

from netllm_gym.cli.output import Options, console, parse_settings, remarks


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


def matrix_command(
    agent: Annotated[list[str] | None, typer.Option(help="Agent name or checkpoint folder, may be repeated.")] = None,
    train: Annotated[str | None, typer.Option(help="Recipe to train on each family, e.g. regret-mlp.")] = None,
    task: Annotated[str, typer.Option(help="Task: abr, viewport or cluster.")] = "abr",
    profile: Annotated[str, typer.Option(help="embedded (synthetic traces) or paper (public ones).")] = "embedded",
    family: Annotated[list[str] | None, typer.Option(help="Only this trace set, may be repeated.")] = None,
    episodes: Annotated[int | None, typer.Option(help="At most so many per family; default: every trace once.")] = None,
    train_episodes: Annotated[int, typer.Option(help="Episodes of experience per family.")] = 120,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes; the numbers do not depend on them.")] = 1,
    out: Annotated[str, typer.Option(help="Folder for the matrix and the reports.")] = "runs/matrix",
    set: Options = None,
) -> None:
    """Play agents on every family of traces, and train one on each: who generalises across datasets?"""
    from netllm_gym.matrix import evaluate_matrix

    found = evaluate_matrix(
        task, agent or (), profile, train, out, family or (), episodes, train_episodes, parse_settings(set or []),
        seed, workers, say=lambda line: remarks.print(line, markup=False), progress=True,
    )  # fmt: skip
    console.print(found.markdown(), soft_wrap=True, markup=False)
    console.print(f"heatmap: {out}/matrix.png", soft_wrap=True, markup=False)
