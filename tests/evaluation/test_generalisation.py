"""What two settings share is paired in the gap between them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from netllm_gym.errors import DatasetError
from netllm_gym.evaluation import EvaluationResult
from netllm_gym.evaluation.generalisation import generalisation_gap, standings


def result(values, recordings, factor="recording", seeds=None):
    """Agent -> metric per episode ([N] or [S, N]), as an evaluation against the baseline `base`."""
    frames = []
    for agent, rows in values.items():
        for number, row in enumerate(np.atleast_2d(rows)):
            seed = (seeds or {}).get(agent, range(100))[number]
            frames.append(
                pd.DataFrame(
                    {
                        "agent": agent, "training_seed": seed, "episode": range(len(row)), "jct": row,
                        "group": recordings, f"group:{factor}": recordings, "failed": False,
                    }
                )
            )  # fmt: skip
    manifest = {
        "metric": {"name": "jct", "aggregate": "last", "better": "lower"}, "terms": {}, "baseline": "base",
        "floor": None, "oracle": None, "privileged": [],
    }  # fmt: skip
    return EvaluationResult(pd.concat(frames, ignore_index=True), manifest)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_the_same_outcomes_on_shared_recordings_are_no_gap(rng):
    """Twenty-nine of thirty sequences are played alike; the thirtieth was played on one side only."""
    base, new = rng.normal(60, 5, 30), rng.normal(55, 5, (3, 30))
    names = [f"s{i}" for i in range(30)]
    seen = result({"base": base, "new": new}, names)
    unseen = result({"base": base[:29], "new": new[:, :29]}, names[:29])
    row = generalisation_gap(seen, unseen).set_index("agent").loc["new"]
    assert (row["gap"], row["gap_low"], row["gap_high"], row["shared"]) == (0, 0, 0, 29)
    assert row["seen"] == pytest.approx(row["unseen"])


def test_other_recordings_are_independent_and_trainings_stay_paired(rng):
    base, skill = rng.normal(60, 1, 40), np.array([[3.0], [6.0], [9.0], [4.0], [7.0]])
    left = result({"base": base, "new": base - skill}, [f"a{i}" for i in range(40)])
    right = result({"base": base, "new": base - skill}, [f"b{i}" for i in range(40)])
    row = generalisation_gap(left, right, 2000).set_index("agent").loc["new"]
    alone = standings(left, 2000).set_index("agent").loc["new"]
    assert row["shared"] == 0 and row["gap"] == pytest.approx(0, abs=1e-3)
    assert row["gap_high"] - row["gap_low"] < 0.2 * (alone["high"] - alone["low"]), "trainings cancel"


def test_what_cannot_be_compared_is_refused_in_a_line(rng):
    base, new = rng.normal(60, 5, 8), rng.normal(55, 5, (2, 8))
    names = list("abcdefgh")
    one = result({"base": base, "new": new}, names)
    other = result({"base": base, "new": new}, names, seeds={"new": [0, 7]})
    with pytest.raises(DatasetError, match=r"new has training seeds 0, 1 in one setting and 0, 7 in the other"):
        generalisation_gap(one, other)
    with pytest.raises(DatasetError, match="the same groups in both settings, got recording and sequence"):
        generalisation_gap(one, result({"base": base, "new": new}, names, "sequence"))
