"""Rows of further trainings, kept as data, join a cell when they are of the same episodes."""

from __future__ import annotations

import gzip

import pytest

from netllm_gym.errors import DatasetError
from netllm_gym.evaluation import evaluate
from netllm_gym.reproduce.rows import read_rows, with_stored, write_rows
from tests.evaluation.toy import TOY


def play(seeds, episodes=20):
    agents = [{"name": "toy/hint", "label": "new", "training_seed": s, "bias": 0.1 * s} for s in seeds]
    return evaluate(TOY, [*agents, "toy/random"], baseline="toy/random", episodes=episodes, progress=False)


def test_kept_trainings_make_a_method(tmp_path):
    path = write_rows(play([1, 2, 3, 4, 5]), "toy-default", folder=tmp_path)
    assert path.name == "toy-default--new.csv.gz"
    assert write_rows(play([1, 2, 3, 4, 5]), "toy-default", folder=tmp_path / "b").read_bytes() == path.read_bytes()
    alone = play([3], 12)
    joined = with_stored(alone, "toy-default", tmp_path)
    assert alone.summary().set_index("agent").loc["new", "verdict"] == "checkpoint better"
    row = joined.summary().set_index("agent").loc["new"]
    assert (row["seeds"], row["verdict"]) == (5, "method better")
    assert len(joined.frame) == 12 * 6, "once each, and only the episodes that were played"
    assert with_stored(alone, "toy-other", tmp_path) is alone


def test_rows_that_do_not_fit_are_refused_in_a_line(tmp_path):
    frame = read_rows(write_rows(play([1, 2]), "cell", folder=tmp_path))
    target, alone = tmp_path / "cell--new.csv.gz", play([3])

    def keep(changed):
        target.write_bytes(gzip.compress(changed.to_csv(index=False).encode()))

    for changed, told in (
        (frame.assign(seed=0), "is not the one played here"),
        (frame.assign(**{"group": "g0"}), "is not the one played here"),
        (frame.iloc[:-3], r"new \(seed 2\) has 17 of 20 episodes"),
        (frame.drop(columns="score"), "lack the column 'score'"),
    ):
        keep(changed)
        with pytest.raises(DatasetError, match=told):
            with_stored(alone, "cell", tmp_path)
    for damaged in (b"", b"no gzip", gzip.compress(b"a,b\n1,2\n")[:-9], gzip.compress(b"\xff\xfe")):
        target.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"cell--new\.csv\.gz: not a table of rows"):
            with_stored(alone, "cell", tmp_path)
    with pytest.raises(DatasetError, match="no rows of a trained agent"):
        write_rows(evaluate(TOY, ["toy/hint", "toy/random"], episodes=3, progress=False), "cell", folder=tmp_path)
