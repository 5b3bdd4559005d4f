"""``netllm-gym``: commands, and what happens to a user's mistakes (one line, exit code 2, never a traceback)."""

from __future__ import annotations

import errno
import re
import sys
import warnings
from typing import Annotated, Any

import typer

from netllm_gym.cli import ablate, backbone, bench, datasets, evaluation, hub, leaderboard, reproduce, testbed, traces
from netllm_gym.cli.output import console, emit, remarks
from netllm_gym.errors import NetLLMGymError, printable, their_fault
from netllm_gym.extras import explain

STOPPED = "stopped; the same command goes on from here"
RESUMED = ("collect", "train", "evaluate", "ablate", "reproduce", "matrix", "quickstart", "testbed")
# What the machine refuses rather than what this package got wrong: a full disk, a folder one may not write to.
_REFUSALS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip

app = typer.Typer(
    help="Train and compare agents that run networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(traces.app, name="traces")
app.add_typer(bench.app, name="bench")
app.add_typer(testbed.app, name="testbed")
app.add_typer(backbone.app, name="backbone")
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
app.command("submit")(leaderboard.submit_command)
app.command("leaderboard")(leaderboard.leaderboard_command)
app.command("reproduce")(reproduce.reproduce_command)
app.command("matrix")(reproduce.matrix_command)


def _version(wanted: bool) -> None:
    if wanted:
        import netllm_gym

        print(f"netllm-gym {netllm_gym.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train and compare agents that run networks."""


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
    from netllm_gym.errors import UnknownNameError

    rows = []
    names = list_agents(task)
    if not names:
        raise UnknownNameError("task", str(task), {name.partition("/")[0] for name in list_agents()})
    for name in names:
        text = (inspect.getdoc(factory(name)) or "").splitlines()
        rows.append({"name": name, "description": text[0] if text else ""})
    emit(rows, as_json)


@app.command("showcase")
def showcase_command(
    task: Annotated[list[str] | None, typer.Option(help="abr, viewport or cluster; default: all three.")] = None,
    out: Annotated[str, typer.Option(help="Folder for reports and animations.")] = "runs/showcase",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Play the agents that ship against their rivals on embedded traces: a table, a report, an animation per task."""
    from netllm_gym.showcase import SHOWS, showcase

    showcase(
        out, tuple(task or SHOWS), seed, workers, say=lambda line: console.print(line, soft_wrap=True, markup=False)
    )


@app.command("quickstart")
def quickstart_command(
    task: Annotated[str, typer.Option(help="abr, viewport or cluster.")] = "abr",
    traces: Annotated[
        str | None, typer.Option(help="Trace set to train and test on; default: the embedded one.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="About how long one training of everything may take.")] = 10.0,
    out: Annotated[str | None, typer.Option(help="Folder; default: runs/quickstart, or runs/quickstart-TASK.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    trainings: Annotated[int, typer.Option(help="How often everything is trained, each with its own seed.")] = 1,
    agent: Annotated[list[str] | None, typer.Option(help="Train only these, e.g. llm; may be repeated.")] = None,
) -> None:
    """Run the whole chain: traces, offline dataset, agents, evaluation, report."""
    from netllm_gym.quickstart import quickstart

    place = out or ("runs/quickstart" if task == "abr" else f"runs/quickstart-{task}")
    report = quickstart(
        traces=traces,
        minutes=minutes,
        out=place,
        seed=seed,
        workers=workers,
        say=lambda line: console.print(line, soft_wrap=True, markup=False, highlight=False),
        task=task,
        trainings=trainings,
        learners=agent,
    )
    lines = [f"\nReport: {report}"]
    if task == "abr":
        lines += [
            f"Next, a video not trained on: netllm-gym evaluate --agent {place}/llm --agent abr/bba --setting unseen2",
            "Real traces: netllm-gym quickstart --traces abr/fcc-hsdpa",
        ]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


@app.command("doctor")
def doctor_command() -> None:
    """Say what is installed, what is cached, and what is missing."""
    from netllm_gym.cli.doctor import diagnose

    emit(diagnose(), False)


def main() -> None:
    """Entry point of the console script: run a command and exit with its code.

    0: done. 1: done, but nothing could be compared. 2: a user's mistake, in one line. 130: stopped by Ctrl-C.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        sys.exit(_run())


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: what is closed behind an interrupt may fail and stand in its place."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _run() -> int:
    try:
        # Typer answers Ctrl-C by returning 130 here, and an Exit by returning its code.
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        if _interrupted(error):
            code = 130
        elif type(error).__name__ == "NoArgsIsHelpError":
            return 0  # a group without a command: its help has been printed, and that is the answer
        elif (reason := _refusal(error)) is None:
            raise
        else:
            return _fail(reason)
    if code == 130:
        print(f"\n{_stopped(sys.argv[1:])}", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _refusal(error: Exception) -> object | None:
    """Return the line that answers an error of the user, of others' code or of the machine; ``None`` for our own."""
    if isinstance(error, NetLLMGymError):
        return error
    # Typer reports usage errors through click's exceptions, which carry their own message and exit code.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return error.format_message()
    if isinstance(error, ModuleNotFoundError) and (missing := explain(error, "this command")):
        return missing
    if fault := their_fault(error):
        return fault
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
        return f"not enough memory on this machine: {printable(error)}".removesuffix(": ")  # torch's own is the latter
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return f"{error.filename or 'this machine'}: {error.strerror}"
    return None


def _stopped(words: list[str]) -> str:
    """Say what Ctrl-C leaves: only what is kept goes on."""
    if words[:1] == ["train"] and len(words) > 1:
        from netllm_gym.recipes import list_recipes, recipe_of

        if words[1] in list_recipes() and not recipe_of(words[1]).resumable:
            return f"stopped; recipe {words[1]} keeps no state, the same command begins again"
    return STOPPED if words and words[0] in RESUMED else "stopped"


def _fail(reason: object) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


def _show_warning(message: Any, category: type, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    """Print a warning as one line: where in the code it arose says nothing to who typed a command."""
    text = printable(re.sub(r"\x1b\[[0-9;]*m", "", str(message))).removeprefix("WARN: ")  # Gymnasium colours its own
    remarks.print(f"warning: {text}", markup=False, soft_wrap=True)
