"""Environments that answer what nobody expects: one line that says what, never a traceback, never silence."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from netllm_gym import CollectConfig, collect, evaluate, train
from netllm_gym.answers import same
from netllm_gym.cli import app
from netllm_gym.datasets.flat import FlatView
from netllm_gym.envs.leaves import LeafView
from netllm_gym.errors import CheckpointError, ConfigError, DatasetError, printable
from netllm_gym.evaluation.result import EvaluationResult

ODD = "netllm_gym_test/Odd-v0"


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def _exit(*_: Any) -> None:
    raise SystemExit(0)


def _stop(*_: Any) -> None:
    raise StopIteration


def _unreadable(*_: Any) -> None:
    raise Unreadable


def _surrogate(*_: Any) -> None:
    raise RuntimeError("\ud800\n[bold]")


ITSELF: list[Any] = []
ITSELF.append(ITSELF)
# What the environment does -> part of what is said where it is evaluated (None: it plays) and where it is collected.
RESETS = {
    "exits": (_exit, "SystemExit: 0"),
    "stops": (_stop, "StopIteration"),
    "unreadable": (_unreadable, "a Unreadable without a text"),
    "surrogate": (_surrogate, r"RuntimeError: \ud800 [bold]"),
}
MASKS = {
    "short": (np.ones(2), "has 2 entries for 3 actions"),
    "none": (np.zeros(3), "allows no action"),
    "text": ("abc", "in place of numbers"),
    "table": ({"a": 1}, "in place of numbers"),
    "ragged": ([[1], [1, 1]], "is no array"),
    "nan": (np.array([np.nan, 1, 1]), "holds nan"),
}
STEPS = {
    "two ends": (
        {"terminated": np.array([True, False])},
        "terminated is array([ True, False]), neither true nor false",
    ),
    "word": ({"terminated": "no"}, "terminated is 'no', neither true nor false"),
    "too much": ({"reward": 1e308}, "return became inf"),
}


class Odd(gym.Env):
    def __init__(self, odd: str = "", metadata: Any = None):
        self.observation_space, self.action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)
        self.odd = odd
        if metadata is not None:
            self.metadata = metadata
        if odd == "traces":
            self.traces = 5
        if odd == "no traces":
            self.traces = []
        if odd == "masks":
            self.action_masks = np.ones(3)
        if odd == "timeline":
            self.record_timeline = lambda: None
            self.timeline = lambda: 7
        if odd == "inner":
            self.inner = 5

    def _info(self) -> dict[str, Any]:
        if self.odd == "own words":
            return {
                "episode": 99,
                "agent": 1.0,
                "step": 7,
                "huge": 10**400,
                "day": np.datetime64("2020-01-01"),
                "c": 1j,
                1: 2,
                (1, 2): 3.0,
                "groups": {1: "a"},
            }
        return {"action_mask": MASKS[self.odd][0]} if self.odd in MASKS else {}

    def _observation(self) -> Any:
        if self.odd == "itself":
            return ITSELF
        return [[0.1, [0.2]]] if self.odd == "uneven" else np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        if self.odd in RESETS:
            RESETS[self.odd][0]()
        if self.odd == "prints":
            print("hello")
        return self._observation(), self._info()

    def step(self, action):
        self.t += 1
        said = {"reward": 1.0, "terminated": self.t >= 4, **STEPS.get(self.odd, ({}, ""))[0]}
        if self.odd == "too much":
            said["terminated"] = self.t >= 4
        return self._observation(), said["reward"], said["terminated"], False, self._info()

    def close(self):
        if self.odd == "close":
            raise SystemExit(1)


if ODD not in gym.registry:
    gym.register(ODD, entry_point="tests.test_odd_environments:Odd", disable_env_checker=True)
SAID = [
    *((name, said) for table in (RESETS, MASKS, STEPS) for name, (_, said) in table.items()),
    ("masks", "action_masks of the environment is ndarray, not a method"),
    ("itself", "holds itself, or is nested too deeply"),
]


def _command(monkeypatch, *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["netllm-gym", *words])
    with pytest.raises(SystemExit) as ended:
        app.main()
    return ended.value.code


@pytest.mark.parametrize(("odd", "said"), SAID)
def test_it_fails_its_episodes_and_its_collection_with_a_reason(odd, said, monkeypatch, capsys):
    with pytest.warns(UserWarning, match="failed in every episode"):
        frame = evaluate(ODD, ["any/random"], {"odd": odd}, episodes=2, progress=False).frame
    assert frame["failed"].all() and said in frame["reason"][0]
    name = f"netllm_gym/test/odd-{odd.replace(' ', '-')}-v0"
    words = ("--env", ODD, "--env-arg", f"odd={odd}", "--agent", "any/random", "--episodes", "1", "--dataset", name)
    assert _command(monkeypatch, "collect", *words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and f"episode 0 of {ODD}" in error[0]


@pytest.mark.parametrize("odd", ["traces", "no traces", "inner", "own words", "close"])
def test_it_plays_all_the_same(odd, tmp_path):
    result = evaluate(ODD, ["any/random"], {"odd": odd}, episodes=2, progress=False, trace_steps=[1])
    assert not result.frame["failed"].any() and result.steps["episode"].tolist() == [1] * 4
    assert result.steps["step"].tolist() == [0, 1, 2, 3] and "huge" not in result.steps
    assert result.report(tmp_path).is_file()
    collect(
        CollectConfig(ODD, ("any/random",), 1, env_kwargs={"odd": odd}), f"netllm_gym/test/{odd.replace(' ', '')}-v0"
    )


def test_an_observation_that_is_no_number_is_not_taken_for_another_one():
    nan = {"x": np.array([np.nan, 1.0]), "y": ("a", np.float32("nan"))}
    assert same(nan, copy.deepcopy(nan)) and not same(nan, {**nan, "x": np.array([1.0, np.nan])})
    assert same(["a"], ["a"]) and not same(np.array([1.0]), np.array(["a"]))


def test_a_timeline_that_is_none_is_said():
    with pytest.warns(UserWarning, match=r"records no timeline: timeline\(\) returned 7, not a list of rows"):
        result = evaluate(ODD, ["any/random"], {"odd": "timeline"}, episodes=1, progress=False, trace_steps=[0])
    assert not result.frame["failed"].any()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ([1], "metadata of .* is a table, not a list"),
        ({"scales": 5}, r"metadata\['scales'\] of .* is a table, not a int"),
        ({"modalities": ["x"]}, r"metadata\['modalities'\] of .* is a table, not a list"),
        ({"metric": {"name": 5}}, r"metadata\['metric'\] of the environment is not understood"),
        ({"reward_terms": {"a": {"aggregate": "median"}}}, r"\['a'\] of the environment is not understood"),
        ({"reward_terms": {3: {}}}, r"\[3\] of the environment is not understood"),
    ],
)
def test_metadata_that_are_no_tables_are_named(metadata, said):
    with pytest.raises(ConfigError, match=said):
        evaluate(ODD, ["any/random"], {"metadata": metadata}, episodes=1, progress=False)


def test_an_uneven_list_is_no_array():
    with pytest.warns(UserWarning, match="cannot be read as an array"):
        evaluate(ODD, ["any/random"], {"odd": "uneven"}, episodes=1, progress=False)
    with pytest.raises(ConfigError, match="observation 'observation' is no array"):
        collect(CollectConfig(ODD, ("any/random",), 1, env_kwargs={"odd": "uneven"}), "netllm_gym/test/uneven-v0")


def test_what_an_environment_prints_does_not_stand_in_the_answer():
    words = ["evaluate", "--env", f"tests.test_odd_environments:{ODD}", "--env-arg", "odd=prints", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "netllm_gym", *words, "--agent", "any/random", "--episodes", "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("[") and "hello" in done.stderr


def test_categories_that_are_not_there_and_vectors_without_end():
    view = FlatView(spaces.Discrete(3), {})
    for odd in (-1, 3):  # -1 was read as the last
        with pytest.raises(ConfigError, match=rf"'observation' is {odd}, not in Discrete\(3\)"):
            view.one(odd)
        with pytest.raises(ConfigError, match="not in Discrete"):
            LeafView(spaces.Discrete(3)).checked(odd)
    with pytest.raises(ConfigError, match="1,000,000,000 numbers"):
        FlatView(spaces.Discrete(10**9), {})


def test_a_space_that_no_dataset_gives_back_is_refused_before_anything_is_played(monkeypatch):
    monkeypatch.setattr(Odd, "reset", lambda *_, **__: pytest.fail("played"))
    monkeypatch.setattr("tests.test_odd_environments.spaces.Box", lambda *_: Zero)
    with pytest.raises(ConfigError, match="no dataset can hold"):
        collect(CollectConfig(ODD, ("any/random",), 1), "netllm_gym/test/zero-v0")


Zero = spaces.Box(-1, 1, (0, 3))


def test_any_text_is_printable():
    assert printable("a\n\ud800 b") == r"a \ud800 b"


@pytest.mark.llm
def test_padding_is_no_category():
    torch = pytest.importorskip("torch")
    from netllm_gym.agents.llm.encoder import Category

    assert Category([3, 4], [1, 5], 8)(torch.tensor([[0, 0], [3, 8]])).shape == (2, 8)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("agents", [{"label": "any/random"}], "an agent has no"),
        ("baseline", "nobody", "baseline 'nobody' is none of the agents"),
        ("oracle", -1, "oracle is not str"),
        ("metric", {"name": "return"}, "metric has no"),
        ("traces", 5, "traces is not dict"),
    ],
)
def test_a_manifest_that_was_changed_is_named(key, value, said, tmp_path):
    evaluate(ODD, ["any/random"], episodes=1, progress=False, out=tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DatasetError, match=said):
        EvaluationResult.load(tmp_path)


def test_an_audit_of_nothing_certifies_nothing(monkeypatch, capsys, tmp_path):
    assert _command(monkeypatch, "traces", "audit", str(tmp_path / "nowhere")) == 2
    shown = capsys.readouterr()
    assert "certified" not in shown.out and "nowhere" in shown.err


def test_the_working_folder_has_a_name(monkeypatch, tmp_path):
    collect(CollectConfig(ODD, ("any/random",), 1), "netllm_gym/test/here-v0")
    (tmp_path / "kept").touch()
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("d3rlpy")
    with pytest.raises(CheckpointError, match="exists and is not a checkpoint"):
        train("bc", ["netllm_gym/test/here-v0"], ".", options={"steps": 1, "batch_size": 2})


def test_a_damaged_dataset_is_not_there_already():
    config = CollectConfig(ODD, ("any/random",), 1, seed=3)
    data = collect(config, "netllm_gym/test/damaged-v0")
    (data.path / "data" / "main_data.hdf5").write_bytes(b"")
    with pytest.raises(DatasetError, match="is damaged"):
        collect(config, "netllm_gym/test/damaged-v0")
