"""A forged dataset, digests left out, is measured before anything of its size is allocated."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.store import dataset_path, load_experience
from netllm_gym.errors import DatasetError

NAME = "netllm_gym/test/forged-v0"


@pytest.fixture
def forged() -> Path:
    """The folder of a dataset of one episode whose description has no digests."""
    config = CollectConfig(agents=("abr/bba",), episodes=1, env_kwargs={"traces": "abr/synthetic", "split": "train"})
    path = dataset_path(collect(config, NAME, progress=False))
    about = json.loads((path / "netllm_gym.json").read_text())
    about.pop("files", None)
    (path / "netllm_gym.json").write_text(json.dumps(about))
    return path


def shaped(metadata: dict, shape: list[int]) -> None:
    space = json.loads(metadata["observation_space"])
    box = next(part for part in space["subspaces"].values() if part["type"] == "Box")
    box |= {"shape": shape, "low": 0.0, "high": 1.0}
    metadata["observation_space"] = json.dumps(space)


FORGERIES = {
    "episodes": (lambda m: m.update(total_episodes=10**10), "total_episodes"),
    "steps": (lambda m: m.update(total_steps=-1), "total_steps"),
    "space": (lambda m: shaped(m, [2**20, 2**20]), "a space has more than"),
    "many actions": (lambda m: m.update(action_space='{"type": "MultiBinary", "n": [1000000, 100000]}'), "a space has"),
    "depth": (lambda m: m.update(action_space="[" * 100_000), "cannot be read"),
    "format": (lambda m: m.update(data_format="arrow"), "cannot be read"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_metadata(forged, kind) -> None:
    assert len(load_experience(NAME).episodes) == 1
    change, message = FORGERIES[kind]
    path = forged / "data" / "metadata.json"
    whole = path.read_text()
    metadata = json.loads(whole)
    change(metadata)
    path.write_text(json.dumps(metadata))
    with pytest.raises(DatasetError, match=message):
        load_experience(NAME)
    path.write_text(whole)


@pytest.mark.parametrize("kind", ["unfilled", "elsewhere"])
def test_arrays(forged, kind, tmp_path) -> None:
    path = forged / "data" / "main_data.hdf5"
    whole = path.read_bytes()
    with h5py.File(path, "a") as file:
        del file["episode_0/rewards"]
        if kind == "unfilled":  # no byte of it is stored
            file["episode_0"].create_dataset("rewards", shape=(10**12,), dtype="f8", chunks=(1024,))
        else:
            (tmp_path / "secret").write_bytes(bytes(80))
            file["episode_0"].create_dataset(
                "rewards", shape=(10,), dtype=np.float64, external=[(str(tmp_path / "secret"), 0, 80)]
            )
    with pytest.raises(DatasetError, match="claim more than" if kind == "unfilled" else "lies outside of the file"):
        load_experience(NAME)
    path.write_bytes(whole)
