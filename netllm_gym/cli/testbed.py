"""``netllm-gym testbed``: the same agents over real HTTP and in a real browser, in real time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from netllm_gym.cli.output import EnvArgs, NoOptions, console, emit, parse_settings, remarks

app = typer.Typer(help="Play agents on a real player over a real link, in real time.", no_args_is_help=True)

Agents = Annotated[list[str], typer.Option("--agent", help="Agent or checkpoint folder, or dash.js/bola …; repeat.")]
Conditions = Annotated[str, typer.Option(help="Comma-separated: broadband, cellular, 5g; default: all.")]
Traces = Annotated[int, typer.Option(help="Traces per condition.")]
Videos = Annotated[int, typer.Option(help="Videos per condition, 1 or 2.")]
Chunks = Annotated[int | None, typer.Option(help="Play only the first so many chunks of each video.")]
Client = Annotated[str, typer.Option(help="python or dash.js (headless Chromium).")]
Profile = Annotated[str, typer.Option(help="paper (public traces) or embedded (synthetic ones).")]
Seed = Annotated[int, typer.Option(help="Seed of the agents' own draws.")]
Out = Annotated[str, typer.Option(help="Folder for results.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

COLUMNS = ("condition", "agent", "mean", "ci_low", "ci_high", "difference", "verdict")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(line: str) -> None:
    remarks.print(line, soft_wrap=True, markup=False)


def _show(results: dict[str, Any], as_json: bool) -> None:
    """Print the table, and why a number is missing where one is."""
    rows = _summaries(results)
    emit(rows, as_json)
    for name, result in results.items():
        for label, reason in result.failures.items():
            _say(f"{name}: {label} failed in every episode, so there is no number of it: {reason}")
    played = [row for row in rows if not math.isnan(row["mean"])]
    if any(math.isnan(row["ci_low"]) for row in played):
        _say("ci_low and ci_high are missing where there are too few traces to resample; play more with --traces")
    for name, result in results.items():
        baseline = result.manifest["baseline"]
        if baseline in result.failures:
            _say(f"{name}: no difference and no verdict, since the baseline {baseline} failed in every episode")
        elif len(result.failures) < len(result.agents) - 1:
            _say(f"{name}: differences are to the baseline {baseline}, which has none of its own")


def _summaries(results: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, result in results.items():
        extra = result.frame.groupby("agent")[["stall_s", "startup_s", "decision_p50_ms", "failed"]].mean()
        for row in result.summary().reset_index().to_dict("records"):
            own = {key: ({"condition": name} | row)[key] for key in COLUMNS if key in row or key == "condition"}
            rows.append(own | extra.loc[row["agent"]].to_dict())
    return rows


@app.command("run")
def run_command(
    agent: Agents,
    conditions: Conditions = "",
    traces: Traces = 8,
    videos: Videos = 1,
    chunks: Chunks = None,
    parallel: Annotated[int, typer.Option(help="Sessions at a time, each with a link of its own.")] = 8,
    client: Client = "python",
    link: Annotated[str, typer.Option(help="embedded (no privileges) or kernel (root).")] = "embedded",
    speed: Annotated[float, typer.Option(help="Faster than real time, for tries; every delay counts so much.")] = 1.0,
    profile: Profile = "paper",
    seed: Seed = 0,
    out: Out = "runs/testbed",
    retry_failed: Annotated[bool, typer.Option(help="Play failed episodes again.")] = False,
    as_json: Json = False,
) -> None:
    """Play every agent on the same episodes; the same command resumes a stopped run."""
    from netllm_gym.testbed import run

    results = run(
        agent, _names(conditions), traces=traces, videos=videos, chunks=chunks, parallel=parallel, client=client,
        link=link, speed=speed, profile=profile, seed=seed, out=out, retry_failed=retry_failed, say=_say,
    )  # fmt: skip
    _show(results, as_json)
    if not as_json:
        console.print(f"next: netllm-gym testbed compare {out}", soft_wrap=True, markup=False)


@app.command("compare")
def compare_command(
    folder: Annotated[Path, typer.Argument(help="Folder that testbed run wrote.")],
    env_arg: EnvArgs = None,
    set: NoOptions = None,
    agents: Annotated[bool, typer.Option(help="Also print the agents' means, real and simulated.")] = True,
    as_json: Json = False,
) -> None:
    """Compare a run with the simulator: download times, QoE, ranking, calibrated parameters, buffers over time."""
    from netllm_gym.evaluation import canvas
    from netllm_gym.testbed import compare
    from netllm_gym.testbed.comparison import WAYS
    from netllm_gym.testbed.figure import buffers

    comparisons = compare(folder, parse_settings(env_arg or [], "--env-arg"))
    rows = [comparison.row(way) for comparison in comparisons.values() for way in WAYS]
    parameters = [comparison.calibrated() for comparison in comparisons.values()]
    for comparison in comparisons.values():
        for sentence in comparison.gaps():
            _say(f"{comparison.condition.name}: {sentence}")
    if as_json:
        emit([row | {"calibration": own} for row, own in zip(rows[1::2], parameters, strict=True)], True)
        return
    emit(rows, False)
    emit(parameters, False)
    if agents:
        emit(
            [
                {"condition": name, "agent": label, **row}
                for name, comparison in comparisons.items()
                for label, row in comparison.agents().to_dict("index").items()
            ],
            False,
        )
    canvas.write(buffers(comparisons), folder / "buffers.png")
    console.print(f"figure: {folder / 'buffers.png'}", soft_wrap=True, markup=False)


@app.command("serve")
def serve_command(
    agent: Agents,
    conditions: Conditions = "",
    traces: Traces = 8,
    videos: Videos = 1,
    chunks: Chunks = None,
    client: Client = "python",
    profile: Profile = "paper",
    seed: Seed = 0,
    host: Annotated[str, typer.Option(help="Address to listen on; everybody who reaches it can play.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the policy server; the content server takes the next.")] = 8090,
    out: Out = "runs/testbed",
) -> None:
    """Offer sessions to a player on another machine until all are played."""
    from netllm_gym.testbed import serve

    results = serve(
        agent, _names(conditions), traces=traces, videos=videos, chunks=chunks, client=client, profile=profile,
        seed=seed, host=host, port=port, out=out, say=_say,
    )  # fmt: skip
    if results:
        _show(results, False)


@app.command("play")
def play_command(
    server: Annotated[str, typer.Argument(help="Address that testbed serve printed.")],
    parallel: Annotated[int, typer.Option(help="Sessions at a time.")] = 1,
) -> None:
    """Play what a server on another machine offers, with the headless player."""
    from netllm_gym.testbed.remote import play_there

    console.print(f"{play_there(server, parallel, _say)} sessions played")


@app.command("content")
def content_command(
    video: Annotated[str, typer.Argument(help="Catalog name of a video, or a manifest's path.")],
    out: Annotated[Path, typer.Argument(help="Folder for the files.")],
) -> None:
    """Write a video as plain DASH files, every segment as large as its manifest says."""
    from netllm_gym.testbed import content
    from netllm_gym.traces import load_video

    console.print(f"written: {content.build(load_video(video), say=_say).export(out)}", soft_wrap=True, markup=False)


@app.command("setup")
def setup_command(
    timeout: Annotated[float, typer.Option(help="Seconds for apt's downloads.")] = 600.0,
    as_json: Json = False,
) -> None:
    """Bring ffmpeg, Chromium, npm and iproute2 by apt (root), and dash.js by npm; else say how to get them."""
    from netllm_gym.errors import ConfigError
    from netllm_gym.testbed import setup

    emit(setup.setup(_say, timeout), as_json)
    if reason := setup.browser_ready():
        raise ConfigError(f"no dash.js here: {reason}")
