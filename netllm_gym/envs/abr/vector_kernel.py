"""The compiled inside of the batched environment: every episode one chunk ahead, observations written on the way.

The download itself is :func:`netllm_gym.envs.abr.kernel.download_from`, the single environment's too, so that both pay
the same to the last bit. All traces lie one behind the other in three flat arrays, whatever the number of
episodes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from netllm_gym.envs.abr.kernel import download_from, link_arrays, piece_at
from netllm_gym.traces import NetworkTrace, TraceSet

# Rows of `Written.terms`, in the order of the single environment's `info`.
TERMS = (
    "reward",
    "quality",
    "stall_s",
    "switch",
    "bitrate_mbps",
    "buffer_s",
    "sleep_s",
    "download_time_s",
    "throughput_mbps",
    "wall_time_s",
)


class Links(NamedTuple):
    """All traces, one behind the other; trace ``t`` is ``[first[t], first[t + 1])`` of the other arrays."""

    end: NDArray[np.float64]
    carried: NDArray[np.float64]
    rate: NDArray[np.float64]
    first: NDArray[np.int64]


class Rules(NamedTuple):
    """What an episode obeys: the manifest, the QoE, the player."""

    sizes: NDArray[np.float64]
    next_bytes: NDArray[np.float32]
    quality: NDArray[np.float64]
    bitrates_mbps: NDArray[np.float64]
    stall_weight: float
    switch_weight: float
    rtt: float
    chunk_s: float
    cap: float
    quantum: float
    first_quality: int  # -1: the agent chooses the first chunk


class State(NamedTuple):
    """Where each episode stands, shapes ``[n]`` and, for the two histories, ``[n, 8]``."""

    trace: NDArray[np.int64]
    piece: NDArray[np.int64]
    offset: NDArray[np.float64]
    buffer: NDArray[np.float64]
    wall: NDArray[np.float64]
    chunk: NDArray[np.int64]
    last: NDArray[np.int64]
    throughputs: NDArray[np.float32]
    delays: NDArray[np.float32]


class Written(NamedTuple):
    """What one step writes, shapes ``[n, ...]`` and, for the terms, ``[len(TERMS), n]``."""

    throughputs: NDArray[np.float32]
    delays: NDArray[np.float32]
    buffer: NDArray[np.float32]
    last: NDArray[np.int64]
    next_bytes: NDArray[np.float32]
    left: NDArray[np.float32]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    terms: NDArray[np.float64]
    level: NDArray[np.int64]
    chunk: NDArray[np.int64]


def flat_links(traces: TraceSet[NetworkTrace], payload: float) -> Links:
    """Lay all traces of a set one behind the other."""
    parts = [link_arrays(trace, payload) for trace in traces]
    first = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]).astype(np.int64)
    end, carried, rate = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return Links(end, carried, rate, first)


def blank_state(n: int, history: int) -> State:
    """State of `n` episodes that have not begun."""
    return State(
        *(np.zeros(n, kind) for kind in (np.int64, np.int64, float, float, float, np.int64, np.int64)),
        *(np.zeros((n, history), np.float32) for _ in range(2)),
    )


def blank_output(n: int, history: int, levels: int) -> Written:
    """Fresh arrays for one step of `n` episodes."""
    single = np.float32
    return Written(
        np.empty((n, history), single),
        np.empty((n, history), single),
        np.empty((n, 1), single),
        np.empty(n, np.int64),
        np.empty((n, levels), single),
        np.empty((n, 1), single),
        np.empty(n),
        np.empty(n, np.bool_),
        np.empty((len(TERMS), n)),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
    )


@njit(cache=True, inline="always")
def _fetch(i, level, noise, links, rules, state):
    """Download the next chunk of episode `i`; return its delay, stall, sleep (s) and throughput (Mbit/s)."""
    low, high = links.first[state.trace[i]], links.first[state.trace[i] + 1]
    size = rules.sizes[state.chunk[i], level]
    delay, stall, buffer, sleep, offset, piece = download_from(
        links.end[low:high], links.carried[low:high], links.rate[low:high], state.piece[i], state.offset[i], size,
        state.buffer[i], rules.rtt, noise, rules.chunk_s, rules.cap, rules.quantum,
    )  # fmt: skip
    throughput = size * 8e-6 / delay
    state.buffer[i], state.offset[i], state.piece[i] = buffer, offset, piece
    state.wall[i] += delay + sleep
    state.chunk[i] += 1
    state.last[i] = level
    history = state.delays.shape[1]
    for h in range(history - 1):
        state.throughputs[i, h] = state.throughputs[i, h + 1]
        state.delays[i, h] = state.delays[i, h + 1]
    state.throughputs[i, history - 1] = throughput
    state.delays[i, history - 1] = delay
    return delay, stall, sleep, throughput


@njit(cache=True, inline="always")
def _begin(i, start, noise, links, rules, state):
    """Begin an episode of `i` at `start` seconds of its trace; return the start-up delay (s)."""
    trace = state.trace[i]
    state.piece[i] = piece_at(links.end[links.first[trace] : links.first[trace + 1]], start)
    state.offset[i] = start
    state.buffer[i] = state.wall[i] = 0.0
    state.chunk[i] = state.last[i] = 0
    state.throughputs[i] = 0.0
    state.delays[i] = 0.0
    if rules.first_quality < 0:
        return 0.0
    return _fetch(i, rules.first_quality, noise, links, rules, state)[1]


@njit(cache=True, inline="always")
def _observe(i, rules, state, out):
    chunk = state.chunk[i]
    for h in range(state.delays.shape[1]):
        out.throughputs[i, h] = state.throughputs[i, h]
        out.delays[i, h] = state.delays[i, h]
    out.buffer[i, 0] = state.buffer[i]
    out.last[i] = state.last[i]
    for level in range(rules.next_bytes.shape[1]):
        out.next_bytes[i, level] = rules.next_bytes[chunk, level]
    out.left[i, 0] = rules.sizes.shape[0] - chunk


@njit(cache=True)
def first_illegal(actions, begins, levels):
    """Index of the first action that is no level, or -1; actions of episodes that begin are not looked at."""
    for i in range(len(actions)):
        if not begins[i] and not 0 <= actions[i] < levels:
            return i
    return -1


@njit(cache=True)
def advance(actions, begins, starts, noise, links, rules, state, out):
    """Advance every episode by one chunk, or begin it anew where `begins`; fill `out`.

    `starts` (s) are read where an episode begins; the start-up delay is then left in ``stall_s`` of its terms.
    """
    chunks = rules.sizes.shape[0]
    for i in range(len(actions)):
        if begins[i]:
            out.terms[:, i] = 0.0
            out.level[i] = out.chunk[i] = 0
            out.terms[2, i] = _begin(i, starts[i], noise[i], links, rules, state)
            out.terms[9, i] = state.wall[i]
            out.reward[i], out.terminated[i] = 0.0, False
        else:
            level, before, first = actions[i], rules.quality[state.last[i]], state.chunk[i] == 0
            delay, stall, sleep, throughput = _fetch(i, level, noise[i], links, rules, state)
            quality = rules.quality[level]
            switch = 0.0 if first else rules.switch_weight * abs(quality - before)
            reward = quality - rules.stall_weight * stall - switch
            out.reward[i], out.terminated[i] = reward, state.chunk[i] >= chunks
            out.level[i], out.chunk[i] = level, state.chunk[i] - 1
            terms = out.terms
            terms[0, i], terms[1, i], terms[2, i], terms[3, i] = reward, quality, stall, switch
            terms[4, i], terms[5, i], terms[6, i] = rules.bitrates_mbps[level], state.buffer[i], sleep
            terms[7, i], terms[8, i], terms[9, i] = delay, throughput, state.wall[i]
        _observe(i, rules, state, out)


@njit(cache=True)
def play_table(table, noise, links, rules, state, out, rewards):
    """Advance every episode through the columns of `table` ``[T, n]``; `rewards` ``[T, n]``, observations in `out`."""
    for t in range(len(table)):
        for i in range(table.shape[1]):
            level, before, first = table[t, i], rules.quality[state.last[i]], state.chunk[i] == 0
            stall = _fetch(i, level, noise[t, i], links, rules, state)[1]
            quality = rules.quality[level]
            switch = 0.0 if first else rules.switch_weight * abs(quality - before)
            rewards[t, i] = quality - rules.stall_weight * stall - switch
            _observe(i, rules, state, out)


@njit
def play_rule(rule, steps, noise, links, rules, state, out, rewards, levels):
    """Like :func:`play_table`, the levels chosen by a compiled `rule` from the observation; they go to `levels`.

    ``rule(throughputs, delays, buffer_s, last, next_bytes, chunks_left)`` gets arrays ``[8]``, ``[8]``, ``[L]`` and
    scalars. Returns whether all its levels were on the ladder; it stops at the first that is not.
    """
    for i in range(len(state.chunk)):
        _observe(i, rules, state, out)
    for t in range(steps):
        for i in range(len(state.chunk)):
            level = rule(
                out.throughputs[i], out.delays[i], out.buffer[i, 0], out.last[i], out.next_bytes[i], out.left[i, 0]
            )
            levels[t, i] = level
            if not 0 <= level < len(rules.quality):
                return False
            before, first = rules.quality[state.last[i]], state.chunk[i] == 0
            stall = _fetch(i, level, noise[t, i], links, rules, state)[1]
            quality = rules.quality[level]
            switch = 0.0 if first else rules.switch_weight * abs(quality - before)
            rewards[t, i] = quality - rules.stall_weight * stall - switch
            _observe(i, rules, state, out)
    return True
