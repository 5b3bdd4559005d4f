"""What the streaming learners are taught: lessons in drawn worlds and at home, on families that take part."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from netllm_gym import traces, zoo
from netllm_gym.errors import ConfigError
from netllm_gym.recipes import abr_lessons
from netllm_gym.recipes.abr_lessons import LessonOptions, taught, teachers_of
from netllm_gym.recipes.abr_llm import ABRLLMOptions
from netllm_gym.recipes.abr_regret_mlp import RegretOptions
from netllm_gym.traces import NetworkTrace

FAMILIES = ("abr/fcc-hsdpa", "abr/synthetic")
SMALL = {"parts": 2, "chunks": 6, "futures": 2, "horizon": 2, "home_parts": 2, "copied_parts": 0, "valid_parts": 1}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two families and one video that need no download, and few of everything."""

    def links(split: str, without: tuple[str, ...] = ()) -> dict[str, list[NetworkTrace]]:
        found = list(traces.load("abr/synthetic", split))
        return {name: found[i : i + 4] for i, name in enumerate(FAMILIES) if name not in without}

    monkeypatch.setattr(abr_lessons, "links_of", links)
    monkeypatch.setattr(abr_lessons, "VIDEOS", ("synthetic",))
    monkeypatch.setattr(abr_lessons, "HOME_VIDEO", "synthetic")
    monkeypatch.setattr(abr_lessons, "HOME_CHUNKS", 8)
    monkeypatch.setattr(abr_lessons, "PART", 6)


def test_lessons_are_made_in_drawn_worlds_and_at_home(small: None) -> None:
    said: list[str] = []
    options = LessonOptions(**SMALL)
    data, valid = taught(options, said.append)
    assert [line.split(" lessons")[0] for line in said] == ["drawn", "drawn", "home", "home", "drawn", "home"]
    again, _ = taught(options, said.append)
    assert 2 * 6 * 6 < data.steps <= 2 * 6 * (6 + 8) and 0 < valid.steps < data.steps
    levels = traces.load_video("synthetic").levels
    for one, same in zip(data.episodes, again.episodes, strict=True):
        np.testing.assert_array_equal(one.action_values, same.action_values)
    assert data.digest == again.digest != valid.digest
    other, _ = taught(replace(options, lesson_seed=1), said.append)
    assert other.digest != data.digest and other.name == data.name == "lessons on train links"
    at_home = abr_lessons.lessons_on(LessonOptions(**{**SMALL, "parts": 0}), "train", said.append)
    assert {int(np.asarray(one.action_mask).sum(1).max()) for one in at_home.episodes} == {levels}


def test_a_level_at_home_is_worth_what_it_earned_to_the_end(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = traces.load_video("synthetic").chunks
    monkeypatch.setattr(abr_lessons, "HOME_CHUNKS", chunks + 4)
    options = LessonOptions(**{**SMALL, "parts": 0, "home_parts": 1})
    found = abr_lessons.lessons_on(options, "train", lambda line: None)
    ended = [one for one in found.episodes if len(one) < chunks + 4]
    assert len(ended) >= 6  # each of the six worlds came to the end of a video
    worth = np.array([one.action_values[-1, one.actions[-1]] for one in ended])
    # Nothing follows the last chunk, so the level played there is worth its reward (in rates without noise).
    rewards = np.array([one.rewards[-1] for one in ended])
    assert (np.abs(worth - rewards) < 1e-6).sum() >= 3
    assert np.nanmax(np.abs([one.action_values[0] for one in ended])) > 3 * np.abs(rewards).max()


def test_a_family_left_out_plays_no_part(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []
    real = abr_lessons.Worlds

    def worlds(n: int, links: dict[str, list[NetworkTrace]], *rest: object, **more: object) -> object:
        seen.append(tuple(links))
        return real(n, links, *rest, **more)

    monkeypatch.setattr(abr_lessons, "Worlds", worlds)
    left_out = ("abr/synthetic",)
    with pytest.raises(ConfigError, match="abr/synthetic cannot be left out: the teacher abr/actor-critic-any learnt"):
        taught(LessonOptions(**SMALL, without=left_out), lambda line: None)
    own = shutil.copytree(zoo.ROOT / "abr-actor-critic-any", tmp_path / "teacher")
    about = json.loads((own / "agent.json").read_text())
    (own / "agent.json").write_text(json.dumps({**about, "recipe": {"families": ["abr/fcc-hsdpa"]}}))
    options = LessonOptions(**SMALL, without=left_out, teacher=str(own))
    assert "home_or_any" not in repr(teachers_of(options)[1].decide)  # the specialist learnt on the family too
    taught(options, lambda line: None)
    assert set(seen) == {("abr/fcc-hsdpa",)}


@pytest.mark.parametrize(("share", "name"), [("spliced", "spliced-"), ("drawn_at_home", "drawn-")])
def test_links_of_no_family_are_met_at_home_alone(small: None, share: str, name: str) -> None:
    options = replace(LessonOptions(**{**SMALL, "home_parts": 4}), **{share: 0.5})
    data = abr_lessons.lessons_on(options, "train", lambda line: None)
    drawn = abr_lessons.lessons_on(replace(options, home_parts=0), "train", lambda line: None)
    names = [one.trace.startswith(name) for one in data.episodes]
    assert not any(names[: len(drawn.episodes)]) and 0.2 < np.mean(names[len(drawn.episodes) :]) < 0.8
    again = abr_lessons.lessons_on(options, "train", lambda line: None)
    assert again.digest == data.digest


def test_the_teacher_is_copied_on_links_without_memory(small: None) -> None:
    alone = LessonOptions(**{**SMALL, "parts": 0, "home_parts": 0, "copied_parts": 2})
    found = abr_lessons.lessons_on(alone, "train", lambda line: None)
    network = teachers_of(alone)[0].network
    assert network is not None and {one.trace.split("-")[0] for one in found.episodes} == {"drawn"}
    for one in found.episodes:
        mask = np.asarray(one.action_mask)
        rows = one.observations["levels"] * mask[..., None]
        scores = np.where(mask, network.scores(rows, one.observations["context"], mask), -np.inf)
        worth = np.asarray(one.action_values)
        assert np.isnan(worth[~mask]).all() and (np.nanmax(worth, axis=1) == 0.0).all()
        np.testing.assert_array_equal(np.nanargmax(worth, axis=1), scores.argmax(1))
    kinds = {int(np.asarray(one.action_mask).sum(1).max()) for one in found.episodes}
    assert len(kinds) > 1  # on the one video, and on drawn ladders
    data, valid = taught(replace(alone, parts=1), lambda line: None)
    assert data.steps > found.steps and valid.steps > 0
    again, _ = taught(replace(alone, parts=1), lambda line: None)
    assert again.digest == data.digest


@pytest.mark.parametrize("options", [RegretOptions, ABRLLMOptions])
def test_unusable_options_are_refused(options: type) -> None:
    with pytest.raises(ConfigError, match="from_start"):
        options(from_start=1.5)
    with pytest.raises(ConfigError, match="spliced"):
        options(spliced=1.0)
    with pytest.raises(ConfigError, match="drawn_at_home"):
        options(spliced=0.5, drawn_at_home=0.5)
    with pytest.raises(ConfigError, match="memoryless"):
        options(memoryless=-0.1)
    with pytest.raises(ConfigError, match="nor all 0"):
        options(parts=0, home_parts=0, copied_parts=0)
    with pytest.raises(ConfigError, match="futures must be at least 1"):
        options(futures=0)
