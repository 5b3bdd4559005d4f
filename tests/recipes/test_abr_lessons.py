"""What the streaming learners are taught: lessons in drawn worlds, and played episodes of families that take part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from netllm_gym.datasets.collect import CollectConfig
from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.envs.lookup import make_env
from netllm_gym.recipes import abr_episodes, abr_lessons
from netllm_gym.recipes.abr_lessons import LessonOptions, taught
from netllm_gym.traces import NetworkTrace

STEPS = 5
FAMILIES = ("abr/fcc-hsdpa", "abr/fcc-sd", "abr/ghent-4g")


def _embedded(env: str, kwargs: dict):
    return make_env(env, {**kwargs, "traces": "abr/synthetic", "video": "synthetic"})


def _experience(config: CollectConfig, name: str, say, by: str = ""):
    """Stand in for a collection: an episode on each of two links, without playing anything."""
    env = _embedded(config.env, config.env_kwargs)
    family = config.env_kwargs["traces"]
    actions = int(env.action_space.n)
    observation, _ = env.reset(seed=0)
    episodes = [
        Episode(
            {key: np.repeat(np.asarray(value)[None], STEPS, axis=0) for key, value in observation.items()},
            np.zeros(STEPS, np.int64), np.zeros(STEPS), np.zeros((STEPS, actions)), f"{family} {link}",
        )
        for link in ("kept", "barred")
    ]  # fmt: skip
    metadata = env.unwrapped.metadata
    return Experience(
        episodes, config.env, dict(config.env_kwargs), env.observation_space, env.action_space,
        metadata["modalities"], metadata["scales"], name, name,
    )  # fmt: skip


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    def families(split: str, without: tuple[str, ...] = ()) -> dict[str, list[NetworkTrace]]:
        return {name: [NetworkTrace(f"{name} kept", [1.0], [1.0])] for name in FAMILIES if name not in without}

    monkeypatch.setattr(abr_lessons, "links_of", families)
    monkeypatch.setattr(abr_episodes, "collected", _experience)
    monkeypatch.setattr(abr_episodes, "make_env", _embedded)
    links = {"abr/fcc-sd": [NetworkTrace("abr/fcc-sd kept", [1.0], [1.0])]}
    lessons = abr_episodes.played("valid", lambda line: None, links)
    monkeypatch.setattr(abr_lessons, "lessons_on", lambda options, split, say: replace(lessons, digest=split))


def test_episodes_stand_beside_the_lessons(stand_ins: None) -> None:
    alone, _ = taught(LessonOptions(episodes=False), lambda line: None)
    both, valid = taught(LessonOptions(), lambda line: None)
    assert [one.trace for one in alone.episodes] == ["abr/fcc-sd kept"]
    # At home two mixes of agents are collected to learn from; links that are barred neither teach nor choose.
    kept = [one.trace for one in both.episodes[len(alone.episodes) :]]
    assert kept == ["abr/fcc-hsdpa kept"] * 2 + ["abr/fcc-sd kept", "abr/ghent-4g kept"]
    assert [one.trace for one in valid.episodes[1:]] == [f"{name} kept" for name in FAMILIES]
    assert len({alone.digest, both.digest, valid.digest}) == 3


def test_a_family_left_out_has_no_episodes(stand_ins: None) -> None:
    both, valid = taught(LessonOptions(without=("abr/ghent-4g",)), lambda line: None)
    assert not [one.trace for part in (both, valid) for one in part.episodes if "ghent" in one.trace]
