"""The specialist schedules jobs like TPC-H's, the scheduler for any workload all others."""

from __future__ import annotations

import os

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.cluster.home import HomeOrAnyScheduler, like_tpch

ENV = "netllm_gym/ClusterScheduling-v0"


class Named(BatchAgent):
    """Answers with its number and keeps what it was asked."""

    def __init__(self, number: int) -> None:
        self.number, self.asked = number, 0

    def reset_batch(self, env_infos) -> None:
        self.size = len(env_infos)

    def act_batch(self, observations, infos):
        assert len(observations) == self.size
        self.asked += sum(o is not None for o in observations)
        return [np.array([self.number, 0]) for _ in observations]


def seen(durations, job=0, size=64):
    stages = np.full((size, 5), -1.0, np.float32)
    for row, duration in enumerate(durations):
        stages[row] = (10, duration, 1, 1, job)
    return {"stages": stages, "stage_mask": (np.arange(size) < len(durations)).astype(np.int8)}


@pytest.mark.parametrize(
    ("observation", "first", "home"),
    [
        (seen([0.1, 3.0]), True, True),
        (seen([0.1, 1.0]), True, False),  # too short
        (seen([0.1, 1.0]), False, True),  # its long stages are over
        (seen([3.0, 9.0]), True, False),
        (seen([3.0, 9.0]), False, True),  # tasks wait in their first wave
        (seen([3.0, 90.0]), False, False),
        (seen([3.0] * 21), True, False),  # more stages than any of TPC-H's jobs
        (seen([]), True, True),
    ],
)
def test_what_looks_like_tpch(observation, first, home) -> None:
    assert like_tpch(observation, first) is home


def test_each_episode_has_its_scheduler_and_none_comes_back() -> None:
    home, away = Named(1), Named(2)
    agent = HomeOrAnyScheduler(home, away)
    env = gym.make(ENV, disable_env_checker=True, jobs=4, executors=8)
    env.reset(seed=0)
    info = EnvInfo.of(env)
    agent.reset_batch([info] * 3)
    assert not hasattr(home, "size") and not hasattr(away, "size"), "nobody begins who may not be asked"
    answers = agent.act_batch([seen([3.0]), seen([50.0]), None], [{}] * 3)
    assert [int(a[0]) for a in answers] == [1, 2, 0] and (home.asked, away.asked) == (1, 1)
    answers = agent.act_batch([seen([50.0]), seen([3.0]), None], [{}] * 3)
    assert [int(a[0]) for a in answers] == [2, 2, 0]
    assert int(agent.act_batch([seen([3.0]), None, None], [{}] * 3)[0][0]) == 2


@pytest.mark.realdata
def test_every_template_of_tpch_is_at_home() -> None:
    if not os.environ.get("NETLLM_GYM_MIRROR", "").startswith("file://"):
        pytest.skip("no local mirror of the public traces (set NETLLM_GYM_MIRROR=file://…)")
    traces.fetch("cluster/tpch")
    for split in ("train", "valid"):
        for template in traces.load("cluster/tpch", split)[0].workload.templates:
            assert like_tpch(seen([float(np.mean(s)) for s in template.mean_s]), True), template.name
