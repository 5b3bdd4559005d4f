"""From lessons to learners: a small network and a language model, taught alike, play ladders they never saw."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym.agents.abr.families import FAMILIES, RELATED, links_of, overlaps
from netllm_gym.agents.abr.lessons import lessons
from netllm_gym.agents.abr.row_regression import RegressionConfig, fit_rows
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.checkpoint import load_checkpoint
from netllm_gym.errors import CheckpointError, DatasetError, UnknownNameError
from netllm_gym.traces import synthetic_video
from tests.agents.test_abr_rows import _teacher, _worlds


@pytest.fixture(scope="module")
def taught():
    return lessons(_worlds(8), _teacher(), 10, seed=2, futures=1, horizon=2)


def test_a_row_network_learns_lessons(taught) -> None:
    pytest.importorskip("torch")
    config = RegressionConfig(hidden=16, epochs=30, patience=30, batch_size=16, learning_rate=1e-2)
    said: list[str] = []
    network = fit_rows(config, taught, taught, said.append)
    again = fit_rows(config, taught, taught)
    regret = [float(line.rpartition(" ")[2]) for line in said]
    assert min(regret) < 0.8 * regret[0]
    for key, value in network.weights.items():
        np.testing.assert_array_equal(value, again.weights[key])
    for episode in taught.episodes:
        kept, episode.action_values = episode.action_values, None
        with pytest.raises(DatasetError, match="holds no lessons"):
            fit_rows(config, taught, taught)
        episode.action_values = kept
        break


@pytest.mark.llm
def test_a_language_model_learns_lessons_and_plays_other_ladders(taught, tmp_path) -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.abr.llm import ABRLLM, mark
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train

    config = LLMConfig(backbone="tiny-random", layers=1, steps=2, eval_every=1, batch_size=2, lora_rank=2, device="cpu")
    agent = train(config, taught, taught, tmp_path / "run")
    folder = save(agent, tmp_path / "agent")
    mark(folder)
    agent = load_checkpoint(folder)
    assert isinstance(agent, ABRLLM)
    for levels in (3, 12):
        video = synthetic_video(1, np.geomspace(200, 8000, levels), 12, 2.0)
        env = gym.make("netllm_gym/ABR-v0", video=video, disable_env_checker=True)
        observation, info = env.reset(seed=0)
        agent.reset(EnvInfo.of(env))
        assert "chunks 12" in agent.notice and ("levels 12" in agent.notice) == (levels == 12)
        over = False
        while not over:
            observation, _, over, _, info = env.step(agent.act(observation, info))
    (folder / "agent.json").write_text((folder / "agent.json").read_text().replace('"ranges"', '"range"'))
    with pytest.raises(CheckpointError, match="does not say what it was trained on"):
        load_checkpoint(folder)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        links_of("train", ["abr/nowhere"])


@pytest.mark.realdata
@pytest.mark.slow
def test_no_training_link_stands_in_another_split_and_the_list_is_up_to_date() -> None:
    import json
    from importlib.resources import files

    from netllm_gym import traces

    for name in FAMILIES[:-1]:
        traces.fetch(name)
    families, left = links_of("train"), links_of("train", ["abr/fcc-hsdpa"])
    assert set(families) == set(FAMILIES) and set(left) == set(FAMILIES) - {"abr/fcc-hsdpa"}
    assert len(left["abr/pensieve-classic"]) < len(families["abr/pensieve-classic"])
    # Valid links choose a checkpoint, so none may be known from a test split either.
    assert len(links_of("valid")["abr/pensieve-classic"]) < len(traces.load("abr/pensieve-classic", "valid"))
    stored = json.loads(files("netllm_gym.agents.abr").joinpath("overlaps.json").read_text(encoding="utf-8"))
    assert stored == overlaps() and set(stored) <= set(RELATED)
