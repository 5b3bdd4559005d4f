"""Servers that die, disks that are full, links that stand still, programs that are missing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from netllm_gym.cli import main, output
from netllm_gym.errors import ConfigError, NetLLMGymError
from netllm_gym.evaluation.use_counts import count_test_uses
from netllm_gym.testbed import content, dashjs, runner, setup, store, tools
from netllm_gym.testbed.plan import Condition, load_conditions
from netllm_gym.testbed.player import play_alone
from netllm_gym.traces import NetworkTrace, TraceSet
from tests.testbed.conftest import small_plans, small_video
from tests.testbed.test_play import SPEED, _with_servers

ARGUMENTS = {"conditions": ["broadband"], "profile": "embedded", "traces": 2, "chunks": 4, "parallel": 6, "speed": 20.0}


def _command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["netllm-gym", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


@pytest.mark.parametrize("which", ["policy", pytest.param("content", marks=pytest.mark.slow)])
def test_a_server_that_dies_fails_what_is_played_and_spares_the_rest(
    which: str, ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: dict[str, Any] = {}
    for name in ("policy", "content"):
        make = getattr(runner, f"{'link' if name == 'content' else 'policy'}_service")

        def keep(*given: Any, _make: Any = make, _name: str = name, **more: Any) -> Any:
            services[_name] = _make(*given, **more)
            return services[_name]

        monkeypatch.setattr(runner, make.__name__, keep)

    def kill() -> None:
        """Kill the server as soon as somebody plays."""
        playing: list[str] = []
        while not playing:
            with contextlib.suppress(httpx.HTTPError, KeyError):
                playing = httpx.get(f"{services['policy'].url}/sessions", trust_env=False).json()["playing"]
            time.sleep(0.02)
        services[which].process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    arguments = {**ARGUMENTS, "chunks": 6, "speed": 4.0}
    with pytest.raises(ConfigError, match=f"the {which} server died"):
        runner.run(["abr/bba"], out=tmp_path, progress=False, **{**arguments, "parallel": 2})
    killer.join()
    played = [json.loads(path.read_text())["row"] for path in tmp_path.glob("broadband/episodes/[!.]*.json")]
    assert 1 <= len(played) <= 2  # the others were not begun
    assert all(row["failed"] and row["reason"].startswith(f"{which} server: ") for row in played)
    lines: list[str] = []
    run = functools.partial(runner.run, ["abr/bba"], out=tmp_path, progress=False, say=lines.append)
    frame = run(**arguments)["broadband"].frame
    assert any(line.startswith(f"{6 - len(played)} episodes to play") for line in lines)
    assert frame["failed"].sum() == len(played)
    frame = run(**arguments, retry_failed=True)["broadband"].frame
    assert not frame["failed"].any() and len(frame) == 6


def test_an_outage_of_thirty_seconds_is_waited_through(content_folder: Path) -> None:
    trace = NetworkTrace("outage", [1.5, 30.0, 20.0], [1.0, 0.0, 2.0], "recording")
    condition = Condition("small", "small", "test", TraceSet("small", "test", (trace,)), small_video(), 0.04, "tests")
    plan = small_plans(condition, "abr/constant")[0]

    async def act(servers: str, decisions: str, _: object) -> Any:
        return await play_alone(f"{servers}/s/{plan.key}", f"{decisions}/s/{plan.key}", SPEED)

    outcome = asyncio.run(_with_servers([plan], content_folder, act))
    row = outcome.record["row"]
    assert not row["failed"] and len(outcome.measured) == 5
    assert max(entry.delay_s for entry in outcome.measured) > 25.0
    assert 10.0 < row["stall_s"] + row["startup_s"] < 40.0


def test_two_testbeds_play_side_by_side(ffmpeg, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def one(name: str) -> None:
        try:
            frame = runner.run([], out=tmp_path / name, progress=False, **{**ARGUMENTS, "traces": 1})["broadband"].frame
            assert not frame["failed"].any()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_two_that_build_the_same_content_agree(ffmpeg, tmp_path: Path) -> None:
    folders: list[Path] = []
    threads = [
        threading.Thread(target=lambda: folders.append(content.build(small_video(2), tmp_path / "same").folder))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [tmp_path / "same"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which needs root")
def test_a_disk_that_fills_up_while_content_is_built(ffmpeg, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        with pytest.raises(NetLLMGymError) as caught:
            content.build(small_video(), disk / "small")
        assert "No space left" in str(caught.value) and "\n" not in str(caught.value)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_under_the_results_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plans(load_conditions(["broadband"], "embedded", traces=1)[0], "abr/constant")[0]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write_text", full)
    with pytest.raises(ConfigError, match="the same command goes on from here"):
        store.write_record(tmp_path, plan, {"key": plan.key})


def test_missing_programs_are_one_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(output.console, "_width", 300)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(dashjs, "path", lambda: tmp_path / "dash.js")
    monkeypatch.setattr(tools.os, "geteuid", lambda: 1000)
    monkeypatch.delenv("NETLLM_GYM_CHROMIUM", raising=False)
    code, out, err = _command(monkeypatch, capsys, "doctor")
    assert code == 0 and "Traceback" not in err
    for hint in (
        "apt install ffmpeg",
        "apt install chromium",
        "apt install npm",
        "testbed setup",
        "apt install iproute2",
    ):
        assert hint in out, hint
    short = ("testbed", "run", "--agent", "abr/constant", "--profile", "embedded", "--traces", "1", "--chunks", "2",
             "--conditions", "broadband", "--out", str(tmp_path / "run"))  # fmt: skip
    for more, hint in ((("--client", "dash.js"), "apt install chromium"), (("--link", "kernel"), "--link embedded")):
        code, out, err = _command(monkeypatch, capsys, *short, *more)
        assert code == 2 and hint in err.replace("\n", " ") and "Traceback" not in err
    code, out, err = _command(monkeypatch, capsys, "testbed", "setup")
    assert code == 2 and "not root" in err and "no dash.js here" in err and "Traceback" not in err


def test_apt_without_a_network_is_a_reason_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    calls: list[list[str]] = []

    def broken(command: list[str], **more: Any) -> Any:
        calls.append(command)
        assert more["timeout"] is not None  # a download may not last for ever
        if len(calls) == 1:
            return subprocess.CompletedProcess(command, 100, "", "E: no\nroute")
        raise subprocess.TimeoutExpired(command, 1.0)

    monkeypatch.setattr(setup.subprocess, "run", broken)
    assert setup.install(["chromium"]) == "apt-get update: E: no route"
    assert setup.install(["chromium"], 1.0) == "apt-get update: TimeoutExpired"
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    assert setup.install(["chromium"]) == "no apt-get"


def test_a_package_that_conflicts_keeps_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    installed: list[str] = []

    def apt(command: list[str], **_: Any) -> Any:
        if command[-1] == "npm":
            return subprocess.CompletedProcess(command, 100, "", "nodejs : Conflicts: npm")
        if "install" in command and "--download-only" not in command:
            installed.append(command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(setup.subprocess, "run", apt)
    assert setup.install(["npm", "chromium"]) == "npm: nodejs : Conflicts: npm"
    assert installed == ["chromium"]


def test_a_run_looks_at_the_whole_test_set_once(
    ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted as an evaluation's looks are, and the report of the run says so."""
    content.build(load_conditions(["broadband"], "embedded", chunks=4)[0].video)  # in the cache that is left now
    cached = content.cache_dir()
    monkeypatch.setenv("NETLLM_GYM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "testbed").symlink_to(cached / "testbed")
    source = load_conditions(["broadband"], "embedded", traces=1)[0].source
    assert count_test_uses(source) == 0
    for _ in range(2):  # the second run finds everything on disk and looks at nothing
        result = runner.run([], out=tmp_path / "run", progress=False, **{**ARGUMENTS, "traces": 1})["broadband"]
        assert count_test_uses(source) == result.manifest["test_uses"] == 1
    code, _, _ = _command(monkeypatch, capsys, "report", str(tmp_path / "run" / "broadband"))
    assert code == 0
    page = (tmp_path / "run" / "broadband" / "report.html").read_text(encoding="utf-8")
    assert "this test set was scored once" in page and "abr/robust-mpc" in page
    assert np.isfinite(result.summary()["mean"]).all()
