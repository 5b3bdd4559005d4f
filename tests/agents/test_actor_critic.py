"""The shipped streaming policy, and the checkpoints of one ladder that came before it."""

from __future__ import annotations

import shutil
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, evaluate, list_agents, make_agent, zoo
from netllm_gym.agents.abr.actor_critic import ActorConfig, ActorCritic, features, save
from netllm_gym.errors import CheckpointError, ConfigError
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest
from tests.damage import DAMAGES, damage

ZOO = zoo.ROOT / "abr-actor-critic"


def test_it_is_registered_and_beats_robust_mpc_on_the_embedded_traces() -> None:
    assert "abr/actor-critic" in list_agents("abr")
    rows = evaluate(agents=["abr/actor-critic", "abr/robust-mpc"], setting="default", progress=False).summary()
    means = rows.set_index("agent")["mean"]
    assert means["abr/actor-critic"] > means["abr/robust-mpc"]


@pytest.mark.parametrize("mbps", [8.0, 30.0])
def test_on_a_fast_link_it_plays_the_top_level(mbps: float) -> None:
    """Trained on slow links alone it never did, and lost 1.4 QoE a chunk to RobustMPC."""
    link = TraceSet("fast", "test", (NetworkTrace("fast", [1.0, 1.0], [mbps, 0.8 * mbps]),), "none")
    env = gym.make("netllm_gym/ABR-v0", traces=link, disable_env_checker=True)
    observation, info = env.reset(seed=0)
    agent = make_agent("abr/actor-critic")
    agent.reset(EnvInfo.of(env))
    levels, over = [], False
    while not over:
        levels.append(agent.act(observation, info))
        observation, _, over, _, info = env.step(levels[-1])
    assert levels[5:].count(5) > 0.9 * len(levels[5:])


def test_the_weights_are_small_and_nothing_executable_ships() -> None:
    assert {path.suffix for path in ZOO.iterdir()} == {".md", ".json", ".toml", ".safetensors"}
    assert sum(path.stat().st_size for path in ZOO.iterdir()) < 1_000_000


def test_a_broken_checkpoint_is_one_line(tmp_path) -> None:
    for kind in DAMAGES:
        folder = tmp_path / kind
        shutil.copytree(ZOO, folder)
        damage(folder, kind, kept=100)
        with pytest.raises(CheckpointError) as caught:
            make_agent(str(folder))
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="takes no option"):
        make_agent(str(ZOO), temperature=1.0)


def test_features_are_finite_with_and_without_a_past() -> None:
    config = ActorConfig()
    nothing = np.zeros((1, 8), np.float32)
    sizes = np.full((1, 6), 1e6, np.float32)
    for past in (nothing, np.full((1, 8), 1e4, np.float32), np.full((1, 8), 1e-6, np.float32)):
        found = features(past, past, np.zeros(1), np.zeros(1, int), sizes, np.full(1, 48.0))
        assert found.shape == (1, config.inputs) and found.dtype == np.float32
        assert np.isfinite(found).all()


def test_a_checkpoint_of_one_ladder_still_plays_it_and_refuses_others(tmp_path) -> None:
    config, rng = ActorConfig(hidden=8), np.random.default_rng(0)
    sizes = (config.inputs, 8, 8, 6)
    weights = {}
    for number, (before, after) in zip((0, 2, 4), pairwise(sizes), strict=True):
        weights[f"{number}.weight"] = rng.standard_normal((after, before)).astype(np.float32)
        weights[f"{number}.bias"] = np.zeros(after, np.float32)
    agent = make_agent(str(save(ActorCritic(config, weights), tmp_path / "old", {}, "# old\n")))
    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert env.action_space.contains(agent.act(observation, info))
    video = VideoManifest("three", [300, 1200, 4300], 4.0, np.full((7, 3), [150e3, 600e3, 2150e3]))
    env = gym.make("netllm_gym/ABR-v0", video=video, disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="6 levels, the episode has 3"):
        agent.reset(EnvInfo.of(env))
