"""``netllm-gym evaluate``, ``report`` and ``power``."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from netllm_gym.cli.output import EnvArgs, NoOptions, console, emit, others_code, parse_settings, remarks, say_notes
from netllm_gym.errors import ConfigError


def evaluate_command(
    agent: Annotated[list[str], typer.Option(help="Name, checkpoint folder or module:Class, may be repeated.")],
    task: Annotated[
        str, typer.Option(help="Task: abr, viewport, crowd, streaming, cluster, or another package's.")
    ] = "abr",
    env: Annotated[str, typer.Option(help="An environment instead of a task; --env-arg gives its arguments.")] = "",
    setting: Annotated[
        str, typer.Option(help="default, unseen1, unseen2, …; a wrong name lists those of the task.")
    ] = "default",
    profile: Annotated[str, typer.Option(help="embedded (synthetic traces) or paper (public ones).")] = "embedded",
    baseline: Annotated[str, typer.Option(help="What the others are compared with; default: the setting's.")] = "",
    episodes: Annotated[int | None, typer.Option(help="Default: every trace once.")] = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes; the numbers do not depend on them.")] = 1,
    out: Annotated[str, typer.Option(help="Folder for results and report.")] = "runs/evaluation",
    env_arg: EnvArgs = None,
    set: NoOptions = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for one decision; an episode that needs longer has failed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare agents on the same episodes and write a report; the same command resumes a stopped run."""
    from dataclasses import replace

    from netllm_gym.evaluation import evaluate, load_setting
    from netllm_gym.evaluation.brief import brief

    options = parse_settings(env_arg or [], "--env-arg")
    chosen: Any = options
    if not env:
        chosen = load_setting(task, setting, profile)
        chosen = replace(chosen, kwargs={**chosen.kwargs, **options})
    with others_code():
        result = evaluate(
            env=env or chosen.env, agents=agent, setting=chosen, baseline=baseline or None, episodes=episodes,
            seed=seed, workers=workers, out=out, trace_steps="examples", timeout_s=timeout,
        )  # fmt: skip
    say_notes(result.manifest["traces"]["notes"])
    summary = result.summary()
    emit(summary.to_dict("records") if as_json else brief(summary), as_json)
    if not as_json:
        undecided = summary[summary["verdict"] == "undecided"]
        for why in dict.fromkeys(undecided["why"]):
            remarks.print(f"undecided: {why}", markup=False, soft_wrap=True)
    page = result.report(out)
    if not as_json:
        console.print(f"report: {page}", soft_wrap=True, markup=False)
    if not result.comparable:
        remarks.print("nothing is left to compare, as what was named has failed: see the reasons above", markup=False)
        raise typer.Exit(1)


def report_command(
    folder: Annotated[Path, typer.Argument(help="Folder that evaluate wrote.")],
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write the report of finished results again, with its figures as PDFs too."""
    from netllm_gym.evaluation import EvaluationResult

    page = EvaluationResult.load(folder).report(folder, ("png", "pdf"))
    console.print(f"report: {page}", soft_wrap=True, markup=False)
    if show and not webbrowser.open(page.resolve().as_uri()):
        raise ConfigError(f"no browser could be opened here; open {page} yourself")


def power_command(
    folder: Annotated[Path, typer.Argument(help="Folder that evaluate wrote: the pilot.")],
    effect: Annotated[float, typer.Option(help="Difference to be seen, in per cent of the baseline's mean.")] = 5.0,
    agent: Annotated[list[str] | None, typer.Option(help="Whose differences; default: every rival's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how many traces and training seeds it takes to see a difference, with 80 % power at the 5 % level."""
    from netllm_gym.evaluation import EvaluationResult

    result = EvaluationResult.load(folder)
    aside = {result.manifest["baseline"], *result.manifest["privileged"]}
    rows = []
    for name in agent or [name for name in result.agents if name not in aside]:
        found = result.power(name, effect / 100)
        row = {
            "agent": name,
            "effect": found.effect,
            "traces here": found.episodes,
            "seeds here": found.seeds,
            "seen by these": found.detectable,
            "traces needed": found.needed if found.needed else "more seeds",
            "sd of seeds": "unknown (one seed)" if found.seed_sd is None else found.seed_sd,
        }
        for seeds, traces in found.plan.items():
            row[f"with {seeds} seed{'s' * (seeds > 1)}"] = traces if traces else "never"
        rows.append(row)
    if not as_json and any(row["seeds here"] == 1 for row in rows):
        remarks.print("one training seed says nothing of the spread over seeds: read these numbers as a lower bound")
    emit(rows, as_json)
