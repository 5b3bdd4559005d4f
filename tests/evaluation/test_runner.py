"""Paired episodes: same for everybody, on any number of workers, after a kill, and with agents that fail."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError
from netllm_gym.evaluation import EvaluationResult, evaluate
from netllm_gym.evaluation import blocks as blocks_module
from netllm_gym.evaluation.specs import AgentSpec
from tests.evaluation.toy import TOY, Hint

REPOSITORY = Path(__file__).resolve().parents[2]
AGENTS = ["toy/hint", "toy/random", "toy/batch", "toy/oracle"]
REFERENCES = {"baseline": "toy/random", "floor": "toy/random", "oracle": "toy/oracle", "progress": False}


@pytest.fixture(scope="module")
def result():
    return evaluate(TOY, AGENTS, trace_steps=[1, 17], **REFERENCES)


def test_every_agent_meets_every_trace_once(result):
    assert len(result.frame) == len(AGENTS) * 20
    for _, rows in result.frame.groupby("agent"):
        assert list(rows["trace_index"]) == list(range(20))
        assert list(rows["group"]) == [f"g{i % 8}" for i in range(20)]
    assert (result.frame.groupby("episode")["seed"].nunique() == 1).all()
    # The environment's noise is the same for everybody.
    assert np.ptp(result.frame.pivot(index="episode", columns="agent", values="noise").to_numpy(), axis=1).max() < 1e-9


def test_columns_add_up(result):
    frame = result.frame
    np.testing.assert_allclose(frame["score"], frame["return"] / frame["steps"])
    np.testing.assert_allclose(frame["score"], 1 - frame["error"] + frame["noise"] / 6, atol=1e-9)
    assert (frame.loc[frame["agent"] == "toy/oracle", "repeat_rate"] == 1).all()
    assert frame["latency_p99_ms"].ge(frame["latency_p50_ms"]).all()


def test_batched_agent_decides_as_it_would_alone(result):
    one, many = (result.frame[result.frame["agent"] == a].reset_index(drop=True) for a in ("toy/hint", "toy/batch"))
    pd.testing.assert_series_equal(one["return"], many["return"])
    assert list(many["lockstep"]) == [1] + [16] * 16 + [3] * 3
    assert set(one["lockstep"]) == {1}


def test_steps_are_recorded_where_asked(result):
    assert set(result.steps["episode"]) == {1, 17}
    assert len(result.steps) == len(AGENTS) * 2 * 6
    assert {"step", "reward", "action", "hint", "error", "noise"} <= set(result.steps.columns)


def test_more_episodes_keep_the_first_ones(result):
    longer = evaluate(TOY, ["toy/random"], episodes=45, progress=False).frame
    assert list(longer["trace_index"]) == [i % 20 for i in range(45)]
    mine = result.frame[result.frame["agent"] == "toy/random"].reset_index(drop=True)
    pd.testing.assert_series_equal(longer["return"][:20], mine["return"])
    assert longer["return"][20] != longer["return"][0]


def test_workers_and_seed(result):
    twice = evaluate(TOY, AGENTS, workers=2, trace_steps=[1, 17], **REFERENCES)
    assert twice.digest == result.digest
    pd.testing.assert_frame_equal(twice.steps, result.steps)
    clockless = [c for c in result.summary() if not c.endswith("_ms")]
    pd.testing.assert_frame_equal(twice.summary()[clockless], result.summary()[clockless])
    assert evaluate(TOY, AGENTS, seed=1, **REFERENCES).digest != result.digest


def test_ray_backend(result):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}, log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config(backend="ray"):
            assert evaluate(TOY, AGENTS, workers=2, **REFERENCES).digest == result.digest
    finally:
        ray.shutdown()


def test_agents_defined_in_a_script_reach_the_workers(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        textwrap.dedent(
            """
            from netllm_gym import Agent, evaluate, register_agent
            from tests.evaluation.toy import TOY

            @register_agent("toy/mine")
            class Mine(Agent):
                def act(self, observation, info):
                    return 2

            if __name__ == "__main__":
                result = evaluate(TOY, ["toy/mine", "toy/hint"], workers=2, progress=False)
                assert not result.frame["failed"].any()
            """
        )
    )
    subprocess.run([sys.executable, script], check=True, env=environment(), timeout=120)


def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def test_agent_objects_and_training_seeds():
    runs = [{"name": "toy/hint", "bias": b, "label": "tuned", "training_seed": i} for i, b in enumerate((0, 0.3, -0.3))]
    result = evaluate(TOY, [*runs, Hint(0.1)], progress=False, workers=2)
    summary = result.summary().set_index("agent")
    assert summary.loc["tuned", "seeds"] == 3
    assert result.manifest["baseline"] == "tuned"
    assert summary.loc["Hint", "verdict"] in ("better", "worse", "undecided")


def test_weights_behind_an_argument_identify_an_agent(tmp_path):
    folder = tmp_path / "trained" / "published"
    folder.mkdir(parents=True)
    (folder / "agent.json").write_text("{}")
    spec = AgentSpec.of({"name": "viewport/gru", "checkpoint": str(folder.parent)})
    before = spec.key
    (folder / "weights.safetensors").write_bytes(b"trained anew")
    assert spec.key != before, "stored episodes of the old weights would be taken up"
    assert AgentSpec.of({"name": "streaming/predictive", "predictor": "viewport/gru"}).trained
    assert not AgentSpec.of({"name": "streaming/predictive", "predictor": "viewport/linear-l1"}).trained


def test_a_failing_agent_is_recorded_and_the_run_goes_on(tmp_path):
    result = evaluate(TOY, ["toy/hint", "toy/faulty"], floor="toy/random", oracle="toy/oracle", progress=False)
    failed = result.frame[result.frame["failed"]]
    assert list(failed["episode"]) == [3, 5]
    assert list(failed["reason"]) == ["RuntimeError: no <b>idea</b>", "illegal action 17: not in Discrete(4)"]
    assert failed["score"].isna().all()
    row = result.summary().set_index("agent").loc["toy/faulty"]
    assert row["failed"] == 2 and row["verdict"] == "undecided" and np.isfinite(row["mean"])
    result.save(tmp_path)
    assert EvaluationResult.load(tmp_path).digest == result.digest


def test_resume_after_kill(tmp_path, monkeypatch):
    agents = ["toy/hint", {"name": "toy/killer", "flag": str(tmp_path / "flag")}]
    code = f"""
