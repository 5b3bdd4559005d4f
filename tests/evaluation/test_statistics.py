"""The statistics against brute force, and the verdict's refusals."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import statistics as stats
from netllm_gym.evaluation.bootstrap import Bootstrap
from netllm_gym.evaluation.verdicts import Margin, compare, influence, judge, needed_draws


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def brute_iqm(values, weights):
    """Repeat every value `weight` times 4-fold, so that quartiles fall between copies; mean of the middle
    half.
    """
    copies = np.sort(np.repeat(values, 4 * weights.astype(int)))
    quarter = len(copies) // 4
    return copies[quarter:-quarter].mean()


def test_iqm_matches_trimmed_mean_and_brute_force(rng):
    values = rng.normal(size=40)
    assert stats.iqm(values) == pytest.approx(scipy_stats.trim_mean(values, 0.25), abs=1e-12)
    weights = rng.integers(0, 4, size=(5, 13))
    values = rng.normal(size=13)
    expected = [brute_iqm(values, w) for w in weights]
    np.testing.assert_allclose(stats.iqm(values, weights), expected, atol=1e-12)


def test_tail_is_the_mean_of_the_worst(rng):
    values = rng.permutation(np.arange(40.0))
    assert stats.tail_mean(values) == pytest.approx(0.5)
    assert stats.tail_mean(values, "lower") == pytest.approx(38.5)
    assert stats.tail_mean([3.0, 1.0]) == 1.0


def test_probability_of_improvement_counts_pairs(rng):
    a, b = rng.integers(0, 6, 30), rng.integers(0, 6, 20)
    expected = np.mean([(x > y) + 0.5 * (x == y) for x, y in itertools.product(a, b)])
    assert stats.probability_of_improvement(a, b) == pytest.approx(expected)
    assert stats.win_rate([1, 0, -1, 2]) == pytest.approx(0.625)


def test_holm_by_hand():
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    assert stats.holm([]).size == 0
    assert stats.holm([0.9, 0.8]).max() == 1.0


def said(differences, groups=None, margin=None, better="higher", others=()):
    """The verdict on these differences, judged together with those of `others`."""
    found = []
    for values in (differences, *others):
        values = np.asarray(values, dtype=float)
        levels = np.arange(len(values)) if groups is None else groups
        found.append(compare(values, np.zeros(len(values)), Bootstrap(levels, 2000), better))
    return judge(found, better, Margin(margin) if margin else None)[0]


def test_verdicts(rng):
    noise = rng.normal(size=60)
    noise -= noise.mean()
    assert said(noise + 1).word == "better"
    assert said(noise - 1).word == "worse"
    assert said(noise - 1, better="lower").word == "better"
    assert said(noise + 0.05).word == "undecided" and said(noise + 0.05).reason == "the interval holds zero"
    assert said(0.01 * noise, margin=0.05).word == "equivalent"
    assert said(np.zeros(60), margin=0.05).word == "equivalent"
    assert said(np.zeros(60)).word == "undecided"
    few = said(noise + 1, groups=np.arange(60) % 5)
    assert few.word == "undecided" and few.reason == "5 groups: fewer than 6 say nothing about others"


def test_the_smallest_factor_counts(rng):
    """Six videos, but two viewers: nothing is said of other viewers."""
    groups = {"video": np.repeat(np.arange(6), 10), "viewer": np.tile([0, 1], 30)}
    found = said(rng.normal(size=60) + 5, groups)
    assert found.word == "undecided" and found.reason.startswith("2 viewers")


def test_no_winner_while_the_interval_crosses_zero():
    for seed in range(20):
        x = np.random.default_rng(seed).normal(0.25, 1, size=40)
        found = compare(x, np.zeros(40), Bootstrap(np.arange(40), 500))
        if found.interval[0] <= 0 <= found.interval[1]:
            assert judge([found])[0].word == "undecided"


def test_families_are_corrected_for_difference_and_for_equivalence(rng):
    noise = rng.normal(size=40)
    noise -= noise.mean()
    error = noise.std(ddof=1) / np.sqrt(40)
    close = noise + 2.3 * error  # significant alone, not among ten
    assert said(close).word == "better"
    among = said(close, others=[noise + 0.1 * error] * 9)
    assert among.word == "undecided" and among.reason.startswith("p, corrected")
    margin = 2.2 * error
    assert said(noise, margin=margin).word == "equivalent"
    assert said(noise, margin=margin, others=[noise + 2 * error] * 9).word == "undecided"
    assert needed_draws(600) == 24_000


def test_a_margin_is_a_number():
    for odd in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="margin"):
            Margin(odd)


def test_influence_counts_recordings_not_episodes():
    values = np.array([5.0, 5.0, 1.0, 1.0, 1.0, 1.0, -1.0])
    found = influence(values, ["a", "a", "b", "c", "d", "e", "f"])
    assert (found.half, found.recordings) == (1, 6)
    assert found.without_three == pytest.approx(np.mean([1.0, 1.0, -1.0]))
    assert influence(np.zeros(4), range(4)).half == 0


def test_normalised_score_is_a_ratio_of_sums():
    assert stats.normalised_score([1.0, 5.0], [0.0, 5.0], [2.0, 5.0]) == pytest.approx(0.5)
    assert stats.normalised_score([12.0], [20.0], [10.0]) == pytest.approx(0.8), "lower is better cancels out"
    assert np.isnan(stats.normalised_score([1.0], [1.0], [1.0]))


def test_episode_scores_average_to_the_score_and_profiles_count(rng):
    floor, oracle = rng.normal(0, 1, 50), rng.normal(3, 1, 50)
    x = 0.5 * (floor + oracle)
    scores = stats.episode_scores(x, floor, oracle)
    assert scores.mean() == pytest.approx(stats.normalised_score(x, floor, oracle))
    shares = stats.performance_profile([[0.1, 0.5], [0.5, 0.9]], [0.0, 0.1, 0.5, 1.0])
    assert shares.tolist() == [1.0, 0.75, 0.25, 0.0]
