"""The runner: rows, resuming after a kill, two at once, and what cannot be played."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from netllm_gym.errors import ConfigError, DatasetError, MissingExtraError, UnknownNameError
from netllm_gym.evaluation import EvaluationResult
from netllm_gym.testbed import list_conditions, runner, setup, store, tools
from netllm_gym.testbed.comparison import compare
from netllm_gym.testbed.plan import load_conditions

ARGUMENTS = {"conditions": ["broadband"], "profile": "embedded", "traces": 2, "chunks": 4, "parallel": 6, "speed": 20.0}


@pytest.fixture(scope="module")
def finished(ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of three agents on two traces."""
    out = tmp_path_factory.mktemp("testbed") / "run"
    runner.run(["abr/bba"], out=out, progress=False, **ARGUMENTS)
    return out


def test_a_run_is_an_evaluation(finished: Path) -> None:
    result = EvaluationResult.load(finished / "broadband")
    assert result.agents == ["abr/bba", "abr/robust-mpc", "abr/constant"]
    assert len(result.frame) == 6 and not result.frame["failed"].any()
    summary = result.summary().set_index("agent")
    assert np.isfinite(summary["mean"]).all() and np.isfinite(summary.loc["abr/bba", "difference"])
    assert (result.frame["decision_p50_ms"] >= result.frame["latency_p50_ms"]).all()
    assert len(result.steps) == 6 * 4
    assert result.report(finished / "broadband").is_file()


def test_the_same_command_plays_nothing_twice(finished: Path) -> None:
    episodes = sorted(finished.glob("broadband/episodes/*.json"))
    before = [path.stat().st_mtime_ns for path in episodes]
    lines: list[str] = []
    results = runner.run(["abr/bba"], out=finished, progress=False, say=lines.append, **ARGUMENTS)
    assert [path.stat().st_mtime_ns for path in episodes] == before
    assert len(results["broadband"].frame) == 6
    assert not any("to play" in line for line in lines)


def test_only_what_is_missing_or_damaged_is_played_again(finished: Path) -> None:
    episodes = sorted(finished.glob("broadband/episodes/*.json"))
    episodes[0].unlink()
    episodes[1].write_text(episodes[1].read_text()[:50])
    before = [path.stat().st_mtime_ns for path in episodes[2:]]
    lines: list[str] = []
    runner.run(["abr/bba"], out=finished, progress=False, say=lines.append, **ARGUMENTS)
    assert any(line.startswith("2 episodes to play") for line in lines)
    assert [path.stat().st_mtime_ns for path in episodes[2:]] == before


def test_a_failed_episode_stays_failed_unless_asked(finished: Path) -> None:
    path = sorted(finished.glob("broadband/episodes/*.json"))[0]
    record = json.loads(path.read_text())
    record["row"].update(failed=True, reason="policy server: ConnectError", qoe=float("nan"), mean_reward=float("nan"))
    path.write_text(json.dumps(record))
    frame = runner.run(["abr/bba"], out=finished, progress=False, **ARGUMENTS)["broadband"].frame
    assert frame["failed"].sum() == 1
    frame = runner.run(["abr/bba"], out=finished, progress=False, retry_failed=True, **ARGUMENTS)["broadband"].frame
    assert frame["failed"].sum() == 0


def test_every_episode_has_its_twin(finished: Path) -> None:
    found = compare(finished)["broadband"]
    for way in ("plain", "calibrated"):
        row = found.row(way)
        assert row["episodes"] == 6 and row["segments"] == 24 and np.isfinite(row["time_error_median"])
    assert set(found.agents().index) == {"abr/bba", "abr/robust-mpc", "abr/constant"}
    constant = found.episodes[found.episodes["agent"] == "abr/constant"]
    assert (constant["plain_same_levels"] == 1.0).all()
    with pytest.raises(DatasetError, match="no testbed run"):
        compare(finished / "broadband")


