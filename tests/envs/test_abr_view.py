"""The view of a learner: the same in every unit of rate and time, for any ladder, and right about plans."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym.agents.abr.mpc import choose
from netllm_gym.envs.abr.env import ABREnv
from netllm_gym.envs.abr.forecast import harmonic_mean, largest_error
from netllm_gym.envs.abr.lookahead import level_values
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.envs.abr.view import CONTEXT_FEATURES, PLAIN_ROWS, ROW_FEATURES, ABRView, Episode, see
from netllm_gym.errors import ConfigError
from netllm_gym.traces import synthetic_video

VIDEO = synthetic_video(3, variation=0.2)
THROUGHPUTS = np.array([0.0, 0.0, 1.2, 0.9, 1.1, 2.0, 1.5, 1.3])
DELAYS = np.array([0.0, 0.0, 1.4, 1.6, 2.0, 1.1, 3.0, 2.2])


def _seen(rate: float = 1.0, time: float = 1.0, sizes=VIDEO.chunk_bytes[7:], rtt: float = 0.08) -> tuple:
    """One state, its Mbit/s multiplied by `rate` and its seconds by `time`."""
    levels = sizes.shape[1]
    quality = np.linspace(0.3, 4.3, levels) * rate
    rows, context = np.zeros((levels, ROW_FEATURES)), np.zeros(CONTEXT_FEATURES)
    facts = (4.0 * time, 60.0 * time, rtt * time, 4.3 * rate / time, 1.0, 1.0, 0.0)
    last = min(1, levels - 1)
    see(
        sizes * rate * time, quality, quality[last], facts, 41, THROUGHPUTS * rate, DELAYS * time, 9.0 * time, last,
        rows, context,
    )  # fmt: skip
    return rows, context


def test_a_view_knows_neither_megabits_nor_seconds() -> None:
    rows, context = _seen()
    for rate, time in ((20.0, 1.0), (1.0, 0.25), (0.3, 1.5)):
        other, around = _seen(rate, time)
        np.testing.assert_allclose(other, rows, atol=1e-9)
        differing = np.flatnonzero(~np.isclose(around, context, atol=1e-9))
        assert set(differing.tolist()) <= {9}, "only the chunk length itself may tell"


@pytest.mark.parametrize("levels", [1, 2, 3, 10, 17])
def test_a_view_takes_any_ladder(levels: int) -> None:
    sizes = np.cumsum(np.full((20, levels), 1e5), axis=1)
    rows, context = _seen(sizes=sizes)
    assert np.isfinite(rows).all() and np.isfinite(context).all()
    view = ABRView(max(levels, 10))
    packed = view.pack(rows, context, levels)
    assert view.observation_space.contains(packed)
    assert (packed["levels"][levels:] == -1).all() and view.mask(levels).sum() == levels
    with pytest.raises(ConfigError, match="exceed max_levels"):
        ABRView(1)(Episode(ABREnv().static_info()), ABREnv().reset(seed=0)[0])


def _enumerated(times, quality, before, stall, up, down, buffer, cap) -> np.ndarray:
    """Values of the first level by trying every plan."""
    best = np.full(len(quality), -np.inf)
    for plan in itertools.product(range(len(quality)), repeat=len(times)):
        have, last, total = buffer, before, 0.0
        for k, a in enumerate(plan):
            over = times[k, a] - have
            change = quality[a] - last
            total += quality[a] - stall * max(over, 0.0) - (up * change if change > 0 else -down * change)
            have, last = min(max(-over, 0.0) + 1.0, cap), quality[a]
        best[plan[0]] = max(best[plan[0]], total)
    return best


def test_level_values_are_those_of_the_best_plans() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        levels = int(rng.integers(2, 5))
        quality = np.concatenate([[0.0], np.sort(rng.random(levels - 2)), [1.0]])
        times = np.sort(rng.uniform(0.1, 3.0, (4, levels)), axis=1)
        stall, up, down = rng.uniform(0.5, 6.0), rng.uniform(0, 2), rng.uniform(0, 2)
        buffer, cap = rng.uniform(0, 4), rng.uniform(4, 9)
        found = np.empty(levels)
        level_values(times, 1.0, 0.0, quality, quality[0], stall, up, down, buffer, cap, 0.0, 0.0, found)
        wanted = _enumerated(times, quality, quality[0], stall, up, down, buffer, cap)
        np.testing.assert_allclose(found, wanted, atol=0.12 * stall)  # the buffer's grid
        assert wanted[found.argmax()] > wanted.max() - 0.1 * stall


def test_the_first_plan_is_robust_mpc_s() -> None:
    rng, agreed = np.random.default_rng(1), 0
    for _ in range(200):
        k, last, buffer = int(rng.integers(0, 43)), int(rng.integers(6)), rng.uniform(1, 30)
        past = rng.uniform(0.5, 3.0) * np.exp(0.3 * rng.standard_normal(8))
        rows, context = np.zeros((6, ROW_FEATURES)), np.zeros(CONTEXT_FEATURES)
        quality = VIDEO.bitrates_kbps / 1000.0
        facts = (4.0, 60.0, 0.0, 4.3, 1.0, 1.0, 1.0)
        see(VIDEO.chunk_bytes[k:], quality, quality[last], facts, 48 - k, past, np.ones(8), buffer, last, rows, context)
        forecast = harmonic_mean(past, 8) / (1 + largest_error(past))
        own = choose(VIDEO.chunk_bytes[k : k + 5], quality, 4.3, 1.0, 4.0, forecast * 125e3, buffer, last)
        agreed += int(rows[:, PLAIN_ROWS].argmax() == own or rows[own, PLAIN_ROWS] > -0.03)
    assert agreed >= 175  # the rest: ties within the buffer grid


def test_the_batched_environment_shows_the_same_view() -> None:
    single, batch = ABREnv(), gym.make_vec("netllm_gym/ABR-v0", 2, vectorization_mode="vector_entry_point")
    one, _ = single.reset(seed=5)
    many, _ = batch.reset(seed=5)
    episode = Episode(single.static_info())
    for _ in range(4):
        seen = [(np.zeros((6, ROW_FEATURES)), np.zeros(CONTEXT_FEATURES)) for _ in range(2)]
        episode.see(one, *seen[0])
        episode.see({key: value[0] for key, value in many.items()}, *seen[1])
        for mine, theirs in zip(*seen, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)
        one, many = single.step(3)[0], batch.step(np.array([3, 0]))[0]


def test_ranges_say_what_lies_outside() -> None:
    static = ABREnv().static_info()
    assert Ranges().outside(static) == ""
    said = Ranges(levels=(2, 5), buffer_cap_s=(5, 30)).outside(static)
    assert "levels 6 (trained on 2 to 5)" in said and "buffer_cap_s 60" in said
    assert Ranges.from_json(Ranges().to_json()) == Ranges()
    with pytest.raises(ConfigError, match="range levels"):
        Ranges.from_json({"levels": [5, 1]})
    with pytest.raises(ConfigError, match="ranges"):
        Ranges.from_json({"lvels": [1, 5]})
