"""The shipped ABR agents: small, legal, and at home on any ladder."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import evaluate, make_agent, zoo
from netllm_gym.agents.base import EnvInfo
from netllm_gym.traces import synthetic_video

pytest.importorskip("torch")
pytestmark = pytest.mark.llm


@pytest.mark.parametrize("name", ["abr-llm", "abr-regret-mlp", "abr-actor-critic"])
def test_weights_are_small_and_nothing_executable_ships(name: str) -> None:
    files = [path for path in (zoo.ROOT / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".toml", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 3e6


def test_both_beat_a_buffer_rule_on_traces_they_never_saw() -> None:
    setting = {"traces": "abr/synthetic", "split": "valid", "random_start": True}
    agents = ["abr/bba", "abr/llm", "abr/regret-mlp"]
    table = evaluate(agents=agents, setting=setting, baseline="abr/bba", episodes=12, seed=1).summary()
    means = table.set_index("agent")["mean"]
    assert (table["failed"] == 0).all()
    assert means["abr/llm"] > means["abr/bba"] and means["abr/regret-mlp"] > means["abr/bba"]


@pytest.mark.parametrize("name", ["abr/llm", "abr/regret-mlp", "abr/actor-critic"])
@pytest.mark.parametrize("levels", [3, 10])
def test_they_play_other_ladders(name: str, levels: int) -> None:
    video = synthetic_video(5, np.geomspace(200, 6000, levels), 30, 2.0)
    env = gym.make("netllm_gym/ABR-v0", video=video, disable_env_checker=True)
    observation, info = env.reset(seed=0)
    agent = make_agent(name)
    agent.reset(EnvInfo.of(env))
    assert agent.notice == ""
    over, total = False, 0.0
    while not over:
        observation, reward, over, _, info = env.step(agent.act(observation, info))
        total += reward
    assert total > 0
