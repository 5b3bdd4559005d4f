"""Dict and Tuple actions: collected, trained on and played as one array, or refused before anything is played."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import netllm_gym
from netllm_gym import Agent, CollectConfig, collect, evaluate, train
from netllm_gym.envs.actions import FlatActions, flat_action_space, with_flat_actions
from netllm_gym.errors import ConfigError

CHOICES = spaces.Dict(
    {
        "level": spaces.Discrete(3, start=1),
        "tiles": spaces.Tuple((spaces.MultiBinary(2), spaces.MultiDiscrete([2, 3]))),
    }
)
NUMBERS = spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.Box(0, 5, ())))
MIXED = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 1, (1,))})


class Composite(gym.Env):
    """Pays for the first factor; the mask of choices forbids its last choice."""

    observation_space = spaces.Dict({"x": spaces.Box(0.0, 1.0, (2,))})

    def __init__(self, actions: gym.Space = CHOICES):
        self.action_space = actions

    def _info(self):
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
        else:
            reward = float(action[1]) if self.action_space == NUMBERS else 0.0
        self.steps += 1
        return self._observation(), reward, self.steps >= 5, False, self._info()


gym.register("netllm_gym_test/Composite-v0", entry_point=f"{__name__}:Composite")


class Own(Agent):
    """Answers as the environment's own space wants it."""

    def act(self, observation, info):
        return {"level": np.int64(2), "tiles": (np.array([1, 0], np.int8), np.array([1, 2]))}


@pytest.mark.parametrize("space", [CHOICES, NUMBERS])
def test_flat_and_nested_are_the_same_action(space: gym.Space) -> None:
    env = with_flat_actions(Composite(space))
    assert isinstance(env, FlatActions) and with_flat_actions(env) is env
    space.seed(1)
    for _ in range(20):
        action = space.sample()
        flat = env.flat(action)
        assert env.action_space.contains(flat) and space.contains(env.nested(flat))
        assert np.array_equal(env.flat(env.nested(flat)), flat)
        assert env.flat(flat) is flat
    assert flat_action_space(MIXED) is None and flat_action_space(spaces.Discrete(2)) is None


def test_collected_trained_and_played() -> None:
    config = CollectConfig(env="netllm_gym_test/Composite-v0", agents=("any/random",), episodes=6)
    data = collect(config, "netllm_gym/test/composite-v0")
    assert data.experience.action_space == spaces.MultiDiscrete([3, 2, 2, 2, 3], start=[1, 0, 0, 0, 0])
    assert data.experience.episodes[0].actions.shape == (5, 5)
    env = Composite()
    assert netllm_gym.play(env, Own(), seed=0).run().total_reward == 10.0
    result = evaluate("netllm_gym_test/Composite-v0", ["any/random", Own()], episodes=2, progress=False)
    assert not result.frame["failed"].any()


@pytest.mark.llm
@pytest.mark.parametrize("actions", [CHOICES, NUMBERS])
def test_the_llm_and_cloning_learn_from_them(actions: gym.Space, tmp_path) -> None:
    pytest.importorskip("torch")
    name = f"netllm_gym/test/composite-{'choices' if actions is CHOICES else 'numbers'}-v0"
    kwargs = {} if actions is CHOICES else {"actions": NUMBERS}
    gym.register(
        id := f"netllm_gym_test/{'C' if actions is CHOICES else 'N'}-v0", f"{__name__}:Composite", kwargs=kwargs
    )
    data = collect(CollectConfig(env=id, agents=("any/random",), episodes=4), name)
    options = {"backbone": "tiny-random", "steps": 2, "context": 2, "warmup": 1}
    agents = [train("llm", [data], tmp_path / "llm", [data], options=options)]
    if actions is CHOICES:
        pytest.importorskip("d3rlpy")
        agents.append(train("bc", [data], tmp_path / "bc", options={"steps": 5, "batch_size": 8}))
    for agent in agents:
        frame = evaluate(id, [str(agent.name)], episodes=2, progress=False).frame
        assert not frame["failed"].any(), frame["reason"].tolist()


def test_mixed_actions_are_refused_before_anything_is_played() -> None:
    gym.register("netllm_gym_test/Mixed-v0", f"{__name__}:Composite", kwargs={"actions": MIXED})
    config = CollectConfig(env="netllm_gym_test/Mixed-v0", agents=("any/random",), episodes=2)
    with pytest.raises(ConfigError, match="actions are a Dict"):
        collect(config, "netllm_gym/test/mixed-v0")
