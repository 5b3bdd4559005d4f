"""What somebody else's environment shows and its spaces do not declare is said: a warning, and the result's notice."""

from __future__ import annotations

import re
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import netllm_gym
from netllm_gym import CollectConfig, collect, evaluate
from netllm_gym.envs.declared import undeclared
from netllm_gym.evaluation.result import EvaluationResult

LOOSE = "netllm_gym_test/Loose-v0"
UNIT = spaces.Box(0, 1, (2,), np.float32)


class Loose(gym.Env):
    """Shows at its third step what its arguments say, and what is right before."""

    def __init__(self, shown: str = "right"):
        self.observation_space, self.action_space, self.shown = UNIT, spaces.Discrete(2), shown

    def _observation(self) -> Any:
        right = np.full(2, 0.5, np.float32)
        odd = {"beyond": right + 2, "double": np.full(2, 0.5), "longer": np.full(3, 0.5, np.float32)}
        return odd.get(self.shown, right) if self.t > 1 else right

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action):
        self.t += 1
        return self._observation(), 1.0, self.t >= 4, False, {}


if LOOSE not in gym.registry:
    gym.register(LOOSE, entry_point="tests.test_declared:Loose", disable_env_checker=True)


@pytest.mark.parametrize(
    ("shown", "phrase"),
    [
        ("beyond", "observation{} holds 2.5, its space ends at 1"),
        ("double", "observation{} is float64, its space says float32"),
        ("longer", r"observation{} has shape \(3,\), its space says \(2,\)"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_an_observation_outside_its_space_is_said_once(shown, phrase, inside, tmp_path, recwarn):
    env, kwargs = (LOOSE, {"shown": shown})
    if inside:
        env, kwargs = "netllm_gym/Dict-v0", {"env": LOOSE, "env_kwargs": kwargs}
    phrase = phrase.format(" 'observation'") if inside else phrase.format("").replace("observation", "the observation")
    with pytest.warns(UserWarning, match=rf"shows what its spaces do not declare: {phrase} \(in 3 of 3 episodes\)"):
        result = evaluate(env, ["any/random"], kwargs, episodes=3, progress=False, out=tmp_path / "out")
    assert sum("do not declare" in str(w.message) for w in recwarn) <= 1
    assert result.frame["notice"].str.startswith("the environment: ").all() and not result.notices
    assert EvaluationResult.load(tmp_path / "out").undeclared == result.undeclared
    assert "do not declare" in result.report(tmp_path / "report").read_text(encoding="utf-8")


def test_nothing_is_said_where_all_is_declared(recwarn):
    assert not evaluate(LOOSE, ["any/random"], episodes=2, progress=False).undeclared
    assert not evaluate(agents=["abr/bba"], episodes=1, progress=False).undeclared
    assert not [w for w in recwarn if "do not declare" in str(w.message)]


def test_collecting_says_it_too():
    with pytest.warns(UserWarning, match="Loose-v0 shows what its spaces do not declare: .*holds 2.5"):
        collect(CollectConfig(LOOSE, ("any/random",), 2, env_kwargs={"shown": "beyond"}), "netllm_gym/test/loose-v0")


def test_environments_of_this_package_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(sys.modules["netllm_gym.play"], "undeclared", lambda *_: pytest.fail("looked at"))
    netllm_gym.play(gym.make("netllm_gym/ABR-v0"), netllm_gym.make_agent("abr/bba"), seed=0).run()


@pytest.mark.parametrize(
    ("space", "shown", "phrases"),
    [
        (UNIT, [0.1, 0.2], []),
        (UNIT, np.array([0.1, 1.0], np.float16), []),
        (spaces.Box(0.1, 1, (1,), np.float32), np.array([0.1]), ["is float64"]),
        (spaces.Box(0, 9, (), np.int64), 10, ["holds 10, its space ends at 9"]),
        (UNIT, ["a", "b"], ["in place of float32"]),
        (spaces.Discrete(3, start=1), 0, [r"is 0, not in Discrete\(3, start=1\)"]),
        (spaces.MultiBinary(2), [1, 2], ["not in MultiBinary"]),
        (spaces.Text(3), "four", ["is 'four', not in Text"]),
        (spaces.Dict({"a": UNIT, "b": UNIT}), {"a": [0, 0], "c": 1}, ["'b' is missing", "has 'c', which"]),
        (spaces.Dict({"a": spaces.Tuple((UNIT, spaces.Discrete(2)))}), {"a": ([0, 3], 5)}, ["'a/0' holds 3", "'a/1'"]),
        (spaces.Tuple((UNIT,)), 7, ["is int, its space a Tuple"]),
    ],
)
def test_faults_are_named_by_key(space, shown, phrases):
    found = [phrase for _, phrase in undeclared(space, shown)]
    assert len(found) == len(phrases)
    for phrase, part in zip(found, phrases, strict=True):
        assert re.search(part, phrase), phrase
