"""``netllm-gym traces import``: read, show what was understood, keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netllm_gym import traces as room
from netllm_gym.cli.output import console, emit, remarks
from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.orient import AXES
from netllm_gym.traces.head.readers import COLUMNS
from netllm_gym.traces.head.scales import SECONDS as HEAD_SECONDS
from netllm_gym.traces.head.scales import HeadOptions
from netllm_gym.traces.jobs.user import FORMATS as JOB_FORMATS
from netllm_gym.traces.network.units import MEGABITS, SECONDS
from netllm_gym.traces.network.user import FORMATS
from netllm_gym.traces.reading import Reading
from netllm_gym.traces.user import KINDS, ImportOptions, NetworkOptions, check_place


def frame_of(text: str | None) -> tuple[float, float] | None:
    """Return width and height of ``3840x1920``."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and len(text) < 20 and int(width) and int(height)):
        raise ConfigError(f"a frame is WIDTHxHEIGHT, such as 3840x1920, got {text!r}")
    return float(width), float(height)


def show(found: Reading, as_json: bool) -> None:
    """Print the first traces of a reading and what was understood, guessed, repaired and skipped."""
    if as_json:
        line = {"kind": found.kind, "format": found.format, "traces": len(found.traces)}
        emit([{**line, "notes": list(found.sentences()), "first": found.table}], True)
        return
    groups = len({trace.group for trace in found.traces})
    counted = f"{len(found.traces)} {found.kind} traces of {groups} recordings"
    if found.kind == "workload" and found.traces:
        counted = f"{len(found.traces[0].workload.templates)} jobs"
    console.print(f"read as {found.kind}, {found.format}: {counted}")
    emit(found.table, False)
    for sentence in found.sentences():
        remarks.print(f"- {sentence}", markup=False)


def import_command(
    path: Annotated[Path, typer.Argument(help="A file, or a folder of files to any depth.")],
    name: Annotated[str | None, typer.Option(help="Name of the set: it becomes user/NAME.")] = None,
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}; recognised when not given.")] = "",
    format: Annotated[
        str | None,
        typer.Option(
            help=f"Network: {', '.join(FORMATS)}. Workload: {', '.join(JOB_FORMATS)}. Head, after the time: "
            f"{', '.join(COLUMNS)}. Recognised when not given."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which split they are.")] = "test",
    time: Annotated[str | None, typer.Option(help="Network: name of the column of time.")] = None,
    throughput: Annotated[str | None, typer.Option(help="Network: name of the column of throughput.")] = None,
    time_unit: Annotated[str, typer.Option(help=f"One of {', '.join(SECONDS)}.")] = "",
    rate_unit: Annotated[
        str, typer.Option("--rate-unit", "--throughput-unit", help=f"Network: one of {', '.join(MEGABITS)}.")
    ] = "",
    group: Annotated[
        str | None,
        typer.Option(help="Network: the recording of a trace: a column, or an expression on file names."),
    ] = None,
    step: Annotated[float | None, typer.Option(help="Network: seconds between rows of files without a clock.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Head: where they stand, such as {user}/{user}_{video}.csv.")
    ] = None,
    angle_unit: Annotated[str, typer.Option(help="Head: deg or rad.")] = "",
    convention: Annotated[str, typer.Option(help=f"Head, quaternions and vectors: {', '.join(AXES)}.")] = "",
    frame: Annotated[str | None, typer.Option(help="Head: size of the frame of pixel positions, WIDTHxHEIGHT.")] = None,
    lon_offset: Annotated[float, typer.Option(help="Head: degrees added to every longitude.")] = 0.0,
    pitch_down: Annotated[bool, typer.Option(help="Head: a positive pitch looks down.")] = False,
    frame_rate: Annotated[float, typer.Option(help="Head: frames per second of logs that count frames.")] = 0.0,
    dataset: Annotated[str, typer.Option(help="Head: name of the data set.")] = "user",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be kept, and keep nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Keep your own traces on this machine under a name: links, head motion or workloads."""
    if name is None and not dry_run:
        raise ConfigError("say what the set is to be called: --name NAME (or look first: --dry-run)")
    if name is not None:
        check_place(name, split)
    head_unit = time_unit if time_unit in HEAD_SECONDS else ""
    options = ImportOptions(
        kind,
        format,
        pattern,
        NetworkOptions(time, throughput, time_unit, rate_unit, group, step),
        HeadOptions(
            head_unit, angle_unit, convention, frame_of(frame), lon_offset, pitch_down, frame_rate, dataset=dataset
        ),
    )
    if time is not None and not kind:
        options = ImportOptions("network", format, pattern, options.network, options.head)
    with console.status(f"reading {path}"):
        found = room.understand(path, options)
    show(found, as_json)
    if dry_run or name is None:
        if not as_json:
            console.print("nothing was kept (--dry-run)")
        return
    kept = room.keep(found, name, split, str(path))
    if not as_json:
        console.print(f"{kept.name}, split {split}: {len(kept)} traces kept")
