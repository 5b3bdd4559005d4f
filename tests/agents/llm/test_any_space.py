"""The language model on every kind of space, and parts that other packages add to it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from gymnasium import spaces

import netllm_gym
from netllm_gym import CollectConfig, collect, evaluate, register_encoder, register_head, register_objective, train
from netllm_gym.agents.llm import parts
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.head import Head
from netllm_gym.errors import CheckpointError, UnknownNameError
from tests.datasets.test_any_space import ACTIONS, ANY, SPACES

pytestmark = pytest.mark.llm
TINY = {"backbone": "tiny-random", "layers": 1, "steps": 2, "eval_every": 1, "batch_size": 2}


def learn(shown: str, taken: str, folder, **options) -> str:
    kwargs = {"shown": shown, "taken": taken}
    name = f"netllm_gym/test/llm-{list(SPACES).index(shown)}-{list(ACTIONS).index(taken)}-v0"
    data = collect(CollectConfig(ANY, ("any/random",), 4, env_kwargs=kwargs), name)
    objective = "regression" if isinstance(ACTIONS[taken], spaces.Box) else "cloning"
    train("llm", [data], folder, [data], options={**TINY, "objective": objective, **options})
    return str(folder)


@pytest.mark.parametrize(
    ("shown", "taken"), [*((shown, "started") for shown in SPACES), *(("nested", taken) for taken in ACTIONS)]
)
def test_it_learns_and_plays(shown, taken, tmp_path) -> None:
    agent = learn(shown, taken, tmp_path / "agent")
    frame = evaluate(ANY, [agent], {"shown": shown, "taken": taken}, episodes=3, seed=5, progress=False).frame
    assert not frame["failed"].any(), list(frame["reason"])


def test_a_start_is_part_of_what_it_learnt(tmp_path, monkeypatch) -> None:
    agent = learn("category", "started", tmp_path / "agent")
    monkeypatch.setitem(ACTIONS, "started", spaces.Discrete(3, start=6))
    with pytest.raises(CheckpointError, match="start"):
        evaluate(ANY, [agent], {"shown": "category"}, episodes=2, progress=False)


def test_names_that_torch_uses_are_names_of_observations(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(SPACES, "torch", spaces.Dict({key: spaces.Discrete(2) for key in ("values", "type", "keys")}))
    learn("torch", "started", tmp_path / "agent")


@pytest.fixture
def clean_parts(monkeypatch):
    for table in (parts.ENCODERS, parts.HEADS, parts.OBJECTIVES):
        monkeypatch.setattr(table, "_entries", dict(table._entries))


def test_an_encoder_of_ones_own(tmp_path, clean_parts) -> None:
    made = []

    @register_encoder("scalar")
    class Mine(torch.nn.Module):
        def __init__(self, space: gym.Space, scale, width: int) -> None:
            super().__init__()
            made.append(space)
            self.bias = torch.nn.Parameter(torch.zeros(width))

        def forward(self, x):
            return self.bias.expand(len(x), -1)

    learn("a number", "started", tmp_path / "agent")
    assert spaces.Box(-1, 1, (), np.float32) in made


def test_an_objective_of_ones_own(tmp_path, clean_parts) -> None:
    asked = []

    @register_objective("test/shrink")
    def shrink(model, outputs, batch):
        asked.append((outputs.shape[-1], batch["actions"].shape[0], batch["action_values"]))
        loss = outputs.square().mean()
        return loss, loss

    learn("bits", "started", tmp_path / "agent", objective="test/shrink")
    assert asked and asked[0][0] == 3 and asked[0][2] is None
    with pytest.raises(UnknownNameError, match="did you mean"):
        LLMConfig(objective="test/shrunk")


def test_a_head_of_ones_own(tmp_path, clean_parts) -> None:
    class Always(Head):
        def decide(self, hidden, nodes=None, masks=None, temperature=0.0, rngs=None):
            return [np.full(self.space.shape, 1, self.space.dtype) for _ in hidden]

    register_head(spaces.MultiBinary)(Always)
    agent = learn("bits", "bits", tmp_path / "agent")
    frame = evaluate(ANY, [agent], {"shown": "bits", "taken": "bits"}, episodes=2, progress=False).frame
    assert (frame["mean_reward"] == 3.0).all()
    assert netllm_gym.make_agent(agent).model.head.__class__ is Always  # type: ignore[attr-defined]
