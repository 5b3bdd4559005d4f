"""The expected regret of a drawn choice: its value, where its gradient points, and what it leaves alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from netllm_gym.agents.regret import expected_regret  # noqa: E402
from netllm_gym.errors import ConfigError  # noqa: E402

GAPS = torch.tensor([[0.0, -0.1, -4.0], [-3.0, 0.0, 0.0]])
THERE = torch.tensor([[True, True, True], [True, True, False]])


def test_a_sure_choice_loses_its_own_gap() -> None:
    sure = torch.tensor([[-9.0, 0.0, -9.0], [0.0, -9.0, 9.0]])  # what is not there is never drawn
    assert float(expected_regret(sure, GAPS, THERE, 0.1)) == pytest.approx((0.1 + 3.0) / 2, abs=1e-6)
    even = torch.zeros(2, 3)
    assert float(expected_regret(even, GAPS, THERE, 0.1)) == pytest.approx(((0.1 + 4.0) / 3 + 3.0 / 2) / 2, abs=1e-6)


def test_the_gradient_lifts_the_better_of_two_near_choices_and_spares_what_is_clear() -> None:
    predicted = torch.tensor([[-0.05, 0.0, -4.0], [-3.0, 0.0, 0.0]], requires_grad=True)
    expected_regret(predicted, GAPS, THERE, 0.1).backward()
    step = -predicted.grad
    assert step[0, 0] > 0 > step[0, 1] and step[0, 0] > 100 * step[0, 2].abs()
    assert step[1].abs().max() < 1e-9


def test_both_learners_refuse_a_weight_or_a_temperature_that_means_nothing() -> None:
    from netllm_gym.agents.abr.row_regression import RegressionConfig
    from netllm_gym.agents.llm.config import LLMConfig

    for kind in (RegressionConfig, LLMConfig):
        for wrong in ({"decision": -1.0}, {"decision_temperature": 0.0}):
            with pytest.raises(ConfigError, match="decision"):
                kind(**wrong)
