"""How long a task takes: Decima's tables by wave and parallelism, read at pre-drawn uniforms."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from netllm_gym.traces.jobs.workload import StageProfile

LEVELS = (5, 10, 20, 40, 50, 60, 80, 100)


def level_weights(local: int, legacy: bool) -> tuple[int, int, float]:
    """Return (left, right, P(left)): the two levels around `local` executors and how to choose between them.

    Published simulators weight the *farther* level (``(m - left) / (right - left)`` for the left one); `legacy`
    keeps that for parity.
    """
    m = min(max(local, LEVELS[0]), LEVELS[-1])
    i = bisect_left(LEVELS, m)
    right = LEVELS[i]
    if right == m:
        return right, right, 1.0
    left = LEVELS[i - 1]
    share = (m - left) / (right - left)
    return left, right, share if legacy else 1.0 - share


class StageTable:
    """A stage's samples resolved for each level and wave; a fresh sample carries its warm-up delay."""

    def __init__(self, profile: StageProfile, warmup_s: float):
        have = sorted(set(profile.fresh) | set(profile.first) | set(profile.rest))
        # Compact, because tasks read these at random places: a float object more would be a cache miss more.
        self.fresh: dict[int, array[float]] = {}
        self.first: dict[int, array[float]] = {}
        self.rest: dict[int, array[float]] = {}
        anything = array("d", profile.all_samples())
        for level in LEVELS:
            at = level if level in have else have[-1]
            fresh, first, rest = (array("d", w.get(at, ())) for w in (profile.fresh, profile.first, profile.rest))
            plain = first or fresh or rest or anything
            self.fresh[level] = fresh or array("d", (x + warmup_s for x in plain))
            self.first[level] = plain
            self.rest[level] = rest or plain
