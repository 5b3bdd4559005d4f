"""How many traces and seeds: the plan finds what it promises, in simulated experiments."""

import numpy as np
import pytest

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.evaluation.power import power


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_power_finds_what_it_promises(rng):
    pilot = rng.normal(0, 1, 4000)
    found = power(pilot, np.arange(4000), effect=0.3)
    assert found.needed == pytest.approx(87, abs=6)  # (1.96 + 0.8416)**2 / 0.09
    z = 0
    for _ in range(1000):
        x = rng.normal(0.3, 1, found.needed)
        z += abs(x.mean() / (x.std(ddof=1) / np.sqrt(len(x)))) > 1.96
    assert z / 1000 == pytest.approx(0.8, abs=0.05)
    clustered = power(np.repeat(pilot[:400], 10), np.repeat(np.arange(400), 10), 0.3)
    assert clustered.needed > 8 * found.needed, "ten windows of one recording are hardly more than one"
    assert found.seed_sd is None and found.plan == {}, "one seed says nothing about others"
    with pytest.raises(ConfigError):
        power(pilot, np.arange(4000), effect=0)
    with pytest.raises(DatasetError):
        power([1.0, 2.0], ["a", "a"], 1)


def draw(rng, seeds, episodes, effect=0.0):
    """Differences whose seeds spread by 0.2, traces by 1, and their crossing by 0.5."""
    mine = effect + 0.2 * rng.standard_normal((seeds, 1)) + rng.standard_normal(episodes)
    return mine + 0.5 * rng.standard_normal((seeds, episodes))


def test_the_plan_knows_what_seeds_and_traces_can_do(rng):
    found = power(draw(rng, 2000, 800), np.arange(800), effect=0.4)
    assert found.seed_sd == pytest.approx(0.2, rel=0.05)
    counts = [found.plan[s] for s in (2, 3, 5, 10)]
    # By hand: (0.4 / 2.8016)**2 = 0.02038 = 0.04 / S + (1 + 0.25 / S) / N
    assert found.plan[1] is None, "one seed alone differs more than that"
    assert counts[1] == pytest.approx(1.0833 / (0.02038 - 0.01333), rel=0.35)
    assert counts[3] == pytest.approx(1.025 / (0.02038 - 0.004), rel=0.2)
    assert counts[1] > counts[2] > counts[3]


def test_planned_experiments_succeed_as_often_as_promised(rng):
    count = power(draw(rng, 1000, 800), np.arange(800), effect=0.4).plan[10]
    true_sd = np.sqrt(0.04 / 10 + (1 + 0.25 / 10) / count)
    found = np.mean([abs(draw(rng, 10, count, 0.4).mean()) > 1.96 * true_sd for _ in range(800)])
    assert found == pytest.approx(0.8, abs=0.06)
