"""The batched environment's inside in NumPy, for where nothing can be compiled: the functions of `vector_kernel`.

Same arguments, same order of operations, hence the same numbers. Searches are bisections of all episodes at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.abr.kernel import WINDOW
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

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def first_illegal(actions: Ints, begins: NDArray[np.bool_], levels: int) -> int:
    """Index of the first action that is no level, or -1; actions of episodes that begin are not looked at."""
    wrong = ~begins & ((actions < 0) | (actions >= levels))
    return int(wrong.argmax()) if wrong.any() else -1


def _bisect(values: Floats, x: Floats, left: Ints, right: Ints) -> Ints:
    """Index of the first entry >= x of each ``values[left:right]``."""
    while (open_ := left < right).any():
        middle = (left + right) >> 1
        less = values[np.minimum(middle, len(values) - 1)] < x
        left = np.where(open_ & less, middle + 1, left)
        right = np.where(open_ & ~less, middle, right)
    return left


def _seek(values: Floats, x: Floats, guess: Ints, stop: Ints) -> Ints:
    """Index of the first entry >= x of each ``values[guess:stop]``: mostly among the next few, which are counted."""
    near = np.minimum(guess[:, None] + np.arange(WINDOW), stop[:, None] - 1)
    ahead = np.count_nonzero(values[near] < x[:, None], axis=1)
    found = np.minimum(guess + ahead, stop)
    far = np.flatnonzero(ahead == WINDOW)
    found[far] = _bisect(values, x[far], found[far], stop[far])
    return found


def _piece_at(end: Floats, offset: Floats, low: Ints, stop: Ints) -> Ints:
    return np.minimum(_bisect(end, offset, low, stop), stop - 1)


def _wrap(total: Floats, offset: Floats) -> Floats:
    folded = offset - total * np.floor(offset / total)
    return np.where(offset >= total, np.where(folded >= total, 0.0, folded), offset)


def _transfer(links: Links, low: Ints, stop: Ints, piece: Ints, offset: Floats, size: Floats) -> tuple[Floats, Ints]:
    """Seconds to deliver `size` bytes from `offset`, and the piece of the link in which that ends."""
    end, carried, rate, _ = links
    target = carried[piece] - (end[piece] - offset) * rate[piece] + size
    whole = carried[stop - 1]
    beyond = target > whole
    cycles = np.where(beyond, np.floor(target / whole), 0.0)
    target = target - cycles * whole
    exactly = beyond & (target <= 0.0)  # ends with the last byte of the cycle before
    cycles, target = cycles - exactly, np.where(exactly, whole, target)
    i = np.minimum(_seek(carried, target, np.where(beyond, low, piece), stop), stop - 1)
    dead = rate[i] <= 0.0  # an outage: bytes that rounding hides in `carried` wait for its end, no bytes for nothing
    waits = np.where(size > 0.0, end[i], offset)
    finish = np.where(dead, waits, end[i] - (carried[i] - target) / np.where(dead, 1.0, rate[i]))
    return cycles * end[stop - 1] + finish - offset, i


def _begin(begins: NDArray[np.bool_], starts: Floats, links: Links, state: State) -> None:
    which = np.flatnonzero(begins)
    trace = state.indices[which, TRACE]
    low, stop = links.first[trace].astype(np.int64), links.first[trace + 1].astype(np.int64)
    state.indices[which, PIECE] = _piece_at(links.end, starts[which], low, stop)
    state.indices[which, CHUNK] = state.indices[which, LAST] = 0
    state.clock[which, OFFSET_S] = starts[which]
    state.clock[which, BUFFER_S] = state.clock[which, WALL_S] = 0.0
    state.throughputs[which] = state.delays[which] = 0.0


def _download(
    level: Ints, begins: NDArray[np.bool_], noise: Floats, links: Links, rules: Rules, state: State, terms: Floats
) -> None:
    """Move the clocks of the episodes that fetch a chunk (all but those that begin with a choice)."""
    terms[[STALL, SLEEP, DELAY, THROUGHPUT]] = 0.0
    fetch = np.flatnonzero(~begins) if rules.first_quality < 0 else np.arange(len(level))
    index = state.indices[fetch].astype(np.int64)
    low, stop = (links.first[index[:, TRACE] + k].astype(np.int64) for k in range(2))
    total, piece = links.end[stop - 1], index[:, PIECE]
    offset, buffer = state.clock[fetch, OFFSET_S], state.clock[fetch, BUFFER_S]
    decision = np.where(begins[fetch], 0.0, rules.decision_s)
    stall = np.maximum(decision - buffer, 0.0)
    buffer = np.maximum(buffer - decision, 0.0)
    if rules.decision_s > 0.0:
        offset = _wrap(total, offset + decision)
        piece = _piece_at(links.end, offset, low, stop)
    size = rules.sizes[index[:, CHUNK], level[fetch]]
    transfer, piece = _transfer(links, low, stop, piece, offset, size)
    delay = (transfer + rules.rtt) * noise[fetch]
    stall = stall + np.maximum(delay - buffer, 0.0)
    buffer = np.maximum(buffer - delay, 0.0) + rules.chunk_s
    sleep = np.where(buffer > rules.cap, np.ceil((buffer - rules.cap) / rules.quantum) * rules.quantum, 0.0)
    offset = _wrap(total, offset + transfer + sleep)
    # Mostly the piece in which the transfer ended; not after a sleep, a new cycle, or rounding at a boundary.
    moved = (links.end[piece] < offset) | ((piece > low) & (links.end[np.maximum(piece - 1, 0)] >= offset))
    piece[moved] = _bisect(links.end, offset[moved], low[moved], stop[moved])
    state.indices[fetch, PIECE] = piece
    state.clock[fetch, OFFSET_S], state.clock[fetch, BUFFER_S] = offset, buffer - sleep
    state.clock[fetch, WALL_S] += decision + delay + sleep
    terms[STALL, fetch], terms[SLEEP, fetch], terms[DELAY, fetch] = stall, sleep, delay
    terms[THROUGHPUT, fetch] = size * 8e-6 / delay


def advance(
    actions: Ints, begins: NDArray[np.bool_], starts: Floats, noise: Floats, links: Links, rules: Rules, state: State,
    out: Written,
) -> tuple[int, int]:  # fmt: skip
    """Advance every episode by one chunk, or begin it anew where `begins`; see the compiled twin."""
    terms, index, clock, chunks = out.terms, state.indices, state.clock, len(rules.sizes)
    begun = int(np.count_nonzero(begins))
    if begun:
        _begin(begins, starts, links, state)
    level = np.where(begins, max(rules.first_quality, 0), actions)
    _download(level, begins, noise, links, rules, state, terms)
    chunk, last = index[:, CHUNK].astype(np.int64), index[:, LAST]
    value = rules.quality[chunk, level]
    before = rules.quality[np.maximum(chunk - 1, 0), last]
    terms[QUALITY], terms[BITRATE] = value, rules.bitrates_mbps[level]
    terms[SWITCH] = np.where(chunk == 0, 0.0, rules.switch_weight * np.abs(value - before))
    terms[REWARD] = value - rules.stall_weight * terms[STALL] - terms[SWITCH]
    out.level[:], out.chunk[:] = level, chunk
    index[:, LAST], index[:, CHUNK] = level, chunk + 1
    for older, newest, newer in (
        (state.throughputs, terms[THROUGHPUT], out.throughputs),
        (state.delays, terms[DELAY], out.delays),
    ):
        newer[:, : HISTORY - 1] = older[:, 1:]
        newer[:, HISTORY - 1] = newest
        older[:] = newer
    if begun:
        terms[:, begins] = np.where(np.arange(len(terms)) == STALL, 1.0, 0.0)[:, None] * terms[:, begins]
        out.level[begins] = out.chunk[begins] = 0
        if rules.first_quality < 0:
            index[begins, CHUNK] = 0
    out.reward[:] = terms[REWARD]
    terms[BUFFER], terms[WALL] = clock[:, BUFFER_S], clock[:, WALL_S]
    out.buffer[:, 0], out.last[:] = clock[:, BUFFER_S], index[:, LAST]
    out.left[:, 0] = chunks - index[:, CHUNK].astype(np.int64)
    out.terminated[:] = index[:, CHUNK] >= chunks
    out.next_bytes[:] = rules.next_bytes[index[:, CHUNK]]
    return begun, int(np.count_nonzero(out.terminated))


def play_table(
    table: Ints, begins: NDArray[np.bool_], starts: Floats, noise: Floats, links: Links, rules: Rules, state: State,
    out: Written, rewards: Floats,
) -> None:  # fmt: skip
    """Advance every episode through the rows of `table` ``[T, n]``; see the compiled twin."""
    for t in range(len(table)):
        advance(table[t], begins, starts, noise[t], links, rules, state, out)
        rewards[t] = out.reward


def play_rule(
    rule: Callable[..., int], levels: Ints, begins: NDArray[np.bool_], starts: Floats, noise: Floats, links: Links,
    rules: Rules, state: State, out: Written, rewards: Floats,
) -> bool:  # fmt: skip
    """Like :func:`play_table`, the levels chosen by `rule`; see the compiled twin."""
    for t in range(len(levels)):
        for i in range(levels.shape[1]):
            level = rule(
                out.throughputs[i], out.delays[i], out.buffer[i, 0], out.last[i], out.next_bytes[i], out.left[i, 0]
            )
            if not 0 <= level < out.next_bytes.shape[1]:
                return False
            levels[t, i] = level
        advance(levels[t], begins, starts, noise[t], links, rules, state, out)
        rewards[t] = out.reward
    return True
