"""A task of another package: installed beside this one, every command plays, collects, trains and reports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "examples" / "fourth_task"

# All commands in one process: starting Python ten times would cost more than the commands.
COMMANDS = """
import sys
from netllm_gym.cli import main
from netllm_gym.evaluation import canvas

canvas._STYLE["pdf.fonttype"] = 3  # as in tests/conftest.py

def run(*words):
    sys.argv = ["netllm-gym", *words]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)

play = ("--task", "congestion", "--agent", "congestion/bbr")
run("evaluate", *play, "--episodes", "4", "--out", "played")
run("evaluate", *play, "--setting", "unseen2", "--episodes", "2", "--out", "unseen")
env = ("--env", "congestion/Sender-v0", "--env-arg", "seconds=2")
run("evaluate", *env, "--agent", "mine:Mine", "--agent", "congestion/aimd", "--episodes", "2", "--out", "own")
run("collect", *env, "--agent", "congestion/bbr", "--agent", "congestion/aimd", "--episodes", "6", "--workers", "2",
    "--dataset", "me/congestion/train-v0")
run("collect", *env, "--agent", "congestion/bbr", "--env-arg", "split=valid", "--episodes", "2",
    "--dataset", "me/congestion/valid-v0")
run("matrix", *play, "--agent", "congestion/aimd", "--episodes", "2", "--out", "matrix")
run("reproduce", "--task", "congestion", "--profile", "embedded", "--episodes", "2", "--workers", "1",
    "--out", "reproduced")
run("traces", "info", "congestion/bursty")
run("agents", "congestion")
"""
TRAINING = """
options = ["backbone=tiny-random", "objective=cloning", "steps=4", "eval_every=2", "batch_size=2", "layers=1"]
run("train", "llm", "--dataset", "me/congestion/train-v0", "--valid", "me/congestion/valid-v0", "--out", "sender",
    *[word for option in options for word in ("--set", option)])
run("evaluate", "--task", "congestion", "--agent", "sender", "--episodes", "2", "--env-arg", "seconds=2",
    "--out", "learnt")
"""
AGENT = """
from netllm_gym import Agent

class Mine(Agent):
    def act(self, observation, info):
        return 3
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for path in sorted(PACKAGE.rglob("*")):  # the checkout stays free of build leftovers
        if path.is_file() and path.suffix in (".py", ".toml", ".md"):
            copy = source / path.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(target), str(source)], check=True, capture_output=True)
    return target


def test_the_fourth_task_is_a_task_like_the_others(installed: Path, tmp_path: Path) -> None:
    try:
        import torch  # noqa: F401

        commands = COMMANDS + TRAINING
    except ImportError:
        commands = COMMANDS
    (tmp_path / "mine.py").write_text(AGENT)
    (tmp_path / "commands.py").write_text(commands)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)]),
        "MINARI_DATASETS_PATH": str(tmp_path / "minari"),
    }
    done = subprocess.run(
        [sys.executable, "commands.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    manifest = json.loads((tmp_path / "played" / "manifest.json").read_text())
    assert manifest["metric"]["name"] == "utility" and manifest["baseline"] == "congestion/aimd"
    assert manifest["setting"]["task"] == "congestion"
    page = (tmp_path / "played" / "report.html").read_text()
    assert "congestion/bbr" in page and "utility" in page
    rows = (tmp_path / "own" / "episodes.csv").read_text()
    assert "mine:Mine" in rows and "True" not in rows
    assert "congestion/steady" in (tmp_path / "matrix" / "matrix.md").read_text()
    assert "Congestion control" in (tmp_path / "reproduced" / "reproduce.md").read_text()
    assert "congestion/bursty" in (tmp_path / "minari" / "me" / "congestion" / "train-v0" / "README.md").read_text()
    if commands != COMMANDS:
        assert json.loads((tmp_path / "sender" / "agent.json").read_text())["env_id"] == "congestion/Sender-v0"
        rows = (tmp_path / "learnt" / "episodes.csv").read_text()
        assert "sender" in rows and "True" not in rows


def test_the_package_uses_public_names_only() -> None:
    """No module below a room's door, so that this package may change inside."""
    allowed = {"netllm_gym", "netllm_gym.errors", "netllm_gym.traces", "netllm_gym_congestion"}
    for path in PACKAGE.rglob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("from netllm_gym", "import netllm_gym")):
                module = line.split()[1]
                assert module in allowed or module.startswith("netllm_gym_congestion."), f"{path.name}: {line}"


def test_the_environment_passes_gymnasiums_check(installed: Path) -> None:
    code = (
        "import gymnasium, netllm_gym_congestion\n"
        "from gymnasium.utils.env_checker import check_env\n"
        "check_env(gymnasium.make('congestion/Sender-v0').unwrapped, skip_render_check=True)\n"
    )
    path = os.pathsep.join([str(installed), str(ROOT)])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
