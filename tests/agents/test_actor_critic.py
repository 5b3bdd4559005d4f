"""The learned ABR policy: shipped, checkpointed, trained."""

from __future__ import annotations

import shutil

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, evaluate, list_agents, make_agent
from netllm_gym.agents.abr.actor_critic import ZOO, ActorConfig, ActorCritic, features
from netllm_gym.errors import CheckpointError, ConfigError
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest, load, load_video
from tests.damage import DAMAGES, damage


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


def test_the_weights_are_small_and_nothing_else_is_shipped() -> None:
    assert sorted(path.name for path in ZOO.iterdir()) == [
        "README.md", "agent.json", "recipe.toml", "weights.safetensors",
    ]  # fmt: skip
    assert (ZOO / "weights.safetensors").stat().st_size < 1_000_000


def test_features_are_finite_with_and_without_a_past() -> None:
    config = ActorConfig()
    nothing = np.zeros((1, 8), np.float32)
    sizes = np.full((1, 6), 1e6, np.float32)
    for past in (nothing, np.full((1, 8), 1e4, np.float32), np.full((1, 8), 1e-6, np.float32)):
        found = features(past, past, np.zeros(1), np.zeros(1, int), sizes, np.full(1, 48.0))
        assert found.shape == (1, config.inputs) and found.dtype == np.float32
        assert np.isfinite(found).all()


def test_another_ladder_is_refused() -> None:
    video = VideoManifest("three", [300, 1200, 4300], 4.0, np.full((7, 3), [150e3, 600e3, 2150e3]))
    env = gym.make("netllm_gym/ABR-v0", video=video, disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="6 levels, the episode has 3"):
        make_agent("abr/actor-critic").reset(EnvInfo.of(env))


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


def test_lock_step_training_physics_are_the_environments() -> None:
    from netllm_gym.agents.abr.playground import Playground

    traces, video = load("abr/synthetic", "valid"), load_video("synthetic")
    ground = Playground(list(traces), [video])
    ground.begin(np.arange(len(traces)), np.zeros(len(traces), int), ground.starts, np.ones((len(traces), 48)))
    env = gym.make("netllm_gym/ABR-v0", split="valid", disable_env_checker=True)
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 6, (47, len(traces)))
    rewards = np.array([ground.play(row) for row in levels])
    for i in (0, 7, 31):
        env.reset(options={"trace": i})
        own = [env.step(level)[1] for level in levels[:, i]]
        np.testing.assert_allclose(rewards[:, i], own, rtol=0, atol=1e-9)
    # Only the critic sees ahead: the mean of a steady link is its rate over every span, wrapped or not.
    steady = Playground([NetworkTrace("t", [3.0, 4.0], [2.0, 2.0])], [video])
    steady.begin(np.zeros(1, int), np.zeros(1, int), np.zeros(1), np.ones((1, 48)))
    np.testing.assert_allclose(steady.ahead(), np.log(2.0 * 0.95 + 0.02), rtol=1e-5)


def test_a_run_that_stops_and_goes_on_ends_where_an_unbroken_one_ends(tmp_path) -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.abr.ppo import PPOConfig, Trainer

    config = PPOConfig(iterations=2, episodes=8, epochs=1, batch_size=128, check_every=1, hidden=16)
    train, valid = list(load("abr/synthetic", "train"))[:6], list(load("abr/synthetic", "valid"))[:4]
    video = load_video("synthetic")
    whole = Trainer(config, train, valid, video, tmp_path / "whole")
    agent = whole.train()
    halted = Trainer(config, train, valid, video, tmp_path / "halted")
    halted._store({**halted._iterate(), "valid_qoe": -1.0})
    again = Trainer(config, train, valid, video, tmp_path / "halted")
    assert again.iteration == 1
    again.train()
    for key, value in whole.actor.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), again.actor.state_dict()[key].numpy())
    assert isinstance(agent, ActorCritic) and agent.config.hidden == 16
    assert len((tmp_path / "whole" / "log.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ConfigError, match="other hyper-parameters"):
        Trainer(PPOConfig(iterations=3), train, valid, video, tmp_path / "whole")
