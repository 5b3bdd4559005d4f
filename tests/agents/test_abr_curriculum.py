"""Genet's curriculum: where the baseline is ahead, the trainer draws more."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, make_agent
from netllm_gym.agents.abr import curriculum as genet
from netllm_gym.agents.abr.curriculum import Curriculum
from netllm_gym.agents.abr.playground import Playground, measured, robust_mpc
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.traces import load, load_video

VIDEO = load_video("synthetic")


def _always(level: int):
    return lambda ground: np.full(len(ground.which), level)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CANDIDATES": 8, "LINKS": 2, "FINALISTS": 2, "MORE_LINKS": 3, "UNIFORM_FAMILIES": 4}.items():
        monkeypatch.setattr(genet, name, value)
    monkeypatch.setattr(genet, "TRAINING_LINKS", 5)


def test_the_baseline_in_lock_step_is_the_agent_in_the_environment() -> None:
    links = load("abr/synthetic", "valid")
    ground = Playground(list(links), [VIDEO])
    found = measured(ground, robust_mpc(ground))
    env = gym.make("netllm_gym/ABR-v0", split="valid", disable_env_checker=True)
    agent = make_agent("abr/robust-mpc")
    for i in range(0, len(links), 7):
        observation, info = env.reset(options={"trace": i})
        agent.reset(EnvInfo.of(env))
        total, over = 0.0, False
        while not over:
            observation, reward, over, _, info = env.step(agent.act(observation, info))
            total += reward
        assert found[i] == pytest.approx(total / 47, abs=1e-9)


def test_links_that_the_policy_wastes_are_promoted_and_the_same_each_time() -> None:
    first, second = (Curriculum(VIDEO, 100, seed=3) for _ in range(2))
    lazy = first.promote(10, _always(0))
    assert lazy.gap > 2.0 and lazy.model.mean_mbps > 3.0
    assert second.promote(10, _always(0)) == lazy
    greedy = Curriculum(VIDEO, 100, seed=3).promote(10, _always(5))
    assert greedy.gap > 10.0 and greedy.model.mean_mbps < 1.5


def test_nine_searches_cut_the_run_into_ten_parts(small) -> None:
    curriculum = Curriculum(VIDEO, 240, seed=0)
    due = []
    for iteration in range(240):
        if curriculum.due(iteration):
            due.append(iteration)
            curriculum.promoted.append(genet.Promotion(iteration, genet._drawn(np.random.default_rng(0)), 0.0))
    assert due == [24 * i for i in range(1, 10)]
    assert not any(Curriculum(VIDEO, 240, 0, search=False).due(i) for i in range(240))


def test_recorded_links_keep_their_half_and_the_newest_family_thirty_percent_of_the_rest(small) -> None:
    curriculum = Curriculum(VIDEO, 20, seed=0)
    assert len(curriculum.links()) == 4
    np.testing.assert_allclose(curriculum.chances(10), [0.05] * 10 + [0.125] * 4)
    for iteration in (2, 4):
        curriculum.promote(iteration, _always(0))
    chances = curriculum.chances(10)
    assert len(chances) == 10 + len(curriculum.links()) == 10 + 4 + 2 * 5
    assert chances.sum() == pytest.approx(1.0)
    assert chances[-5:].sum() == pytest.approx(0.5 * 0.3)
    assert chances[-10:-5].sum() == pytest.approx(0.5 * 0.3 * 0.7)


def test_a_curriculum_that_goes_on_draws_the_same_links(small) -> None:
    curriculum, again = (Curriculum(VIDEO, 20, seed=1) for _ in range(2))
    curriculum.promote(2, _always(0))
    again.resume(curriculum.state())
    assert again.promoted == curriculum.promoted
    for one, other in zip(curriculum.links(), again.links(), strict=True):
        assert one.digest == other.digest


@pytest.mark.parametrize("curriculum", ["uniform", "genet"])
def test_a_run_with_a_curriculum_that_stops_and_goes_on_ends_where_an_unbroken_one_ends(
    tmp_path, small, curriculum: str
) -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.abr.ppo import PPOConfig, Trainer

    config = PPOConfig(
        iterations=4, episodes=8, epochs=1, batch_size=128, check_every=1, hidden=16, curriculum=curriculum
    )
    train, valid = list(load("abr/synthetic", "train"))[:6], list(load("abr/synthetic", "valid"))[:4]
    whole = Trainer(config, train, valid, VIDEO, tmp_path / "whole")
    whole.train()
    assert len(whole.curriculum.promoted) == (3 if curriculum == "genet" else 0)
    halted = Trainer(config, train, valid, VIDEO, tmp_path / "halted")
    for _ in range(2):
        halted._store({**halted._iterate(), "valid_qoe": -1.0})
    again = Trainer(config, train, valid, VIDEO, tmp_path / "halted")
    assert again.curriculum.promoted == halted.curriculum.promoted
    again.train()
    for key, value in whole.actor.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), again.actor.state_dict()[key].numpy())
    assert again.curriculum.promoted == whole.curriculum.promoted


def test_unknown_curricula_are_refused() -> None:
    from netllm_gym.agents.abr.ppo import PPOConfig

    with pytest.raises(UnknownNameError, match="did you mean genet"):
        PPOConfig(curriculum="gent")
    with pytest.raises(ConfigError):
        PPOConfig(iterations=0)
