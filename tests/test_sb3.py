"""The batched environment behind Stable-Baselines3's interface."""

import gymnasium as gym
import numpy as np
import pytest

stable = pytest.importorskip("stable_baselines3")
from netllm_gym.sb3 import ABRVecEnv  # noqa: E402
from netllm_gym.wrappers import flat  # noqa: E402

pytestmark = [pytest.mark.llm, pytest.mark.filterwarnings("ignore")]
KWARGS = {"traces": "abr/synthetic", "split": "train", "random_start": True, "video": "synthetic"}


def test_it_is_a_dummy_vec_env_of_the_single_environments() -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv

    make = lambda: flat(gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **KWARGS))  # noqa: E731
    dummy, ours = DummyVecEnv([make] * 3), ABRVecEnv(3, **KWARGS)
    dummy.seed(5)
    ours.seed(5)
    np.testing.assert_array_equal(dummy.reset(), ours.reset())
    rng, ended = np.random.default_rng(0), 0
    for _ in range(120):
        actions = rng.integers(6, size=3)
        want, got = dummy.step(actions), ours.step(actions)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
        np.testing.assert_array_equal(got[1], want[1])
        np.testing.assert_array_equal(got[2], want[2])
        for mine, theirs in zip(got[3], want[3], strict=True):
            assert ("terminal_observation" in mine) == ("terminal_observation" in theirs)
            if "terminal_observation" in mine:
                ended += 1
                np.testing.assert_allclose(mine["terminal_observation"], theirs["terminal_observation"], rtol=1e-6)
                assert mine["episode"]["l"] == 47
    assert ended == 6


def test_ppo_learns_on_it_and_its_log_has_returns() -> None:
    env = ABRVecEnv(8, **KWARGS)
    model = stable.PPO("MlpPolicy", env, n_steps=47, batch_size=94, n_epochs=1, seed=0, device="cpu")
    model.learn(8 * 47 * 2)
    assert len(model.ep_info_buffer) == 16
    assert env.has_attr("video") and not env.has_attr("nothing_of_that_name")
    assert env.env_method("action_masks")[0].all()
    env.close()
