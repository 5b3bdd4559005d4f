"""Cross-dataset matrices and generalisation gaps."""

import numpy as np
import pandas as pd
import pytest

from netllm_gym.errors import ConfigError, DatasetError, UnknownNameError
from netllm_gym.evaluation import EvaluationResult, evaluate, generalisation_gap
from netllm_gym.evaluation.generalisation import standings
from netllm_gym.evaluation.settings import list_settings, load_families
from netllm_gym.matrix import _train, evaluate_matrix
from tests.evaluation.toy import TOY


def toy(noise=0.1, count=20, **options):
    agents = ["toy/hint", {"name": "toy/hint", "bias": 0.4, "label": "biased"}]
    given = {"floor": "toy/random", "oracle": "toy/oracle", "baseline": "toy/random", **options}
    return evaluate(TOY, agents, {"noise": noise, "count": count}, progress=False, **given)


def test_the_gap_is_of_standings():
    seen, unseen = toy(), toy(noise=2.0, count=16, seed=5)
    gap = generalisation_gap(seen, unseen).set_index("agent")
    for name, result in (("seen", seen), ("unseen", unseen)):
        scores = result.summary().set_index("agent")["score"]
        assert np.allclose(gap[name], scores[gap.index])
    assert gap.loc["toy/oracle", "gap"] == 0 and gap.loc["toy/random", "gap"] == 0
    row = gap.loc["biased"]
    assert row["gap_low"] <= row["gap"] <= row["gap_high"] and row["gap_high"] - row["gap_low"] > 0


def test_settings_on_the_same_recordings_are_resampled_together():
    seen = toy()
    gap = generalisation_gap(seen, toy()).set_index("agent")
    assert (gap[["gap", "gap_low", "gap_high"]] == 0).all(axis=None), "nothing differs, so nothing may spread"


def test_without_an_oracle_the_standing_is_a_lead():
    frame = pd.concat(
        [
            pd.DataFrame({"agent": name, "training_seed": 0, "episode": range(8), "group": list("abcdefgh"),
                          "failed": False, "cost": cost})
            for name, cost in (("base", 10.0), ("good", 8.0))
        ]
    )  # fmt: skip
    manifest = {"metric": {"name": "cost", "better": "lower"}, "terms": {}, "baseline": "base", "floor": None,
                "oracle": None, "privileged": []}  # fmt: skip
    found = standings(EvaluationResult(frame, manifest)).set_index("agent")["standing"]
    assert found["base"] == 0 and found["good"] == pytest.approx(0.2)
    with pytest.raises(DatasetError, match="two settings of one task"):
        generalisation_gap(EvaluationResult(frame, manifest), toy())


def test_failed_episodes_do_not_break_a_standing():
    result = evaluate(TOY, ["toy/faulty"], floor="toy/random", oracle="toy/oracle", progress=False)
    assert np.isfinite(standings(result)["standing"]).all()


def test_families_of_the_catalog():
    assert {"abr", "viewport", "cluster"} == {task for task in ("abr", "viewport", "cluster", "streaming")
                                              if _has_matrix(task)}  # fmt: skip
    for name, setting in load_families("abr", "paper").items():
        assert setting.kwargs["traces"] == name and setting.oracle == "abr/oracle"
    assert not any(setting.startswith("matrix") for _, setting, _ in list_settings())
    with pytest.raises(UnknownNameError, match="paper"):
        load_families("abr", "papper")


def _has_matrix(task):
    try:
        return bool(load_families(task, "embedded"))
    except UnknownNameError:
        return False


@pytest.mark.llm
def test_train_on_each_family_and_test_on_the_others(tmp_path):
    pytest.importorskip("torch")
    families = ["abr/synthetic", "abr/synthetic-volatile"]
    lines = []
    matrix = evaluate_matrix(
        "abr", ["abr/bba"], recipe="regret-mlp", out=tmp_path, families=families, episodes=6, train_episodes=8,
        options={"ensemble": 1, "epochs": 2, "hidden": 16}, say=lines.append,
    )  # fmt: skip
    assert list(matrix.standings.columns) == families
    assert {"abr/bba", "abr/robust-mpc", *(f"regret-mlp on {f}" for f in families)} <= set(matrix.standings.index)
    assert "abr/oracle" not in matrix.standings.index and not matrix.shared
    text = (tmp_path / "matrix.md").read_text()
    assert "Share of the way from abr/constant to abr/oracle" in text and "| regret-mlp on abr/synthetic |" in text
    assert (tmp_path / "matrix.png").stat().st_size > 5000 and (tmp_path / "matrix.csv").is_file()
    assert (tmp_path / "abr-synthetic-volatile" / "report.html").is_file()
    trained = tmp_path / "agents" / "regret-mlp-abr-synthetic" / "weights.safetensors"
    before = trained.stat().st_mtime_ns
    setting = load_families("abr")["abr/synthetic"]
    options = {"ensemble": 1, "epochs": 2, "hidden": 16}
    _train("regret-mlp", setting, tmp_path, 8, options, 0, 1, lines.append)
    assert trained.stat().st_mtime_ns == before, "what is trained is not trained again"


def test_a_matrix_needs_somebody_to_play():
    with pytest.raises(ConfigError, match="name agents"):
        evaluate_matrix("abr")