def test_kill_and_go_on(ffmpeg, tmp_path: Path) -> None:
    """A run that is killed leaves whole files, no server behind, and goes on with what is missing."""
    code = (
        "from netllm_gym.testbed.runner import run\n"
        "if __name__ == '__main__':\n"
        f"    run(['abr/bba'], out={str(tmp_path / 'run')!r}, progress=False, **{ {**ARGUMENTS, 'parallel': 1} })\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], cwd=Path.cwd())
    episodes = tmp_path / "run" / "broadband" / "episodes"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None and len(list(episodes.glob("[!.]*.json"))) < 1:
        time.sleep(0.1)
    children = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = list(episodes.glob("[!.]*.json"))
    assert kept and len(kept) < 6
    for path in kept:
        json.loads(path.read_text())
    while time.monotonic() < deadline + 10 and any(_alive(child) for child in children):
        time.sleep(0.1)
    assert not any(_alive(child) for child in children)
    lines: list[str] = []
    runner.run(["abr/bba"], out=tmp_path / "run", progress=False, say=lines.append, **ARGUMENTS)
    assert any(line.startswith(f"{6 - len(kept)} episodes to play") for line in lines), (len(kept), lines)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_two_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    with store.alone_in(tmp_path), pytest.raises(ConfigError, match="another testbed"), store.alone_in(tmp_path):
        pass
    with store.alone_in(tmp_path):
        pass


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client": "vlc"}, "client is"),
        ({"link": "carrier pigeon"}, "link is"),
        ({"speed": 0.0}, "speed"),
        ({"parallel": 0}, "parallel"),
        ({"traces": 0}, "at least one trace"),
        ({"videos": 3}, "has 2 videos"),
        ({"chunks": 1}, "at least 2 chunks"),
        ({"conditions": ["dial-up"]}, "unknown condition"),
        ({"profile": "lab"}, "unknown profile"),
        ({"agents": ["abr/oracle"]}, "looks into the simulator"),
        ({"agents": ["dash.js/bola"]}, "--client dash.js"),
        ({"agents": ["abr/nobody"]}, "unknown agent"),
        ({"link": "kernel", "speed": 2.0}, "faster than real time"),
    ],
)
def test_what_cannot_be_played_is_one_line(change: dict, error: str, tmp_path: Path) -> None:
    arguments = {"agents": ["abr/bba"], "out": tmp_path / "x", "progress": False, **ARGUMENTS, **change}
    with pytest.raises((ConfigError, UnknownNameError), match=error):
        runner.run(**arguments)


def test_what_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETLLM_GYM_CHROMIUM", raising=False)
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    for call, hint in (
        (tools.chromium, "apt install chromium"),
        (tools.npm, "apt install npm"),
        (tools.need_kernel, "--link embedded"),
    ):
        with pytest.raises(ConfigError, match=hint):
            call()
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(MissingExtraError, match=r"netllm-gym\[testbed\]"):
        runner.Setup().check()
    assert any("missing" in row["value"] for row in setup.survey())


def test_conditions_cover_networks_and_two_videos() -> None:
    assert list_conditions() == ["broadband", "cellular", "5g"]
    chosen = load_conditions(profile="embedded", traces=3, videos=2)
    assert [c.name for c in chosen] == ["broadband", "broadband-2", "cellular", "cellular-2", "5g", "5g-2"]
    for condition in chosen:
        assert len(condition.traces) == 3 and condition.video.chunks == 48
        assert condition.traces.digest == chosen[2 * (chosen.index(condition) // 2)].traces.digest


def test_few_recordings_are_played_from_several_places() -> None:
    condition = load_conditions(["5g"], "embedded", traces=3)[0]
    again = load_conditions(["5g"], "embedded", traces=200)[0]
    starts = [(trace.group, trace.start_s) for trace in again.traces]
    assert len(set(starts)) == len(starts) == 200
    assert len({trace.name for trace in again.traces}) == 200
    assert all(0 <= trace.start_s < trace.total_s for trace in again.traces)
    assert len({trace.group for trace in condition.traces}) == 3
