"""One agent for every environment: collected, trained and played with no line about the task."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")
import netllm_gym
from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.trainer import train
from netllm_gym.agents.registry import register_agent
from netllm_gym.datasets.collect import CollectConfig
from netllm_gym.datasets.store import dataset_path, load_experience
from netllm_gym.envs.dict import DictEnv, infer_modalities
from netllm_gym.errors import ConfigError, UnknownNameError

pytestmark = pytest.mark.llm
DICT = "netllm_gym/Dict-v0"
OURS = [name for name in gym.registry if name.startswith("netllm_gym/")]
TINY = {"backbone": "tiny-random", "layers": 2, "lora_rank": 4, "batch_size": 8, "learning_rate": 5e-3,
        "eval_every": 50}  # fmt: skip


class Spot(gym.Env):
    """A bright spot on a dark, noisy image: say in which of four quadrants it is."""

    def __init__(self, steps: int = 5):
        self.steps = steps
        self.observation_space = gym.spaces.Box(0, 255, (12, 12, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(4)

    def _observe(self):
        self.where = int(self.np_random.integers(4))
        image = self.np_random.integers(0, 60, (12, 12, 3)).astype(np.uint8)
        row, column = 6 * (self.where // 2) + 1, 6 * (self.where % 2) + 1
        image[row : row + 4, column : column + 4] = 255
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        reward = float(action == self.where)
        self.t += 1
        return self._observe(), reward, self.t >= self.steps, False, {}


if "netllm_gym_test/Spot-v0" not in gym.registry:
    gym.register("netllm_gym_test/Spot-v0", entry_point="tests.agents.llm.test_any_env:Spot")


@register_agent("spot/eye")
class Eye(Agent):
    """Sees which quadrant is brightest."""

    def act(self, observation, info):
        image = observation["observation"].astype(float).sum(-1)
        return int(image.reshape(2, 6, 2, 6).sum((1, 3)).argmax())


@register_agent("pole/lean")
class Lean(Agent):
    """Pushes the cart under the pole."""

    def act(self, observation, info):
        _, _, angle, spin = observation["observation"]
        return int(angle + 0.3 * spin > 0)


def frozen_lake_seen(**kwargs) -> gym.Env:
    """Gymnasium's FrozenLake as its own rendering shows it, every eighth pixel."""
    lake = gym.make("FrozenLake-v1", is_slippery=False, render_mode="rgb_array", max_episode_steps=12)
    seen = gym.wrappers.AddRenderObservation(lake, render_only=True)
    small = gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    return gym.wrappers.TransformObservation(seen, lambda image: image[4::8, 4::8].copy(), small)


if "netllm_gym_test/FrozenLakeSeen-v0" not in gym.registry:
    gym.register("netllm_gym_test/FrozenLakeSeen-v0", entry_point="tests.agents.llm.test_any_env:frozen_lake_seen")


@register_agent("lake/path")
class Path(Agent):
    """Walks around the holes: down, down, right, down, right, right."""

    def reset(self, env_info):
        self.moves = iter((1, 1, 2, 1, 2, 2))

    def act(self, observation, info):
        return next(self.moves)


def _learn(name: str, agent: str, kwargs: dict, folder, objective: str, episodes: int, steps: int, **more) -> str:
    dataset, valid = (f"netllm_gym/test/{name}_{part}-v0" for part in ("train", "valid"))
    env = more.pop("env", DICT)
    for target, count, seed in ((dataset, episodes, 0), (valid, 8, 1)):
        config = CollectConfig(env, (agent, more.get("rival", agent)), count, 0.05, seed, False, kwargs)
        netllm_gym.collect(config, target)
    options = {**TINY, "objective": objective, "steps": steps}
    netllm_gym.train("llm", [dataset], folder / name, [valid], options=options)
    return str(folder / name)


def _returns(agents: list[str], env: str, kwargs: dict, episodes: int) -> dict[str, float]:
    result = netllm_gym.evaluate(env=env, agents=agents, setting=kwargs, episodes=episodes, seed=3, progress=False)
    assert not result.frame["failed"].any()
    return {name: float(rows["return"].mean()) for name, rows in result.frame.groupby("agent")}


def test_cartpole(tmp_path):
    kwargs = {"env": "CartPole-v1", "env_kwargs": {"max_episode_steps": 60}}
    agent = _learn("pole", "pole/lean", kwargs, tmp_path, "cloning", 40, 60)
    found = _returns([agent, "any/random"], DICT, kwargs, 6)
    assert found[agent] > 50 > found["any/random"]
    about = load_experience("netllm_gym/test/pole_train-v0")
    assert about.modalities == {"observation": "scalar"} and len(about) == 40
    card = (dataset_path("netllm_gym/test/pole_train-v0") / "README.md").read_text()
    assert "episodes differ by their seeds" in card


