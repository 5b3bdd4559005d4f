"""The commands that show what the audit found, guess a format and print a fit."""

from __future__ import annotations

import os
import tomllib

import pytest
from typer.testing import CliRunner

from netllm_gym import traces
from netllm_gym.cli.traces import app
from netllm_gym.errors import ConfigError, TraceFormatError


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


def test_import_says_what_it_guessed(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("time_s,throughput_mbps\n0,1\n1,2\n2,2\n")
    assert "read as network, csv: 1 network traces" in " ".join(
        run("import", str(tmp_path / "a.csv"), "--name", "cmd-a").split()
    )
    named = ("--time", "time_s", "--throughput", "throughput_mbps", "--throughput-unit", "kbps")
    assert "kept" in run("import", str(tmp_path / "a.csv"), "--name", "cmd-b", *named)
    assert "nothing was kept" in run("import", str(tmp_path / "a.csv"), "--dry-run")
    assert traces.load("user/cmd-b", "test")[0].throughput_mbps.tolist() == [0.001, 0.002]
    with pytest.raises(ConfigError, match="go together"):
        run("import", str(tmp_path / "a.csv"), "--name", "cmd-c", "--time", "time_s")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(TraceFormatError, match=r"a\.csv:1: looks like no known format"):
        run("import", str(tmp_path / "a.csv"), "--name", "cmd-c")


def test_audit_shows_independence_and_effective_size(tmp_path) -> None:
    found = " ".join(run("audit", "abr/synthetic-mahimahi-cellular").split())
    assert "certified" in found and "not certified" not in found
    assert "test: 60 traces, 60 recordings, 60 clusters, effective sample size 60.0" in found


def test_calibrate_prints_an_entry_and_refuses_test_traces() -> None:
    entry = tomllib.loads(run("calibrate", "abr/synthetic-volatile"))["abr/synthetic-synthetic-volatile"]
    assert next(iter(entry["families"].values()))["mean_mbps"] > 0
    entry = tomllib.loads(run("calibrate", "abr/synthetic-fcc-hd", "--change", "60"))["abr/synthetic-synthetic-fcc-hd"]
    assert [part["length_s"] for part in next(iter(entry["families"].values()))] == [60, 120]
    with pytest.raises(ConfigError, match="never 'test'"):
        run("calibrate", "abr/synthetic", "--split", "test")


MPD = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT40S"><Period><AdaptationSet '
    'contentType="video"><SegmentTemplate timescale="1000" duration="4000" media="$RepresentationID$/$Number$.m4s"/>'
    '<Representation id="a" bandwidth="300000"/><Representation id="b" bandwidth="1200000"/>'
    "</AdaptationSet></Period></MPD>"
)
SABRE = '{"segment_duration_ms": 3000, "bitrates_kbps": [230, 331], "segment_sizes_bits": [[886360, 1180512]]}'


@pytest.mark.parametrize(("name", "content"), [("a.mpd", MPD), ("video/a.xml", f"<!-- b -->{MPD}"), ("a.json", SABRE)])
def test_a_manifest_is_shown_as_the_video_it_is_and_is_no_trace(tmp_path, monkeypatch, name, content) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    found = run("info", name)
    assert "mean chunk" in found and "tables of quality: none" in found
    assert traces.load_video(name).levels == 2
    with pytest.raises(TraceFormatError, match=r"manifest of a video, not a trace: play it with the argument video="):
        run("import", name, "--dry-run")
    with pytest.raises(TraceFormatError, match="manifest of a video"):
        traces.load(path.parent)


def test_pipes_and_devices_are_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(TraceFormatError, match="neither an ordinary file nor a folder"):
            run("info", path)
        with pytest.raises(TraceFormatError, match="no ordinary file"):
            traces.load_video(path)
