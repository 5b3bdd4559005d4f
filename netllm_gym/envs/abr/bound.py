"""How good an episode can be at most: a bound that no agent passes, however well it knows the future.

:func:`netllm_gym.envs.abr.planner.optimum` is a beam search: what it returns can be earned, but a better plan may
exist. The bound here is proven. Let ``x`` be the time that has passed on the link since now, ``S`` the stalls since
now, ``b`` the buffer now, ``c`` a chunk's seconds, ``r`` the request latency and ``cap`` the buffer cap. The wall clock
counts link and latencies, and also video played and stalls, so the buffer after ``m`` chunks is ``b + S + m·c − x −
m·r``, and a chunk that the link delivers from ``x`` to ``d(x)`` changes the state to

    S' = max(S, d(x) + (m + 1)·r − m·c − b),    x' = max(d(x), b + S' + (m + 1)·(c − r) − cap).

(The player waits just until the buffer fits under the cap; the environment waits in whole steps, so never less.) A
download that begins earlier ends no later, hence both are monotone in ``x`` and ``S``: **with equal chunk and level,
whoever has used less link and stalled less is never worse off**, whatever both do next. So a state may be replaced by
one with less of each, and states may be merged to the least ``x``, the least ``S`` and the largest sum ``U`` of
qualities less changes: whatever is computed from then on bounds the truth from above.

1. Backwards on a grid of (chunk, ``x``, ``S``, level), both rounded down: a bound on what can still be earned.
2. Forwards with exact ``x`` and ``U``, and ``S`` rounded down to a hundredth of a second. States that another of their
   level dominates are dropped, and so are those whose sum plus (1) does not exceed what the beam search has earned.
   The best that arrives is the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import transfer_s, wrap
from netllm_gym.envs.abr.planner import optimum
from netllm_gym.errors import ConfigError

if TYPE_CHECKING:
    from netllm_gym.envs.abr.env import ABREnv

# The grid of (1): points in x, bounded by memory, and in S, denser near zero where the best plans are.
X_POINTS, S_POINTS, GRID_CELLS = 600, 24, 6_000_000
# Steps that (2) rounds to: stalls, always, to a power of two (so that rounding twice is rounding once), of which the
# range holds at most so many; sums, where states are too many, to this part of the ladder's range of quality.
STALL_CELL_S, STALL_CELLS, QUALITY_CELL = 1 / 128, 1 << 16, 1 / 80
ROUNDING = 1e-9


@njit(cache=True)
def _index(value: Any, step: Any, count: Any) -> Any:
    """Grid point at or below `value`, surely."""
    return min(max(int((value - ROUNDING) / step), 0), count - 1)


@njit(cache=True)
def _stall_index(stall: Any, most: Any, count: Any) -> Any:
    """Like :func:`_index` on the stalls' grid, whose points are ``most · (j / (count − 1))²``."""
    return min(int(np.sqrt(max(stall - ROUNDING, 0.0) / most) * (count - 1)), count - 1)


@njit(cache=True)
def _after(end: Any, carried: Any, rate: Any, start: Any, size: Any, player: Any, m: Any, x: Any) -> Any:
    """Time on the link when the m-th chunk has arrived, and the stalls at least that it means."""
    buffer, chunk_s, rtt, _ = player
    done = x + transfer_s(end, carried, rate, wrap(end[-1], start + x), size)
    return done, done + (m + 1) * rtt - m * chunk_s - buffer


@njit(cache=True)
def _released(done: Any, stalled: Any, player: Any, m: Any) -> Any:
    """Time on the link when the next request may leave."""
    buffer, chunk_s, rtt, cap = player
    return max(done, buffer + stalled + (m + 1) * (chunk_s - rtt) - cap)


@njit(cache=True)
def _slowest(end: Any, carried: Any, rate: Any, start: Any, sizes: Any, player: Any) -> Any:
    """Link time of playing everything at the lowest level, the range of `x` that matters."""
    x = stalled = 0.0
    for m in range(len(sizes)):
        done, least = _after(end, carried, rate, start, sizes[m, 0], player, m, x)
        stalled = max(stalled, least)
        x = _released(done, stalled, player, m)
    return x


@njit(cache=True)
def _backwards(
    end: Any,
    carried: Any,
    rate: Any,
    start: Any,
    sizes: Any,
    quality: Any,
    weights: Any,
    player: Any,
    step: Any,
    points: Any,
    most: Any,
    stalls: Any,
) -> Any:
    """What can still be earned, at most: ``[chunks + 1, points, stalls, L]``, the future's stalls included."""
    chunks, levels = sizes.shape
    stall_weight, switch_weight = weights
    best = np.empty((chunks + 1, points, stalls, levels))
    grid = most * (np.arange(stalls) / (stalls - 1)) ** 2
    for j in range(stalls):
        best[chunks, :, j] = -stall_weight * grid[j]
    gains = np.empty(levels)
    done, least = np.empty(levels), np.empty(levels)
    for m in range(chunks - 1, -1, -1):
        for i in range(points):
            for a in range(levels):
                done[a], least[a] = _after(end, carried, rate, start, sizes[m, a], player, m, i * step)
            for j in range(stalls):
                for a in range(levels):
                    stalled, there = grid[j], j
                    if least[a] > stalled:
                        stalled, there = least[a], _stall_index(least[a], most, stalls)
                    x = _index(_released(done[a], stalled, player, m), step, points)
                    gains[a] = quality[a] + best[m + 1, x, there, a]
                for last in range(levels):
                    top = -np.inf
                    for a in range(levels):
                        top = max(top, gains[a] - switch_weight * abs(quality[a] - quality[last]))
                    best[m, i, j, last] = top
    return best


