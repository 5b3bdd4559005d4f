"""The shipped ABR agents: small, legal, and close to the agent whose values they learnt."""

from __future__ import annotations

import gymnasium as gym
import pytest

from netllm_gym import evaluate, make_agent, zoo
from netllm_gym.agents.base import EnvInfo
from netllm_gym.errors import NetLLMGymError
from netllm_gym.traces import synthetic_video

pytest.importorskip("torch")
pytestmark = pytest.mark.llm


@pytest.mark.parametrize("name", ["abr-llm", "abr-regret-mlp"])
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


@pytest.mark.parametrize("name", ["abr/llm", "abr/regret-mlp"])
def test_another_ladder_is_refused(name: str) -> None:
    env = gym.make(
        "netllm_gym/ABR-v0", video=synthetic_video(bitrates_kbps=(300, 750, 1200, 1850)), disable_env_checker=True
    )
    env.reset(seed=0)
    with pytest.raises(NetLLMGymError, match="trained on"):
        make_agent(name).reset(EnvInfo.of(env))
