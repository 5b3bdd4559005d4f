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
    # Arrays are taken out of their tuples once: inside the loop that would cost more than the download.
    end, carried, rate, first = links
    sizes, next_bytes, quality, mbps, stall_weight, switch_weight, rtt, chunk_s, cap, quantum, first_quality = rules
    s_trace, s_piece, s_offset, s_buffer, s_wall, s_chunk, s_last, s_throughputs, s_delays = state
    o_throughputs, o_delays, o_buffer, o_last, o_next, o_left, o_reward, o_over, o_terms, o_level, o_chunk = out
    chunks, levels = sizes.shape
    history = o_delays.shape[1]
    for i in range(len(actions)):
        low, high = first[s_trace[i]], first[s_trace[i] + 1]
        begin, level, before = begins[i], actions[i], s_last[i]
        if begin:
            level = first_quality
            s_offset[i] = starts[i]
            s_piece[i] = piece_at(end, starts[i], low, high)
            s_buffer[i] = s_wall[i] = 0.0
            s_chunk[i] = s_last[i] = 0
            for h in range(history):
                s_throughputs[i, h] = s_delays[i, h] = 0.0
        chunk = s_chunk[i]
        delay = stall = sleep = throughput = 0.0
        if level >= 0:
            size = sizes[chunk, level]
            delay, stall, buffer, sleep, offset, piece = download_from(
                end, carried, rate, low, high, s_piece[i], s_offset[i], size, s_buffer[i], rtt, noise[i], chunk_s, cap,
                quantum,
            )  # fmt: skip
            throughput = size * 8e-6 / delay
            s_buffer[i], s_offset[i], s_piece[i] = buffer, offset, piece
            s_wall[i] += delay + sleep
            s_chunk[i] = chunk + 1
            s_last[i] = level
            for h in range(history - 1):
                s_throughputs[i, h] = s_throughputs[i, h + 1]
                s_delays[i, h] = s_delays[i, h + 1]
            s_throughputs[i, history - 1] = throughput
            s_delays[i, history - 1] = delay
        if begin:
            o_reward[i] = 0.0
            for k in range(len(o_terms)):
                o_terms[k, i] = 0.0
            o_terms[2, i] = stall
            o_level[i] = o_chunk[i] = 0
        else:
            switch = 0.0 if chunk == 0 else switch_weight * abs(quality[level] - quality[before])
            reward = quality[level] - stall_weight * stall - switch
            o_reward[i] = reward
            o_terms[0, i], o_terms[1, i], o_terms[2, i], o_terms[3, i] = reward, quality[level], stall, switch
            o_terms[4, i], o_terms[5, i], o_terms[6, i] = mbps[level], s_buffer[i], sleep
            o_terms[7, i], o_terms[8, i] = delay, throughput
            o_level[i], o_chunk[i] = level, chunk
        o_terms[9, i] = s_wall[i]
        chunk = s_chunk[i]
        o_over[i] = chunk >= chunks
        o_buffer[i, 0], o_last[i], o_left[i, 0] = s_buffer[i], s_last[i], chunks - chunk
        for h in range(history):
            o_throughputs[i, h] = s_throughputs[i, h]
            o_delays[i, h] = s_delays[i, h]
        for k in range(levels):
            o_next[i, k] = next_bytes[chunk, k]


@njit(cache=True)
def play_table(table, begins, starts, noise, links, rules, state, out, rewards):
    """Advance every episode through the rows of `table` ``[T, n]``; `rewards` ``[T, n]``, observations in `out`."""
    for t in range(len(table)):
        advance(table[t], begins, starts, noise[t], links, rules, state, out)
        rewards[t] = out.reward


@njit
def play_rule(rule, levels, begins, starts, noise, links, rules, state, out, rewards):
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
        advance(levels[t], begins, starts, noise[t], links, rules, state, out)
        rewards[t] = out.reward
    return True
