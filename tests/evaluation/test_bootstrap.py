"""The bootstrap against a slow, obvious recomputation, and what its intervals promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.evaluation import bootstrap, moments
from netllm_gym.evaluation import statistics as stats
from netllm_gym.evaluation.bootstrap import Bootstrap, independent_factors, percentile_interval
from netllm_gym.evaluation.formats import interval as printed
from netllm_gym.evaluation.moments import Part


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def slow_variance(residuals, memberships, seeds=None):
    """Cameron, Gelbach and Miller, by loops over every subset of factors and every cell.

    Args:
        residuals: {unit: what it adds to the deviation}; a unit is a tuple of levels (and a seed first, with `seeds`).
        memberships: number of factors (the seed's among them).
        seeds: whether the first factor is the training seed.
    """
    total, largest = 0.0, 0.0
    for size in range(1, memberships + 1):
        for subset in itertools.combinations(range(memberships), size):
            cells: dict = {}
            for unit, value in residuals.items():
                key = tuple(unit[k] for k in subset)
                cells[key] = cells.get(key, 0.0) + value
            # The correction of a cell with training seeds in it is that of its other factors.
            count = len({key[1:] if seeds and subset[0] == 0 and size > 1 else key for key in cells})
            share = sum(value**2 for value in cells.values()) * count / (count - 1)
            total += share if size % 2 else -share
            if size == 1:
                largest = max(largest, share)
    return max(total, largest)


def expand(counts):
    """[2, 0, 1] -> [(0, 0), (0, 1), (2, 0)]: each drawn level as often as it was drawn, told apart by its copy."""
    return [(level, copy) for level, times in enumerate(counts) for copy in range(int(times))]


def slow_draw(values, video, viewer, video_counts, viewer_counts, seed_counts):
    """Mean and variance of one draw: lay out every copy of every episode, and start from there."""
    cell = {(v, u): i for i, (v, u) in enumerate(zip(video, viewer, strict=True))}
    units = {}
    for s in expand(seed_counts):
        for v in expand(video_counts):
            for u in expand(viewer_counts):
                if (v[0], u[0]) in cell:
                    units[s, v, u] = values[s[0], cell[v[0], u[0]]]
    mean = np.mean(list(units.values()))
    residuals = {unit: (value - mean) / len(units) for unit, value in units.items()}
    if len(values) == 1:
        return mean, slow_variance({unit[1:]: value for unit, value in residuals.items()}, 2)
    return mean, slow_variance(residuals, 3, seeds=True)


@pytest.mark.parametrize("seeds", [1, 3])
def test_crossed_draws_equal_a_double_loop_over_copies(rng, seeds):
    """Every draw of videos × viewers (× trainings), its mean and its standard error, recomputed unit by unit.

    The corrections m/(m - 1) are those of the sample: compared where a draw holds every level of it.
    """
    video, viewer = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
    values = rng.normal(size=(seeds, 20)) + rng.normal(size=4)[video]
    sample = Bootstrap({"video": video, "viewer": viewer}, draws=120, seed=3)
    counts, drawn = sample.counts(), sample.seed_counts(seeds, "a")
    part = Part(values, np.ones(20), who="a")
    mean, variance = moments.by_level(sample._design, [part], counts, {"a": drawn})
    again = moments.by_episode(sample._design, [part], counts, {"a": drawn})
    np.testing.assert_allclose([mean, variance], again, atol=1e-12)
    for b in range(0, 120, 7):
        expected = slow_draw(values, video, viewer, counts["video"][b], counts["viewer"][b], drawn[b])[0]
        assert mean[b] == pytest.approx(expected, abs=1e-12)
    once = {"video": np.ones((1, 4)), "viewer": np.ones((1, 5))}
    (here,), (spread,) = moments.moments(sample._design, [part], once, {"a": np.ones((1, seeds))})
    slow = slow_draw(values, video, viewer, np.ones(4), np.ones(5), np.ones(seeds))
    assert here == pytest.approx(slow[0]) and spread == pytest.approx(slow[1])
    for b in range(0, 120, 11):
        # With copies the number of distinct cells differs: undo the corrections by comparing to the sample's own.
        assert variance[b] == pytest.approx(slow_weighted(values, video, viewer, counts, drawn, b), abs=1e-12)


def slow_weighted(values, video, viewer, counts, drawn, b):
    """The variance of draw `b` by plain loops over levels, weighing instead of copying."""
    cv, cu, ks = counts["video"][b], counts["viewer"][b], drawn[b]
    seeds, episodes = values.shape
    total = sum(cv[video[i]] * cu[viewer[i]] for i in range(episodes))
    mean = sum(ks[s] * cv[video[i]] * cu[viewer[i]] * values[s, i] for s in range(seeds) for i in range(episodes)) / (
        seeds * total
    )

    def part(s, i):
        return (values[s, i] - mean) / (seeds * total)

    def over(own):
        """Sum over the subsets {video}, {viewer} and both of squared sums of ``own(i)``."""
        by_video = [sum(cu[viewer[i]] * own(i) for i in range(episodes) if video[i] == v) for v in range(4)]
        by_viewer = [sum(cv[video[i]] * own(i) for i in range(episodes) if viewer[i] == u) for u in range(5)]
        first = sum(cv[v] * by_video[v] ** 2 for v in range(4)) * 4 / 3
        second = sum(cu[u] * by_viewer[u] ** 2 for u in range(5)) * 5 / 4
        both = sum(cv[video[i]] * cu[viewer[i]] * own(i) ** 2 for i in range(episodes)) * 20 / 19
        return first + second - both, max(first, second)

    found, largest = over(lambda i: sum(ks[s] * part(s, i) for s in range(seeds)))
    if seeds > 1:
        weight = [cv[video[i]] * cu[viewer[i]] for i in range(episodes)]
        alone = sum(ks[s] * sum(weight[i] * part(s, i) for i in range(episodes)) ** 2 for s in range(seeds))
        alone *= seeds / (seeds - 1)
        inside = sum(ks[s] * over(lambda i, s=s: part(s, i))[0] for s in range(seeds))
        found, largest = found + alone - inside, max(largest, alone)
    return max(found, largest)


def test_three_factors_and_two_agents_equal_two_factors_when_the_third_is_fixed(rng):
    """Any number of factors goes the long way; where both ways exist they agree, for differences of trainings too."""
    video, viewer = rng.integers(0, 5, 40), rng.integers(0, 7, 40)
    sample = Bootstrap({"video": video, "viewer": viewer}, draws=300)
    y = rng.uniform(0.5, 2, 40)
    parts = [Part(rng.normal(size=(3, 40)), y, 1.0, "a"), Part(rng.normal(size=(2, 40)), np.ones(40), -1.0, "b")]
    counts, drawn = sample.counts(), {"a": sample.seed_counts(3, "a"), "b": sample.seed_counts(2, "b")}
    short = moments.by_level(sample._design, parts, counts, drawn)
    np.testing.assert_allclose(short, moments.by_episode(sample._design, parts, counts, drawn), atol=1e-12)
    link = rng.integers(0, 9, 40)
    three = Bootstrap({"video": video, "viewer": viewer, "link": link}, draws=500)
    assert len(three.crossed) == 3
    found = three.mean(rng.normal(size=40) + np.arange(9)[link])
    assert found.interval()[1] - found.interval()[0] > 1.0


def test_the_interval_is_made_of_the_draws_quantiles(rng):
    groups = np.array(list("aabbbcdde"))
    values, other = rng.normal(size=9), rng.normal(size=9)
    sample = Bootstrap(groups, draws=400, seed=5)
    names = np.unique(groups)
    found = sample.difference(values, other)
    counts = sample.counts()["group"]
    gap = values - other
    ratios = []
    for drawn in counts:
        picked = np.concatenate(
            [np.flatnonzero(groups == n) for n, k in zip(names, drawn, strict=True) for _ in range(int(k))]
        )
        mean = gap[picked].mean()
        sums = [np.sum(gap[groups == n] - mean) for n in names]
        error = np.sqrt(np.sum(drawn * np.square(sums)) * 5 / 4) / len(picked)
        ratios.append(
            (mean - gap.mean()) / error if error > 1e-12 else 0.0 if abs(mean - gap.mean()) < 1e-12 else np.inf
        )
    ratios = np.sort(ratios) * np.sqrt(6 / 4)  # stretched for five groups
    low, high = np.quantile(found.ratios, [0.025, 0.975])
    finite = np.isfinite(ratios)
    np.testing.assert_allclose(found.ratios[finite], ratios[finite], atol=1e-12)
    assert found.interval() == (
        pytest.approx(found.value - high * found.error),
        pytest.approx(found.value - low * found.error),
    )
    assert found.p_value() >= 2 / 401


def test_spread_is_that_of_groups_not_of_episodes(rng):
    """Ten copies of each recording tell nothing new: the interval must not shrink."""
    few = rng.normal(size=12)
    once = Bootstrap(np.arange(12), 2000, 1).mean(few)
    copied = Bootstrap(np.repeat(np.arange(12), 10), 2000, 1).mean(np.repeat(few, 10))
    assert copied.interval() == pytest.approx(once.interval())
    assert once.error == pytest.approx(few.std(ddof=1) / np.sqrt(12))


def test_crossed_groups_widen_the_interval(rng):
    video, viewer = np.repeat(np.arange(6), 21), np.tile(np.arange(21), 6)
    values = rng.normal(size=6)[video] + 0.3 * rng.normal(size=21)[viewer] + 0.1 * rng.normal(size=126)
    single = Bootstrap(np.arange(126), 1000).mean(values).interval()
    crossed = Bootstrap({"video": video, "viewer": viewer}, 1000).mean(values).interval()
    assert crossed[1] - crossed[0] > 3 * (single[1] - single[0])


def test_factors_that_add_nothing_are_left_out():
    video = np.repeat(np.arange(3), 4)
    assert set(independent_factors({"video": video, "link": np.arange(12)})) == {"video"}
    assert set(independent_factors({"video": video, "viewer": video * 10 + np.arange(12)})) == {"video"}
    assert set(independent_factors({"video": video, "again": video})) == {"video"}
    assert set(independent_factors({"video": np.zeros(12), "viewer": np.arange(12)})) == {"video", "viewer"}
    assert set(independent_factors({"video": video, "viewer": np.tile(np.arange(4), 3)})) == {"video", "viewer"}
    with pytest.raises(DatasetError, match="no episodes"):
        independent_factors({})
    with pytest.raises(DatasetError, match="different numbers"):
        independent_factors({"a": [1, 2], "b": [1]})


def test_bad_input_is_refused(rng):
    with pytest.raises(ConfigError, match="at least 100 draws"):
        Bootstrap([1, 2], draws=10)
    sample = Bootstrap(np.arange(5), 100)
    with pytest.raises(DatasetError, match="4 episodes on groups of 5"):
        sample.mean(np.zeros(4))
    with pytest.raises(DatasetError, match="new has different numbers of training seeds"):
        sample.difference(np.zeros((2, 5)), np.zeros((3, 5)), ("new", "new"))
    alone = Bootstrap(["one"] * 4, 100).mean(rng.normal(size=4))
    assert np.isnan(alone.error) and np.isnan(alone.interval()).all() and np.isnan(alone.p_value())


def test_one_draw_of_seeds_for_all_parts_of_an_agent(rng):
    """The same trainings on both sides cancel, and others do not."""
    x = rng.normal(size=(5, 1)) + np.zeros((5, 30))
    sample = Bootstrap(np.arange(30), 200)
    paired = sample.difference(x, x, ("new", "new"))
    assert paired.value == 0 and paired.error == 0 and paired.interval() == (0, 0) and paired.p_value() == 1
    apart = sample.difference(x, x, ("new", "old"))
    assert apart.error == pytest.approx(np.sqrt(2 * x[:, 0].var(ddof=1) / 5), rel=0.03)


def test_seeds_count_in_every_interval(rng):
    """Trainings at -1, 0 and +1: the mean, the IQM and the probability of improvement all know of their spread."""
    x = np.array([[-1.0], [0.0], [1.0]]) + 0.01 * rng.normal(size=(3, 40))
    sample = Bootstrap(np.arange(40), 1000)
    low, high = sample.mean(x, "new").interval()
    assert low < -0.5 and high > 0.5
    low, high = percentile_interval(sample.resampled({"new": x}, lambda w: stats.iqm(x.ravel(), w["new"])))
    assert low < -0.4 and high > 0.4
    b = np.zeros((1, 40))
    won = sample.resampled(
        {"a": x, "b": b}, lambda w: stats.probability_of_improvement(x.ravel(), b.ravel(), w["a"], w["b"])
    )
    low, high = percentile_interval(won)
    assert low < 0.3 and high > 0.7


def test_percentile_draws_have_the_variance_of_the_mean(rng):
    few = rng.normal(size=6)
    drawn = Bootstrap(np.arange(6), 20_000).resampled({"a": few}, lambda w: w["a"] @ few / w["a"].sum(axis=1))
    assert drawn.std() == pytest.approx(few.std(ddof=1) / np.sqrt(6), rel=0.03)


def test_weighted_improvement_counts_pairs(rng):
    a, b = rng.integers(0, 6, 12), rng.integers(0, 6, 9)
    p, q = rng.integers(0, 3, (4, 12)), rng.integers(0, 3, (4, 9))
    found = stats.probability_of_improvement(a, b, p, q)
    for row in range(4):
        pairs = [(x > y) + 0.5 * (x == y) for x in np.repeat(a, p[row]) for y in np.repeat(b, q[row])]
        assert found[row] == pytest.approx(np.mean(pairs))


def test_same_seed_same_draws_and_any_seed_the_same_digits(rng):
    values = rng.lognormal(size=38) - 1.0
    spans = [Bootstrap(np.arange(38), seed=seed).mean(values).interval() for seed in (0, 0, 1, 2, 3)]
    assert spans[0] == spans[1] != spans[2]
    width = spans[0][1] - spans[0][0]
    assert np.ptp(np.array(spans), axis=0).max() < 0.03 * width
    shown = {printed(*span) for span in spans}
    digits = [[float(end.replace("−", "-")) for end in text.strip("[]").split(", ")] for text in shown]
    last = 10.0 ** -max(len(text.split(".")[1].split(",")[0]) for text in shown)
    assert np.ptp(np.array(digits), axis=0).max() < 1.5 * last, "at most the last printed digit moves, by one"


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_false_verdicts_stay_rare_with_few_groups(kind):
    """A quick look; benchmarks/interval_coverage.py is the long one, and docs/evaluation.md shows it."""
    sample, wrong = Bootstrap(np.arange(8), 500), 0
    for number in range(400):
        rng = np.random.default_rng(number)
        values = rng.normal(size=8) if kind == "normal" else rng.lognormal(size=8) - np.exp(0.5)
        low, high = sample.mean(values).interval()
        wrong += not low <= 0 <= high
    assert wrong / 400 <= (0.07 if kind == "normal" else 0.12)


def test_many_groups_are_drawn_in_pieces_with_the_same_result(monkeypatch):
    values = np.random.default_rng(0).normal(size=300)

    def found():
        sample = Bootstrap({"a": np.arange(300), "b": np.arange(300) % 7}, draws=5000)
        drawn = sample.resampled({"x": values}, lambda w: (w["x"] * values).sum(1) / np.maximum(w["x"].sum(1), 1e-9))
        return sample.mean(values).ratios, drawn

    at_once = found()
    monkeypatch.setattr(bootstrap, "KEPT_BYTES", 0)
    for one, other in zip(at_once, found(), strict=True):
        np.testing.assert_array_equal(one, other)