from netllm_gym.evaluation import evaluate
from tests.evaluation.toy import TOY
print(evaluate(TOY, {agents!r}, episodes=40, out={str(tmp_path / "out")!r}, progress=False).digest)
"""
    command = [sys.executable, "-c", code]
    first = subprocess.run(command, env=environment(), cwd=REPOSITORY, timeout=120, capture_output=True)
    assert first.returncode == -signal.SIGKILL
    blocks = tmp_path / "out" / "episodes"
    kept = {path.name: path.stat().st_mtime_ns for path in blocks.glob("*.json")}
    assert len(kept) == 5, "four blocks of the first agent and one of the second"
    (blocks / next(iter(kept))).write_text('{"key": "trunc')  # a damaged block is played again
    damaged = next(iter(kept))

    played = []
    original = blocks_module.play_block
    monkeypatch.setattr(blocks_module, "play_block", lambda *a: played.append(a[1].label) or original(*a))
    resumed = evaluate(TOY, agents, episodes=40, out=tmp_path / "out", progress=False)
    assert len(played) == 4
    assert all((blocks / n).stat().st_mtime_ns == t for n, t in kept.items() if n != damaged)
    fresh = evaluate(TOY, agents, episodes=40, progress=False)
    assert resumed.digest == fresh.digest
    played.clear()
    again = evaluate(TOY, agents, episodes=40, out=tmp_path / "out", progress=False)
    assert played == [] and again.digest == fresh.digest
    evaluate(TOY, agents[:1], episodes=40, out=tmp_path / "out", seed=1, progress=False)
    assert len(played) == 4, "another seed is another evaluation"


def test_users_mistakes():
    for arguments, error, word in (
        ({"agents": ["toy/hnt"]}, UnknownNameError, "toy/hint"),
        ({"env": "netllm_gym_test/Toi-v0", "agents": ["toy/hint"]}, UnknownNameError, "Toy-v0"),
        ({"agents": []}, ConfigError, "at least one agent"),
        ({"agents": ["toy/hint", "toy/hint"]}, ConfigError, "label"),
        ({"agents": [{"bias": 1}]}, ConfigError, "name"),
        ({"agents": [{"name": "toy/hint", "bais": 1}]}, ConfigError, "bais"),
        ({"agents": ["toy/hint"], "setting": {"stepps": 3}}, UnknownNameError, "did you mean steps"),
        ({"agents": ["toy/hint"], "episodes": 0}, ConfigError, "at least 1"),
        ({"agents": ["toy/hint"], "workers": 0}, ConfigError, "workers"),
        ({"agents": ["toy/hint"], "trace_steps": [20]}, ConfigError, "episode 20"),
        ({"agents": ["toy/hint"], "setting": "default"}, UnknownNameError, "ABR"),
    ):
        with pytest.raises(error) as caught:
            evaluate(**{"env": TOY, "progress": False, **arguments})
        assert word in str(caught.value) and "\n" not in str(caught.value)


def test_saved_results_come_back_and_tampering_shows(result, tmp_path):
    result.save(tmp_path)
    again = EvaluationResult.load(tmp_path)
    pd.testing.assert_frame_equal(again.frame, result.frame, check_dtype=False)
    assert again.digest == result.digest
    text = (tmp_path / "episodes.csv").read_text()
    (tmp_path / "episodes.csv").write_text(text.replace("t7", "t8", 1))
    with pytest.raises(DatasetError, match="does not match"):
        EvaluationResult.load(tmp_path)
    (tmp_path / "episodes.csv").write_text("\n".join(text.splitlines()[:-1]) + "\n")
    with pytest.raises(DatasetError, match="lacks 1 of 20 episodes"):
        EvaluationResult.load(tmp_path)
    (tmp_path / "episodes.csv").write_text(text + text.splitlines()[-1] + "\n")
    with pytest.raises(DatasetError, match="stands twice"):
        EvaluationResult.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        EvaluationResult.load(tmp_path)
    with pytest.raises(DatasetError, match="holds no evaluation"):
        EvaluationResult.load(tmp_path / "nowhere")


def test_parquet(result, tmp_path):
    pytest.importorskip("pyarrow")
    result.save(tmp_path, parquet=True)
    assert EvaluationResult.load(tmp_path).digest == result.digest
