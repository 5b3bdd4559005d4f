"""The language model as a viewport predictor: any history and horizon, bounded memory, clear refusals."""

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import make_agent
from netllm_gym.agents.base import EnvInfo
from netllm_gym.errors import CheckpointError

pytest.importorskip("torch")
pytestmark = pytest.mark.llm


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    from netllm_gym.agents.llm import storage
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.trainer import train
    from netllm_gym.datasets.viewport_windows import window_experience

    config = LLMConfig(
        backbone="tiny-random", layers=0, objective="regression", regression_loss="absolute", lora_rank=2,
        steps=3, eval_every=3, batch_size=4,
    )  # fmt: skip
    data = window_experience(split="train", history=8, future=12)
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


def test_memory_ends_where_it_should(checkpoint) -> None:
    env = gym.make("netllm_gym/ViewportPrediction-v0").unwrapped
    first, _ = env.reset(seed=0, options={"trace": 0})
    second, *_ = env.step(np.zeros(env.action_space.shape, np.float32))
    fresh = make_agent("viewport/llm", checkpoint=checkpoint)
    fresh.reset(EnvInfo.of(env))
    alone = fresh.act(second, {})
    for memory, same in ((1, True), (2, False)):
        agent = make_agent("viewport/llm", checkpoint=checkpoint, memory=memory)
        agent.reset(EnvInfo.of(env))
        agent.act(first, {})
        assert np.allclose(agent.act(second, {}), alone, atol=1e-5) == same


def test_what_it_refuses(checkpoint, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no agent\.json"):
        make_agent("viewport/llm", checkpoint=str(tmp_path))
    env = gym.make("netllm_gym/ViewportPrediction-v0", history=4).unwrapped
    env.reset(seed=0)
    with pytest.raises(CheckpointError, match="8 samples"):
        make_agent("viewport/llm", checkpoint=checkpoint).reset(EnvInfo.of(env))
