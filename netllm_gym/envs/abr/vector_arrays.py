"""What the batched environment's two kernels read and write: the same arrays, whether compiled or NumPy.

All traces lie one behind the other in three flat arrays, whatever the number of episodes. What a step touches of an
episode lies together (``State.indices``, ``State.clock``), what a caller gets lies apart (:class:`Written`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.abr.kernel import Index, link_arrays
from netllm_gym.envs.abr.observation import HISTORY
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
REWARD, QUALITY, STALL, SWITCH, BITRATE, BUFFER, SLEEP, DELAY, THROUGHPUT, WALL = range(len(TERMS))
# Columns of `State.indices` and `State.clock`.
TRACE, PIECE, CHUNK, LAST = range(4)
OFFSET_S, BUFFER_S, WALL_S = range(3)


class Links(NamedTuple):
    """All traces, one behind the other; trace ``t`` is ``[first[t], first[t + 1])`` of the other arrays."""

    end: NDArray[np.float64]
    carried: NDArray[np.float64]
    rate: NDArray[np.float64]
    first: NDArray[np.uint32]


class Rules(NamedTuple):
    """What an episode obeys: the manifest, the QoE, the player."""

    sizes: NDArray[np.float64]
    next_bytes: NDArray[np.float32]
    quality: NDArray[np.float64]  # [chunks, L]
    bitrates_mbps: NDArray[np.float64]
    stall_weight: float
    switch_weight: float
    rtt: float
    chunk_s: float
    cap: float
    quantum: float
    decision_s: float
    first_quality: int  # -1: the agent chooses the first chunk


class State(NamedTuple):
    """Where each episode stands.

    Attributes:
        indices: trace, piece of the link, chunk, last level; ``[n, 4]``.
        clock: position in the trace's cycle, buffer, wall clock (s); ``[n, 3]``.
        throughputs, delays: of the last chunks, ``[n, 8]``.
    """

    indices: NDArray[np.uint32]
    clock: NDArray[np.float64]
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
    first = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]).astype(Index)
    end, carried, rate = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return Links(end, carried, rate, first)


def blank_state(n: int) -> State:
    """State of `n` episodes that have not begun."""
    return State(
        np.zeros((n, 4), Index),
        np.zeros((n, 3)),
        np.zeros((n, HISTORY), np.float32),
        np.zeros((n, HISTORY), np.float32),
    )


def blank_output(n: int, levels: int) -> Written:
    """Fresh arrays for one step of `n` episodes."""
    single, empty = np.float32, np.empty
    return Written(
        empty((n, HISTORY), single),
        empty((n, HISTORY), single),
        empty((n, 1), single),
        empty(n, np.int64),
        empty((n, levels), single),
        empty((n, 1), single),
        empty(n),
        empty(n, np.bool_),
        empty((len(TERMS), n)),
        empty(n, np.int64),
        empty(n, np.int64),
    )
