"""The statistics against brute force, and the verdict's refusals."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from netllm_gym.evaluation import statistics as stats


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


def test_bootstrap_equals_a_loop_over_the_same_draws(rng):
    groups = np.array(list("aabbbcdde"))
    a, b = rng.normal(size=(3, 9)), rng.normal(size=9)
    sample = stats.Bootstrap(groups, draws=200, seed=5)
    names = np.unique(groups)
    members = {name: np.flatnonzero(groups == name) for name in names}
    shares = sample._seed_weights(3, who=4)
    for draw in range(0, 200, 23):
        picked = np.concatenate(
            [members[n] for n, k in zip(names, sample._counts[draw], strict=True) for _ in range(k)]
        )
        expected = sum(share * row[picked].mean() for share, row in zip(shares[draw], a, strict=True))
        assert sample.mean(a, who=4)[draw] == pytest.approx(expected)
        assert sample.difference(a, b, (4, 0))[draw] == pytest.approx(expected - b[picked].mean())
        low, high = b - 1, b + 2
        score = np.sum(sum(s * r for s, r in zip(shares[draw], a, strict=True))[picked] - low[picked])
        assert sample.score(a, low, high, 4)[draw] == pytest.approx(score / (3 * len(picked)))
        assert sample.statistic(b, stats.iqm)[draw] == pytest.approx(brute_iqm(b, np.bincount(picked, minlength=9)))


def test_bootstrap_spread_is_that_of_groups_not_of_episodes(rng):
    """Ten copies of each recording tell nothing new: the interval must not shrink."""
    few = rng.normal(size=12)
    once = stats.Bootstrap(np.arange(12), 4000, 1)
    copied = stats.Bootstrap(np.repeat(np.arange(12), 10), 4000, 1)
    np.testing.assert_allclose(copied.mean(np.repeat(few, 10)), once.mean(few))
    assert once.mean(few).std() == pytest.approx(few.std() / np.sqrt(12), rel=0.06)


def test_coverage_of_the_interval(rng):
    hits = 0
    for trial in range(200):
        effects = rng.normal(size=30)
        values = np.repeat(effects, 3) + rng.normal(size=90)
        low, high = stats.interval(stats.Bootstrap(np.repeat(np.arange(30), 3), 400, trial).mean(values))
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def judge(differences, groups=None, margin=None, better="higher"):
    differences = np.asarray(differences, dtype=float)
    groups = np.arange(len(differences)) if groups is None else groups
    sample = stats.Bootstrap(groups, 1000)
    found = stats.compare(differences, np.zeros(len(differences)), sample, better)
    return stats.verdict(found, found.p_value, len(set(groups)), better, margin)


def test_verdicts(rng):
    noise = rng.normal(size=60)
    noise -= noise.mean()
    assert judge(noise + 1) == "better"
    assert judge(noise - 1) == "worse"
    assert judge(noise - 1, better="lower") == "better"
    assert judge(noise + 0.05) == "undecided"
    assert judge(0.01 * noise, margin=0.05) == "equivalent"
    assert judge(np.zeros(60), margin=0.05) == "equivalent"
    assert judge(np.zeros(60)) == "undecided"
    assert judge(noise + 1, groups=np.arange(60) % 5) == "undecided", "five recordings decide nothing"


def test_no_winner_while_the_interval_crosses_zero(rng):
    for seed in range(40):
        x = np.random.default_rng(seed).normal(0.25, 1, size=40)
        found = stats.compare(x, np.zeros(40), stats.Bootstrap(np.arange(40), 500))
        if found.low <= 0 <= found.high:
            assert stats.verdict(found, 0.0, 40) == "undecided"
    found = stats.compare(rng.normal(3, 1, 40), np.zeros(40), stats.Bootstrap(np.arange(40), 500))
    assert stats.verdict(found, 0.06, 40) == "undecided", "the corrected p value must agree"


def test_normalised_score_is_a_ratio_of_sums():
    assert stats.normalised_score([1.0, 5.0], [0.0, 5.0], [2.0, 5.0]) == pytest.approx(0.5)
    assert stats.normalised_score([12.0], [20.0], [10.0]) == pytest.approx(0.8), "lower is better cancels out"
    assert np.isnan(stats.normalised_score([1.0], [1.0], [1.0]))


def test_improvement_interval_equals_a_loop(rng):
    groups = rng.integers(0, 7, 30)
    a, b = rng.integers(0, 5, 30), rng.integers(0, 5, 30)
    sample = stats.Bootstrap(groups, draws=100, seed=1)
    found = sample.improvement(a, b)
    for draw in (0, 57):
        rows = np.concatenate(
            [np.flatnonzero(groups == g) for g, n in zip(np.unique(groups), sample._counts[draw], strict=True)
             for _ in range(n)]
        )  # fmt: skip
        assert found[draw] == pytest.approx(stats.probability_of_improvement(a[rows], b[rows]))


def test_episode_scores_average_to_the_score_and_profiles_count(rng):
    floor, oracle = rng.normal(0, 1, 50), rng.normal(3, 1, 50)
    x = 0.5 * (floor + oracle)
    scores = stats.episode_scores(x, floor, oracle)
    assert scores.mean() == pytest.approx(stats.normalised_score(x, floor, oracle))
    shares = stats.performance_profile([[0.1, 0.5], [0.5, 0.9]], [0.0, 0.1, 0.5, 1.0])
    assert shares.tolist() == [1.0, 0.75, 0.25, 0.0]


def test_same_seed_same_draws():
    groups = np.arange(9)
    assert (stats.Bootstrap(groups, 300, 3)._counts == stats.Bootstrap(groups, 300, 3)._counts).all()
    assert (stats.Bootstrap(groups, 300, 3)._counts != stats.Bootstrap(groups, 300, 4)._counts).any()
