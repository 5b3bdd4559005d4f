"""``netllm-gym traces``: list, info, plot, fetch, import, audit, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from netllm_gym import traces as room
from netllm_gym.cli.imports import import_command
from netllm_gym.cli.output import console, emit, remarks, say_notes
from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.traces import catalog
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.jobs.statistics import summary
from netllm_gym.traces.jobs.trace import JobTrace
from netllm_gym.traces.network.trace import NetworkTrace, statistics
from netllm_gym.traces.video.readers import is_manifest

app = typer.Typer(help="Trace sets: what there is, what is in them, and how to bring your own.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Catalog name, user/NAME, or a path.")]


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """List the catalog."""
    rows = []
    for name in catalog.names():
        entry = catalog.describe(name)
        rows.append({"name": name, "kind": entry["kind"], "here": _state(name, entry), "title": entry["title"]})
    emit(rows, as_json)


def _state(name: str, entry: dict[str, Any]) -> str:
    if "repository" not in entry:
        return "embedded"
    try:
        if entry["kind"] == "video":
            room.load_video(name.removeprefix("video/"))
        else:
            catalog.build(name)
    except DownloadError:
        return "to fetch"
    return "fetched"


@app.command("info")
def info_command(name: Name, as_json: Json = False) -> None:
    """Describe a trace set (splits, statistics, licence, source), or a video or its manifest (the levels)."""
    manifest = name not in catalog.entries() and is_manifest(Path(name))
    if manifest or name.startswith("video/"):
        video = room.load_video(name if manifest else name.removeprefix("video/"))
        sizes = video.chunk_bytes / 1e6
        emit(
            [
                {
                    "level": level, "kbit/s": float(video.bitrates_kbps[level]), "mean chunk, MB": float(column.mean()),
                    "smallest, MB": float(column.min()), "largest, MB": float(column.max()),
                }
                for level, column in enumerate(sizes.T)
            ],
            as_json,
        )  # fmt: skip
        if not as_json:
            tables = ", ".join(sorted(video.quality_tables)) or "none"
            console.print(f"{video.chunks} chunks of {video.chunk_s:g} s; tables of quality: {tables}")
        return
    splits = ("train", "valid", "test") if name in catalog.entries() or name.endswith("/as-published") else ("all",)
    rows = []
    for split in splits:
        traces = room.load(name, split)
        row: dict[str, Any] = {
            "split": split,
            "traces": len(traces),
            "recordings": len({trace.group for trace in traces}),
        }
        if isinstance(traces[0], NetworkTrace):
            found = [statistics(trace) for trace in traces]
            row |= {
                "hours": float(sum(trace.total_s for trace in traces) / 3600),
                "mean Mbit/s": float(np.mean([s["mean_mbps"] for s in found])),
                "median CV": float(np.median([s["cv"] for s in found])),
                "median lag-1": float(np.median([s["lag1"] for s in found])),
            }
        elif isinstance(traces[0], JobTrace):
            row |= summary(traces[0].workload)
        rows.append(row | {"digest": traces.digest[:12], **({"notes": list(traces.notes)} if as_json else {})})
    say_notes(() if as_json else traces.notes)
    emit(rows, as_json)
    if not as_json:
        console.print(f"licence: {traces.licence}\nsource:  {traces.source}\ncite:    {traces.citation or '-'}")


@app.command("plot")
def plot_command(
    name: Name,
    split: Annotated[str, typer.Option(help="Split.")] = "test",
    out: Annotated[Path, typer.Option(help="Figure to write (.png, .pdf, .svg).")] = Path("traces.png"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a figure that is there.")] = False,
) -> None:
    """Draw a few traces: links and how their means are distributed, yaw and pitch of viewers, jobs of workloads."""
    from netllm_gym.traces.plot import plot_heads, plot_network, plot_workload

    traces = room.load(name, split)
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"cannot write {out.suffix or 'a file without suffix'}; use .png, .pdf or .svg")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; name another with --out, or add --overwrite")
    if isinstance(traces[0], NetworkTrace):
        plot_network(traces, out)
    elif isinstance(traces[0], HeadTrace):
        plot_heads(traces, out)
    else:
        plot_workload(traces, out)
    console.print(f"wrote {out}")


@app.command("fetch")
def fetch_command(name: Annotated[str, typer.Argument(help="Catalog name.")]) -> None:
    """Bring a public trace set (and the videos it is played with) onto this machine, verified."""
    entry = catalog.describe(name)
    if "repository" not in entry:
        console.print(f"{name} is embedded: nothing to fetch")
        return
    with console.status(f"fetching {entry['repository']}@{entry['commit'][:10]}"):
        room.fetch(name, progress=True)
    console.print(f"{name} is here; licence: {entry['licence']}")


app.command("import")(import_command)


def _audit_against(name: str, against: str, profile: str, as_json: bool) -> None:
    """Print how many test traces of a set, or of a task's settings, share a recording with what agents trained on."""
    from netllm_gym.reproduce.overlap import rivals, shared_with
    from netllm_gym.settings import list_settings, load_setting

    task, _, wanted = name.partition("/")
    settings = {setting for owner, setting, kind in list_settings() if owner == task and kind == profile}
    tests: dict[str, tuple[str, str]] = {}
    if wanted in settings or name in {owner for owner, _, _ in list_settings()}:
        for setting in [wanted] if wanted else sorted(settings):
            kwargs = load_setting(task, setting, profile).kwargs
            if isinstance(kwargs.get("traces"), str):
                tests[f"{task}/{setting}"] = kwargs["traces"], str(kwargs.get("split", "test"))
    else:
        tests[name] = name, "test"
    rows = []
    with remarks.status(f"comparing the test traces of {name} with training traces"):
        for agent in rivals(against, task):
            for shown, (traces, split) in tests.items():
                found = shared_with(agent, traces, split)
                rows.append({
                    "agent": agent, "test": f"{shown}: {traces}, {split}" if shown != traces else f"{traces}, {split}",
                    "shared": f"{found.shared} of {found.of}{' †' if found.shared else ''}" if found else "unknown",
                    "training traces": found.source if found else "not known",
                    "known how": found.why if found else "no record: a rule, or weights whose authors do not say",
                })  # fmt: skip
    emit(rows, as_json)
    if not as_json:
        console.print("†: test traces that share content, a recording or a run of samples with the training traces")


