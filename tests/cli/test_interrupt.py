"""Ctrl-C in the middle of work: exit code 130, one line, and the same command finishes what was begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netllm_gym.cli import app
from netllm_gym.cli.app import _interrupted
from netllm_gym.cli.app import _stopped as _stopped_words
from netllm_gym.errors import ConfigError

COLLECT = ("collect", "--dataset", "netllm_gym/test/stopped-v0", "--agent", "abr/robust-mpc", "--env-arg", "rtt_s=0.08")


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "MINARI_DATASETS_PATH": str(folder / "minari"), "COLUMNS": "200"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (os.getcwd(), env.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "netllm_gym", *arguments],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job inherits "ignored"
    )  # fmt: skip


def _stopped(process: subprocess.Popen[str], begun: Callable[[], bool]) -> tuple[int, str]:
    """Wait until work has begun, press Ctrl-C (as a terminal does: to the whole group), return code and stderr."""
    limit = time.monotonic() + 90
    while not begun() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, err


def _check(code: int, err: str) -> None:
    assert code == 130, err[-2000:]
    assert "stopped; the same command goes on from here" in err
    assert "Traceback" not in err, err[-2000:]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_collect_stops_and_goes_on(tmp_path: Path, workers: str) -> None:
    process = _start(tmp_path, *COLLECT, "--episodes", "20000", "--workers", workers)
    _check(*_stopped(process, lambda: any(tmp_path.rglob("[0-9]*.npz"))))
    assert any((tmp_path / "minari" / ".partial").rglob("[0-9]*.npz"))


def test_evaluate_stops_and_goes_on(tmp_path: Path) -> None:
    arguments = ("evaluate", "--agent", "abr/bba", "--episodes", "20000", "--out", "result")
    _check(*_stopped(_start(tmp_path, *arguments), lambda: any((tmp_path / "result").rglob("*.json"))))
    assert not (tmp_path / "result" / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.llm
def test_train_stops_and_goes_on(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        done = _start(tmp_path, *COLLECT[:2], f"netllm_gym/test/{split}-v0", "--agent", "abr/bba", "--hindsight",
                      "--episodes", "2", "--env-arg", f"split={split}")  # fmt: skip
        assert done.wait(120) == 0
    arguments = (
        "train", "llm", "--dataset", "netllm_gym/test/train-v0", "--valid", "netllm_gym/test/valid-v0",
        "--out", "agent", "--set", "backbone=tiny-random", "--set", "steps=100000",
    )  # fmt: skip
    process = _start(tmp_path, *arguments)
    _check(*_stopped(process, lambda: (tmp_path / "agent.run" / "log.jsonl").exists()))
    assert not (tmp_path / "agent").exists()


@pytest.mark.slow
def test_training_without_a_state_says_that_it_begins_again(tmp_path: Path) -> None:
    pytest.importorskip("d3rlpy")
    assert _start(tmp_path, *COLLECT, "--episodes", "2").wait(120) == 0
    process = _start(tmp_path, "train", "bc", "--dataset", COLLECT[2], "--out", "agent", "--set", "steps=20000",
                     "--set", "batch_size=2")  # fmt: skip
    assert process.stderr is not None
    shown = process.stderr
    code, err = _stopped(process, lambda: "bc step" in shown.readline())
    assert code == 130 and err.strip() == "stopped; recipe bc keeps no state, the same command begins again"
    assert not (tmp_path / "agent").exists()


def test_ctrl_c_promises_no_more_than_is_kept() -> None:
    assert "begins again" in _stopped_words(["train", "bc", "--out", "x"])
    assert "goes on" in _stopped_words(["train", "llm", "--out", "x"])
    assert _stopped_words(["bench", "envs"]) == "stopped"


def test_an_error_behind_an_interrupt_is_an_interrupt() -> None:
    try:
        try:
            raise KeyboardInterrupt
        finally:
            raise ValueError("seek of closed file")  # as a zip file that was being written does
    except ValueError as error:
        assert _interrupted(error)
    assert not _interrupted(ValueError("x"))


@pytest.mark.parametrize("kind", [ValueError, OSError, ConfigError])
def test_whatever_fails_behind_an_interrupt_the_command_ends_as_stopped(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(standalone_mode: bool) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise kind("closed")

    monkeypatch.setattr(app, "app", command)
    monkeypatch.setattr(sys, "argv", ["netllm-gym", "collect"])
    assert app._run() == 130
    assert "stopped" in capsys.readouterr().err
