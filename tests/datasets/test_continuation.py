"""Action values under an agent: exact on a deterministic simulator, legal only, and refused where they would lie."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym
from netllm_gym import zoo
from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.continuation import continuation_values
from netllm_gym.datasets.rollout import rollout
from netllm_gym.datasets.store import describe, load_experience
from netllm_gym.errors import ConfigError

KWARGS = {"traces": "abr/synthetic", "split": "train", "random_start": True}


@pytest.fixture
def env() -> gym.Env:
    return gym.make("netllm_gym/ABR-v0", disable_env_checker=True, delay_noise=0.1, **KWARGS)


def test_the_value_of_what_the_agent_does_is_what_it_earns(env: gym.Env) -> None:
    agent = netllm_gym.make_agent("abr/actor-critic")
    record = rollout(env, agent, episode=3, seed=1, trace=2, followed=agent)
    assert record.action_values is not None
    chosen = np.take_along_axis(record.action_values, record.actions[:, None], 1)[:, 0]
    np.testing.assert_allclose(chosen, np.cumsum(record.rewards[::-1])[::-1], atol=1e-9)
    played = rollout(env, agent, episode=3, seed=1, trace=2)
    assert (played.actions == record.actions).all() and (played.rewards == record.rewards).all()


def test_the_episode_is_not_advanced(env: gym.Env) -> None:
    _, info = env.reset(seed=4)
    twin = env.unwrapped.fork()
    first = continuation_values(env, info, netllm_gym.make_agent("abr/bba"))
    assert first.shape == (6,) and np.isfinite(first).all()
    for action in (0, 5, 2):
        ours, theirs = env.step(action), twin.step(action)
        assert ours[1] == theirs[1]
        assert all((ours[0][key] == theirs[0][key]).all() for key in ours[0])


def test_an_illegal_action_has_no_value(env: gym.Env) -> None:
    env.reset(seed=4)
    mask = np.array([1, 0, 1, 1, 0, 1], np.int8)
    values = continuation_values(env, {"action_mask": mask}, netllm_gym.make_agent("abr/constant"))
    assert (np.isnan(values) == (mask == 0)).all()


def test_playing_the_best_value_improves_on_the_agent(env: gym.Env) -> None:
    """Policy improvement, with the true future in hand: never worse than the agent that is followed."""
    agent = netllm_gym.make_agent("abr/bba")
    for trace in range(4):
        _, info = env.reset(seed=9, options={"trace": trace, "start_s": 0.0})
        promised, earned, over = -np.inf, 0.0, False
        while not over:
            values = continuation_values(env, info, agent)
            assert earned + values.max() >= promised - 1e-9
            promised = earned + values.max()
            _, reward, over, _, info = env.step(int(values.argmax()))
            earned += float(reward)
        assert earned == pytest.approx(promised)


def test_collects_and_remembers_whose_values_they_are() -> None:
    config = CollectConfig(agents=("abr/bba",), episodes=4, values_of="abr/actor-critic", env_kwargs=KWARGS)
    dataset = collect(config, "netllm_gym/test/continuation-v0")
    assert describe(dataset)["action_values"] == "abr/actor-critic"
    values = load_experience(dataset).episodes[0].action_values
    assert values is not None and values.shape == (47, 6)
    other = CollectConfig(agents=("abr/bba",), episodes=4, values_of="abr/bba", env_kwargs=KWARGS)
    assert other.key != config.key


def test_new_weights_under_an_old_name_make_another_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    taught = CollectConfig(agents=("abr/bba",), values_of="abr/actor-critic", env_kwargs=KWARGS)
    rules = CollectConfig(agents=("abr/bba",), env_kwargs=KWARGS)
    before = taught.key, rules.key
    monkeypatch.setattr(zoo.ZooEntry, "digest", property(lambda entry: "retrained"))
    assert taught.key != before[0] and rules.key == before[1]


def test_refuses_agents_with_a_memory_and_two_kinds_of_values() -> None:
    with pytest.raises(ConfigError, match="robust-mpc does not decide from the present observation alone"):
        collect(CollectConfig(values_of="abr/robust-mpc", env_kwargs=KWARGS), "netllm_gym/test/memory-v0")
    with pytest.raises(ConfigError, match="not both"):
        CollectConfig(hindsight=True, values_of="abr/bba", env_kwargs=KWARGS)
    with pytest.raises(ConfigError, match="discrete"):
        collect(
            CollectConfig(
                "netllm_gym/ViewportPrediction-v0",
                ("viewport/hold-last",),
                values_of="abr/bba",
                env_kwargs={"split": "train"},
            ),
            "netllm_gym/test/box-v0",
        )
