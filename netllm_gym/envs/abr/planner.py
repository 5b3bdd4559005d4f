"""Planning with the true future: the offline optimum of an episode, and hindsight values of every action.

Both walk forward through the exact transition of :mod:`netllm_gym.envs.abr.kernel` and keep, for every cell of
(level, half a second of wall clock, half a second of buffer), only the most promising state, and of those the `beam`
best. Because transitions are exact, what the planner promises is what the environment pays. Promise is return plus
the worth of the buffer: a second of buffer is a second of the link, and a link of ``c`` Mbit/s delivers ``c`` Mbit of
video in it; it counts by 0.9, and only as far as there is video left. On a link that could carry more than the ladder,
now or later, a second of buffer may be worth next to nothing: there the search is made four times, with less and less
worth, and the best counts.

Quality tables, prices that differ for rising and falling quality, and live video are planned for too; the other options
of the environment are not.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import download_from, piece_at, wrap
from netllm_gym.envs.abr.options import Options
from netllm_gym.envs.abr.qoe import QoE
from netllm_gym.traces.video.manifest import VideoManifest


class Planned(Protocol):
    """What the planners read of an environment in mid-episode; :class:`~netllm_gym.envs.abr.env.ABREnv` has it all.

    `link` holds the arrays of the trace for the kernel; `chunk` is the next one; the rest are named as in the
    environment.
    """

    video: VideoManifest
    qoe: QoE
    chunk: int
    offset_s: float
    buffer_s: float
    last_quality: int
    rtt_s: float
    buffer_cap_s: float
    sleep_quantum_s: float
    latency_weight: float
    wall_time_s: float
    options: Options

    @property
    def link(self) -> tuple[NDArray[Any], ...]:
        """End times, bytes carried by then, and rates."""
        ...

    def require_plannable(self) -> None:
        """Refuse physics that the planners do not know."""


# Chosen on the valid traces of fcc-hsdpa: at 16 ms a video, finer cells or another weight find less.
CELL_S = 0.5
BUFFER_WEIGHT = 0.9
# With 0.9 alone the planner lost to RobustMPC where one slow minute precedes two fast ones (abr/fcc-hd: 2.92 a chunk
# where 0.4 finds 3.33). Tried where the mean link exceeds half of the top level; elsewhere they find 0.001 more.
FAST_WEIGHTS, FAST = (0.9, 0.4, 0.1, 0.0), 0.5
_EMPTY = -1


@njit(cache=True)
def _search(
    end: Any, carried: Any, rate: Any, sizes: Any, quality: Any, stall_weight: Any, rising: Any, falling: Any,
    live: Any, rtt: Any, chunk_s: Any, cap: Any, quantum: Any, worth: Any,
    beam: Any, cell: Any, table: Any, first: Any, steps: Any, offset: Any, elapsed: Any, buffer: Any, last: Any,
    free_switch: Any, forced: Any,
) -> Any:  # fmt: skip
    """Search `steps` chunks ahead from one state; return (best return, its actions).

    `quality` is of each chunk and level; `live` is the target latency (negative: not live), its weight and the wall
    clock now; `worth` is the promise of a second of buffer; `forced` >= 0 fixes the first action; `free_switch` leaves
    the first action's change of quality out (the first chunk of a video has no predecessor).
    """
    chunks, levels = quality.shape
    target, late_weight, wall = live
    s_offset, s_elapsed = np.empty(beam), np.empty(beam)
    s_buffer, s_return = np.empty(beam), np.empty(beam)
    s_last, s_piece = np.empty(beam, np.int64), np.empty(beam, np.int64)
    s_piece[0] = piece_at(end, offset, 0, len(end))
    parents = np.empty((steps, beam), np.int32)
    actions = np.empty((steps, beam), np.int8)
    s_offset[0], s_elapsed[0], s_buffer[0], s_return[0], s_last[0] = offset, elapsed, buffer, 0.0, last
    alive = 1
    limit = beam * levels
    c_offset, c_elapsed = np.empty(limit), np.empty(limit)
    c_buffer, c_return, c_promise = np.empty(limit), np.empty(limit), np.empty(limit)
    c_parent, c_last, c_piece = np.empty(limit, np.int64), np.empty(limit, np.int64), np.empty(limit, np.int64)
    mask = len(table) - 1
    keys = np.empty(limit, np.int64)
    for depth in range(steps):
        table[:] = _EMPTY
        count = 0
        useful = (len(sizes) - 1 - first - depth) * chunk_s  # more buffer than there is video left is worth nothing
        for s in range(alive):
            for level in range(levels):
                if depth == 0 and forced >= 0 and level != forced:
                    continue
                delay, stall, after, sleep, next_offset, piece = download_from(
                    end, carried, rate, 0, len(end), s_piece[s], s_offset[s], sizes[first + depth, level],
                    s_buffer[s], rtt, 1.0, chunk_s, cap, quantum,
                )  # fmt: skip
                time = s_elapsed[s] + delay + sleep
                late = 0.0
                if target >= 0.0:  # the chunk after this one must be there before it can be asked for
                    arrived = first + depth + 1
                    if arrived < chunks:
                        wait = max((arrived + 1) * chunk_s - target - (wall + time), 0.0)
                        stall += max(wait - after, 0.0)
                        after = max(after - wait, 0.0)
                        time += wait
                        next_offset = wrap(end[-1], next_offset + wait)
                        piece = piece_at(end, next_offset, 0, len(end))
                    late = late_weight * max(wall + time - (arrived * chunk_s - after), 0.0)
                now = quality[first + depth, level]
                gain = now - stall_weight * stall - late
                if not (depth == 0 and free_switch):
                    change = now - quality[first + depth - 1, s_last[s]]
                    gain -= rising * change if change > 0.0 else -falling * change
                total = s_return[s] + gain
                key = (np.int64(time / cell) * 8192 + np.int64(after / cell)) * 64 + level
                slot = ((key * 0x9E3779B1) >> 7) & mask
                while table[slot] != _EMPTY and keys[table[slot]] != key:
                    slot = (slot + 1) & mask
                place = table[slot]
                promise = total + worth * min(after, useful)
                if place == _EMPTY:
                    place = count
                    table[slot] = place
                    keys[place] = key
                    count += 1
                elif c_promise[place] >= promise:
                    continue
                c_offset[place], c_elapsed[place], c_buffer[place] = next_offset, time, after
                c_return[place], c_promise[place] = total, promise
                c_parent[place], c_last[place], c_piece[place] = s, level, piece
        if count > beam:
            threshold = np.partition(c_promise[:count].copy(), count - beam)[count - beam]
        else:
            threshold = -np.inf
        alive = 0
        for c in range(count):
            if c_promise[c] >= threshold and alive < beam:
                s_offset[alive], s_elapsed[alive], s_buffer[alive] = c_offset[c], c_elapsed[c], c_buffer[c]
                s_return[alive], s_last[alive], s_piece[alive] = c_return[c], c_last[c], c_piece[c]
                parents[depth, alive], actions[depth, alive] = c_parent[c], c_last[c]
                alive += 1
    best = 0
    for s in range(1, alive):
        if s_return[s] > s_return[best]:
            best = s
    value = s_return[best]
    plan = np.empty(steps, np.int64)
    for depth in range(steps - 1, -1, -1):
        plan[depth] = actions[depth, best]
        best = parents[depth, best]
    return value, plan


@njit(cache=True)
def _all_values(
    end: Any, carried: Any, rate: Any, sizes: Any, quality: Any, stall_weight: Any, rising: Any, falling: Any,
    live: Any, rtt: Any, chunk_s: Any, cap: Any, quantum: Any, worth: Any,
    beam: Any, cell: Any, table: Any, first: Any, steps: Any, offset: Any, elapsed: Any, buffer: Any, last: Any,
    free_switch: Any,
) -> Any:  # fmt: skip
    values = np.empty(quality.shape[1])
    for level in range(quality.shape[1]):
        values[level] = _search(
            end, carried, rate, sizes, quality, stall_weight, rising, falling, live, rtt, chunk_s, cap, quantum, worth,
            beam, cell, table, first, steps, offset, elapsed, buffer, last, free_switch, level,
        )[0]  # fmt: skip
    return values


def _delivered(end: NDArray, carried: NDArray, time: float) -> float:
    """Bytes a link has delivered by `time` (s, over as many cycles as it takes)."""
    cycles, offset = divmod(time, float(end[-1]))
    return float(cycles * carried[-1] + np.interp(offset, np.append(0.0, end), np.append(0.0, carried)))


def _searches(env: Planned, beam: int, steps: int) -> list[tuple[Any, ...]]:
    """Arguments of the searches to make, which differ in the worth of a second of buffer."""
    env.require_plannable()
    end, carried, rate = env.link
    levels, top_mbps = env.video.levels, float(env.video.bitrates_kbps[-1]) / 1000.0
    # Worth of a second of buffer: the mean link over the rest of the video, at most what the top level could use.
    ahead_s = max(env.video.chunks - env.chunk, 1) * env.video.chunk_s
    ahead_bytes = _delivered(end, carried, env.offset_s + ahead_s) - _delivered(end, carried, env.offset_s)
    ahead_mbps = ahead_bytes * 8e-6 / ahead_s
    worth = min(ahead_mbps, top_mbps) * env.qoe.quality[-1] / (top_mbps * env.video.chunk_s)
    quality = np.ascontiguousarray(env.qoe.per_chunk(env.video.chunks), np.float64)
    target = env.options.live_latency_s
    live = (-1.0 if target is None else float(target), float(env.latency_weight), float(env.wall_time_s))
    table = np.empty(1 << int(np.ceil(np.log2(2 * beam * levels))), np.int64)
    return [
        (
            end, carried, rate, env.video.chunk_bytes, quality, env.qoe.stall_weight, env.qoe.switch_weight,
            env.qoe.falling, live, env.rtt_s, env.video.chunk_s, env.buffer_cap_s, env.sleep_quantum_s,
            weight * worth, beam, CELL_S, table, env.chunk, min(steps, env.video.chunks - env.chunk),
            env.offset_s, 0.0, env.buffer_s, env.last_quality, env.chunk == 0,
        )
        for weight in (FAST_WEIGHTS if ahead_mbps > FAST * top_mbps else (BUFFER_WEIGHT,))
    ]  # fmt: skip


def optimum(env: Planned, beam: int = 1100) -> tuple[float, NDArray[np.int64]]:
    """Best return from the environment's current state to the end of the video, and the levels that earn it.

    Delay noise is not foreseen: the plan assumes none.

    Args:
        env: an ABR environment between ``reset`` and the end of its episode.
        beam: states kept per chunk; more costs more and finds (slightly) more.

    Returns:
        ``(return, actions)``; actions of shape ``[chunks left]``.
    """
    found = [_search(*(*arguments, -1)) for arguments in _searches(env, beam, env.video.chunks)]
    value, plan = max(found, key=lambda one: float(one[0]))
    return float(value), plan


def action_values(env: Planned, horizon: int = 12, beam: int = 100) -> NDArray[np.float64]:
    """Hindsight value of each action: the best return over the next `horizon` chunks that begins with it, ``[L]``."""
    found: NDArray[np.float64] = np.max([_all_values(*one) for one in _searches(env, beam, horizon)], axis=0)
    return found
