"""The package's one bootstrap: crossed groups, studentised, with training seeds as a random factor.

Episodes belong to crossed groups (a video and a viewer, say): two episodes that share either resemble each other. The
*pigeonhole bootstrap* (Owen, Annals of Applied Statistics 2007) draws the levels of every factor with replacement and
weighs an episode by the product of how often its levels were drawn. Every agent meets the same draw, so differences
stay paired. Runs of one training recipe are levels of one more factor, drawn for each agent by itself.

Few groups make percentile intervals too narrow, so each draw is *studentised*: its deviation is divided by its own
standard error, and the quantiles of that ratio replace those of the normal distribution (Efron 1982; Hall 1988). The
standard error is the cluster-robust one for crossed groups (Cameron, Gelbach and Miller, JBES 2011), with the
factor m/(m - 1) for m levels: S/(S - 1) for training seeds. With six groups of skewed data even that errs in 12 % of
the cases instead of 5 %; the ratios are therefore stretched by sqrt((m + 1)/(m - 1)), m being the levels of the
smallest factor. The stretch was chosen by simulation, among this and corrections for skewness (Johnson 1978, Hall
1992) that do not carry over to crossed groups: ``benchmarks/interval_coverage.py`` measures what is left.

Quantities that are no ratio of sums (the interquartile mean, the probability of improvement) have no such standard
error. They get percentile intervals from draws of m - 1 of m levels, which gives a mean the same variance.

Numpy only. Shapes: S training seeds, N episodes, B draws, L levels of a factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.evaluation.moments import Design, Floats, Part, moments

DRAWS = 20_000
CHUNK = 2048  # draws held in memory at a time, and of many episodes as many as have
MOST_WEIGHTS = 2**23  # weights together
KEPT_BYTES = 2**29  # counts of all draws are kept up to here, else drawn anew for each statistic
_HUGE = 1e300


@dataclass(frozen=True)
class Estimate:
    """A statistic with its standard error and the studentised deviations of its draws.

    Attributes:
        value: on the episodes as they are.
        error: standard error, NaN where a single level of every factor leaves none.
        ratios: (draw - value) / standard error of the draw, stretched for few groups, sorted, ``[B]``.
    """

    value: float
    error: float
    ratios: Floats

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the equal-tailed interval."""
        if math.isnan(self.error) or not len(self.ratios):
            return math.nan, math.nan
        if self.error == 0.0:
            return self.value, self.value
        low, high = np.quantile(self.ratios, [(1 - level) / 2, (1 + level) / 2])
        # Where a tail is made of draws without spread, the data do not bound that side.
        return self._end(high), self._end(low)

    def _end(self, ratio: float) -> float:
        return self.value - float(ratio) * self.error if abs(ratio) < _HUGE / 10 else -math.copysign(math.inf, ratio)

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p value of the statistic being `null`: below 1 - level when the interval leaves it out."""
        one_sided = min(self.p_below(null), self.p_above(null))
        return one_sided if math.isnan(one_sided) else min(1.0, 2.0 * one_sided)

    def p_below(self, null: float) -> float:
        """One-sided p value of the statistic being at most `null`: small when it is larger."""
        return self._tail(null, above=True)

    def p_above(self, null: float) -> float:
        """One-sided p value of the statistic being at least `null`: small when it is smaller."""
        return self._tail(null, above=False)

    def _tail(self, null: float, above: bool) -> float:
        if math.isnan(self.error) or not len(self.ratios):
            return math.nan
        gap = self.value - null
        if self.error == 0.0:
            beyond = 0 if (gap > 0) == above and gap != 0 else len(self.ratios)
        else:
            place = np.searchsorted(self.ratios, gap / self.error, side="left" if above else "right")
            beyond = len(self.ratios) - int(place) if above else int(place)
        return (beyond + 1) / (len(self.ratios) + 1)


def independent_factors(factors: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.int64]]:
    """Return factor → number of the level of each episode, ``[N]``, without the factors that add nothing.

    A factor whose every level lies within one cell of the others (a viewer who watched one video only, a link drawn
    anew for every episode) is nested in them: resampling the others resamples it. Of two factors that cut alike
    the first stays.

    Raises:
        DatasetError: no factor, or factors of different length.
    """
    texts = {name: [str(level) for level in np.asarray(levels).ravel()] for name, levels in factors.items()}
    if not texts or not all(texts.values()):
        raise DatasetError("no episodes to resample")
    if len({len(levels) for levels in texts.values()}) != 1:
        raise DatasetError("the factors name levels for different numbers of episodes")
    codes = {name: np.unique(levels, return_inverse=True)[1].astype(np.int64) for name, levels in texts.items()}
    for name in reversed(list(codes)):
        others = [code for other, code in codes.items() if other != name and code.max() > 0]
        if others and codes[name].max() > 0:
            pairs = np.unique(np.stack([codes[name], _cells(others)]), axis=1)
            if pairs.shape[1] == codes[name].max() + 1:
                del codes[name]
    return codes


def _cells(codes: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Number of the combination of levels of each episode, ``[N]``."""
    return np.unique(np.stack(codes), axis=1, return_inverse=True)[1].astype(np.int64).ravel()


