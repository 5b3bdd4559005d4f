"""What learners are shown of the cluster: nothing lost, nothing illegal."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.envs.cluster.padded import SHARES, PaddedGraph, PaddedView
from netllm_gym.envs.cluster.view import ScheduleView
from netllm_gym.errors import ConfigError

ID = "netllm_gym/ClusterScheduling-v0"
BOUNDS = {"max_stages": 96, "max_jobs": 16, "max_edges": 256}


def make(jobs=6, **kwargs):
    return gym.make(ID, jobs=jobs, executors=10, disable_env_checker=True, **{**BOUNDS, **kwargs})


def states(count=40):
    env, agent = make(), netllm_gym.make_agent("cluster/strict-fair")
    observation, info = env.reset(seed=3, options={"trace": 1})
    agent.reset(EnvInfo.of(env))
    for _ in range(count):
        action = agent.act(observation, info)
        yield observation, info, action
        observation, _, over, _, info = env.step(action)
        if over:
            return


def test_the_view_keeps_the_rows_and_adds_sums():
    view = ScheduleView(10, *BOUNDS.values())
    for observation, info, _ in states():
        seen = view(observation)
        assert view.observation_space.contains(seen)
        used = observation["stages"][:, 4] >= 0
        np.testing.assert_array_equal(seen["stages"][used][:, :4], observation["stages"][used][:, :4])
        np.testing.assert_array_equal(seen["stages"][:, -1], observation["stages"][:, 4])
        jobs = int((observation["jobs"][:, 0] >= 0).sum())
        work = observation["stages"][used, 0] * observation["stages"][used, 1]
        assert seen["jobs"][:jobs, 3].sum() == pytest.approx(work.sum(), rel=1e-5)
        assert seen["cluster"][3] == jobs and seen["cluster"][4] == pytest.approx(10 / jobs)
        shortest = seen["jobs"][:jobs, 3].argmin()
        assert seen["jobs"][shortest, 4] == 0
        np.testing.assert_array_equal(view.mask(info["action_mask"], 96), info["action_mask"].astype(bool))


def test_a_view_that_is_too_small_names_its_option():
    observation = next(iter(states()))[0]
    with pytest.raises(ConfigError, match="raise max_stages"):
        ScheduleView(10, 2, 16, 256)(observation)
    with pytest.raises(ConfigError, match="raise max_candidates"):
        PaddedGraph(make(), max_candidates=1).reset(seed=3, options={"trace": 1})
    assert PaddedView(1, 10, *BOUNDS.values(), oldest_only=True)(observation)["candidates"].shape == (1, 12)


def test_discrete_actions_come_back():
    view = PaddedView(32, 10, *BOUNDS.values())
    for observation, info, action in states():
        index = view.encode(action, observation)
        assert view.mask(observation, info["action_mask"])[index]
        row, count = view.decode(index, observation)
        assert row == action[0]
        free = max(1, int(observation["executors"][0]))
        if row < 96:
            near = min(abs(max(1, round(share * free)) - 1 - action[1]) for share in SHARES)
            assert abs(count - action[1]) == near


def test_the_padded_environment_passes_the_checker_and_masks_are_obeyed():
    env = PaddedGraph(make(jobs=3), max_candidates=32)
    check_env(env, skip_render_check=True)
    env = PaddedGraph(make(jobs=3, on_illegal="error"), max_candidates=32)
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0, options={"trace": 0})
    total, over = 0.0, False
    while not over:
        masks = env.action_masks()
        assert masks.dtype == bool and masks.size == env.action_space.n
        assert (info["action_mask"] == masks).all()
        with pytest.raises(ConfigError):
            env.step(int(env.action_space.n) - 2)  # the last row of the table is never in use here
        _, reward, over, _, info = env.step(int(rng.choice(np.flatnonzero(masks))))
        total += reward
    assert total == pytest.approx(-3 * info["mean_jct_s"])
