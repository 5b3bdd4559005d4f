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


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ("ABR-v0", "traces"), ("ABR-v0", "video"), ("ABR-v0", "qoe"), ("ABR-v0", "rtt_s"), ("ABR-v0", "split"),
        ("ABR-v0", "decision_latency_s"), ("ABR-v0", "buffer_targets_s"), ("ClusterScheduling-v0", "objective"),
        ("ClusterScheduling-v0", "traces"), ("ViewportPrediction-v0", "image"), ("ViewportPrediction-v0", "tiles"),
        ("ViewportStreaming-v0", "projection"), ("ViewportStreaming-v0", "action_mode"), ("Dict-v0", "env"),
        ("Dict-v0", "key"), ("Dict-v0", "modalities"), ("Dict-v0", "scales"), ("Dict-v0", "reset_options"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [5j, {1: 2}, [[1, 2], [3]], np.array([[1.0]]), b"x", object()])
def test_a_text_is_a_text_and_a_list_a_list(env, name, value):
    other = {"env": "CartPole-v1"} if env == "Dict-v0" and name != "env" else {}
    with pytest.raises(ConfigError, match=f"^{name} is .*, got ") as error:
        gym.make(f"netllm_gym/{env}", **{name: value, **other})
    assert "0x" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [{"stall_weight": INF}, {"switch_weight": INF}, {"live_latency_s": INF}, {"rtt_s": 1e308}, {"payload": 10**400}],
)
def test_streaming_of_chunks_never_earns_what_is_no_number(wrong):
    with pytest.raises(ConfigError):
        gym.make("netllm_gym/ABR-v0", **wrong)


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 300 + "/y", "a\0b"])
def test_what_can_be_no_path_is_an_unknown_name(name):
    for env in ("ABR-v0", "ViewportPrediction-v0", "ClusterScheduling-v0"):
        with pytest.raises(NetLLMGymError) as error:
            gym.make(f"netllm_gym/{env}", traces=name)
        assert len(str(error.value)) < 1000


def test_vector_environments_check_their_own_arguments():
    with pytest.raises(ConfigError, match="num_envs is a whole number"):
        gym.make_vec("netllm_gym/ABR-v0", 1.5, vectorization_mode="vector_entry_point")


class Nothing(gym.Env):
    observation_space, action_space = gym.spaces.Dict(), gym.spaces.Discrete(2)


def test_an_observation_of_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    gym.register("Nothing-v0", entry_point=Nothing)
    for env in ("Nothing-v0", Nothing()):
        with pytest.raises(ConfigError, match=r"An empty Dict|holds nothing"):
            gym.make("netllm_gym/Dict-v0", env=env)
