"""Jobs that die at a chosen write boundary: ``python -m tests.killing`` forks a child for every line it is sent.

The server is a process of its own: it loaded what jobs need and trained nothing, so its children may.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from netllm_gym import files

TINY = {
    "backbone": "tiny-random", "layers": 1, "lora_rank": 2, "steps": 2, "eval_every": 1, "batch_size": 2,
}  # fmt: skip
OFFLINE = {"steps": 4, "batch_size": 8, "context": 4}
LESSONS = {"parts": 1, "chunks": 6, "futures": 1, "horizon": 1, "home_parts": 0, "copied_parts": 0}
_LINKS = ("abr/fcc-hsdpa", "abr/hsdpa", "abr/pensieve-classic", "abr/ghent-4g", "abr/fcc-sd", "abr/fcc-hd",
          "abr/irish-5g", "abr/mahimahi-cellular")  # fmt: skip
# Recipes that learn from public traces, and which.
NEEDS = {"abr-actor-critic": _LINKS, "abr-llm": _LINKS, "abr-regret-mlp": _LINKS, "generalist": ("viewport/jin2022",)}
# Recipe -> options so small that a training takes seconds.
TRAININGS: dict[str, dict[str, Any]] = {
    "bc": OFFLINE,
    "bcq": OFFLINE,
    "cql": OFFLINE,
    "decision-transformer": OFFLINE,
    "regret-mlp": {"hidden": 8, "ensemble": 2, "epochs": 2, "batch_size": 32},
    "llm": TINY,
    "abr-actor-critic": {"iterations": 2, "episodes": 16, "steps": 6, "epochs": 1, "batch_size": 64, "hidden": 8,
                         "check_every": 1, "warmup": 1},
    "abr-llm": {**TINY, **LESSONS},
    "abr-regret-mlp": {"hidden": 8, "epochs": 2, **LESSONS},
    "cluster-cql": {"steps": 4, "batch_size": 8, "traces": "cluster/synthetic", "sequences": 1, "jobs": 3,
                    "executors": 5},
    "cluster-decima": {"imitation": 1, "iterations": 2, "sequences": 1, "rollouts": 2, "jobs": 3, "executors": [5],
                       "epochs": 1, "batch": 64, "check_every": 1, "check_sequences": 1, "check_jobs": 3,
                       "embedding": 4, "hidden": 4, "traces": "cluster/synthetic"},
    "cluster-adaptive": {"generations": 2, "candidates": 4, "traces": (), "random": 1, "shapes": ("chain",)},
    "cluster-expert": {"states": 10, "valid_states": 6, "rounds": 2, "known": 0.0, "epochs": 1, "futures": 2,
                       "candidates": 3},
    "cluster-llm": {**TINY, "traces": "cluster/synthetic", "sequences": [1, 1], "jobs": 3, "executors": [5]},
    "viewport-crowd": {"history": 5, "future": 5, "width": 8, "heads": 2, "steps": 4, "batch_size": 4, "eval_every": 2,
                       "traces": "viewport/synthetic", "stride": 40},
    "viewport-llm": {**TINY, "traces": "viewport/synthetic", "stride": 40, "spacing": 40, "turns": 0, "mirror": False,
                     "future": 5},
    "viewport-gru": {"hidden": 8, "future": 5, "traces": "viewport/synthetic", "stride": 40, "turns": 1, "epochs": 2},
    "viewport-mlp": {"hidden": 8, "future": 5, "traces": "viewport/synthetic", "stride": 40, "turns": 1, "epochs": 2},
    "viewport-track": {"hidden": 8, "future": 5, "traces": "viewport/synthetic", "stride": 40, "turns": 1, "epochs": 2},
    "generalist": {**TINY, "tasks": ["viewport"]},
    "few-shot": {**TINY, "start_from": "", "description": "pick a bitrate"},
}  # fmt: skip
LESSONS_OF = "kill/lessons-v0"
LESSONS_AT = "KILL_LESSONS"  # the variable that says where they lie
DATA = ("bc", "bcq", "cql", "decision-transformer", "regret-mlp", "llm", "few-shot")


def content(folder: Path, *names: str) -> str:
    """Return a digest of the files of a folder that are named, by default of all below it, with their number."""
    members = [folder / name for name in names] or sorted(path for path in folder.rglob("*") if path.is_file())
    sha = hashlib.sha256()
    for path in members:
        sha.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{sha.hexdigest()[:16]} of {len(members)} files"


def lessons(root: Path) -> str:
    """Collect what the recipes in :data:`DATA` learn from."""
    import netllm_gym

    kwargs = {"traces": "abr/synthetic", "split": "train"}
    config = netllm_gym.CollectConfig(agents=("abr/bba",), episodes=2, env_kwargs=kwargs, hindsight="bound")
    return str(netllm_gym.collect(config, LESSONS_OF, progress=False))


def reproduce(root: Path) -> str:
    """Rebuild a corner of the headline table, one trained agent among the rules; return what stands in it."""
    from matplotlib.figure import Figure

    import netllm_gym.reproduce as room

    @functools.wraps(Figure.savefig)
    def drawn(figure: Any, target: Any, **_: Any) -> None:
        """Drawing takes most of the time: the files and their boundaries stay, without a picture."""
        target.write("<svg/>") if hasattr(target, "write") else Path(target).write_bytes(b"picture")

    Figure.savefig = drawn  # type: ignore[method-assign, assignment]
    room.replayed = lambda *_: ((), {})  # type: ignore[assignment]
    all_of = room.zoo_agents

    def one_of(task: str, profile: str) -> Any:
        agents, missing = all_of(task, profile)
        return [agent for agent in agents if "actor-critic" in agent.label][:1], missing

    room.zoo_agents = one_of  # type: ignore[assignment]
    room.reproduce(["abr"], "embedded", ["default"], out=root / "out", workers=1, episodes=1, progress=False, say=str)
    return content(root / "out", "reproduce.md", "reproduce.json")


def train(root: Path, recipe: str) -> str:
    """Train by a recipe; return what its checkpoint holds."""
    import netllm_gym
    from netllm_gym.datasets.store import load_experience

    data: dict[str, Any] = {}
    if recipe in DATA:
        own = os.environ["MINARI_DATASETS_PATH"]
        os.environ["MINARI_DATASETS_PATH"] = os.environ[LESSONS_AT]
        data = {"datasets": [load_experience(LESSONS_OF)]}
        os.environ["MINARI_DATASETS_PATH"] = own
        data["valid"] = data["datasets"] if recipe in ("regret-mlp", "llm", "few-shot") else None
    netllm_gym.train(recipe, out=root / "agent", options=TRAININGS[recipe], say=False, **data)
    return content(root / "agent")


def fetch(root: Path) -> str:
    """Fetch two sets and a video."""
    from netllm_gym import traces

    traces.fetch("abr/mahimahi-cellular")
    traces.fetch("video/envivio-dash3")
    return traces.load("abr/mahimahi-cellular", "all").digest + traces.load_video("envivio-dash3").digest


JOBS: dict[str, Callable[[Path], str]] = {
    **{f"train {name}": lambda root, name=name: train(root, name) for name in TRAININGS},  # type: ignore[misc]
    "lessons": lessons,
    "reproduce": reproduce,
    "fetch": fetch,
}


def child(
    job: Callable[[Path], str],
    root: Path,
    stop_at: int | None = None,
    own: Mapping[str, str] | None = None,
    passed_before: Collection[str] | None = None,
) -> tuple[int, str, list[str]]:
    """Run a job in a forked process that dies at a write boundary.

    Args:
        job: what to run.
        root: its folder; the caches lie below it.
        stop_at: number of the boundary to die at; or ``None``.
        own: variables of the environment.
        passed_before: die at the first boundary that is not among these.

    Returns:
        Exit status (1: the job failed), result (empty after a death) and the boundaries that were passed; after a
        death the last is where.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.environ |= {"NETLLM_GYM_CACHE": str(root / "cache"), "MINARI_DATASETS_PATH": str(root / "minari")}
        os.environ |= own or {}
        passed: list[str] = []

        def answer(result: str) -> None:
            with os.fdopen(write, "w") as pipe:
                pipe.write(json.dumps([result, passed]))

        def watch(moment: str, path: Path) -> None:
            place = f"{moment} {path.name}"
            passed.append(place)
            if len(passed) - 1 == stop_at or (passed_before is not None and place not in passed_before):
                answer("")
                os._exit(9)  # as SIGKILL: no clean-up runs

        files.watch(watch)
        try:
            result = job(root)
        except BaseException as error:
            answer(f"{type(error).__name__}: {error}")
            os._exit(1)
        answer(result)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    result, passed = json.loads(text) if text else ("", [])
    return os.waitstatus_to_exitcode(status), result, passed


