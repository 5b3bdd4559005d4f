"""The comparison with the simulator, on a 'real' player whose physics are known: another simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from netllm_gym.cli.testbed import _show
from netllm_gym.errors import DatasetError
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.specs import AgentSpec
from netllm_gym.testbed.comparison import compare_condition
from netllm_gym.testbed.figure import buffers
from netllm_gym.testbed.plan import Condition, SessionPlan, plan_sessions
from netllm_gym.testbed.policy import record
from netllm_gym.testbed.session import Measured, Session
from netllm_gym.testbed.store import result_of
from tests.testbed.conftest import small_condition

AGENTS = ("abr/rate-based", "abr/bba", "abr/constant")


def _pretend(plan: SessionPlan, **physics: Any) -> dict[str, Any]:
    """Play a session in a simulator with other physics and record it as the testbed would."""
    agent = plan.spec.build()
    env: Any = plan.condition.recipe().make().unwrapped
    other: Any = plan.condition.recipe().spec.make(disable_env_checker=True, **{**plan.condition.kwargs, **physics})
    session = Session(plan, env, agent)
    session.begin()
    _, info = other.reset(seed=plan.episode.env_seed, options=plan.episode.options)
    world = other.unwrapped
    rtt = world.rtt_s
    startup = info["startup_s"]
    session.arrived(
        Measured(0, 0, env.video.chunk_bytes[0, 0], 0.0, startup, rtt, 0.0, 0.0, startup, 0.0, world.buffer_s, startup)
    )
    for chunk in range(1, env.video.chunks):
        level = session.decide(chunk, world.buffer_s)
        begin = world.wall_time_s
        _, _, _, _, info = other.step(level)
        wait = info.get("decision_latency_s", 0.0)
        session.arrived(
            Measured(
                chunk, level, env.video.chunk_bytes[chunk, level], begin + wait, info["download_time_s"], rtt, wait,
                info["stall_s"], 0.0, info["sleep_s"], info["buffer_s"], info["wall_time_s"],
            )
        )  # fmt: skip
    return record(session)


def _result(condition: Condition, **physics: Any) -> EvaluationResult:
    specs = [AgentSpec.of(name) for name in AGENTS]
    plans = plan_sessions([condition], specs, 0, {})
    records = {plan.key: _pretend(plan, **physics) for plan in plans}
    return result_of(condition, plans, records, specs, "abr/rate-based", "abr/constant", {"seed": 0, "call": {}})


@pytest.fixture(scope="module")
def condition() -> Condition:
    return small_condition(chunks=30, traces=4, mbps=0.5)


def test_a_player_with_the_simulators_physics_differs_in_nothing(condition: Condition) -> None:
    row = compare_condition(condition, _result(condition), 0).row("plain")
    assert (
        row["alone_error_median"] < 0.3 and row["time_error_median"] < 1e-9 and row["time_error_p95"] < 1e-6
    )  # observations are float32
    assert row["qoe_error_replay"] < 1e-9 and row["qoe_error_twin"] < 1e-9
    assert row["same_levels"] == 1.0 and row["spearman"] == pytest.approx(1.0)


def test_calibration_finds_other_physics(condition: Condition) -> None:
    physics = {"payload": 0.88, "rtt_s": 0.12, "decision_latency_s": 0.05, "latency_on_trace": True}
    found = compare_condition(condition, _result(condition, **physics), 0)
    assert found.calibration.payload == pytest.approx(0.88, abs=0.003)
    assert found.calibration.rtt_s == pytest.approx(0.12, abs=0.006)
    assert found.calibration.gap_s["abr/bba"] == pytest.approx(0.05, abs=0.001)
    assert found.calibration.error < 0.003
    plain, calibrated = found.row("plain"), found.row("calibrated")
    assert plain["time_error_median"] > 0.05 > 5 * calibrated["time_error_median"]
    assert plain["alone_error_median"] > 0.05 > 10 * calibrated["alone_error_median"]
    assert calibrated["qoe_error_replay"] <= plain["qoe_error_replay"]


def test_failed_episodes_are_left_out(condition: Condition) -> None:
    result = _result(condition)
    result.frame.loc[result.frame["episode"] == 1, "failed"] = True
    found = compare_condition(condition, result, 0)
    assert len(found.episodes) == 3 * 3 and 1 not in set(found.episodes["episode"])
    result.frame["failed"] = True
    with pytest.raises(DatasetError, match="every episode failed"):
        compare_condition(condition, result, 0)


def test_a_number_that_is_missing_has_its_reason(condition: Condition, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_condition(condition, _result(condition), 0).gaps() == []
    result = _result(condition)
    lost = result.frame["agent"] != "abr/bba"
    result.frame.loc[lost, ["failed", "reason", "qoe", "mean_reward"]] = [True, "policy server: gone", np.nan, np.nan]
    found = compare_condition(condition, result, 0)
    assert np.isnan(found.row()["spearman"])
    assert found.gaps() == [
        "abr/rate-based failed in every episode, so it is not compared: policy server: gone",
        "abr/constant failed in every episode, so it is not compared: policy server: gone",
        "spearman and kendall (plain) need agents that can be ranked; here: 1 with a twin",
        "spearman and kendall (calibrated) need agents that can be ranked; here: 1 with a twin",
    ]
    _show({"broadband": result}, False)
    shown = capsys.readouterr()
    assert "nan" not in shown.out and "–" in shown.out
    assert (
        "broadband: abr/constant failed in every episode, so there is no number of it: policy server: gone" in shown.err
    )
    assert "the baseline abr/rate-based failed in every episode" in shown.err


def test_other_traces_are_refused(condition: Condition) -> None:
    with pytest.raises(DatasetError, match="no longer those"):
        compare_condition(small_condition(chunks=30, traces=3, mbps=0.5), _result(condition), 0)


def test_the_buffers_are_drawn(condition: Condition) -> None:
    found = compare_condition(condition, _result(condition), 0)
    figure = buffers({"small": found})
    real, plain, _ = figure.axes[0].get_lines()
    assert np.allclose(np.asarray(real.get_ydata()), np.asarray(plain.get_ydata()))
    assert isinstance(found.agents(), pd.DataFrame)