@njit(cache=True)
def _undominated(x: Any, cells: Any, total: Any, last: Any, levels: Any) -> Any:
    """Indices of the states that no other of their level dominates: less link, stall and no smaller sum.

    In order of falling sums, a state is dominated if one before it with no more stall has used no more link. The
    least `x` up to each cell of stall is kept in a Fenwick tree.
    """
    order = np.argsort(x)
    order = order[np.argsort(-total[order], kind="mergesort")]
    size = cells.max() + 1
    least = np.full((levels, size + 1), np.inf)
    kept = 0
    for state in order:
        tree, cell = least[last[state]], cells[state] + 1
        k, best = cell, np.inf
        while k > 0:
            best = min(best, tree[k])
            k -= k & -k
        if best <= x[state]:
            continue
        k = cell
        while k <= size:
            tree[k] = min(tree[k], x[state])
            k += k & -k
        order[kept] = state
        kept += 1
    return order[:kept]


@njit(cache=True)
def _forwards(
    end: Any, carried: Any, rate: Any, start: Any, sizes: Any, quality: Any, weights: Any, player: Any, step: Any,
    most: Any, ahead: Any, earned: Any, last: Any, free_switch: Any,
    stall_cell: Any, quality_cell: Any, width: Any,
) -> Any:  # fmt: skip
    """Best sum that may exceed `earned`, or `earned`."""
    chunks, levels = sizes.shape
    stall_weight, switch_weight = weights
    points, stalls = ahead.shape[1:3]
    best_quality = quality.max()
    s_x, s_stalled, s_sum, s_last = np.zeros(1), np.zeros(1), np.zeros(1), np.full(1, last)
    for m in range(chunks):
        limit, count = len(s_x) * levels, 0
        n_x, n_stalled, n_sum, n_last = np.empty(limit), np.empty(limit), np.empty(limit), np.empty(limit, np.int64)
        for s in range(len(s_x)):
            for a in range(levels):
                done, least = _after(end, carried, rate, start, sizes[m, a], player, m, s_x[s])
                stalled = max(s_stalled[s], least)
                x = _released(done, stalled, player, m)
                total = s_sum[s] + quality[a]
                if not (m == 0 and free_switch):
                    total -= switch_weight * abs(quality[a] - quality[s_last[s]])
                rest = min(
                    ahead[m + 1, _index(x, step, points), _stall_index(stalled, most, stalls), a],
                    (chunks - 1 - m) * best_quality - stall_weight * stalled,
                )
                if total + rest > earned:
                    n_x[count], n_stalled[count], n_sum[count], n_last[count] = x, stalled, total, a
                    count += 1
        if count == 0:
            return earned
        s_x, s_stalled, s_sum, s_last = n_x[:count], n_stalled[:count], n_sum[:count], n_last[:count]
        fine, coarse = stall_cell, 0.0
        while True:
            cells = np.floor(np.minimum(s_stalled, most) / fine).astype(np.int64)
            s_stalled = cells * fine
            if coarse > 0.0:
                top = s_sum.max()
                s_sum = top - np.floor((top - s_sum) / coarse) * coarse
            kept = _undominated(s_x, cells, s_sum, s_last, levels)
            s_x, s_stalled, s_sum, s_last = s_x[kept], s_stalled[kept], s_sum[kept], s_last[kept]
            if len(kept) <= width:
                break
            fine, coarse = 2.0 * fine, max(2.0 * coarse, quality_cell)
    return max(earned, (s_sum - stall_weight * s_stalled).max())


def upper_bound(env: ABREnv, width: int = 20_000) -> float:
    """Return that no sequence of levels can exceed from the environment's current state to the end of the video.

    Args:
        env: an ABR environment between ``reset`` and the end of its episode.
        width: states kept per chunk, at least one a level; where more are left, stalls are rounded down and sums up
            until they fit.

    Raises:
        ConfigError: delays are noisy, or the player or its QoE is not the plain one.
    """
    if not env.options.plain or env.qoe.table is not None or env.qoe.falling != env.qoe.switch_weight:
        raise ConfigError("upper_bound knows the plain player only: no options, no quality table, one switch weight")
    if env.delay_noise:
        raise ConfigError("upper_bound knows no delay noise; plan an environment with delay_noise=0")
    if width < 1:
        raise ConfigError(f"width must be at least 1, got {width}")
    earned, _ = optimum(env)
    link, sizes = env.link, env.video.chunk_bytes[env.chunk :]
    player = (env.buffer_s, float(env.video.chunk_s), env.rtt_s, env.buffer_cap_s)
    weights = (env.qoe.stall_weight, env.qoe.switch_weight)
    slowest = _slowest(*link, env.offset_s, sizes, player)
    most_x = max(slowest, len(sizes) * env.video.chunk_s + env.buffer_s)
    points = int(np.clip(GRID_CELLS // (S_POINTS * sizes.size), 50, X_POINTS))
    # Whoever stalls longer than `most` cannot make up for it; without a price on stalls they are worth nothing.
    most = (len(sizes) * float(env.qoe.quality.max()) - earned) / weights[0] if weights[0] > 0 else 1.0
    step, most = most_x / (points - 1), max(most, 1.0)
    quality = env.qoe.quality
    common = (*link, env.offset_s, sizes, quality, weights, player)
    ahead = _backwards(*common, step, points, most, S_POINTS)
    quality_cell = QUALITY_CELL * float(quality.max() - quality.min() or 1.0)
    stall_cell = STALL_CELL_S
    while most / stall_cell > STALL_CELLS:
        stall_cell *= 2.0
    best = _forwards(
        *common,
        step,
        most,
        ahead,
        earned,
        env.last_quality,
        env.chunk == 0,
        stall_cell,
        quality_cell,
        max(width, env.video.levels),
    )
    return float(best) + ROUNDING * (1.0 + abs(best))
