"""``reset(options=…)`` refuses what an environment does not know, in every environment, with the nearest name."""

from __future__ import annotations

import gymnasium as gym
import pytest

import netllm_gym  # noqa: F401  (registers the ids)
from netllm_gym.errors import NetLLMGymError

IDS = ("ABR-v0", "ViewportPrediction-v0", "ViewportStreaming-v0", "ClusterScheduling-v0")


@pytest.mark.parametrize("name", IDS)
def test_a_misspelt_option_is_refused_with_the_nearest_name(name: str) -> None:
    env = gym.make(f"netllm_gym/{name}")
    with pytest.raises(NetLLMGymError, match=r"reset option 'trcae'; did you mean trace"):
        env.reset(seed=0, options={"trcae": 1})
    env.reset(seed=0, options={"trace": 1})


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("options", [{"trace": "x"}, {"trace": 1.5}, {"trace": [{}]}, {"trace": [0, 1]}, "trace", 5])
def test_an_option_of_another_type_is_refused(name: str, options: object) -> None:
    env = gym.make(f"netllm_gym/{name}")
    with pytest.raises(NetLLMGymError, match=r"whole number|mapping"):
        env.reset(seed=0, options=options)  # type: ignore[arg-type]
    env.reset(seed=0, options={"trace": None})


def test_the_batched_environment_refuses_too() -> None:
    envs = gym.make_vec("netllm_gym/ABR-v0", 2, vectorization_mode="vector_entry_point")
    with pytest.raises(NetLLMGymError, match="did you mean start_s"):
        envs.reset(seed=0, options={"starts": 1})


def test_an_environment_of_others_takes_what_it_declares() -> None:
    env = gym.make("netllm_gym/Dict-v0", env="CartPole-v1")
    with pytest.raises(NetLLMGymError, match="did you mean low"):
        env.reset(seed=0, options={"lowe": -0.1})
    env.reset(seed=0, options={"low": -0.1, "high": 0.1})
    wrapped = gym.make("netllm_gym/Dict-v0", env="netllm_gym/ABR-v0")
    with pytest.raises(NetLLMGymError, match="did you mean trace"):
        wrapped.reset(options={"trcae": 1})
    wrapped.reset(options={"trace": 2})
    own = gym.make("netllm_gym/Dict-v0", env="CartPole-v1", reset_options=["gravity"])
    own.reset(options={"gravity": 9.8})
