"""Recurrent viewport agents: what an untrained network says, what the recipes make, and that playing trains nothing."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.errors import CheckpointError, ConfigError

pytest.importorskip("torch")
pytestmark = pytest.mark.llm
SMALL = {"traces": "viewport/synthetic", "stride": 60, "turns": 1, "hidden": 8, "epochs": 1}


@pytest.mark.parametrize(("name", "image"), [("gru", False), ("track", False), ("track", True)])
def test_a_recipe_makes_a_checkpoint_that_plays(name: str, image: bool, tmp_path: Path) -> None:
    options = {**SMALL, **({"image": True} if image else {})}
    env = gym.make("netllm_gym/ViewportPrediction-v0", image="crowd" if image else None).unwrapped
    observation, info = env.reset(seed=0)
    answers = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        netllm_gym.train(f"viewport-{name}", out=folder, options=options, say=False)
        for agent in (netllm_gym.make_agent(folder), netllm_gym.make_agent(f"viewport/{name}", checkpoint=folder)):
            agent.reset(EnvInfo.of(env))
            assert not agent.notice
            answers.append(agent.act(observation, info))
    assert env.action_space.contains(answers[0]) and all(np.array_equal(answers[0], other) for other in answers)
    assert agent.forecast(observation, info, 40).shape == (40, 3)
    other = {"gru": "track", "track": "gru"}[name]
    with pytest.raises(CheckpointError, match=f"not a {other} network"):
        netllm_gym.make_agent(f"viewport/{other}", checkpoint=folder)
    if image:
        blind = gym.make("netllm_gym/ViewportPrediction-v0").unwrapped
        blind.reset(seed=0)
        with pytest.raises(ConfigError, match="heatmap"):
            agent.reset(EnvInfo.of(blind))


def test_an_episode_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from netllm_gym.agents.viewport import networks

    monkeypatch.setattr(networks, "train", None)
    env = gym.make("netllm_gym/ViewportPrediction-v0").unwrapped
    env.reset(seed=0)
    agent = netllm_gym.make_agent("viewport/gru")
    agent.reset(EnvInfo.of(env))
    assert "viewport/jin2022" in agent.notice  # it learnt from real viewers, and these are synthetic
    with pytest.raises(ConfigError, match="hidden"):
        netllm_gym.make_agent("viewport/gru", hidden=8)
    with pytest.raises(ConfigError, match="fixes image"):
        netllm_gym.train("viewport-gru", out="x", options={"image": True})


def test_an_untrained_network_is_hold_last() -> None:
    import torch

    from netllm_gym.agents.viewport.networks import build_gru, build_mlp, build_track

    motion, image = torch.randn(4, 10, 12), torch.rand(4, 512)
    assert torch.count_nonzero(build_gru(8, 2, 20)(motion, image)) == 0
    assert torch.count_nonzero(build_mlp(8, 10, 20)(motion, image)) == 0
    assert torch.count_nonzero(build_track(8, 20, 512)(motion, image)) == 0
    assert torch.count_nonzero(build_track(8, 20, 0)(motion, image)) == 0


def test_a_network_without_memory_takes_a_head_to_have_stood_still_before_a_short_history(tmp_path) -> None:
    options = {"hidden": 16, "future": 5, "traces": "viewport/synthetic", "stride": 20, "turns": 0, "epochs": 3}
    agent = netllm_gym.train("viewport-mlp", out=tmp_path / "mlp", options=options)
    moving = np.cumsum(np.full((1, 4, 3), [2.0, 0.0, 0.0]), axis=1)
    longer = np.concatenate([np.repeat(moving[:, :1], 6, axis=1), moving], axis=1)
    np.testing.assert_allclose(agent.predict(moving, 5), agent.predict(longer, 5), atol=1e-4)
    right, left = (agent.predict(path, 5)[0, -1, 0] - path[0, -1, 0] for path in (moving, -moving))
    assert right > left  # motion goes on
    with pytest.raises(CheckpointError, match="holds a mlp network"):
        netllm_gym.make_agent("viewport/gru", checkpoint=tmp_path / "mlp")
