"""RobustMPC in lock-step decides what the single agent decides."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, make_agent
from netllm_gym.agents.abr.mpc_batch import BatchedMPC
from netllm_gym.errors import ConfigError
from netllm_gym.traces import VideoManifest


def make(**kwargs):
    return gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **kwargs).unwrapped


@pytest.mark.parametrize("robust", [True, False])
def test_one_call_decides_as_many_single_agents(robust: bool) -> None:
    """Two QoEs, two starts of the video, and episodes that end before others."""
    ladder = np.array([300.0, 1200.0, 4300.0])
    short = VideoManifest("short", ladder, 4.0, np.tile(ladder * 500.0, (20, 1)))
    envs = [make(), make(qoe="log"), make(first_quality=None), make(qoe="log"), make(), make(video=short)]
    agents = [make_agent("abr/robust-mpc", robust=robust) for _ in envs]
    batch = BatchedMPC(robust=robust)
    for round_ in range(2):  # the second round: nothing of the first may matter
        observations = [env.reset(options={"trace": 3 * i + round_})[0] for i, env in enumerate(envs)]
        told = [EnvInfo.of(env) for env in envs]
        batch.reset_batch(told)
        for agent, info in zip(agents, told, strict=True):
            agent.reset(info)
        while any(observation is not None for observation in observations):
            levels = batch.act_batch(observations, [{}] * len(envs))
            assert len(levels) == len(envs)
            for i, env in enumerate(envs):
                if observations[i] is None:
                    continue
                assert levels[i] == agents[i].act(observations[i], {})
                observation, _, over, _, _ = env.step(levels[i])
                observations[i] = None if over else observation
    assert batch.act_batch([None] * len(envs), [None] * len(envs)) == [0] * len(envs)


def test_it_is_an_agent_for_single_episodes_too() -> None:
    env, single, batch = make(), make_agent("abr/robust-mpc"), BatchedMPC()
    observation, info = env.reset(seed=1)
    for agent in (single, batch):
        agent.reset(EnvInfo.of(env))
    over = False
    while not over:
        level = batch.act(observation, info)
        assert level == single.act(observation, info)
        observation, _, over, _, info = env.step(level)
    with pytest.raises(ConfigError, match="horizon"):
        BatchedMPC(9)
