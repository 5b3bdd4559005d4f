"""Value and variance of a sum of ratios in each draw of crossed groups: the arithmetic of the bootstrap.

The variance is that of Cameron, Gelbach and Miller (2011): over all subsets of the factors, with alternating sign, the
squared sums of the episodes' scores in the cells of the subset, each with the factor m/(m - 1) for m cells. Training
seeds are one more factor. Two ways give the same numbers: :func:`by_level` for one or two factors, in matrix products
that never lay out single episodes, and :func:`by_episode` for any number of them.

Shapes: b draws, S training seeds, N episodes, L levels of a factor.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A ratio of sums over episodes, as one term of a statistic.

    Attributes:
        x: numerators, ``[S, N]``: one row per training seed.
        y: denominators, ``[N]``; ones make a mean of the ratio.
        sign: what the term is multiplied by.
        who: names the agent: parts of one agent share the draws of its training seeds.
    """

    x: Floats
    y: Floats
    sign: float = 1.0
    who: str = ""


@dataclass(frozen=True)
class Design:
    """The groups of a list of episodes.

    Attributes:
        codes: factor → number of the level of each episode, ``[N]``; factors with one level are left out.
        strata: factor → stratum of each level, ``[L]``: independent samples that stand side by side.
    """

    codes: Mapping[str, Codes]
    strata: Mapping[str, Codes]

    @cached_property
    def names(self) -> list[str]:
        """The factors."""
        return list(self.codes)

    @cached_property
    def corrections(self) -> list[Floats]:
        """m/(m - 1) of each level of each factor, m being the levels of its stratum."""
        found = []
        for name in self.names:
            sizes = np.bincount(self.strata[name])[self.strata[name]]
            found.append(sizes / np.maximum(sizes - 1, 1))
        return found

    @cached_property
    def cells(self) -> int:
        """How many combinations of levels there are."""
        return len(np.unique(np.stack([self.codes[name] for name in self.names]), axis=1).T) if self.names else 1

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Levels of the first and of the second factor, 1 where there is none."""
        sizes = [int(self.codes[name].max()) + 1 for name in self.names[:2]]
        first, second = (*sizes, 1, 1)[:2]
        return first, second

    def matrix(self, values: Floats) -> Floats:
        """Sums of `values` ``[N]`` over the episodes of each cell of the first two factors, ``[L1, L2]``."""
        rows, columns = self.shape
        place = np.zeros(len(values), dtype=np.int64)
        for name, size in zip(self.names[:2], self.shape, strict=False):
            place = place * size + self.codes[name]
        found = np.bincount(place, values, rows * columns).astype(np.float64).reshape(rows, columns)
        return found


def moments(
    design: Design, parts: Sequence[Part], counts: Mapping[str, Floats], seeds: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """Return value and variance of the statistic in each draw, ``[b]`` each.

    Args:
        design: the groups.
        parts: the statistic is their sum.
        counts: factor → how often each level is drawn, ``[b, L]``.
        seeds: agent → how often each of its training seeds is drawn, ``[b, S]``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return (by_level if len(design.names) <= 2 else by_episode)(design, parts, counts, seeds)


# -- one or two factors ------------------------------------------------------------------------------------------------


class _Score:
    """What each episode adds to the deviation of the statistic: matrices over cells, times numbers per draw.

    Its sums over the levels of a factor, and over the squares of all cells, come out of matrix products.
    """

    def __init__(self, design: Design, first: Floats, second: Floats) -> None:
        self.design, self.first, self.second = design, first, second
        self.terms: list[tuple[Floats, Floats]] = []

    def add(self, matrix: Floats, times: Floats) -> None:
        """Add ``times[b] * matrix``."""
        self.terms.append((matrix, times))

    def variance(self) -> tuple[Floats, Floats]:
        """Variance over the factors, and the largest share of a single one, ``[b]`` each."""
        if not self.design.names:
            return np.zeros(1), np.zeros(1)
        rows = sum(times[:, None] * (self.second @ matrix.T) for matrix, times in self.terms)
        one = np.sum(self.first * self.design.corrections[0] * rows**2, axis=1)
        if len(self.design.names) == 1:
            return one, one
        columns = sum(times[:, None] * (self.first @ matrix) for matrix, times in self.terms)
        two = np.sum(self.second * self.design.corrections[1] * columns**2, axis=1)
        both = np.zeros(len(one))
        for (i, (a, of_a)), (j, (b, of_b)) in itertools.combinations_with_replacement(enumerate(self.terms), 2):
            squares = np.sum((self.first @ (a * b)) * self.second, axis=1)
            both = both + (1 if i == j else 2) * of_a * of_b * squares
        cells = self.design.cells
        return one + two - both * cells / max(cells - 1, 1), np.maximum(one, two)


