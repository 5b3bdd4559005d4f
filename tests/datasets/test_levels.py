"""Streaming experience by rows: the same states, the same order of levels, in ranges of the ladder."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.levels import by_levels
from netllm_gym.datasets.store import load_experience
from netllm_gym.envs.abr.view import ABRView, Episode
from netllm_gym.errors import DatasetError

KWARGS = {"traces": "abr/synthetic", "split": "train"}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    config = CollectConfig("netllm_gym/ABR-v0", ("abr/bba",), 2, 0.3, hindsight=True, env_kwargs=KWARGS)
    return load_experience(collect(config, "test/levels-v0"))


def test_states_are_those_of_the_view_and_values_count_ranges(raw):
    static = gym.make("netllm_gym/ABR-v0", **KWARGS).unwrapped.static_info()
    shown, view, facts = by_levels(raw, static, 8, 2.0), ABRView(8), Episode(static)
    assert shown.observation_space == view.observation_space and shown.action_space.n == 8
    before, after = raw.episodes[1], shown.episodes[1]
    for t in (0, 7, len(before) - 1):
        wanted = view(facts, {key: values[t] for key, values in before.observations.items()})
        for key, value in wanted.items():
            assert np.array_equal(after.observations[key][t], value)
    assert np.array_equal(after.actions, before.actions)
    quality = static["qoe"].per_chunk(facts.chunks)
    factor = 2.0 / (quality.max() - quality.min())
    assert np.allclose(after.action_values[:, : facts.levels], before.action_values * factor)
    assert np.isnan(after.action_values[:, facts.levels :]).all()
    assert after.action_mask.sum(1).tolist() == [facts.levels] * len(before)
    assert np.allclose(after.rewards, before.rewards * factor)


def test_another_environment_or_ladder_is_refused(raw):
    static = gym.make("netllm_gym/ABR-v0", **KWARGS).unwrapped.static_info()
    with pytest.raises(DatasetError, match=r"not of netllm_gym/ABR-v0"):
        by_levels(replace(raw, env_id="netllm_gym/ClusterScheduling-v0"), static, 8, 2.0)
    with pytest.raises(DatasetError, match="ladder of 6 levels"):
        by_levels(replace(raw, action_space=gym.spaces.Discrete(4)), static, 8, 2.0)
