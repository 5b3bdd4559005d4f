"""The compiled inside of the batched environment: every episode one chunk ahead, observations written on the way.

The download itself is :func:`netllm_gym.envs.abr.kernel.download_from`, the single environment's too, so that both pay
the same to the last bit. The loops are several and short: each then keeps its arrays in registers, and those without
a search are vectorised.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import Index, download_from, piece_at, wrap
from netllm_gym.envs.abr.vector_arrays import (
    BITRATE,
    BUFFER,
    BUFFER_S,
    CHUNK,
    DELAY,
    HISTORY,
    LAST,
    OFFSET_S,
    PIECE,
    QUALITY,
    REWARD,
    SLEEP,
    STALL,
    SWITCH,
    THROUGHPUT,
    TRACE,
    WALL,
    WALL_S,
    Links,
    Rules,
    State,
    Written,
)


@njit(cache=True)
def first_illegal(actions: Any, begins: Any, levels: Any) -> Any:
    """Index of the first action that is no level, or -1; actions of episodes that begin are not looked at."""
    for i in range(len(actions)):
        if not begins[i] and not 0 <= actions[i] < levels:
            return i
    return -1


@njit(cache=True)
def _begin(begins: Any, starts: Any, links: Any, state: Any) -> Any:
    """Put the episodes that begin at their start; return how many they are."""
    end, _, _, first = links
    index, clock, throughputs, delays = state
    count = 0
    for i in range(len(begins)):
        if begins[i]:
            count += 1
            trace = index[i, TRACE]
            index[i, PIECE] = piece_at(end, starts[i], np.int64(first[trace]), np.int64(first[trace + 1]))
            index[i, CHUNK] = index[i, LAST] = 0
            clock[i, OFFSET_S] = starts[i]
            clock[i, BUFFER_S] = clock[i, WALL_S] = 0.0
            throughputs[i], delays[i] = 0.0, 0.0
    return count


@njit(cache=True, error_model="numpy")
def _download(actions: Any, begins: Any, noise: Any, links: Any, rules: Any, state: Any, terms: Any) -> None:
    """Move every episode's clock over its next chunk; write the terms that tell of it."""
    end, carried, rate, first = links
    sizes, _, _, _, _, _, rtt, chunk_s, cap, quantum, decision_s, first_quality = rules
    index, clock, _, _ = state
    for i in range(len(actions)):
        level = actions[i]
        stall = decision = 0.0
        if begins[i]:
            if first_quality < 0:
                terms[STALL, i] = terms[SLEEP, i] = terms[DELAY, i] = terms[THROUGHPUT, i] = 0.0
                continue
            level = first_quality
        else:
            decision = decision_s
        trace, piece, offset, buffer = index[i, TRACE], index[i, PIECE], clock[i, OFFSET_S], clock[i, BUFFER_S]
        low, stop = np.int64(first[trace]), np.int64(first[trace + 1])
        if decision > 0.0:
            over = decision - buffer
            stall = 0.5 * (over + abs(over))
            buffer = stall - over
            offset = wrap(end[stop - 1], offset + decision)
            piece = Index(piece_at(end, offset, low, stop))
        size = sizes[index[i, CHUNK], Index(level)]
        delay, waited, buffer, sleep, offset, arrived = download_from(
            end, carried, rate, low, stop, piece, offset, size, buffer, rtt, noise[i], chunk_s, cap, quantum
        )
        index[i, PIECE] = arrived
        clock[i, OFFSET_S], clock[i, BUFFER_S] = offset, buffer
        clock[i, WALL_S] += decision + delay + sleep
        terms[STALL, i], terms[SLEEP, i], terms[DELAY, i] = stall + waited, sleep, delay
        terms[THROUGHPUT, i] = size * 8e-6 / delay


@njit(cache=True)
def _judge(actions: Any, begins: Any, rules: Any, state: Any, out: Any) -> None:
    """Write rewards and their terms; count the chunk. The action of an episode that begins may be anything."""
    _, _, quality, mbps, stall_weight, switch_weight, _, _, _, _, _, _ = rules
    index, terms, reward, levels, chunks = state.indices, out.terms, out.reward, out.level, out.chunk
    for i in range(len(actions)):
        level, chunk = Index(0 if begins[i] else actions[i]), index[i, CHUNK]
        value, before = quality[chunk, level], Index(max(chunk, Index(1)) - 1)
        switch = 0.0 if chunk == 0 else switch_weight * abs(value - quality[before, index[i, LAST]])
        reward[i] = value - stall_weight * terms[STALL, i] - switch
        terms[REWARD, i], terms[QUALITY, i], terms[SWITCH, i], terms[BITRATE, i] = reward[i], value, switch, mbps[level]
        index[i, LAST] = level
        index[i, CHUNK] = chunk + 1
        levels[i], chunks[i] = level, chunk