class Bootstrap:
    """Draws of the groups of a fixed list of episodes.

    Args:
        factors: factor → level of each episode, ``[N]`` each; a plain sequence is one factor.
        draws: number of draws B.
        seed: the same seed gives the same draws.
        strata: which sample each episode belongs to, ``[N]``, when two independent samples stand side by side.

    Raises:
        DatasetError: no episodes. ConfigError: too few draws.
    """

    def __init__(
        self,
        factors: Mapping[str, ArrayLike] | ArrayLike,
        draws: int = DRAWS,
        seed: int = 0,
        strata: Sequence[object] | None = None,
    ) -> None:
        if draws < 100:
            raise ConfigError(f"a bootstrap needs at least 100 draws, got {draws}")
        named = factors if isinstance(factors, Mapping) else {"group": factors}
        self.codes = independent_factors(named)
        self.levels = {name: int(code.max()) + 1 for name, code in self.codes.items()}
        self.draws, self.seed = draws, seed
        self.episodes = len(next(iter(self.codes.values())))
        # A factor with one level cannot be resampled: what is said then holds for that level alone.
        self.crossed = {name: code for name, code in self.codes.items() if self.levels[name] > 1}
        strata_of = np.unique([str(s) for s in strata], return_inverse=True)[1] if strata is not None else None
        self._strata = {
            name: np.array([0 if strata_of is None else strata_of[code == level][0] for level in range(code.max() + 1)])
            for name, code in self.crossed.items()
        }
        self._design = Design(self.crossed, self._strata)
        self._counts: dict[int, dict[str, NDArray[np.uint16]]] = {}
        least = min((int(np.bincount(stratum).min()) for stratum in self._strata.values()), default=0)
        self._stretch = math.sqrt((least + 1) / (least - 1)) if least > 1 else 1.0

    @property
    def smallest(self) -> tuple[str, int]:
        """The factor with the fewest levels, and how many: what the data can say about others."""
        return min(self.levels.items(), key=lambda item: item[1])

    # -- draws ---------------------------------------------------------------------------------------------------------

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(entropy=self.seed, spawn_key=key))

    def counts(self, less: int = 0) -> dict[str, Floats]:
        """How often each level of each factor is drawn, ``[B, L]``; `less` draws fewer than there are levels."""
        return {name: drawn.astype(np.float64) for name, drawn in self._kept(less).items()}

    def _kept(self, less: int) -> dict[str, NDArray[np.uint16]]:
        """The same, drawn once, in two bytes each: no count exceeds the number of levels."""
        if less not in self._counts:
            kept = {name: np.empty((self.draws, len(levels)), np.uint16) for name, levels in self._strata.items()}
            for here, found in self._drawn(less, CHUNK):
                for name, drawn in found.items():
                    kept[name][here] = drawn
            self._counts[less] = kept
        return self._counts[less]

    def _drawn(self, less: int, size: int) -> Iterator[tuple[slice, dict[str, Floats]]]:
        """Draw so many at a time; what is drawn does not depend on how many."""
        sources = [
            (name, np.flatnonzero(stratum == part), self._generator(0xB007, number, int(part)))
            for number, (name, stratum) in enumerate(self._strata.items())
            for part in np.unique(stratum)
        ]
        for begin in range(0, self.draws, size):
            here = slice(begin, min(begin + size, self.draws))
            rows = here.stop - here.start
            found = {name: np.zeros((rows, len(stratum))) for name, stratum in self._strata.items()}
            for name, own, rng in sources:
                found[name][:, own] = rng.multinomial(max(1, len(own) - less), np.full(len(own), 1 / len(own)), rows)
            yield here, found

    def _chunks(self, less: int = 0) -> Iterator[tuple[slice, dict[str, Floats]]]:
        """Which draws, and how often they drew each level, a chunk at a time."""
        size = max(16, min(CHUNK, MOST_WEIGHTS // self.episodes))
        if 2 * self.draws * sum(map(len, self._strata.values())) > KEPT_BYTES:
            yield from self._drawn(less, size)
            return
        kept = self._kept(less)
        for begin in range(0, self.draws, size):
            here = slice(begin, begin + size)
            yield here, {name: drawn[here].astype(np.float64) for name, drawn in kept.items()}

    def seed_counts(self, seeds: int, who: str, less: int = 0) -> Floats:
        """How often each training seed of agent `who` is drawn, ``[B, S]``."""
        if seeds == 1:
            return np.ones((self.draws, 1))
        rng = self._generator(0x5EED, *who.encode())
        return rng.multinomial(max(1, seeds - less), np.full(seeds, 1 / seeds), self.draws).astype(np.float64)

    def weights(self, counts: Mapping[str, Floats]) -> Floats:
        """Weight of each episode in each of the draws `counts`, ``[b, N]``."""
        total = None
        for name, code in self.crossed.items():
            drawn = counts[name][:, code]
            total = drawn if total is None else total * drawn
        return np.ones((1, self.episodes)) if total is None else total

    # -- studentised statistics ----------------------------------------------------------------------------------------

    def estimate(self, parts: Sequence[Part]) -> Estimate:
        """Return the sum of the `parts` with its standard error and studentised draws.

        Raises:
            DatasetError: parts of other episodes, or one agent with different numbers of training seeds.
        """
        seeds = self._checked(parts)
        value, variance = self._here(parts, seeds)
        if not self.crossed and max(seeds.values()) == 1:
            return Estimate(value, math.nan, np.empty(0))
        if variance == 0.0:
            return Estimate(value, 0.0, np.zeros(self.draws))
        drawn = {who: self.seed_counts(size, who) for who, size in seeds.items()}
        ratios = []
        for here, counts in self._chunks():
            values, variances = moments(self._design, parts, counts, {k: v[here] for k, v in drawn.items()})
            ratios.append(_studentised(values - value, variances, variance))
        flat = self._stretch * np.concatenate(ratios)
        return Estimate(value, math.sqrt(variance), np.sort(flat[~np.isnan(flat)]))

    def _checked(self, parts: Sequence[Part]) -> dict[str, int]:
        """Return agent → number of training seeds."""
        seeds: dict[str, int] = {}
        for part in parts:
            if part.x.shape[1] != self.episodes or part.y.shape != (self.episodes,):
                raise DatasetError(f"a statistic of {part.x.shape[1]} episodes on groups of {self.episodes}")
            if seeds.setdefault(part.who, len(part.x)) != len(part.x):
                raise DatasetError(f"{part.who} has different numbers of training seeds")
        return seeds

    def _here(self, parts: Sequence[Part], seeds: Mapping[str, int]) -> tuple[float, float]:
        """Value and variance on the episodes as they are."""
        once = {name: np.ones((1, self.levels[name])) for name in self.crossed}
        ones = {who: np.ones((1, size)) for who, size in seeds.items()}
        (value,), (variance,) = moments(self._design, parts, once, ones)
        # What rounding leaves of terms that cancel is no spread.
        dust = 1e-13 * max(float(np.abs(part.x).max()) / abs(float(part.y.mean())) for part in parts)
        return (float(value) if abs(value) > dust else 0.0), (float(variance) if variance > dust**2 else 0.0)

    def variance(self, values: ArrayLike, who: str = "") -> float:
        """Return the squared standard error of the mean of `values`, ``[N]`` or ``[S, N]``; no draws are made."""
        x = _rows(values)
        parts = [Part(x, np.ones(x.shape[1]), who=who)]
        return self._here(parts, self._checked(parts))[1]

    @staticmethod
    def point(parts: Sequence[Part]) -> float:
        """Return the sum of the `parts` on the episodes as they are."""
        return float(sum(part.sign * part.x.mean(axis=0).sum() / part.y.sum() for part in parts))

    def mean(self, values: ArrayLike, who: str = "") -> Estimate:
        """Return the mean of `values`, ``[N]`` or ``[S, N]``."""
        x = _rows(values)
        return self.estimate([Part(x, np.ones(x.shape[1]), who=who)])

    def difference(self, a: ArrayLike, b: ArrayLike, who: tuple[str, str] = ("a", "b")) -> Estimate:
        """Return the mean of the paired difference ``a - b``, training seeds of each its own."""
        a, b = _rows(a), _rows(b)
        ones = np.ones(a.shape[1])
        return self.estimate([Part(a, ones, 1.0, who[0]), Part(b, ones, -1.0, who[1])])

    def ratio(self, x: ArrayLike, y: ArrayLike, who: str = "") -> Estimate:
        """Return ``sum(x) / sum(y)`` for `x` of ``[N]`` or ``[S, N]`` and `y` of ``[N]``."""
        return self.estimate([Part(_rows(x), np.asarray(y, dtype=np.float64), who=who)])

    # -- percentile intervals ------------------------------------------------------------------------------------------

    def resampled(self, samples: Mapping[str, ArrayLike], function: Callable[[dict[str, Floats]], Floats]) -> Floats:
        """Draws of a statistic that is no ratio of sums, ``[B]``.

        Args:
            samples: agent → values, ``[N]`` or ``[S, N]``.
            function: receives agent → weights ``[b, S * N]`` of its values (seeds, then episodes) and returns ``[b]``.
        """
        rows = {who: _rows(values) for who, values in samples.items()}
        drawn = {who: self.seed_counts(len(x), who, less=1) for who, x in rows.items()}
        found = []
        for here, counts in self._chunks(less=1):
            weights = self.weights(counts)
            found.append(function({
                who: (k[here][:, :, None] * weights[:, None, :]).reshape(len(k[here]), -1) for who, k in drawn.items()
            }))  # fmt: skip
        return np.concatenate(found)


def _rows(values: ArrayLike) -> Floats:
    return np.atleast_2d(np.asarray(values, dtype=np.float64))


def _studentised(deviation: Floats, variance: Floats, whole: float) -> Floats:
    """Deviations by their standard errors; a draw without spread is infinitely far away unless it does not deviate."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(np.maximum(variance, 0.0))
        ratio = deviation / error
    flat = error <= 1e-12 * math.sqrt(max(whole, 0.0))
    tiny = np.abs(deviation) <= 1e-12 * math.sqrt(max(whole, 0.0))
    return np.where(np.isnan(variance), np.nan, np.where(flat, np.where(tiny, 0.0, np.sign(deviation) * _HUGE), ratio))


def percentile_interval(resampled: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a resampled statistic, without the draws in which it does not exist."""
    found = np.asarray(resampled)
    found = found[~np.isnan(found)]
    if not len(found):
        return math.nan, math.nan
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
