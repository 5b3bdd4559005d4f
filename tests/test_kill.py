"""A process that dies at any write boundary loses nothing: the same command ends in the result of an uninterrupted run.

Every write goes through ``netllm_gym.files``, which marks its boundaries. A child process runs a job and dies, without
any clean-up, at the k-th boundary, for every k there is; a second child runs the same job to its end.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from netllm_gym import files

PRELOADED = ("minari", "pandas", "netllm_gym.evaluation.runner", "netllm_gym.datasets.collect", "netllm_gym.agents.abr")
KWARGS = {"traces": "abr/synthetic", "split": "train"}


def collecting(root: Path) -> str:
    from netllm_gym.datasets.collect import CollectConfig, collect
    from netllm_gym.datasets.store import describe, load_experience

    name = "kill/mix-v0"
    collect(CollectConfig(agents=("abr/bba", "abr/rate-based"), episodes=18, env_kwargs=KWARGS), name, progress=False)
    steps = sum(len(episode.rewards) for episode in load_experience(name).episodes)
    return f"{describe(name)['digest']} {steps}"


def evaluating(root: Path) -> str:
    from netllm_gym import evaluate

    result = evaluate(
        env="netllm_gym/ABR-v0", agents=["abr/bba", "abr/rate-based"], episodes=4, out=root / "out", progress=False
    )
    return f"{result.digest} {sorted(p.name for p in (root / 'out').iterdir() if p.is_file())}"


def importing(root: Path) -> str:
    from netllm_gym import traces

    for split in ("train", "test"):
        (root / f"{split}.txt").write_text("".join(f"{i} {1 + len(split)}.{i}\n" for i in range(9)))
        traces.import_set(root / f"{split}.txt", "mine", split)
    return " ".join(traces.load("user/mine", split).digest for split in ("train", "test"))


def fetching(root: Path) -> str:
    from netllm_gym import traces

    traces.fetch("abr/mahimahi-cellular")
    traces.fetch("video/envivio-dash3")
    return traces.load("abr/mahimahi-cellular", "all").digest + traces.load_video("envivio-dash3").digest


def training(root: Path) -> str:
    """Adam on a small network, its state stored after every step, and a checkpoint at the end: what recipes do."""
    import torch
    from safetensors.torch import save_file

    from netllm_gym.agents import run_state
    from netllm_gym.agents.checkpoint import write_checkpoint

    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    config, step = {"lr": 0.1}, 0
    run = root / "run"
    if run_state.stored(run):
        networks, about = run_state.resume(run, config, ("net",), optimiser)
        network.load_state_dict(networks["net"])
        step = about["step"]
    while step < 3:
        optimiser.zero_grad()
        network(torch.full((1, 3), float(step))).square().sum().backward()
        optimiser.step()
        step += 1
        about = {"config": config, "step": step}
        run_state.store(run, {"net": network.state_dict()}, optimiser, about, {"step": step})
    for _ in range(2):  # the second replaces the first
        description = {"kind": "regret-mlp", "env_id": "netllm_gym/ABR-v0", "config": {}}
        write_checkpoint(
            root / "agent", description, lambda folder: save_file(network.state_dict(), folder / "w.safetensors")
        )
    kept = [*sorted((root / "agent").iterdir()), run / "log.jsonl", *sorted(run.glob("*.safetensors"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in kept)).hexdigest() + str(len(kept))


def child(job: Callable[[Path], str], root: Path, stop_at: int | None) -> tuple[int, str, int]:
    """Run a job in a forked process that dies at boundary `stop_at`; return its status, result and boundaries."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.environ |= {"NETLLM_GYM_CACHE": str(root / "cache"), "MINARI_DATASETS_PATH": str(root / "minari")}
        count = 0

        def watch(moment: str, path: Path) -> None:
            nonlocal count
            if count == stop_at:
                os._exit(9)  # as SIGKILL: no clean-up runs
            count += 1

        files.watch(watch)
        try:
            answer = json.dumps([job(root), count])
        except BaseException as error:
            answer = json.dumps([f"{type(error).__name__}: {error}", -1])
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    result, count = json.loads(text) if text else ("", 0)
    return os.waitstatus_to_exitcode(status), result, count


def leftovers(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.name.startswith((".nlg-", ".new-")) or (path.parent.name == ".partial" and path.is_dir())
    ]


def check(job: Callable[[Path], str], tmp_path: Path, least: int) -> None:
    for module in PRELOADED:  # once, not in every child
        importlib.import_module(module)
    (tmp_path / "whole").mkdir()
    status, expected, boundaries = child(job, tmp_path / "whole", None)
    assert status == 0 and boundaries >= least, expected
    for stop in range(boundaries):
        root = tmp_path / f"stop{stop}"
        root.mkdir()
        assert child(job, root, stop)[0] == 9
        status, found, _ = child(job, root, None)
        assert (status, found) == (0, expected), f"after a death at boundary {stop}"
        if job is not fetching:  # the cache is swept when a day has passed
            assert leftovers(root) == [], f"after a death at boundary {stop}"


def test_collect(tmp_path) -> None:
    check(collecting, tmp_path, 9)


def test_evaluate(tmp_path) -> None:
    check(evaluating, tmp_path, 9)


def test_import(tmp_path) -> None:
    check(importing, tmp_path, 6)


@pytest.mark.slow
def test_train(tmp_path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("safetensors.torch")
    check(training, tmp_path, 20)


@pytest.mark.slow
@pytest.mark.realdata
def test_fetch(tmp_path, fcc_hsdpa) -> None:
    check(fetching, tmp_path, 6)


def test_two_writers_of_one_dataset_are_told_apart(tmp_path) -> None:
    from netllm_gym.errors import ConfigError

    with files.lock(tmp_path / "a", "dataset a"):
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                with files.lock(tmp_path / "a", "dataset a"):
                    os.write(write, b"both")
            except ConfigError as error:
                os.write(write, str(error).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        assert b"another process" in os.read(read, 200)
    with files.lock(tmp_path / "a", "dataset a"):
        pass


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_one_line(tmp_path, monkeypatch) -> None:
    import errno

    from netllm_gym.errors import StorageError

    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "x.txt", "1")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("netllm_gym.files.os.replace", full)
    with pytest.raises(StorageError, match="disk is full"):
        files.write_text(tmp_path / "y.txt", "1")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