def test_images(tmp_path):
    kwargs = {"env": "netllm_gym_test/Spot-v0"}
    agent = _learn("spot", "spot/eye", kwargs, tmp_path, "return-conditioned", 80, 100, rival="any/random")
    found = _returns([agent, "any/random"], DICT, kwargs, 10)
    assert found[agent] > 4.0 > 2.5 > found["any/random"]


def test_a_standard_environment_seen_as_images(tmp_path, monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    kwargs = {"env": "netllm_gym_test/FrozenLakeSeen-v0"}
    data = "netllm_gym/test/lake_train-v0"
    netllm_gym.collect(CollectConfig(DICT, ("lake/path",), 8, env_kwargs=kwargs), data)
    assert load_experience(data).modalities == {"observation": "image"}
    # No memory: only the picture tells the place.
    options = {**TINY, "objective": "cloning", "steps": 300, "context": 1, "learning_rate": 2e-3}
    netllm_gym.train("llm", [data], tmp_path / "lake", [data], options=options)
    agent = str(tmp_path / "lake")
    found = _returns([agent, "any/random"], DICT, kwargs, 4)
    assert found[agent] == 1.0 > found["any/random"]


def test_abr(tmp_path):
    train = {"traces": "abr/synthetic", "split": "train", "random_start": True}
    agent = _learn("stream", "abr/bba", train, tmp_path, "cloning", 16, 40, env="netllm_gym/ABR-v0")
    found = _returns([agent, "abr/bba", "any/random"], "netllm_gym/ABR-v0", {"traces": "abr/synthetic"}, 8)
    assert found[agent] > found["any/random"]


# Less to play, so that the test is quick; nothing here is about how an agent learns.
SMALL = {"netllm_gym/ClusterScheduling-v0": {"jobs": 3, "max_stages": 64, "max_jobs": 4, "max_edges": 128}}


@pytest.mark.parametrize("name", sorted(set(OURS) - {DICT}))
def test_every_environment_of_the_package_is_learnt_and_played_from_its_spaces(name, tmp_path):
    kwargs = SMALL.get(name, {})
    data = f"netllm_gym/test/{name.rpartition('/')[2].lower().replace('-v0', '')}_any-v0"
    netllm_gym.collect(CollectConfig(name, ("any/random",), 2, env_kwargs={**kwargs, "split": "train"}), data)
    experience = load_experience(data)
    objective = "regression" if isinstance(experience.action_space, gym.spaces.Box) else "cloning"
    config = LLMConfig.from_json({**TINY, "layers": 1, "objective": objective, "context": 8, "steps": 3})
    agent = train(config, experience, None, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in log if "loss" in line)
    env = gym.make(name, disable_env_checker=True, **kwargs)
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    for _ in range(10):
        action = agent.act(observation, info)
        assert env.action_space.contains(action)
        observation, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break


def test_modalities_are_inferred_and_can_be_replaced():
    box = gym.spaces.Box
    space = gym.spaces.Dict(
        {
            "image": box(0, 255, (8, 8, 3), np.uint8), "grey": box(0, 255, (8, 8), np.uint8),
            "table": box(0, 1, (8, 2)), "vector": box(0, 1, (4,)),
            "mode": gym.spaces.Discrete(3), "flags": gym.spaces.MultiBinary(3),
        }
    )  # fmt: skip
    assert infer_modalities(space) == {
        "image": "image", "grey": "image", "table": "series", "vector": "scalar", "mode": "category",
        "flags": "category",
    }  # fmt: skip
    env = gym.make(DICT, env="CartPole-v1", modalities={"observation": "series"}, scales={"observation": 2.0})
    assert env.unwrapped.metadata["modalities"] == {"observation": "series"}
    from gymnasium.utils.env_checker import check_env

    check_env(DictEnv("CartPole-v1"), skip_render_check=True)


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot make environment 'CartPol-v1'"):
        DictEnv("CartPol-v1")
    with pytest.raises(ConfigError, match="has no key 'x'"):
        DictEnv("CartPole-v1", modalities={"x": "series"})
    with pytest.raises(ConfigError, match="say how many episodes"):
        config = CollectConfig(DICT, ("any/random",), env_kwargs={"env": "CartPole-v1"})
        netllm_gym.collect(config, "netllm_gym/test/none-v0")
    with pytest.raises(UnknownNameError, match="netllm_gym/ABR-v0"):
        CollectConfig("netllm_gym/ABR-v1")