@njit(cache=True)
def _clear(begins: Any, first_quality: Any, state: Any, out: Any) -> None:
    """Where an episode has just begun, nothing is paid and only the start-up delay is told."""
    for i in range(len(begins)):
        if begins[i]:
            startup = out.terms[STALL, i]
            out.terms[:, i] = 0.0
            out.terms[STALL, i] = startup
            out.reward[i] = 0.0
            out.level[i] = out.chunk[i] = 0
            state.indices[i, LAST] = max(first_quality, 0)
            state.indices[i, CHUNK] = 1 if first_quality >= 0 else 0


@njit(cache=True)
def _shift(older: Any, newest: Any, newer: Any) -> None:
    """Drop the first column of `older` and append `newest`: into `newer`, and into `older` again.

    Whole rows move by one place; what so comes over from the next row is overwritten by the newest.
    """
    before, after = older.reshape(-1), newer.reshape(-1)
    for k in range(len(after) - 1):
        after[k] = before[k + 1]
    for i in range(len(newest)):
        newer[i, HISTORY - 1] = newest[i]
    for k in range(len(after)):
        before[k] = after[k]


@njit(cache=True)
def _observe(rules: Any, state: Any, out: Any) -> Any:
    """Write what an agent sees, and who is through; return how many are."""
    next_bytes = rules.next_bytes
    index, clock = state.indices, state.clock
    terms, buffers, last, left, over, ahead = out.terms, out.buffer, out.last, out.left, out.terminated, out.next_bytes
    chunks, levels = rules.sizes.shape
    for i in range(len(index)):
        terms[BUFFER, i] = buffers[i, 0] = clock[i, BUFFER_S]
        terms[WALL, i] = clock[i, WALL_S]
    ended = 0
    for i in range(len(index)):
        chunk = np.int64(index[i, CHUNK])
        ended += chunk >= chunks
        last[i], left[i, 0], over[i] = index[i, LAST], chunks - chunk, chunk >= chunks
    for i in range(len(index)):
        chunk = index[i, CHUNK]
        for k in range(levels):
            ahead[i, k] = next_bytes[chunk, k]
    return ended


@njit(cache=True)
def _advance(actions: Any, begins: Any, starts: Any, noise: Any, links: Any, rules: Any, state: Any, out: Any) -> Any:
    """See :func:`advance`."""
    count = _begin(begins, starts, links, state)
    _download(actions, begins, noise, links, rules, state, out.terms)
    _judge(actions, begins, rules, state, out)
    _shift(state.throughputs, out.terms[THROUGHPUT], out.throughputs)
    _shift(state.delays, out.terms[DELAY], out.delays)
    if count > 0:
        _clear(begins, rules.first_quality, state, out)
    return count, _observe(rules, state, out)


@njit(cache=True)
def _enter(actions: Any, begins: Any, starts: Any, noise: Any, links: Any, rules: Any, state: Any, out: Any) -> Any:
    """Take plain tuples: numba needs half a microsecond less for each than for the same tuple with names."""
    return _advance(actions, begins, starts, noise, Links(*links), Rules(*rules), State(*state), Written(*out))


def advance(
    actions: Any, begins: Any, starts: Any, noise: Any, links: Links, rules: Rules, state: State, out: Written
) -> tuple[int, int]:
    """Advance every episode by one chunk, or begin it anew where `begins`; fill `out`.

    `starts` (s) are read where an episode begins; the start-up delay is then left in ``stall_s`` of its terms.

    Returns:
        How many episodes began, and how many ended.
    """
    plain: tuple[int, int] = _enter(
        actions, begins, starts, noise, tuple(links), tuple(rules), tuple(state), tuple(out)
    )
    return plain


@njit(cache=True)
def play_table(
    table: Any, begins: Any, starts: Any, noise: Any, links: Any, rules: Any, state: Any, out: Any, rewards: Any
) -> None:
    """Advance every episode through the rows of `table` ``[T, n]``; `rewards` ``[T, n]``, observations in `out`."""
    for t in range(len(table)):
        _advance(table[t], begins, starts, noise[t], links, rules, state, out)
        rewards[t] = out.reward


@njit
def play_rule(
    rule: Any,
    levels: Any,
    begins: Any,
    starts: Any,
    noise: Any,
    links: Any,
    rules: Any,
    state: Any,
    out: Any,
    rewards: Any,
) -> Any:
    """Like :func:`play_table`, the levels chosen by a compiled `rule` from the observation; they go to `levels`.

    `out` must hold the present observation. ``rule(throughputs, delays, buffer_s, last, next_bytes, chunks_left)``
    gets arrays ``[8]``, ``[8]``, ``[L]`` and scalars. Returns whether all its levels were on the ladder; it stops at
    the first that is not.
    """
    throughputs, delays, buffers, lasts, next_bytes, left = out[:6]
    for t in range(len(levels)):
        for i in range(levels.shape[1]):
            level = rule(throughputs[i], delays[i], buffers[i, 0], lasts[i], next_bytes[i], left[i, 0])
            if not 0 <= level < next_bytes.shape[1]:
                return False
            levels[t, i] = level
        _advance(levels[t], begins, starts, noise[t], links, rules, state, out)
        rewards[t] = out.reward
    return True
