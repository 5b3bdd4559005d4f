"""The CleanRL-style script for every environment trains, and takes legal actions only."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym  # noqa: F401  # registers the environments

torch = pytest.importorskip("torch")
ENVS = {
    "netllm_gym/ABR-v0": {"traces": "abr/synthetic", "video": "synthetic"},
    "netllm_gym/ViewportPrediction-v0": {"traces": "viewport/synthetic", "future": 5},
    "netllm_gym/ViewportStreaming-v0": {"traces": "viewport/synthetic", "max_chunks": 10},
    "netllm_gym/ClusterScheduling-v0": {
        "traces": "cluster/synthetic", "executors": 10, "jobs": 3, "on_illegal": "error",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def script():
    place = Path(__file__).resolve().parent.parent.parent / "examples" / "ppo_any.py"
    spec = importlib.util.spec_from_file_location("ppo_any", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ppo_any"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("env_id", ENVS)
def test_it_trains_on(env_id, script) -> None:
    args = script.Args(total_steps=64, num_envs=2, num_steps=16, epochs=1)
    policy, mean = script.train(args, env_id, say=None, split="train", **ENVS[env_id])
    assert np.isfinite(mean)
    again = script.train(args, env_id, say=None, split="train", **ENVS[env_id])
    assert again[1] == mean
    for one, other in zip(policy.parameters(), again[0].parameters(), strict=True):
        assert torch.isfinite(one).all() and torch.equal(one, other)


class Guess(gym.Env):
    """Pays 1 for the action that the observation names; episodes of five."""

    observation_space = gym.spaces.Dict({"which": gym.spaces.Discrete(3)})
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.which = 0, int(self.np_random.integers(3))
        return {"which": self.which}, {}

    def step(self, action):
        reward = float(action == self.which)
        self.t, self.which = self.t + 1, int(self.np_random.integers(3))
        return {"which": self.which}, reward, self.t == 5, False, {}


def test_it_learns(script) -> None:
    gym.register("Guess-v0", entry_point=Guess)
    args = script.Args(total_steps=4_000, gamma=0.0, learning_rate=3e-3, entropy=0.0)
    assert script.train(args, "Guess-v0", say=None)[1] > 0.8  # chance pays a third