Run = Callable[[Path, int | None, Collection[str] | None], tuple[int, str, list[str]]]


def leftovers(root: Path) -> list[str]:
    """Return what interrupted writers left below a folder."""
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.name.startswith((".nlg-", ".new-")) or (path.parent.name == ".partial" and path.is_dir())
    ]


def check(run: Run, tmp_path: Path, least: int, swept: bool = True) -> None:
    """Die at each boundary of a job, in a folder each; the job done again must end as if it had not been stopped."""
    status, expected, passed = run(tmp_path / "whole", None, None)
    assert status == 0 and len(passed) >= least, expected
    for stop, place in enumerate(passed):
        root = tmp_path / f"stop{stop}"
        assert run(root, stop, None)[0] == 9
        status, result, _ = run(root, None, None)
        assert (status, result) == (0, expected), f"after a death at boundary {stop}: {place}"
        if swept:
            assert leftovers(root) == [], f"after a death at boundary {stop}: {place}"
        shutil.rmtree(root)
    print(f"{len(passed)} boundaries")


def check_chain(run: Run, tmp_path: Path, least: int, swept: bool = True) -> None:
    """Die at every boundary of a job once, one death after the other in one folder, until the job ends."""
    status, expected, _ = run(tmp_path / "whole", None, None)
    assert status == 0, expected
    died: list[str] = []
    while True:
        status, result, passed = run(tmp_path / "often", None, died)
        if status == 0:
            break
        assert status == 9 and passed[-1] not in died, result
        died.append(passed[-1])
    assert result == expected, f"after deaths at {died}"
    assert len(died) >= least
    if swept:
        assert leftovers(tmp_path / "often") == []
    print(f"{len(died)} boundaries")


