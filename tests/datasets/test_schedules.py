"""Cluster experience: masks are stored, views and labels fit, returns compare with Fair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.experience import as_taught, merge
from netllm_gym.datasets.flat import FlatView
from netllm_gym.datasets.schedules import ENV, advantages, advised, bounds_of, padded, viewed
from netllm_gym.datasets.store import load_experience
from netllm_gym.envs.cluster.cluster_view import ClusterView
from netllm_gym.errors import ConfigError, DatasetError

AGENTS = ("cluster/fair", "cluster/fifo")
KWARGS = {
    "split": "train",
    "jobs": 6,
    "executors": 8,
    "max_stages": 96,
    "max_jobs": 16,
    "max_edges": 256,
    "may_wait": True,
}


@pytest.fixture(scope="module")
def raw():
    config = CollectConfig(ENV, AGENTS, 4, env_kwargs=KWARGS, teacher="cluster/fair")
    return load_experience(collect(config, "netllm_gym/test/cluster-v0"))


def test_masks_are_stored_and_what_was_played_is_legal(raw):
    for episode in raw.episodes:
        assert episode.action_mask.shape == (len(episode), 97 + 8) and episode.action_mask.dtype == bool
        steps = np.arange(len(episode))
        assert episode.action_mask[steps, episode.actions[:, 0]].all()
        assert episode.action_mask[steps, 97 + episode.actions[:, 1]].all()


def test_a_view_keeps_actions_and_a_teacher_replaces_them(raw):
    seen = viewed(raw)
    assert seen.observation_space["stages"].shape == (96, 7)
    assert all((a.actions == b.actions).all() for a, b in zip(seen.episodes, raw.episodes, strict=True))
    taught = as_taught(seen)
    assert (taught.episodes[0].actions == raw.episodes[0].actions).all()  # Fair played it
    assert (taught.episodes[1].actions != raw.episodes[1].actions).any()  # FIFO did
    with pytest.raises(DatasetError, match="--teacher"):
        as_taught(replace(raw, episodes=[replace(raw.episodes[0], taught=None)]))


def test_clusters_of_several_sizes_can_be_seen_as_one(raw):
    kwargs = {**KWARGS, "executors": 5}
    small = load_experience(collect(CollectConfig(ENV, AGENTS, 2, env_kwargs=kwargs), "netllm_gym/test/cluster5-v0"))
    both = merge([viewed(raw), viewed(small, executors=8)])
    assert len(both) == 6 and both.action_space == viewed(raw).action_space
    assert both.episodes[-1].action_mask.shape[1] == 97 + 8 and not both.episodes[-1].action_mask[:, 97 + 5 :].any()
    assert (both.episodes[-1].observations["cluster"][:, 2] == 5).all()
    with pytest.raises(ConfigError, match="8 executors, more than 5"):
        viewed(raw, executors=5)


def test_an_advised_view_has_no_units_and_names_the_same_decisions(raw):
    shown = advised(raw, 2.0)
    view = ClusterView(2.0, *bounds_of(raw)[1:])
    assert shown.observation_space == view.observation_space and shown.action_space == view.action_space
    before, after = raw.episodes[0], shown.episodes[0]
    for t in range(0, len(before), 5):
        row = {key: values[t] for key, values in before.observations.items()}
        assert np.array_equal(after.observations["stages"][t], view(row)["stages"])
        played, given = before.actions[t], view.decode(after.actions[t], row)
        assert played[0] == given[0], "the stage is the same"
        choices = view.counts(row, int(played[0])) if played[0] < view.max_stages else np.array([1])
        assert abs(given[1] - played[1]) == np.abs(choices - 1 - played[1]).min(), "the count is the nearest choice"
        assert after.action_mask[t][after.actions[t][0]], "and is legal"


def test_returns_are_seconds_saved_against_fair(raw):
    fair = replace(raw, episodes=raw.episodes[::2])
    found = advantages(raw, fair)
    assert found.episodes[0].rewards.sum() == 0.0
    slower = (raw.episodes[1].rewards.sum() - raw.episodes[0].rewards.sum()) / 6
    assert found.episodes[1].returns_to_go() == pytest.approx(np.full(len(found.episodes[1]), slower))
    with pytest.raises(DatasetError, match="no episode of Fair"):
        advantages(raw, replace(fair, episodes=fair.episodes[:1]))


def test_padded_experience_is_flat_discrete_and_legal(raw):
    found = padded(raw, max_candidates=32)
    view = FlatView(found.observation_space, found.scales)
    episode = found.episodes[1]
    assert view.many(episode.observations).shape == (len(episode), view.size)
    assert episode.action_mask[np.arange(len(episode)), episode.actions].all()
    one = view.one({key: values[0] for key, values in episode.observations.items()})
    assert one[0] == pytest.approx(episode.observations["candidates"][0, 0, 0] / 100.0)
    with pytest.raises(ConfigError, match="scales"):
        FlatView(found.observation_space, {"cluster": [1.0, 2.0]})


def test_other_datasets_are_refused(raw):
    with pytest.raises(DatasetError, match="ABR"):
        viewed(replace(raw, env_id="netllm_gym/ABR-v0"))
    with pytest.raises(DatasetError, match="no action masks"):
        viewed(replace(raw, episodes=[replace(raw.episodes[0], action_mask=None)]))
