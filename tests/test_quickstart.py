"""The whole chain, small: it ends in a report, and the same command keeps what is done."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("d3rlpy")

from netllm_gym import quickstart as module
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import EvaluationResult

pytestmark = pytest.mark.llm


def test_chain_reports_and_resumes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "EPISODES_PER_MINUTE", 6)
    monkeypatch.setattr(module, "LLM_OPTIONS", {"backbone": "tiny-random", "layers": 2, "steps": 4, "eval_every": 2})
    lines: list[str] = []
    page = module.quickstart(minutes=2, out=tmp_path / "run", workers=1, say=lines.append)
    text = page.read_text()
    for agent in ("llm", "regret-mlp", "cql", "decision-transformer", "abr/robust-mpc", "abr/bba", "abr/oracle"):
        assert agent in text
    assert "http-equiv" not in text and ' src="http' not in text
    first = EvaluationResult.load(tmp_path / "run" / "evaluation")
    assert not first.frame["failed"].any() and set(first.frame.groupby("agent").size()) == {60}
    assert any("trained in" in line for line in lines)
    lines.clear()
    module.quickstart(minutes=2, out=tmp_path / "run", workers=1, say=lines.append)
    assert not any("trained in" in line for line in lines)
    assert EvaluationResult.load(tmp_path / "run" / "evaluation").digest == first.digest


def test_too_little_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 minutes"):
        module.quickstart(minutes=0.5)
