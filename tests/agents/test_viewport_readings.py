"""Angles of one reading, given to what was trained on the other."""

import numpy as np
import pytest

from netllm_gym.agents.viewport.predictors import HoldLast
from netllm_gym.agents.viewport.readings import at_least, through, translate
from netllm_gym.traces.head.geometry import great_circle_deg, wrap_deg


@pytest.fixture
def paths() -> np.ndarray:
    """Canonical histories ``[50, 10, 3]`` that cross the seam."""
    rng = np.random.default_rng(0)
    start = rng.uniform([-180, -70, -20], [180, 70, 20], (50, 1, 3))
    return np.clip(start + rng.normal(0, 3, (50, 10, 3)).cumsum(axis=1), [-400, -89, -60], [400, 89, 60])


def test_there_and_back_is_the_same_orientation(paths) -> None:
    back = translate(translate(paths, "canonical", "published"), "published", "canonical")
    assert great_circle_deg(back, paths).max() < 1e-5
    np.testing.assert_allclose(wrap_deg(back - paths), 0, atol=1e-5)


def test_what_is_unknown_stays_unknown() -> None:
    angles = np.array([[[10.0, 5.0, 0.0], [np.nan] * 3]])
    found = translate(angles, "canonical", "published")
    assert np.isfinite(found[0, 0]).all() and np.isnan(found[0, 1]).all()


def test_an_answer_goes_on_from_the_last_sample_without_a_jump(paths) -> None:
    held = through(lambda history: HoldLast().predict(history, 5), paths, "canonical", "published")
    assert held.shape == (50, 5, 3)
    np.testing.assert_allclose(wrap_deg(held - paths[:, -1:]), 0, atol=1e-5)
    moved = through(lambda history: history[:, -1:] + np.ones((1, 4, 3)), paths, "canonical", "published")
    assert np.abs(np.diff(moved, axis=1)).max() < 180


def test_one_reading_passes_through_untouched(paths) -> None:
    np.testing.assert_allclose(
        wrap_deg(through(lambda history: history[:, -1:], paths, "canonical", "canonical") - paths[:, -1:]),
        0,
        atol=1e-9,
    )


def test_histories_are_lengthened_and_never_cut(paths) -> None:
    longer = at_least(paths, 13)
    assert longer.shape == (50, 13, 3) and (longer[:, :4] == paths[:, :1]).all()
    np.testing.assert_array_equal(at_least(paths, 4), paths)
