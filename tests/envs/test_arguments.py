"""Arguments of environments: a wrong type, a NaN or a number beyond reason is one sentence that names the argument."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym.errors import ConfigError, NetLLMGymError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ("ABR-v0", "delay_noise"), ("ABR-v0", "buffer_cap_s"), ("ABR-v0", "first_quality"), ("ABR-v0", "random_start"),
        ("ClusterScheduling-v0", "jobs"), ("ClusterScheduling-v0", "moving_s"), ("ClusterScheduling-v0", "load"),
        ("ViewportPrediction-v0", "history"), ("ViewportPrediction-v0", "crowd_gap_s"),
        ("ViewportStreaming-v0", "chunk_s"), ("ViewportStreaming-v0", "rtt_s"), ("ViewportStreaming-v0", "max_chunks"),
        ("ViewportStreaming-v0", "crowd"), ("ViewportStreaming-v0", "buffer_target_s"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [NAN, "no", [1]])
def test_a_number_is_a_number(env, name, value):
    with pytest.raises(ConfigError, match=f"^{name} is (a|a whole) number, got|^{name} is true or false, got"):
        gym.make(f"netllm_gym/{env}", **{name: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk_s": 1e-9}, {"chunk_s": INF}, {"buffer_target_s": INF}, {"rtt_s": INF}, {"history": 10**9},
        {"crowd": 10**9}, {"max_chunks": 2.5}, {"projection": 5}, {"projection": None}, {"qoe": None}, {"qoe": 5},
        {"tiles": None}, {"tiles": 5},
    ],
)  # fmt: skip
def test_streaming_refuses_what_it_cannot_play(wrong):
    with pytest.raises(NetLLMGymError):
        gym.make("netllm_gym/ViewportStreaming-v0", **wrong)


def test_numbers_of_numpy_and_switches_of_0_and_1_are_welcome():
    env = gym.make(
        "netllm_gym/ViewportStreaming-v0", history=np.int64(4), rtt_s=np.float32(0.05), max_chunks=3, chunk_s=1
    )
    assert env.observation_space["history_deg"].shape == (4, 3)
    assert gym.make("netllm_gym/ABR-v0", random_start=0, abandon=np.bool_(True)).unwrapped is not None


def test_an_argument_that_is_not_there_is_still_pythons_error():
    with pytest.raises(TypeError, match="nonsense"):
        gym.make("netllm_gym/ABR-v0", nonsense=1)
