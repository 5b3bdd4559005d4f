"""Every JSON file that is written is JSON as the standard has it: no bare Infinity, no NaN."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from netllm_gym import CollectConfig, collect, evaluate
from netllm_gym.agents.checkpoint import read_description, rewrite_description
from netllm_gym.datasets.store import dataset_path, load_experience
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.files import exact_json, exact_value, write_json
from tests.foreign import FOREIGN
from tests.test_foreign import Always

ODD = {"low": -math.inf, "high": [math.inf, {"x": math.nan}], "number": "inf", "n": 1}


def strict(path: Path) -> object:
    def refuse(word: str) -> None:
        raise AssertionError(f"{path} holds {word}")

    text = path.read_text(encoding="utf-8").partition("\nnetllm_gym seal")[0]
    return json.loads(text, parse_constant=refuse)


def test_numbers_that_are_not_finite_come_back(tmp_path):
    again = exact_value(json.dumps(json.loads(exact_json(ODD), parse_constant=pytest.fail)))
    assert np.isnan(again["high"][1].pop("x")) and again == {**ODD, "high": [math.inf, {}]}
    assert exact_value(json.dumps({"a": -math.inf})) == {"a": -math.inf}  # as earlier versions wrote it
    write_json(tmp_path / "a.json", ODD)
    assert strict(tmp_path / "a.json")["high"] == [None, {"x": None}]


def test_a_checkpoint_says_what_is_not_finite(tmp_path):
    facts = {"format": 1, "kind": "d3rlpy", "env_id": "x", "config": {"limit": math.inf}}
    rewrite_description(tmp_path, facts)
    strict(tmp_path / "agent.json")
    assert read_description(tmp_path) == facts


def test_an_evaluation_and_a_dataset_with_nothing_finite_in_them(tmp_path):
    out = tmp_path / "out"
    agents = [Always(7), "any/random"]
    with pytest.warns(UserWarning, match="failed in every episode"):
        result = evaluate(FOREIGN, agents, episodes=2, progress=False, trace_steps=[0], out=out)
    again = evaluate(FOREIGN, ["any/random"], episodes=2, progress=False, out=out)
    assert evaluate(FOREIGN, ["any/random"], episodes=2, progress=False, out=out).digest == again.digest
    assert result.report(tmp_path / "report").is_file() and EvaluationResult.load(out).digest == again.digest
    config = CollectConfig(FOREIGN, ("any/random",), 1, env_kwargs={"odd": ""})
    collect(config, "netllm_gym/test/strict-v0")
    written = [*tmp_path.rglob("*.json"), *dataset_path("netllm_gym/test/strict-v0").rglob("*.json")]
    assert len(written) >= 5
    for path in written:
        strict(path)


def test_an_argument_that_is_not_finite_is_learnt_from(tmp_path):
    name = "netllm_gym/test/limit-v0"
    collect(
        CollectConfig(
            "netllm_gym/Dict-v0",
            ("any/random",),
            1,
            env_kwargs={
                "env": FOREIGN,
                "env_kwargs": {"odd": ""},
                "scales": {"observation": 1.0},
                "reset_options": ["low"],
            },
        ),
        name,
    )
    path = dataset_path(name) / "netllm_gym.json"
    facts = json.loads(path.read_text())
    facts["config"]["env_kwargs"]["limit"] = {"number": "inf"}
    path.write_text(json.dumps(facts))
    assert load_experience(name).env_kwargs["limit"] == math.inf
