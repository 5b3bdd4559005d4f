"""Full disks, folders that cannot be written, two writers, damaged checkpoints, odd names: one line, nothing left."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from netllm_gym import CollectConfig, collect, evaluate, files, traces, zoo
from netllm_gym.agents.checkpoint import load_checkpoint, write_checkpoint
from netllm_gym.datasets.store import datasets_root
from netllm_gym.errors import CheckpointError, ConfigError, DownloadError, NetLLMGymError, StorageError
from tests.killing import leftovers

ROOT = Path(__file__).resolve().parents[1]
CONFIG = CollectConfig(agents=("abr/bba",), episodes=2, env_kwargs={"traces": "abr/synthetic", "split": "train"})


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A cache and a dataset folder of this test's own."""
    monkeypatch.setenv("NETLLM_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


def _import(root: Path) -> None:
    (root / "a.txt").write_text("0 1\n1 2\n2 3\n")
    traces.import_set(root / "a.txt", "mine")


WRITERS = {
    "evaluate": lambda root: evaluate(agents=["abr/bba"], episodes=1, out=root / "out", progress=False),
    "collect": lambda root: collect(CONFIG, "storage/a-v0", progress=False),
    "import": _import,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_full_at_any_write_is_one_line_and_leaves_nothing_half_written(own, name) -> None:
    passed: list[str] = []
    files.watch(lambda moment, path: passed.append(moment))
    try:
        WRITERS[name](own)
        begins = passed.count("begin")
        assert begins
        for stop in range(begins):
            for folder in ("out", "minari", "cache"):
                shutil.rmtree(own / folder, ignore_errors=True)
            count = 0

            def full(moment: str, path: Path, stop: int = stop) -> None:
                nonlocal count
                count += moment == "begin"
                if moment == "begin" and count == stop + 1:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            files.watch(full)
            with pytest.raises(StorageError, match="disk is full") as error:
                WRITERS[name](own)
            assert "\n" not in str(error.value)
            assert [rest for rest in leftovers(own) if ".partial" not in rest] == []
            files.watch(None)
            WRITERS[name](own)  # room was made: the same command goes on
    finally:
        files.watch(None)


def _command(*words: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    before = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    return subprocess.run(
        [sys.executable, "-m", "netllm_gym.cli", *words], capture_output=True, text=True, env=env, preexec_fn=before
    )


def test_files_that_may_not_grow_are_one_line(own) -> None:
    rng = np.random.default_rng(0)
    (own / "a.txt").write_text("".join(f"{i} {rng.random()}\n" for i in range(9000)))
    done = _command("traces", "import", str(own / "a.txt"), "--name", "big", limit=20_000)
    assert done.returncode == 2 and "ulimit" in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr
    assert leftovers(own) == []


@pytest.mark.parametrize("place", ["/proc/nothing/here", "file/inside"])
def test_folders_that_cannot_be_written_are_one_line(own, place) -> None:
    (own / "file").write_text("")
    folder = Path(place) if place.startswith("/") else own / place
    with pytest.raises(StorageError, match="cannot be") as error:
        evaluate(agents=["abr/bba"], episodes=1, out=folder, progress=False)
    assert "\n" not in str(error.value)


def test_a_cache_and_a_dataset_root_that_cannot_be_written_are_one_line(own, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", "/proc/nothing")
    with pytest.raises(StorageError, match="cannot be"):
        collect(CONFIG, "storage/b-v0", progress=False)
    monkeypatch.setenv("NETLLM_GYM_CACHE", "/proc/nothing")
    with pytest.raises(NetLLMGymError, match="cannot be"):
        _import(own)


def test_two_collections_of_one_dataset(own) -> None:
    with (
        files.lock(datasets_root() / ".partial" / "storage--c-v0", "dataset storage/c-v0"),
        pytest.raises(ConfigError, match="another process"),
    ):
        collect(CONFIG, "storage/c-v0", progress=False)
    assert collect(CONFIG, "storage/c-v0", progress=False).steps


def _mutations(about: dict) -> list[dict]:
    space = json.dumps(about["observation_space"])
    return [
        {**about, "observation_space": value}
        for value in (
            None, [], "Box", {}, {"type": "Box"}, {"type": "Nothing"},
            json.loads(space.replace('"shape": [', '"shape": [-', 1)),
            json.loads(space.replace('"dtype": "float32"', '"dtype": "object"', 1)),
            json.loads(space.replace('"Dict"', '"Tuple"', 1)),
        )
    ]  # fmt: skip


def test_a_checkpoint_whose_spaces_were_changed_is_one_line(tmp_path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    shutil.copytree(zoo.ROOT / "viewport-llm" / "canonical", tmp_path / "agent")
    about = json.loads((tmp_path / "agent" / "agent.json").read_text())
    for changed in _mutations(about):
        if changed == about:
            continue
        (tmp_path / "agent" / "agent.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(tmp_path / "agent")
        assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_pushing_without_a_network_is_one_line(tmp_path, monkeypatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    from netllm_gym.agents.hub import pull, push

    class ConnectError(Exception):
        """As the client's HTTP library raises it."""

    ConnectError.__module__ = "httpx2"

    def offline(*_: object, **__: object) -> None:
        raise ConnectError("[Errno -2] Name or service not known\nmore")

    monkeypatch.setattr(hub, "create_repo", offline)
    monkeypatch.setattr(hub, "snapshot_download", offline)
    for call in (lambda: push(zoo.ROOT / "abr-regret-mlp", "somebody/agent"), lambda: pull("somebody/agent@1a2b3c")):
        with pytest.raises(DownloadError, match="Name or service not known") as error:
            call()
        assert "\n" not in str(error.value)


def test_names_that_look_like_formulas_are_drawn_as_they_are(tmp_path) -> None:
    agents = [{"name": "abr/bba", "label": r"$\frac$ {x_1}"}, {"name": "abr/rate-based", "label": "50% & $5"}]
    result = evaluate(agents=agents, episodes=3, progress=False)
    figures = result.plot(tmp_path / "plots")
    assert figures and len(list((tmp_path / "plots").glob("*.png"))) == len(figures)


def test_maps_from_disk_have_a_rate_of_their_own(tmp_path) -> None:
    import gymnasium as gym

    name = "netllm_gym/ViewportPrediction-v0"
    videos = {trace.video for trace in traces.load("viewport/synthetic", "test")}
    for video in videos:
        np.save(tmp_path / f"{video}.npy", np.broadcast_to(np.arange(2000.0)[:, None, None], (2000, 2, 4)))
    shown = {}
    for hz in (5.0, 1 / 0.06):
        env = gym.make(name, image=str(tmp_path), image_hz=hz).unwrapped
        env.reset(seed=0, options={"trace": 0})
        shown[hz] = float(env.image_at(0, 50)[0, 0])
    assert shown[5.0] == pytest.approx(50, abs=1) and shown[1 / 0.06] == pytest.approx(10 / 0.06, abs=4)
    with pytest.raises(ConfigError, match="frames per second"):
        gym.make(name, image=str(tmp_path), image_hz=0.0)


def test_a_checkpoint_can_be_read_by_everybody(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = write_checkpoint(
            tmp_path / "agent",
            {"kind": "abr-rows", "env_id": "netllm_gym/ABR-v0", "config": {}},
            weights={"a": np.zeros(3, np.float32)},
        )
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def test_a_folder_that_vanishes_before_the_lock_is_made_anew(tmp_path, monkeypatch):
    folder, made = tmp_path / "runs" / "a", []
    true = files.make_folder

    def vanishing(path):
        true(path)
        made.append(path)
        if len(made) == 1:
            path.rmdir()  # another process cleans up what it had made

    monkeypatch.setattr(files, "make_folder", vanishing)
    with files.lock(folder, "a"):
        assert len(made) == 2


def test_where_no_file_can_be_made_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "make_folder", lambda path: None)
    with pytest.raises(StorageError, match="cannot be written"), files.lock(tmp_path / "no" / "a", "a"):
        pass


def test_json_of_others_readers_holds_no_bare_infinity():
    import gymnasium as gym
    import numpy as np

    from netllm_gym.agents.checkpoint import space_of_json, space_to_json
    from netllm_gym.files import finite

    assert finite({"a": [1.0, float("nan"), (float("-inf"), "x")]}) == {"a": [1.0, None, [None, "x"]]}
    low = np.array([-np.inf, 0.0], np.float32)
    space = gym.spaces.Dict({"x": gym.spaces.Box(low, np.inf, (2,), np.float32), "n": gym.spaces.Discrete(3)})
    text = json.dumps(space_to_json(space), allow_nan=False)  # raises where a number is not finite
    assert space_of_json(json.loads(text)) == space