def by_level(
    design: Design, parts: Sequence[Part], counts: Mapping[str, Floats], seeds: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """:func:`moments` for at most two factors."""
    drawn = [counts[name] for name in design.names]
    draws = max(len(array) for array in (*drawn, *seeds.values()))
    first = drawn[0] if drawn else np.ones((draws, 1))
    second = drawn[1] if len(drawn) > 1 else np.ones((draws, 1))
    value = np.zeros(draws)
    whole = _Score(design, first, second)
    own: dict[str, list[_Score]] = {}
    off: dict[str, list[Floats]] = {}
    for part in parts:
        size, times = len(part.x), seeds[part.who]
        y = design.matrix(part.y)
        # Around the ratio of the episodes as they are, sums of squares lose no digits.
        centre = part.x.mean(axis=0).sum() / part.y.sum()
        x = [design.matrix(row - centre * part.y) for row in part.x]
        total = np.sum((first @ y) * second, axis=1)
        sums = [np.sum((first @ matrix) * second, axis=1) for matrix in x]
        ratio = sum(times[:, s] * sums[s] for s in range(size)) / (size * total)
        value = value + part.sign * (centre + ratio)
        scale = part.sign / total
        for s in range(size):
            whole.add(x[s], scale * times[:, s] / size)
        whole.add(y, -scale * ratio)
        if size > 1:
            scores = own.setdefault(part.who, [_Score(design, first, second) for _ in range(size)])
            away = off.setdefault(part.who, [np.zeros(draws) for _ in range(size)])
            for s in range(size):
                scores[s].add(x[s], scale / size)
                scores[s].add(y, -scale * ratio / size)
                away[s] += scale * (sums[s] - ratio * total) / size
    variance, largest = whole.variance()
    for who, scores in own.items():
        times, size = seeds[who], len(scores)
        alone = sum(times[:, s] * off[who][s] ** 2 for s in range(size)) * size / (size - 1)
        inside = sum(times[:, s] * scores[s].variance()[0] for s in range(size))
        variance, largest = variance + alone - inside, np.maximum(largest, alone)
    # In small samples the difference may come out below a single factor's own share, which is part of it.
    return value, np.maximum(variance, largest)


# -- any number of factors ---------------------------------------------------------------------------------------------


def by_episode(
    design: Design, parts: Sequence[Part], counts: Mapping[str, Floats], seeds: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """:func:`moments` for any number of factors."""
    weights = _product(design, counts, design.names, len(next(iter(seeds.values()))))
    draws, episodes = weights.shape
    value, score = np.zeros(draws), np.zeros((draws, episodes))
    by_seed: dict[str, Floats] = {}
    for part in parts:
        size = len(part.x)
        total = weights @ part.y
        average = (seeds[part.who] / size) @ part.x
        ratio = np.sum(weights * average, axis=1) / total
        value = value + part.sign * ratio
        score = score + part.sign * (average - ratio[:, None] * part.y) / total[:, None]
        if size > 1:
            apart = part.x[None] - (ratio[:, None] * part.y)[:, None, :]
            scaled = apart * (part.sign / (size * total))[:, None, None]
            by_seed[part.who] = by_seed.get(part.who, 0.0) + scaled
    variance, largest = _variance(design, counts, score)
    for who, found in by_seed.items():
        times, size = seeds[who], found.shape[1]
        alone = np.sum(times * np.sum(weights[:, None, :] * found, axis=2) ** 2, axis=1) * size / (size - 1)
        inside = sum(times[:, s] * _variance(design, counts, found[:, s, :])[0] for s in range(size))
        variance, largest = variance + alone - inside, np.maximum(largest, alone)
    return value, np.maximum(variance, largest)


def _product(design: Design, counts: Mapping[str, Floats], names: Sequence[str], draws: int) -> Floats:
    """Product of the counts of the factors `names` at each episode, ``[b, N]``."""
    total = np.ones((draws, len(next(iter(design.codes.values())))))
    for name in names:
        total = total * counts[name][:, design.codes[name]]
    return total


def _variance(design: Design, counts: Mapping[str, Floats], score: Floats) -> tuple[Floats, Floats]:
    """Sum over subsets of factors, with alternating sign, of squared cell sums; and the largest single one."""
    total, largest = np.zeros(len(score)), np.zeros(len(score))
    for size in range(1, len(design.names) + 1):
        for subset in itertools.combinations(design.names, size):
            levels, cell = np.unique(np.stack([design.codes[name] for name in subset]), axis=1, return_inverse=True)
            count = levels.shape[1]
            others = [name for name in design.names if name not in subset]
            sums = (_product(design, counts, others, len(score)) * score) @ np.eye(count)[cell.ravel()]
            drawn = np.prod([counts[name][:, level] for name, level in zip(subset, levels, strict=True)], axis=0)
            correction = design.corrections[design.names.index(subset[0])] if size == 1 else count / max(count - 1, 1)
            found = np.sum(drawn * correction * sums**2, axis=1)
            total = total + found if size % 2 else total - found
            if size == 1:
                largest = np.maximum(largest, found)
    return total, largest
