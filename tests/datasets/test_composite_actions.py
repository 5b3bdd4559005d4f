"""Dict and Tuple actions: collected, trained on and played as one array, or refused before anything is played."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import netllm_gym
from netllm_gym import Agent, CollectConfig, collect, evaluate, train
from netllm_gym.answers import IllegalActionError
from netllm_gym.envs.actions import FlatActions, flat_action_space, with_flat_actions
from netllm_gym.errors import ConfigError

CHOICES = spaces.Dict(
    {
        "level": spaces.Discrete(3, start=1),
        "tiles": spaces.Tuple((spaces.MultiBinary(2), spaces.MultiDiscrete([2, 3]))),
    }
)
NUMBERS = spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.Box(0, 5, ())))
MIXED = spaces.Dict(
    {
        "a": spaces.Discrete(3, start=1),
        "b": spaces.Tuple((spaces.Box(0, 9, (2,), np.int64), spaces.MultiBinary(2))),
        "c": spaces.MultiDiscrete([2, 3], start=[5, 0]),
    }
)
TEXT = spaces.Dict({"a": spaces.Discrete(2), "word": spaces.Text(3)})


class Composite(gym.Env):
    """Pays for the first factor; the mask of choices forbids its last choice."""

    observation_space = spaces.Dict({"x": spaces.Box(0.0, 1.0, (2,))})

    def __init__(self, actions: gym.Space = CHOICES):
        self.action_space = actions

    def _info(self):
        if self.action_space == MIXED:  # "a" is never 1, and the first of "c" never 6
            return {
                "action_mask": {
                    "a": np.array([0, 1, 1], np.int8),
                    "b": (None, None),
                    "c": (np.array([1, 0], np.int8), np.ones(3, np.int8)),
                }
            }
        if self.action_space != CHOICES:
            return {}
        return {"action_mask": {"level": np.array([1, 1, 0], np.int8), "tiles": (np.array([2, 0], np.int8), None)}}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observation(), self._info()

    def _observation(self):
        return {"x": self.np_random.random(2).astype(np.float32)}

    def step(self, action):
        assert self.action_space.contains(action), action
        if self.action_space == CHOICES:
            assert action["level"] < 3 and action["tiles"][0][1] == 0
            reward = float(action["level"])
        elif self.action_space == MIXED:
            assert action["a"] != 1 and action["c"][0] == 5
            reward = float(action["a"])
        else:
            reward = float(action[1]) if self.action_space == NUMBERS else 0.0
        self.steps += 1
        return self._observation(), reward, self.steps >= 5, False, self._info()


gym.register("netllm_gym_test/Composite-v0", entry_point=f"{__name__}:Composite")


class Own(Agent):
    """Answers as the environment's own space wants it."""

    def act(self, observation, info):
        return {"level": np.int64(2), "tiles": (np.array([1, 0], np.int8), np.array([1, 2]))}


@pytest.mark.parametrize("space", [CHOICES, NUMBERS, MIXED])
def test_flat_and_nested_are_the_same_action(space: gym.Space) -> None:
    env = with_flat_actions(Composite(space))
    assert isinstance(env, FlatActions) and with_flat_actions(env) is env
    space.seed(1)
    for _ in range(20):
        action = space.sample()
        flat = env.flat(action)
        assert env.action_space.contains(flat) and space.contains(env.nested(flat))
        assert np.array_equal(env.flat(env.nested(flat)), flat)
        assert np.array_equal(env.flat(flat), flat)
    assert flat_action_space(TEXT) is None and flat_action_space(spaces.Discrete(2)) is None


def test_collected_trained_and_played() -> None:
    config = CollectConfig(env="netllm_gym_test/Composite-v0", agents=("any/random",), episodes=6)
    data = collect(config, "netllm_gym/test/composite-v0")
    assert data.experience.action_space == spaces.MultiDiscrete([3, 2, 2, 2, 3], start=[1, 0, 0, 0, 0])
    assert data.experience.episodes[0].actions.shape == (5, 5)
    env = Composite()
    assert netllm_gym.play(env, Own(), seed=0).run().total_reward == 10.0
    result = evaluate("netllm_gym_test/Composite-v0", ["any/random", Own()], episodes=2, progress=False)
    assert not result.frame["failed"].any()


def test_choices_beside_numbers_are_a_number_for_each_option() -> None:
    env = with_flat_actions(Composite(MIXED))
    assert env.action_space.shape == (3 + 2 + 4 + 2 + 3,)
    assert "action_mask" not in env.reset(seed=0)[1]  # no agent knows masks of numbers: the largest legal option counts
    given = np.array([0.9, 0.2, 0.3, 7.6, 0.1, 0.1, 0.2, 0.6, 0.5, 0.0, 1.0, 0.3, 0.1, 0.2])
    played = env.flat(given)
    assert (
        played.tolist() == [0, 0, 1, 8, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0]
        and env.flat(given.tolist()).tolist() == played.tolist()
    )
    nested = env.nested(played)
    assert nested["a"] == 3 and nested["b"][0].tolist() == [8, 0] and nested["b"][1].tolist() == [1, 0]
    assert nested["c"].tolist() == [5, 0] and MIXED.contains(nested)
    with pytest.raises(IllegalActionError, match="masked out"):
        env.flat({**nested, "a": np.int64(1)})
    huge = spaces.Tuple((spaces.Discrete(10**9), spaces.Box(0, 1, (1,))))
    assert flat_action_space(huge) is None


@pytest.mark.llm
@pytest.mark.parametrize(("name", "actions"), [("C", CHOICES), ("N", NUMBERS), ("M", MIXED)])
def test_the_llm_and_cloning_learn_from_them(name: str, actions: gym.Space, tmp_path) -> None:
    pytest.importorskip("torch")
    gym.register(id := f"netllm_gym_test/{name}-v0", f"{__name__}:Composite", kwargs={"actions": actions})
    data = collect(CollectConfig(env=id, agents=("any/random",), episodes=4), f"netllm_gym/test/composite-{name}-v0")
    options = {"backbone": "tiny-random", "steps": 2, "context": 2, "warmup": 1}
    agents = [train("llm", [data], tmp_path / "llm", [data], options=options)]
    if actions is CHOICES:
        pytest.importorskip("d3rlpy")
        agents.append(train("bc", [data], tmp_path / "bc", options={"steps": 5, "batch_size": 8}))
    for agent in agents:
        frame = evaluate(id, [str(agent.name)], episodes=2, progress=False).frame
        assert not frame["failed"].any(), frame["reason"].tolist()


def test_actions_without_a_size_are_refused_before_anything_is_played() -> None:
    gym.register("netllm_gym_test/Worded-v0", f"{__name__}:Composite", kwargs={"actions": TEXT})
    config = CollectConfig(env="netllm_gym_test/Worded-v0", agents=("any/random",), episodes=2)
    with pytest.raises(ConfigError, match="actions are a Dict"):
        collect(config, "netllm_gym/test/mixed-v0")