class Server:
    """Runs the jobs of :data:`JOBS`, each in a fork of a process that has the package loaded."""

    def __init__(self, **own: str) -> None:
        root = Path(__file__).resolve().parents[1]
        path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        self.own = own
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.killing"], cwd=root, env={**os.environ, "PYTHONPATH": path}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def job(self, name: str) -> Run:
        """Return what runs a job as :func:`child` does."""
        assert self.process.stdin and self.process.stdout
        sink, source = self.process.stdin, self.process.stdout

        def run(root: Path, stop_at: int | None, before: Collection[str] | None) -> tuple[int, str, list[str]]:
            root.mkdir(parents=True, exist_ok=True)
            sink.write(
                json.dumps([name, str(root), stop_at, self.own, None if before is None else list(before)]) + "\n"
            )
            sink.flush()
            status, result, passed = json.loads(source.readline())
            return status, result, passed

        return run

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what jobs print is no answer
    modules = ("minari", "pandas", "netllm_gym.recipes.run", "netllm_gym.datasets.collect", "torch", "transformers",
               "netllm_gym.agents.llm.trainer", "netllm_gym.agents.offline.algorithms", "netllm_gym.agents.abr.ppo",
               "netllm_gym.agents.cluster.decima_training", "netllm_gym.agents.cluster.expert",
               "netllm_gym.evaluation.runner", "peft", "d3rlpy",
               "netllm_gym.reproduce", "netllm_gym.evaluation.report")  # fmt: skip
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            continue
    for line in sys.stdin:
        job, root, stop_at, own, before = json.loads(line)
        answers.write(json.dumps(child(JOBS[job], Path(root), stop_at, own, before)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
