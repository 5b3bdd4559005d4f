"""The throughput and buffer rules choose legal levels, repeat themselves and order as their papers say."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, make_agent
from netllm_gym.errors import ConfigError

RULES = ["rate-based", "festive", "bola", "bola-e", "dynamic", "mpc", "fast-mpc"]


def _episode(name: str, trace: int = 0) -> tuple[list[int], float]:
    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    observation, info = env.reset(options={"trace": trace})
    agent = make_agent(name)
    agent.reset(EnvInfo.of(env))
    levels, total, over = [], 0.0, False
    while not over:
        levels.append(agent.act(observation, info))
        observation, reward, over, _, info = env.step(levels[-1])
        total += reward
    return levels, total


@pytest.mark.parametrize("rule", RULES)
def test_same_episode_same_levels(rule: str) -> None:
    assert _episode(f"abr/{rule}") == _episode(f"abr/{rule}")


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_beats_the_optimum_knowing_less(rule: str) -> None:
    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    observation, info = env.reset(options={"trace": 3})
    oracle = make_agent("abr/oracle")
    oracle.reset(EnvInfo.of(env, privileged=True))
    best, over = 0.0, False
    while not over:
        observation, reward, over, _, info = env.step(oracle.act(observation, info))
        best += reward
    assert _episode(f"abr/{rule}", 3)[1] <= best + 1e-9


def test_festive_moves_one_level_at_a_time() -> None:
    levels = _episode("abr/festive", 1)[0]
    assert np.abs(np.diff([0, *levels])).max() <= 1


def test_as_published_mpc_refuses_other_videos() -> None:
    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    env.reset()
    with pytest.raises(ConfigError, match="49th chunk"):
        make_agent("abr/mpc-as-published").reset(EnvInfo.of(env, privileged=True))


@pytest.mark.parametrize(("rule", "kwargs"), [("rate-based", {"safety": 0}), ("bola-e", {"buffer_s": -1})])
def test_impossible_constants_are_refused(rule: str, kwargs: dict) -> None:
    with pytest.raises(ConfigError):
        make_agent(f"abr/{rule}", **kwargs)
