"""The language model as a viewport predictor: any history and horizon, one window at a time, clear refusals."""

import json
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import make_agent
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.viewport.readings import translate
from netllm_gym.errors import CheckpointError
from netllm_gym.traces.head.geometry import unwrap_to_last, wrap_deg

pytest.importorskip("torch")
pytestmark = pytest.mark.llm


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    from netllm_gym.agents.llm import storage
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.trainer import train
    from netllm_gym.agents.viewport.llm import for_language_model
    from netllm_gym.datasets.viewport_windows import window_experience

    config = LLMConfig(
        backbone="tiny-random", layers=0, objective="regression", regression_loss="absolute", lora_rank=2, context=1,
        steps=3, eval_every=3, batch_size=4,
    )  # fmt: skip
    data = for_language_model(window_experience(split="train", history=8, future=12))
    data.episodes = data.episodes[:8]
    folder = tmp_path_factory.mktemp("llm")
    return str(storage.save(train(config, data, out=folder / "run"), folder / "agent"))


@pytest.mark.parametrize(("history", "future"), [(8, 12), (20, 30), (10, 5)])
def test_one_checkpoint_serves_every_history_and_horizon(checkpoint, history, future) -> None:
    env = gym.make("netllm_gym/ViewportPrediction-v0", history=history, future=future).unwrapped
    agent = make_agent("viewport/llm", checkpoint=checkpoint)
    observation, _ = env.reset(seed=0, options={"trace": 0})
    agent.reset(EnvInfo.of(env))
    action = agent.act(observation, {})
    assert env.action_space.contains(action)
    if future > 12:
        np.testing.assert_array_equal(action[12:], np.repeat(action[11:12], future - 12, axis=0))


def test_windows_are_answered_alone_and_together_alike(checkpoint) -> None:
    agent = make_agent("viewport/llm", checkpoint=checkpoint)
    envs = [gym.make("netllm_gym/ViewportPrediction-v0").unwrapped for _ in range(2)]
    seen = [env.reset(seed=0, options={"trace": i})[0] for i, env in enumerate(envs)]
    agent.reset_batch([EnvInfo.of(env) for env in envs])
    together = agent.act_batch([*seen[:1], None], [{}, {}])
    assert together[1] is None
    for i, env in enumerate(envs):
        agent.reset(EnvInfo.of(env))
        agent.act(seen[1 - i], {})  # what it saw before leaves no trace
        alone = agent.act(seen[i], {})
        agent.reset_batch([EnvInfo.of(env) for env in envs])
        assert np.allclose(alone, agent.act_batch(seen, [{}, {}])[i], atol=1e-4)
        path = agent.predict(seen[i]["history_deg"][None].astype(float), 20)[0] - seen[i]["history_deg"][-1]
        assert np.allclose(alone, path, atol=1e-3)


def test_its_answer_is_added_to_the_damped_velocity(checkpoint) -> None:
    import torch

    agent = make_agent("viewport/llm", checkpoint=checkpoint)
    head = agent.networks["canonical"].model.head
    with torch.no_grad():
        for tensor in (head.linear.weight, head.linear.bias, head.mean):
            tensor.zero_()
    history = np.random.default_rng(0).normal(0, 10, (5, 10, 3)).cumsum(axis=1)
    expected = make_agent("viewport/damped-velocity").predictor.predict(history[:, -8:], 12)
    np.testing.assert_allclose(agent.predict(history, 12), expected, atol=1e-6)


def test_it_plugs_into_streaming(checkpoint) -> None:
    env = gym.make("netllm_gym/ViewportStreaming-v0", max_chunks=2).unwrapped
    observation, info = env.reset(seed=0)
    streaming = make_agent("streaming/predictive", predictor=make_agent("viewport/llm", checkpoint=checkpoint))
    streaming.reset(EnvInfo.of(env))
    assert env.action_space.contains(streaming.act(observation, info))


def test_what_it_refuses(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no agent\.json"):
        make_agent("viewport/llm", checkpoint=str(tmp_path))


def test_a_shorter_history_is_a_head_at_rest_before(checkpoint) -> None:
    agent = make_agent("viewport/llm", checkpoint=checkpoint)
    history = np.random.default_rng(0).normal(0, 10, (3, 4, 3)).cumsum(axis=1)
    longer = np.concatenate([np.repeat(history[:, :1], 4, axis=1), history], axis=1)
    np.testing.assert_allclose(agent.predict(history, 12), agent.predict(longer, 12), atol=1e-6)


def _published(checkpoint: str, folder: Path) -> Path:
    """The same weights, said to have learnt from NetLLM's angles."""
    shutil.copytree(checkpoint, folder)
    about = json.loads((folder / "agent.json").read_text())
    about["dataset"]["name"] = "viewport/jin2022/as-published/train"
    (folder / "agent.json").write_text(json.dumps(about))
    return folder


def test_angles_it_was_not_trained_on_are_translated_there_and_back(checkpoint, tmp_path) -> None:
    agent = make_agent("viewport/llm", checkpoint=str(_published(checkpoint, tmp_path / "other")))
    env = gym.make("netllm_gym/ViewportPrediction-v0").unwrapped
    observation, _ = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert "viewport/jin2022/as-published" in agent.notice  # and its results say so
    action = agent.act(observation, {})
    assert env.action_space.contains(action) and np.abs(np.diff(action, axis=0)).max() < 180
    own = agent.networks["published"]
    there = translate(observation["history_deg"][None], "canonical", "published")
    expected = translate(own.predict(unwrap_to_last(there)), "published", "canonical")[0]
    last = observation["history_deg"][-1]
    np.testing.assert_allclose(wrap_deg(action[:12] + last - expected), 0, atol=1e-3)


def test_each_reading_is_answered_by_its_own_model(checkpoint, tmp_path) -> None:
    _published(checkpoint, tmp_path / "both" / "published")
    shutil.copytree(checkpoint, tmp_path / "both" / "canonical")
    agent = make_agent("viewport/llm", checkpoint=str(tmp_path / "both"))
    assert set(agent.networks) == {"canonical", "published"}
    history = np.random.default_rng(0).normal(0, 5, (2, 10, 3)).cumsum(axis=1)
    alone = make_agent("viewport/llm", checkpoint=checkpoint)
    for one in (agent, alone):
        one.use("canonical")
    np.testing.assert_array_equal(agent.predict(history, 12), alone.predict(history, 12))
