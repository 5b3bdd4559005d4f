"""Other people's tools on the padded view: sb3-contrib's MaskablePPO learns on it, Minari's collector records it."""

import gymnasium as gym
import minari
import numpy as np
import pytest

from netllm_gym.envs.cluster.padded import PaddedGraph

BOUNDS = {"max_stages": 96, "max_jobs": 16, "max_edges": 256}


class Watched(gym.Wrapper):
    """Count actions outside the mask; `learn` may swallow no error, but a repaired action would raise none."""

    illegal = steps = 0

    def step(self, action):
        self.steps += 1
        self.illegal += not self.env.get_wrapper_attr("action_masks")()[action]
        return self.env.step(action)


def make(**kwargs):
    env = gym.make("netllm_gym/ClusterScheduling-v0", jobs=3, executors=6, **{**BOUNDS, **kwargs})
    return PaddedGraph(env, max_candidates=24)


def test_maskable_ppo_learns_and_takes_legal_actions_only():
    sb3 = pytest.importorskip("sb3_contrib", reason="needs sb3-contrib")
    env = Watched(make())
    model = sb3.MaskablePPO("MultiInputPolicy", env, n_steps=48, batch_size=24, n_epochs=2, seed=0, device="cpu")
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(total_timesteps=144)
    assert env.steps == 144 and env.illegal == 0
    assert any((a != b.detach()).any() for a, b in zip(before, model.policy.parameters(), strict=True))
    assert all(p.isfinite().all() for p in model.policy.parameters())
    observation, info = env.reset(seed=1, options={"trace": 0})
    over = False
    while not over:
        action, _ = model.predict(observation, action_masks=info["action_mask"].astype(bool), deterministic=True)
        observation, _, over, _, info = env.step(int(action))
    assert env.illegal == 0 and info["jobs_done"] == 3 and info["illegal_actions"] == 0


def test_minari_records_the_padded_view(tmp_path, monkeypatch):
    pytest.importorskip("jax", reason="Minari's collector needs jax: pip install 'minari[create]'")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(make())
    rng, jct = np.random.default_rng(0), []
    for seed in range(2):
        _, info = env.reset(seed=seed, options={"trace": seed})
        over = False
        while not over:
            legal = np.flatnonzero(env.get_wrapper_attr("action_masks")())
            _, _, over, _, info = env.step(int(rng.choice(legal)))
        jct.append(info["mean_jct_s"])
    env.create_dataset("test/cluster-padded-v0", algorithm_name="random")
    found = minari.load_dataset("test/cluster-padded-v0")
    assert found.observation_space == env.observation_space and found.action_space == env.action_space
    for episode, seconds in zip(found.iterate_episodes(), jct, strict=True):
        assert episode.rewards.sum() == pytest.approx(-3 * seconds)
        assert episode.terminations[-1] and not episode.truncations.any()
        assert len(episode.observations["candidates"]) == len(episode.actions) + 1
    again = found.recover_environment()
    assert again.observation_space == env.observation_space
    again.reset(seed=0)
