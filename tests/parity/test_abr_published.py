"""NetLLM's MPC baseline, departures and all, has the mean its repository gives."""

from __future__ import annotations

import gymnasium as gym
import pytest

from netllm_gym import EnvInfo, make_agent

pytestmark = pytest.mark.realdata


def test_mpc_as_published_has_its_published_mean(fcc_hsdpa: str) -> None:
    env = gym.make(
        "netllm_gym/ABR-v0", traces=f"{fcc_hsdpa}/as-published", video="envivio-dash3", disable_env_checker=True
    )
    agent = make_agent("abr/mpc-as-published")
    total = 0.0
    for i in range(100):
        observation, info = env.reset(options={"trace": i})
        agent.reset(EnvInfo.of(env, privileged=True))
        over = False
        while not over:
            observation, reward, over, _, info = env.step(agent.act(observation, info))
            total += reward / 47
    assert total / 100 == pytest.approx(0.8484549686275232, abs=1e-9)
