"""Learned viewport agents: what an untrained network says, training on a small set, and the cache."""

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym
from netllm_gym.agents.base import EnvInfo

pytest.importorskip("torch")
pytestmark = pytest.mark.llm


@pytest.mark.parametrize("image", [None, "crowd"])
@pytest.mark.parametrize("name", ["viewport/gru", "viewport/track"])
def test_a_short_training_gives_a_predictor_that_the_cache_returns(name: str, image: str | None) -> None:
    env = gym.make("netllm_gym/ViewportPrediction-v0", image=image).unwrapped
    observation, info = env.reset(seed=0)
    answers = []
    for _ in range(2):
        agent = netllm_gym.make_agent(name, stride=60, turns=1, hidden=8, epochs=1)
        agent.reset(EnvInfo.of(env))
        answers.append(agent.act(observation, info))
    assert env.action_space.contains(answers[0]) and np.array_equal(*answers)
    assert agent.forecast(observation, info, 25).shape == (25, 3)


def test_an_untrained_network_is_hold_last() -> None:
    import torch

    from netllm_gym.agents.viewport.networks import build_gru, build_track

    motion, image = torch.randn(4, 10, 12), torch.rand(4, 512)
    assert torch.count_nonzero(build_gru(8, 2, 20)(motion, image)) == 0
    assert torch.count_nonzero(build_track(8, 20, 512)(motion, image)) == 0
    assert torch.count_nonzero(build_track(8, 20, 0)(motion, image)) == 0
