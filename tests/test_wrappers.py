"""Flat observations for other libraries."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import netllm_gym  # noqa: F401 (registers the environments)
from netllm_gym.wrappers import flat


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ABR-v0", "ViewportPrediction-v0"])
def test_flat_environments_are_environments(name) -> None:
    env = flat(gym.make(f"netllm_gym/{name}", disable_env_checker=True))
    check_env(env, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    assert observation.ndim == 1
    assert np.abs(observation).max() <= env.limit


def test_masks_pass_through() -> None:
    env = flat(gym.make("netllm_gym/ClusterScheduling-v0", jobs=3))
    env.reset(seed=0)
    assert (env.action_masks() == env.unwrapped.action_masks()).all()
