"""``netllm-gym``: commands, and what happens to a user's mistakes (one line, exit code 2, never a traceback)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from netllm_gym.cli import ablate, bench, datasets, evaluation, hub, reproduce, traces
from netllm_gym.cli.output import console, emit
from netllm_gym.errors import NetLLMGymError

app = typer.Typer(
    help="Train and compare agents that run networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(traces.app, name="traces")
app.add_typer(bench.app, name="bench")
app.command("collect")(datasets.collect_command)
app.command("datasets")(datasets.datasets_command)
app.command("train")(datasets.train_command)
app.command("recipes")(datasets.recipes_command)
app.command("evaluate")(evaluation.evaluate_command)
app.command("ablate")(ablate.ablate_command)
app.command("push")(hub.push_command)
app.command("pull")(hub.pull_command)
app.command("report")(evaluation.report_command)
app.command("power")(evaluation.power_command)
app.command("reproduce")(reproduce.reproduce_command)
app.command("matrix")(reproduce.matrix_command)


@app.command("envs")
def envs_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the environments."""
    import gymnasium

    rows = [
        {"id": name, "entry_point": str(spec.entry_point)}
        for name, spec in sorted(gymnasium.registry.items())
        if name.startswith("netllm_gym/")
    ]
    emit(rows, as_json)


@app.command("agents")
def agents_command(
    task: Annotated[str | None, typer.Argument(help="Only of this task, e.g. abr.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the registered agents."""
    import inspect

    from netllm_gym.agents.registry import factory, list_agents

    rows = []
    for name in list_agents(task):
        about = (inspect.getdoc(factory(name)) or "").splitlines()
        rows.append({"name": name, "about": about[0] if about else ""})
    emit(rows, as_json)


@app.command("quickstart")
def quickstart_command(
    traces: Annotated[str, typer.Option(help="Trace set to train and test on.")] = "abr/synthetic",
    minutes: Annotated[float, typer.Option(help="About how long it may take.")] = 10.0,
    out: Annotated[str, typer.Option(help="Folder for checkpoints and report.")] = "runs/quickstart",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Run the whole chain: traces, offline dataset, agents, evaluation, report."""
    from netllm_gym.quickstart import quickstart

    report = quickstart(
        traces=traces,
        minutes=minutes,
        out=out,
        seed=seed,
        workers=workers,
        say=lambda line: console.print(line, soft_wrap=True, markup=False),
    )
    for line in (
        f"\nReport: {report}",
        f"Next, a video nobody trained on: netllm-gym evaluate --agent {out}/llm --agent abr/bba --setting unseen2",
        "Real traces: netllm-gym quickstart --traces abr/fcc-hsdpa",
    ):
        console.print(line, soft_wrap=True, markup=False)


@app.command("doctor")
def doctor_command() -> None:
    """Say what is installed, what is cached, and what is missing."""
    from netllm_gym.cli.doctor import diagnose

    emit(diagnose(), False)


def main() -> None:
    """Entry point of the console script."""
    try:
        app(standalone_mode=False)
    except NetLLMGymError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Typer reports usage errors through click's exceptions, which carry their own message and exit code.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            print(f"error: {error.format_message()}", file=sys.stderr)
            sys.exit(2)
        raise
