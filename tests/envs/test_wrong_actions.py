"""What is no action is refused in one line by every environment; a part of a number is never cut off."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym  # noqa: F401  (registers the ids)
from netllm_gym.errors import ConfigError

NO_ACTIONS = [
    None, "ab", {"a": 1}, [np.nan, 0], [1.7, 0], [None, None], [[0], [0, 1]], np.array("x"), object(), 1.7
]  # fmt: skip
ENVIRONMENTS: list[tuple[str, dict[str, Any]]] = [
    ("ABR-v0", {}),
    ("ABR-v0", {"live_latency_s": 8.0, "buffer_targets_s": (2.0, 4.0)}),
    ("ClusterScheduling-v0", {"jobs": 5}),
    ("ViewportPrediction-v0", {}),
    ("ViewportStreaming-v0", {}),
    ("ViewportStreaming-v0", {"action_mode": "pair"}),
    ("ViewportStreaming-v0", {"action_mode": "view"}),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "kwargs"), ENVIRONMENTS)
def test_what_is_no_action_is_refused(name, kwargs) -> None:
    env = gym.make(f"netllm_gym/{name}", disable_env_checker=True, **kwargs).unwrapped
    env.reset(seed=0)
    for action in NO_ACTIONS:
        with pytest.raises(ConfigError, match="action"):
            env.step(action)
    env.action_space.seed(0)
    env.reset(seed=0)
    if name != "ClusterScheduling-v0":
        env.step(env.action_space.sample())


def test_whole_numbers_are_taken_whatever_their_type() -> None:
    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    rewards = set()
    for action in (2, 2.0, np.float32(2), np.int8(2), np.array(2), np.uint64(2)):
        env.reset(seed=0)
        rewards.add(env.step(action)[1])
    assert len(rewards) == 1
