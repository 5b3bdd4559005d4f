"""Nobody earns more than the bound: not the best of all plans, not the planner, not an agent."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netllm_gym import Agent, EnvInfo, list_agents, make_agent
from netllm_gym.envs.abr.bound import upper_bound
from netllm_gym.envs.abr.planner import optimum
from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest

pieces = st.lists(st.tuples(st.floats(0.05, 20), st.floats(0, 8) | st.just(0.0)), min_size=1, max_size=12).filter(
    lambda drawn: any(rate > 0.05 for _, rate in drawn)
)


def make(**kwargs):
    return gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **kwargs).unwrapped


def play(env, agent, trace: int) -> float:
    observation, info = env.reset(seed=trace, options={"trace": trace})
    agent.reset(EnvInfo.of(env, seed=trace, privileged=agent.privileged))
    total, over = 0.0, False
    while not over:
        observation, reward, over, _, info = env.step(agent.act(observation, info))
        total += reward
    return total


@settings(max_examples=20, deadline=None)
@given(
    pieces,
    st.integers(0, 2**31),
    st.sampled_from(["lin", "log"]),
    st.sampled_from([8.0, 11.3, 60.0]),
    st.sampled_from([None, 0, 2]),
    st.sampled_from([20_000, 2]),
    st.sampled_from([None, None, 0.0]),
)
def test_no_plan_exceeds_the_bound(drawn, seed: int, qoe: str, cap: float, first, width: int, stall) -> None:
    """All plans of a short video, tried; `width` 2 makes the bound round coarsely."""
    rng = np.random.default_rng(seed)
    ladder = np.array([300.0, 1200.0, 4300.0])
    video = VideoManifest("v", ladder, 4.0, ladder * 500.0 * rng.uniform(0.5, 1.5, (6, 1)))
    traces = TraceSet("own", "test", (NetworkTrace("t", *zip(*drawn, strict=True)),))
    env = make(traces=traces, video=video, qoe=qoe, buffer_cap_s=cap, first_quality=first, stall_weight=stall)
    env.reset()
    bound, promised = upper_bound(env, width), optimum(env)[0]
    assert promised <= bound
    for plan in itertools.product(range(3), repeat=video.chunks - env.chunk):
        env.reset()
        assert sum(env.step(level)[1] for level in plan) <= bound


def _ready(agent: Agent, env: gym.Env) -> bool:
    """Tell whether what an agent plays with is on this machine (published weights are fetched)."""
    env.reset()
    try:
        agent.reset(EnvInfo.of(env))
    except DownloadError:
        return False
    return True


@pytest.mark.llm
def test_no_agent_exceeds_the_bound_and_the_planner_comes_close() -> None:
    env = make()
    gaps = []
    agents = [make_agent(name) for name in list_agents("abr")]
    agents = [agent for agent in agents if not agent.privileged and _ready(agent, env)] + [make_agent("abr/oracle")]
    for trace in range(0, len(env.traces), 8):
        env.reset(options={"trace": trace})
        bound = upper_bound(env)
        gaps.append((bound - optimum(env)[0]) / (env.video.chunks - 1))
        for agent in agents:
            assert play(env, agent, trace) <= bound, (agent.name, trace)
    assert min(gaps) >= 0 and np.median(gaps) < 0.01


def test_the_bound_holds_from_the_middle_of_a_video() -> None:
    env = make()
    env.reset(options={"trace": 5})
    for level in (0, 3, 1, 5, 2) * 4:
        env.step(level)
    bound, (promised, plan) = upper_bound(env), optimum(env)
    assert promised <= bound <= promised + 0.5
    assert sum(env.step(int(level))[1] for level in plan) == pytest.approx(promised)


def test_what_cannot_be_bounded_is_refused() -> None:
    for kwargs, message in (({"delay_noise": 0.1}, "delay noise"), ({"abandon": True}, "plain player")):
        env = make(**kwargs)
        env.reset(seed=0)
        with pytest.raises(ConfigError, match=message):
            upper_bound(env)
    env = make()
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="width"):
        upper_bound(env, 0)
