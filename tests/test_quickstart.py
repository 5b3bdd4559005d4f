"""The whole chain, small: it ends in a report, and the same command keeps what is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("d3rlpy")

from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.evaluation import EvaluationResult
from netllm_gym.quickstart import quickstart, tasks

pytestmark = pytest.mark.llm
TINY = {"backbone": "tiny-random", "layers": 2, "eval_every": 2}


def test_chain_reports_and_resumes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tasks, "EPISODES_PER_MINUTE", 6)
    monkeypatch.setattr(tasks, "LLM_STEPS_PER_MINUTE", 1)
    monkeypatch.setattr(tasks, "LLM_OPTIONS", TINY)
    monkeypatch.setitem(tasks.PLANS, "abr", replace(tasks.PLANS["abr"], episodes=12))
    lines: list[str] = []
    page = quickstart(minutes=2, out=tmp_path / "run", workers=1, say=lines.append)
    text = page.read_text()
    for agent in ("llm", "regret-mlp", "cql", "decision-transformer", "abr/robust-mpc", "abr/bba", "abr/oracle"):
        assert agent in text
    assert "http-equiv" not in text and ' src="http' not in text
    first = EvaluationResult.load(tmp_path / "run" / "evaluation")
    assert not first.frame["failed"].any() and set(first.frame.groupby("agent").size()) == {12}
    assert any("trained in" in line for line in lines)
    lines.clear()
    quickstart(minutes=2, out=tmp_path / "run", workers=1, say=lines.append)
    assert not any("trained in" in line for line in lines)
    assert EvaluationResult.load(tmp_path / "run" / "evaluation").digest == first.digest


def test_viewports_with_two_trainings(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tasks, "VIEWPORT_STEPS_PER_MINUTE", 1)
    monkeypatch.setattr(tasks, "VIEWPORT_OPTIONS", {**TINY, "stride": 15, "turns": 0, "mirror": False})
    monkeypatch.setitem(
        tasks.PLANS, "viewport", replace(tasks.PLANS["viewport"], rivals=("viewport/hold-last",), episodes=4)
    )
    quickstart(minutes=2, out=tmp_path / "run", workers=1, task="viewport", trainings=2, say=lambda line: None)
    result = EvaluationResult.load(tmp_path / "run" / "evaluation")
    assert set(result.frame.loc[result.frame["agent"] == "llm", "training_seed"]) == {0, 1}
    assert result.manifest["baseline"] == "viewport/hold-last"


def test_cluster_trains_in_the_states_of_its_student(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tasks, "CLUSTER_STEPS_PER_MINUTE", 1)
    monkeypatch.setattr(tasks, "CLUSTER_OPTIONS", TINY)
    monkeypatch.setattr(tasks, "CLUSTER", {"executors": 10, "jobs": 4})
    monkeypatch.setitem(tasks.PLANS, "cluster", replace(tasks.PLANS["cluster"], rivals=("cluster/fair",), episodes=2))
    lines: list[str] = []
    quickstart(minutes=2, out=tmp_path / "run", workers=1, task="cluster", learners=("llm",), say=lines.append)
    assert any("cluster/student" in line for line in lines)
    assert not EvaluationResult.load(tmp_path / "run" / "evaluation").frame["failed"].any()


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 minutes"):
        quickstart(minutes=0.5)
    with pytest.raises(ConfigError, match="training"):
        quickstart(trainings=0)
    with pytest.raises(UnknownNameError, match="unknown task 'abc'; did you mean abr"):
        quickstart(task="abc")
    with pytest.raises(UnknownNameError, match="learner of viewport"):
        quickstart(task="viewport", learners=("cql",))