@app.command("audit")
def audit_command(
    name: Annotated[str, typer.Argument(help="Trace set; with --against also a task, or TASK/SETTING.")],
    against: Annotated[
        str | None, typer.Option(help="An agent, or `museum`, all published ones: what they trained on.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Of the settings: paper or embedded.")] = "paper",
    as_json: Json = False,
) -> None:
    """Certify the splits of a set: shared content, recordings, runs of samples, near copies; effective sizes.

    With --against, count instead the test traces that an agent has trained on.
    """
    if against:
        _audit_against(name, against, profile, as_json)
        return
    splits, missing = {}, []
    for split in ("train", "valid", "test"):
        try:
            splits[split] = room.load(name, split).traces
        except ConfigError as error:
            missing.append(error)
    if not splits:  # nothing was looked at, so nothing is certified
        raise missing[0]
    with remarks.status(f"comparing {sum(map(len, splits.values()))} traces of {name} with each other"):
        found = room.audit(splits)
    emit(
        [
            {
                "pair": f"{first} / {second}",
                "same content": len(names),
                "from shared recordings": found.shared_recordings[first, second],
                "sharing a run": len(found.overlapping[first, second]),
                "near copies": len(found.near[first, second]),
            }
            for (first, second), names in found.exact.items()
        ],
        as_json,
    )
    if not as_json:
        verdict = "no content stands in two splits" if found.clean else "splits share content"
        console.print(f"{verdict}; {'certified' if found.certified else 'not certified: splits are not independent'}")
        for split, count in found.counts.items():
            console.print(
                f"{split}: {count} traces, {found.recordings[split]} recordings, {found.clusters[split]} clusters, "
                f"effective sample size {found.effective[split]:.1f}"
                + "".join(f", {size:.1f} {factor}s" for factor, size in found.factors[split].items())
            )


@app.command("calibrate")
def calibrate_command(
    name: Name,
    split: Annotated[str, typer.Option(help="Split to fit to: never test.")] = "train",
    seed: Annotated[int, typer.Option(help="Seed of the fit and of the synthetic set.")] = 0,
    change: Annotated[
        list[float] | None, typer.Option(help="Second at which all traces change, fitted part by part; repeatable.")
    ] = None,
) -> None:
    """Fit the synthetic model to a set and print the catalog entry (TOML) of its synthetic twin."""
    from netllm_gym.traces.network.calibrate import calibrate, calibrate_phases, catalog_entry

    with room.training("fitting a synthetic set"):
        traces = room.load(name, split)
    if not isinstance(traces[0], NetworkTrace):
        raise ConfigError(f"{name} holds no network traces")
    fitted = calibrate_phases(traces.traces, change, seed) if change else [calibrate(traces.traces, seed)]
    worst = max(fit.worst for fit in fitted)
    if worst > 0.3:
        remarks.print(f"{name} has a structure this model cannot show: off by {worst:.2f} in a log statistic")
    label = Path(name).name or "set"
    print(catalog_entry(f"abr/synthetic-{label}", traces.name, fitted, seed, (100, 25, 60)), end="")
