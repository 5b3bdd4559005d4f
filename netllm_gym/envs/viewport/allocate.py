"""Spending a byte budget on tiles: which quality each tile of a chunk gets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit


@njit(cache=True)
def knapsack(weight: Any, sizes: Any, utility: Any, budget: Any, base: Any) -> Any:
    """Choose levels greedily by utility per byte, single steps or leaps, until the budget is spent.

    Maximises ``Σ weight_t · utility(level_t)``; the greedy choice over the upper hull of each tile is within
    one step of the optimum.

    Args:
        weight: how much of the expected view each tile fills, ``[T]``.
        sizes: bytes, ``[L, T]``.
        utility: of each level, rising, ``[L]``; a skipped tile counts as minus the highest.
        budget: bytes.
        base: level every tile gets at least, whatever the budget; -1 leaves tiles out.

    Returns:
        Level of each tile, -1 = skipped, ``[T]``.
    """
    tiles = sizes.shape[1]
    chosen = np.full(tiles, base, np.int64)
    spent = 0.0
    if base >= 0:
        for t in range(tiles):
            spent += sizes[base, t]
    best_gain = np.zeros(tiles)
    best_level = np.zeros(tiles, np.int64)
    for t in range(tiles):
        best_gain[t], best_level[t] = _leap(weight[t], sizes, utility, chosen[t], t, budget - spent)
    while True:
        pick = -1
        top = 0.0
        for t in range(tiles):
            if best_gain[t] > top:
                top = best_gain[t]
                pick = t
        if pick < 0:
            return chosen
        old = sizes[chosen[pick], pick] if chosen[pick] >= 0 else 0.0
        extra = sizes[best_level[pick], pick] - old
        if spent + extra <= budget:
            spent += extra
            chosen[pick] = best_level[pick]
        best_gain[pick], best_level[pick] = _leap(weight[pick], sizes, utility, chosen[pick], pick, budget - spent)


@njit(cache=True)
def _leap(weight: Any, sizes: Any, utility: Any, level: Any, tile: Any, left: Any) -> Any:
    """Best utility per byte of any higher level that `left` bytes still pay, and that level."""
    have = utility[level] if level >= 0 else -utility[-1]  # a hole in the view costs what full quality is worth
    paid = sizes[level, tile] if level >= 0 else 0.0
    gain, best = 0.0, level
    for higher in range(level + 1, len(utility)):
        extra = sizes[higher, tile] - paid
        if extra > left:
            continue
        worth = weight * (utility[higher] - have)
        rate = worth / max(extra, 1.0)
        if worth > 0.0 and rate > gain:
            gain, best = rate, higher
    return gain, best


def inside_outside(visible: NDArray[np.bool_], inside: int, outside: int) -> NDArray[np.int64]:
    """Level `inside` for visible tiles, `outside` for the others (-1 = skipped), ``[T]``."""
    return np.where(visible, inside, outside).astype(np.int64)


def region(
    interest: NDArray[np.float64],
    sizes: NDArray[np.float64],
    utility: NDArray[np.float64],
    budget: float,
    variation: float,
) -> NDArray[np.int64]:
    """One level for the region of most interest, the lowest elsewhere: what a QoE that dislikes patchwork
    asks for.

    For each level, the region is the longest prefix of tiles by falling interest that the budget pays. With P
    the interest inside, the expected view has quality ``P u + (1 - P) u0`` and mean absolute deviation
    ``2 P (1 - P) (u - u0)``; the level with the best ``quality - variation * deviation`` is taken.

    Args:
        interest: expected share of the view per tile, ``[T]``, sums to 1.
        sizes: bytes, ``[L, T]``.
        utility: of each level, ``[L]``.
        budget: bytes; the lowest level everywhere is fetched even if it costs more.
        variation: the QoE's weight of variation over that of quality.

    Returns:
        Level of each tile, ``[T]``.
    """
    order = np.argsort(-interest, kind="stable")
    inside = np.cumsum(interest[order])
    extra = np.cumsum(sizes[:, order] - sizes[0, order], axis=1)
    left = budget - sizes[0].sum()
    best, level, count = utility[0], 0, 0
    for candidate in range(1, len(utility)):
        # Sizes may fall from one level to the next for single tiles: look for the longest prefix that fits.
        fits = np.flatnonzero(extra[candidate] <= left)
        if not len(fits):
            continue
        p, gain = float(inside[fits[-1]]), float(utility[candidate] - utility[0])
        value = utility[0] + gain * (p - variation * 2.0 * p * (1.0 - p))
        if value > best:
            best, level, count = value, candidate, int(fits[-1]) + 1
    chosen = np.zeros(len(interest), np.int64)
    chosen[order[:count]] = level
    return chosen


def upgrade(
    interest: NDArray[np.float64],
    sizes: NDArray[np.float64],
    utility: NDArray[np.float64],
    held: NDArray[np.int64],
    budget: float,
    variation: float,
) -> NDArray[np.int64]:
    """Choose what to fetch again of a chunk whose tiles are held: one level, for the tiles of most interest.

    For each level the region is a prefix of tiles by falling interest, as in :func:`region`. Tiles held at that level
    or a higher one cost nothing, the others all their bytes. The view is valued with everything that will then be held:
    ``quality - variation * deviation``, both over the expected view. Nothing is fetched that does not raise it.

    Args:
        interest: expected share of the view per tile, ``[T]``, sums to 1.
        sizes: bytes, ``[L, T]``.
        utility: of each level, ``[L]``.
        held: level of each tile, -1 = a hole, which counts as minus the highest utility, ``[T]``.
        budget: bytes.
        variation: the QoE's weight of variation over that of quality.

    Returns:
        Level to fetch of each tile, -1 = leave it, ``[T]``.
    """
    order = np.argsort(-interest, kind="stable")
    weight, now = interest[order], held[order]
    worth = np.where(now >= 0, utility[np.maximum(now, 0)], -utility[-1])
    prefix = np.tri(len(order), dtype=bool)  # row n: the first n + 1 tiles
    chosen = np.full(len(order), -1, np.int64)

    def value(shown: NDArray[np.float64]) -> NDArray[np.float64]:
        quality = shown @ weight
        return quality - variation * (np.abs(shown - quality[..., None]) @ weight)

    best = float(value(worth[None])[0])
    for level in range(len(utility)):
        raised = now < level
        fits = np.cumsum(np.where(raised, sizes[level, order], 0.0)) <= budget
        values = np.where(fits, value(np.where(prefix & raised, utility[level], worth)), -np.inf)
        count = int(np.argmax(values))
        if values[count] > best + 1e-9:
            best = float(values[count])
            chosen[:] = -1
            chosen[order[: count + 1][raised[: count + 1]]] = level
    return chosen
