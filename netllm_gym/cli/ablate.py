"""``netllm-gym ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from netllm_gym.cli.output import EnvArgs, Options, console, emit, parse_settings, remarks

ENV, SEEDS = "netllm_gym/ABR-v0", 3


def ablate_command(
    grid: Annotated[Path | None, typer.Argument(help="TOML file of the grid; else give the options.")] = None,
    out: Annotated[str, typer.Option(help="Folder for agents, table and figure.")] = "runs/ablation",
    train: Annotated[list[str] | None, typer.Option(help="Training dataset, may be repeated.")] = None,
    valid: Annotated[list[str] | None, typer.Option(help="Validation dataset, may be repeated.")] = None,
    vary: Annotated[list[str] | None, typer.Option(help='option=[values], e.g. lora_rank="[4,16]".')] = None,
    set: Options = None,
    env: Annotated[str, typer.Option(help="Environment to evaluate on.")] = ENV,
    env_arg: EnvArgs = None,
    setting: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds of every cell.")] = SEEDS,
    episodes: Annotated[int, typer.Option(help="Evaluation episodes; 0 plays every trace once.")] = 0,
    minutes: Annotated[float, typer.Option(help="At most, for each training; 0: until its steps are done.")] = 0.0,
    rival: Annotated[
        list[str] | None, typer.Option(help="Another agent to evaluate; the first is compared with.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of the evaluation.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train and compare LLM agents that differ in a few options; the same command resumes a stopped one."""
    from netllm_gym.ablation import Grid, ablate, readable, reasons
    from netllm_gym.errors import ConfigError

    if setting:
        raise ConfigError("--setting names a setting elsewhere; arguments of the environment are --env-arg key=value")
    if grid is not None:
        given = {
            "train": train, "valid": valid, "vary": vary, "set": set, "env-arg": env_arg, "rival": rival,
            "env": env != ENV, "seeds": seeds != SEEDS, "episodes": episodes, "minutes": minutes,
        }  # fmt: skip
        if beside := [f"--{name}" for name, value in given.items() if value]:
            raise ConfigError(f"{grid} holds the whole grid: write {', '.join(beside)} into it, or leave the file out")
        chosen = Grid.read(grid)
    else:
        varied: dict[str, Any] = parse_settings(vary or [], "--vary")
        if odd := [key for key, value in varied.items() if not isinstance(value, list)]:
            raise ConfigError(f"--vary takes a list: {odd[0]}=[…]")
        chosen = Grid(
            tuple(train or ()),
            tuple(valid or ()),
            varied,
            parse_settings(set or []),
            tuple(range(seeds)),
            minutes,
            env,
            parse_settings(env_arg or [], "--env-arg"),
            episodes,
            tuple(rival or ()),
        )
    table, folder = ablate(chosen, out, workers, lambda line: remarks.print(line, markup=False))
    emit(table.to_dict("records") if as_json else readable(table), as_json)
    if not as_json:
        for why in reasons(table):
            remarks.print(f"undecided: {why}", markup=False, soft_wrap=True)
        console.print(f"table and figure: {folder}")
