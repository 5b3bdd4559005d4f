"""A process that dies at any write boundary loses nothing: the same command ends in the result of an uninterrupted run.

Every write goes through ``netllm_gym.files``, which marks its boundaries. A child process runs a job and dies, without
any clean-up, at the k-th boundary, for every k there is; a second child runs the same job to its end.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from netllm_gym import files
from tests.killing import LESSONS_AT, LESSONS_OF, NEEDS, TRAININGS, Run, Server, check, check_chain, child, fetch

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


def forked(job: Callable[[Path], str]) -> Run:
    for module in PRELOADED:  # once, not in every child
        importlib.import_module(module)

    def run(root: Path, stop_at: int | None, before: Collection[str] | None) -> tuple[int, str, list[str]]:
        root.mkdir(parents=True, exist_ok=True)
        return child(job, root, stop_at, None, before)

    return run


def test_collect(tmp_path) -> None:
    check(forked(collecting), tmp_path, 9)


def test_evaluate(tmp_path) -> None:
    check(forked(evaluating), tmp_path, 9)


def test_import(tmp_path) -> None:
    check(forked(importing), tmp_path, 6)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A process with everything loaded; its jobs share a cache and the lessons that some learn from."""
    pytest.importorskip("torch")
    shared = tmp_path_factory.mktemp("shared")
    found = Server(NETLLM_GYM_CACHE=os.environ["NETLLM_GYM_CACHE"], MINARI_DATASETS_PATH=str(shared))
    status, name, _ = found.job("lessons")(shared, None, None)
    assert (status, name) == (0, LESSONS_OF)
    # From here on each job keeps datasets of its own below its folder, except that it finds the lessons.
    found.own = {"NETLLM_GYM_CACHE": os.environ["NETLLM_GYM_CACHE"], LESSONS_AT: str(shared)}
    yield found
    found.close()


FAST = ("regret-mlp",)


@pytest.mark.parametrize(
    "recipe", [pytest.param(r, marks=() if r in FAST else pytest.mark.slow) for r in TRAININGS if r not in NEEDS]
)
def test_train(server, tmp_path, recipe) -> None:
    if recipe in ("bc", "bcq", "cql", "decision-transformer", "cluster-cql"):
        pytest.importorskip("d3rlpy")
    check(server.job(f"train {recipe}"), tmp_path, 3)


def test_every_recipe_is_trained_here() -> None:
    from netllm_gym.recipes.base import list_recipes

    ours = {name for name in list_recipes() if not name.startswith("test/")}  # other tests register theirs
    assert ours == set(TRAININGS)


def test_a_training_that_dies_at_every_boundary(server, tmp_path) -> None:
    check_chain(server.job("train cluster-decima"), tmp_path, 15)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("recipe", NEEDS)
def test_train_on_public_traces(server, tmp_path, fcc_hsdpa, recipe) -> None:
    from netllm_gym import traces

    for name in NEEDS[recipe]:
        traces.fetch(name)
    check(server.job(f"train {recipe}"), tmp_path, 3)


@pytest.mark.slow
def test_reproduce(server, tmp_path) -> None:
    check_chain(server.job("reproduce"), tmp_path, 60)


@pytest.mark.slow
@pytest.mark.realdata
def test_fetch(tmp_path, fcc_hsdpa) -> None:
    check(forked(fetch), tmp_path, 6, swept=False)  # the cache is swept when a day has passed


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
    assert list(tmp_path.iterdir()) == []  # the lock goes with its holder
    (tmp_path / ".a.lock").write_text("")  # and what a killed one leaves bars nobody
    with files.lock(tmp_path / "a", "dataset a"):
        pass


def test_two_processes_with_one_output_folder_are_one_line(tmp_path, capsys, monkeypatch) -> None:
    from netllm_gym.cli.app import main

    commands = {
        "evaluate": ["evaluate", "--agent", "abr/bba", "--agent", "abr/rate-based", "--episodes", "1", "--out"],
        "train": ["train", "viewport-crowd", "--out"],
        "reproduce": ["reproduce", "--profile", "embedded", "--episodes", "1", "--out"],
        "matrix": ["matrix", "--agent", "abr/bba", "--out"],
    }
    with files.lock(tmp_path / "out", "another"):
        for words in commands.values():
            monkeypatch.setattr("sys.argv", ["netllm-gym", *words, str(tmp_path / "out")])
            with pytest.raises(SystemExit) as stop:
                main()
            assert stop.value.code == 2
            message = capsys.readouterr().err.strip()
            assert "is being written by another process" in message.replace("\n", " ") and "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def test_what_dead_writers_left_is_swept_at_the_start(tmp_path) -> None:
    from netllm_gym import evaluate

    (tmp_path / "out").mkdir()
    host = files._own().removeprefix(files._TEMPORARY).partition("-")[0]
    rests = [tmp_path / "out" / f"{files._TEMPORARY}{host}-{2**22 + 1}-{name}" for name in ("a.json", "b.html")]
    for rest in rests:
        rest.write_text("half of it")
    evaluate(agents=["abr/bba"], episodes=1, out=tmp_path / "out", progress=False)
    assert not any(rest.exists() for rest in rests)


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
