"""The shipped ABR agents: small, legal, and close to the agent whose values they learnt."""

from __future__ import annotations

from pathlib import Path

import pytest

from netllm_gym import evaluate
from netllm_gym.agents.learned.abr_shipped import ZOO
from netllm_gym.errors import ConfigError


@pytest.mark.parametrize("name", ["abr-llm", "abr-regret-mlp"])
def test_weights_are_small_and_nothing_executable_ships(name: str) -> None:
    files = [path for path in Path(ZOO / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".toml", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 3e6


def test_both_beat_a_buffer_rule_on_traces_they_never_saw() -> None:
    setting = {"traces": "abr/synthetic", "split": "valid", "video": "envivio-dash3", "random_start": True}
    agents = ["abr/bba", "abr/llm", "abr/regret-mlp"]
    table = evaluate(agents=agents, setting=setting, baseline="abr/bba", episodes=8, seed=1).summary()
    means = table.set_index("agent")["mean"]
    assert (table["failed"] == 0).all()
    assert means["abr/llm"] > means["abr/bba"] and means["abr/regret-mlp"] > means["abr/bba"]


def test_another_ladder_is_refused() -> None:
    setting = {"traces": "abr/synthetic", "split": "valid", "video": "bbb"}
    with pytest.raises(ConfigError):
        evaluate(agents=["abr/llm"], setting=setting, episodes=1)
