"""Readers of what this package wrote itself, or is handed as settings: datasets, checkpoints, results, grids, recipes.

Whole files are made when they are first asked for: a dataset of one episode, an evaluation of two, shipped checkpoints.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from netllm_gym import zoo
from tests.fuzz.files import scratch_folder, through_a_file
from tests.fuzz.tables import TABLES

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a mutated name of a backbone is not looked up
_FOLDER = scratch_folder("fuzz-kept-")
_NAME = "fuzz/kept-v0"
Kept = tuple[Callable[[bytes], object], Callable[[], list[bytes]]]

GRID = b"""train = ["a-v0"]
valid = ["b-v0"]
seeds = [0, 1]
minutes = 1.5
env = "netllm_gym/ABR-v0"
rivals = ["abr/bba"]
[vary]
layers = [1, 2]
tuning = ["lora", "frozen"]
data_share = [0.5, 1.0]
[options]
steps = 10
[setting]
traces = "abr/synthetic"
"""


@cache
def _dataset() -> Path:
    """Collect one episode; return the folder of the dataset."""
    from netllm_gym import CollectConfig, collect
    from netllm_gym.datasets.store import dataset_path

    os.environ["MINARI_DATASETS_PATH"] = str(_FOLDER / "minari")
    kwargs = {"traces": "abr/synthetic", "split": "train"}
    collect(CollectConfig(agents=("abr/bba",), episodes=1, env_kwargs=kwargs), _NAME, progress=False)
    path = dataset_path(_NAME) / "netllm_gym.json"
    description = json.loads(path.read_text())
    del description["files"]  # who forges a dataset writes no digests
    path.write_text(json.dumps(description))
    return dataset_path(_NAME)


def _dataset_file(name: str) -> Kept:
    def read(data: bytes) -> object:
        from netllm_gym.datasets.store import load_experience

        path = _dataset() / name
        whole = path.read_bytes()
        try:
            path.write_bytes(data)
            return load_experience(_NAME)
        finally:
            path.write_bytes(whole)

    return read, lambda: [(_dataset() / name).read_bytes()]


@cache
def _result() -> Path:
    from netllm_gym import evaluate

    evaluate(agents=["abr/bba", "abr/rate-based"], episodes=2, out=_FOLDER / "result", progress=False)
    return _FOLDER / "result"


def _result_file(name: str) -> Kept:
    def read(data: bytes) -> object:
        from netllm_gym.evaluation.result import EvaluationResult

        folder = _FOLDER / f"result-{name}"
        if not folder.is_dir():
            shutil.copytree(_result(), folder, ignore=shutil.ignore_patterns("episodes"))
        (folder / name).write_bytes(data)
        return EvaluationResult.load(folder)

    return read, lambda: [(_result() / name).read_bytes()]


def _checkpoint_file(shipped: str, name: str) -> Kept:
    source = zoo.ROOT / shipped

    def read(data: bytes) -> object:
        from netllm_gym.agents.checkpoint import load_checkpoint

        folder = _FOLDER / f"{shipped.replace('/', '-')}-{name}"
        if not folder.is_dir():
            shutil.copytree(source, folder)
        (folder / name).write_bytes(data)
        return load_checkpoint(folder)

    return read, lambda: [(source / name).read_bytes()]


def _grid(path: Path) -> object:
    from netllm_gym.ablation import Grid, cells

    return cells(Grid.read(path))


def _run_state(path: Path) -> object:
    import torch

    from netllm_gym.agents import run_state

    optimiser = torch.optim.Adam(torch.nn.Linear(1, 1).parameters())
    return run_state.resume(path.parent, {"lr": 0.1}, ("net",), optimiser)


def _state() -> list[bytes]:
    import torch

    from netllm_gym.agents import run_state

    network = torch.nn.Linear(1, 1)
    run_state.store(
        _FOLDER / "state", {"net": network.state_dict()}, torch.optim.Adam(network.parameters()),
        {"config": {"lr": 0.1}, "step": 1}, {"step": 1},
    )  # fmt: skip
    return [(_FOLDER / "state" / "state.json").read_bytes()]


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _bundle() -> list[bytes]:
    """An index of one tensor of two numbers: a block with its entry, a block that points there, the footer."""

    def block(entries: list[tuple[bytes, bytes]]) -> bytes:
        rows = [_varint(0) + _varint(len(k)) + _varint(len(v)) + k + v for k, v in entries]
        return b"".join(rows) + struct.pack("<II", 0, 1)

    shape = b"\x12\x02\x08\x02"
    entry = b"\x08\x01\x12" + _varint(len(shape)) + shape + b"\x20\x00\x28\x08"
    first = block([(b"", b"\x08\x01"), (b"w", entry)])
    second = block([(b"z", _varint(0) + _varint(len(first)))])
    handle = _varint(0) + _varint(0) + _varint(len(first) + 5) + _varint(len(second))
    footer = handle.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    return [first + b"\0" * 5 + second + b"\0" * 5 + footer]


def _read_bundle(data: bytes) -> object:
    from netllm_gym.agents.museum.bundle import read_bundle

    return read_bundle(data, bytes(8))


def _testbed(path: Path) -> object:
    from netllm_gym.testbed.store import load_manifests

    return load_manifests(path.parent.parent)


def _recipe(path: Path) -> object:
    return zoo.read_entry(path.parent)


CHECKPOINTS = (
    "abr-regret-mlp",
    "abr-actor-critic-any",
    "cluster-decima",
    "crowd-attention/canonical",
)
KEPT: dict[str, Kept] = {
    **TABLES,
    "dataset": _dataset_file("netllm_gym.json"),
    "dataset-minari": _dataset_file("data/metadata.json"),
    "dataset-arrays": _dataset_file("data/main_data.hdf5"),
    "result": _result_file("manifest.json"),
    "result-rows": _result_file("episodes.csv"),
    **{f"checkpoint-{name.replace('/', '-')}": _checkpoint_file(name, "agent.json") for name in CHECKPOINTS},
    "checkpoint-weights": _checkpoint_file("abr-regret-mlp", "weights.safetensors"),
    "grid": (through_a_file(_FOLDER / "grid.toml", _grid), lambda: [GRID]),
    "recipe": (
        through_a_file(_FOLDER / "abr-x/recipe.toml", _recipe),
        lambda: [path.read_bytes() for path in sorted(zoo.ROOT.glob("*/recipe.toml"))],
    ),
    "run-state": (through_a_file(_FOLDER / "state/state.json", _run_state), _state),
    "bundle": (_read_bundle, _bundle),
    "testbed": (
        through_a_file(_FOLDER / "testbed/wired/manifest.json", _testbed),
        lambda: [json.dumps({"testbed": {"condition": "wired", "speed": 1.0}, "rows": "episodes.csv"}).encode()],
    ),
}
