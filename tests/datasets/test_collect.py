from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import minari
import numpy as np
import pytest

from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.flat import FlatView
from netllm_gym.datasets.store import dataset_path, datasets_root, describe, list_datasets, load_experience
from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError

KWARGS = {"traces": "abr/synthetic", "split": "train", "random_start": True}
MIX = CollectConfig(
    agents=("abr/robust-mpc", "abr/random"),
    episodes=40,
    epsilon=0.2,
    seed=5,
    hindsight=True,
    env_kwargs=KWARGS,
)


@pytest.fixture(scope="module")
def mix() -> str:
    return collect(MIX, "netllm_gym/test/mix-v0", workers=1)


def test_is_a_minari_dataset_with_card_and_values(mix: str) -> None:
    stored = minari.load_dataset(mix)
    assert stored.total_episodes == 40 and stored.total_steps == 40 * 47
    episode = stored[0]
    assert episode.observations["throughput_mbps"].shape == (48, 8)
    assert episode.infos["action_values"].shape == (48, 6)
    assert episode.terminations[-1] and not episode.truncations.any()
    card = (dataset_path(mix) / "README.md").read_text()
    assert "netllm-gym collect" in card and "20 by abr/robust-mpc" in card
    assert mix in list_datasets()


def test_experience_is_aligned(mix: str) -> None:
    experience = load_experience(mix)
    assert experience.steps == 40 * 47
    for episode in experience.episodes:
        assert len(episode.observations["buffer_s"]) == len(episode.actions) == len(episode.action_values)
        assert np.isfinite(episode.action_values).all()
    # What robust MPC chose is the next observation's last quality.
    first = experience.episodes[0]
    assert (first.observations["last_quality"][1:] == first.actions[:-1]).all()


def test_behaviour_probabilities_are_probabilities(mix: str) -> None:
    propensity = np.concatenate([e.infos["propensity"][:-1] for e in minari.load_dataset(mix).iterate_episodes()])
    assert set(np.round(propensity, 6)) <= {round(0.2 / 6, 6), round(0.8 + 0.2 / 6, 6)}
    assert np.mean(propensity > 0.5) == pytest.approx(0.8 + 0.2 / 6, abs=0.03)


def test_workers_do_not_change_the_bytes(mix: str) -> None:
    other = collect(MIX, "netllm_gym/test/mix2-v0", workers=2)
    assert describe(other)["digest"] == describe(mix)["digest"]


def test_again_is_free_and_another_configuration_is_refused(mix: str) -> None:
    before = dataset_path(mix).stat().st_mtime_ns
    assert collect(MIX, mix) == mix
    assert dataset_path(mix).stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="another configuration"):
        collect(CollectConfig(agents=("abr/bba",), env_kwargs=KWARGS), mix)


def test_a_killed_collection_goes_on_and_ends_the_same(mix: str) -> None:
    code = (
        "from tests.datasets.test_collect import MIX\n"
        "from netllm_gym.datasets.collect import collect\n"
        "collect(MIX, 'netllm_gym/test/killed-v0')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), start_new_session=True)
    staging = datasets_root() / ".partial" / MIX.key
    deadline = time.monotonic() + 120
    while process.poll() is None and not list(staging.glob("0*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    process.wait()
    name = collect(MIX, "netllm_gym/test/killed-v0")
    assert describe(name)["digest"] == describe(mix)["digest"]
    assert not staging.exists()


def test_mistakes_are_one_line() -> None:
    with pytest.raises(ConfigError, match="never 'test'"):
        CollectConfig(env_kwargs={"split": "test"})
    with pytest.raises(UnknownNameError, match="abr/robust-mpc"):
        collect(CollectConfig(agents=("abr/robustmpc",), env_kwargs=KWARGS), "netllm_gym/test/none-v0")
    with pytest.raises(ConfigError, match="not a dataset id"):
        load_experience("no version")
    played: list[str] = []
    for name in ("a/mix-v0", "mix", "x y/mix-v0", "../mix-v0"):  # the first is Minari's rule
        with pytest.raises(ConfigError, match="not a dataset id"):
            collect(CollectConfig(agents=("abr/bba",), env_kwargs=KWARGS), name, progress=lambda *_: played.append(""))
    assert played == []
    with pytest.raises(DatasetError, match="not on this machine"):
        load_experience("netllm_gym/test/absent-v0")


def test_a_damaged_dataset_says_so(mix: str) -> None:
    name = collect(CollectConfig(agents=("abr/bba",), episodes=2, env_kwargs=KWARGS), "netllm_gym/test/broken-v0")
    (dataset_path(name) / "data" / "main_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="is damaged"):
        load_experience(name)


def test_flat_view_scales_and_encodes(mix: str) -> None:
    experience = load_experience(mix)
    view = FlatView(experience.observation_space, experience.scales)
    flat = view.many(experience.episodes[0].observations)
    assert flat.shape == (47, view.size) and view.size == 8 + 8 + 1 + 6 + 6 + 1
    one = {key: value[3] for key, value in experience.episodes[0].observations.items()}
    assert np.array_equal(view.one(one), flat[3])


def test_a_teacher_says_what_it_would_have_done_and_changes_nothing(mix: str) -> None:
    plain = {"agents": ("abr/bola",), "episodes": 2, "env_kwargs": KWARGS}
    taught = load_experience(collect(CollectConfig(**plain, teacher="abr/bba"), "netllm_gym/test/taught-v0"))
    alone = load_experience(collect(CollectConfig(**plain), "netllm_gym/test/alone-v0"))
    other = load_experience(collect(CollectConfig(**{**plain, "agents": ("abr/bba",)}), "netllm_gym/test/bba-v0"))
    first = taught.episodes[0]
    assert (first.actions == alone.episodes[0].actions).all() and alone.episodes[0].taught is None
    assert first.taught is not None and first.taught.shape == first.actions.shape
    assert first.taught[0] == other.episodes[0].actions[0] and (first.taught != first.actions).any()
    assert "| teacher | abr/bba |" in (dataset_path("netllm_gym/test/taught-v0") / "README.md").read_text()
    with pytest.raises(ConfigError, match="remembers"):
        collect(CollectConfig(**plain, teacher="abr/robust-mpc"), "netllm_gym/test/forgetful-v0")


def test_a_dataset_whose_bits_changed_is_damaged() -> None:
    name = collect(CollectConfig(agents=("abr/bba",), episodes=1, env_kwargs=KWARGS), "netllm_gym/test/flipped-v0")
    experience = load_experience(name)
    for file in ("main_data.hdf5", "metadata.json"):
        path = dataset_path(name) / "data" / file
        whole = path.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 40)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(DatasetError, match=f"is damaged: data/{file} is not what was written"):
                load_experience(name)
        path.write_bytes(whole)
    assert load_experience(name).digest == experience.digest
