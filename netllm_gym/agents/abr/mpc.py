"""The search behind MPC: the best plan over a short horizon under a constant throughput forecast.

A plan's value is its quality minus stalls minus changes; the buffer has no cap and requests no latency (Yin et al.,
SIGCOMM 2015, section 4; Pensieve's enumeration). The search is depth-first over all ``levels ** horizon`` plans and
skips a branch when even a rest without stalls could not reach the best plan found, so its choice is that of the full
enumeration. Without stalls, the rest is best spent at the level at hand, or at the top after one change.

Ties are everywhere (raising the last chunk by one level gains exactly what the change costs), so qualities are
summed as integers (thousandths): the value of a plan then does not depend on the order of summation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.forecast import WINDOW, harmonic_mean
from netllm_gym.errors import ConfigError

MAX_HORIZON = 8


@njit(cache=True)
def _search(
    seconds: Any, quality: Any, stall_weight: Any, switch_weight: Any, chunk_s: Any, buffer: Any, last: Any
) -> Any:
    """Return the first action of the best plan; `seconds` [H, L] are forecast download times."""
    horizon, levels = seconds.shape
    top = quality.max()
    level = np.zeros(MAX_HORIZON + 1, np.int64)
    buffers, stalls = np.zeros(MAX_HORIZON + 1), np.zeros(MAX_HORIZON + 1)
    gains, switches = np.zeros(MAX_HORIZON + 1, np.int64), np.zeros(MAX_HORIZON + 1, np.int64)
    chosen = np.zeros(MAX_HORIZON + 1, np.int64)
    chosen[0] = last
    buffers[0] = buffer
    best, answer = -np.inf, 0
    depth = 0
    while depth >= 0:
        a = level[depth]
        if a == levels:
            level[depth] = 0
            depth -= 1
            continue
        level[depth] = a + 1
        time = seconds[depth, a]
        stall = stalls[depth]
        ahead = buffers[depth]
        if time > ahead:
            stall += time - ahead
            ahead = 0.0
        else:
            ahead -= time
        gain = gains[depth] + quality[a]
        switch = switches[depth] + abs(quality[a] - quality[chosen[depth]])
        left = horizon - 1 - depth
        # What is still open can at best stay, or change once to the top, without stalls; 1e-6 keeps ties in the race.
        rest = max(left * quality[a] * 1.0, left * top - switch_weight * (top - quality[a])) if left else 0.0
        bound = (gain + rest) / 1000.0 - stall_weight * stall - switch_weight * (switch / 1000.0)
        if bound < best - 1e-6:
            continue
        if left == 0:
            value = gain / 1000.0 - stall_weight * stall - switch_weight * (switch / 1000.0)
            if value >= best:
                best = value
                answer = a if depth == 0 else chosen[1]
        else:
            depth += 1
            chosen[depth] = a
            buffers[depth], stalls[depth] = ahead + chunk_s, stall
            gains[depth], switches[depth] = gain, switch
    return answer


def choose(
    sizes: NDArray[np.float64],
    quality: NDArray[np.float64],
    stall_weight: float,
    switch_weight: float,
    chunk_s: float,
    bytes_per_s: float,
    buffer_s: float,
    last: int,
) -> int:
    """Return the first level of the best plan over the chunks of `sizes` (bytes, ``[H, L]``)."""
    return int(
        _search(sizes / bytes_per_s, _thousandths(quality), stall_weight, switch_weight, chunk_s, buffer_s, last)
    )


def _thousandths(quality: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(np.asarray(quality) * 1000.0).astype(np.int64)


@njit(cache=True)
def _search_many(
    sizes: Any,
    next_chunk: Any,
    horizon: Any,
    quality: Any,
    stall_weight: Any,
    switch_weight: Any,
    chunk_s: Any,
    bytes_per_s: Any,
    buffer: Any,
    last: Any,
) -> Any:
    answers = np.zeros(len(next_chunk), np.int64)
    for i in range(len(next_chunk)):
        if bytes_per_s[i] > 0.0 and next_chunk[i] < len(sizes):
            ahead = sizes[next_chunk[i] : next_chunk[i] + horizon]
            answers[i] = _search(
                ahead / bytes_per_s[i], quality, stall_weight, switch_weight, chunk_s, buffer[i], last[i]
            )
    return answers


def choose_many(
    chunk_bytes: NDArray[np.float64],
    next_chunk: NDArray[np.int64],
    horizon: int,
    quality: NDArray[np.float64],
    stall_weight: float,
    switch_weight: float,
    chunk_s: float,
    bytes_per_s: NDArray[np.float64],
    buffer_s: NDArray[np.float64],
    last: NDArray[np.int64],
) -> NDArray[np.int64]:
    """:func:`choose` for many episodes of one video at once.

    Args:
        chunk_bytes: the video's sizes, ``[chunks, L]``.
        next_chunk: the chunk each episode asks for next, ``[n]``, as are `bytes_per_s`, `buffer_s` and `last`.
        horizon: chunks planned ahead, fewer where the video ends.
        quality: of each level, ``[L]``; `stall_weight`, `switch_weight` and `chunk_s` as in :func:`choose`.

    Returns:
        The first level of each best plan, ``[n]``; 0 where nothing was measured yet (``bytes_per_s`` 0) or the video
        is over.
    """
    if not 1 <= horizon <= MAX_HORIZON:
        raise ConfigError(f"horizon must lie in 1 to {MAX_HORIZON}, got {horizon}")
    return _search_many(
        np.asarray(chunk_bytes, np.float64), np.asarray(next_chunk, np.int64), horizon, _thousandths(quality),
        float(stall_weight), float(switch_weight), float(chunk_s), np.asarray(bytes_per_s, np.float64),
        np.asarray(buffer_s, np.float64), np.asarray(last, np.int64),
    )  # fmt: skip


class RobustForecast:
    """RobustMPC's throughput estimate for many episodes at once, the numbers of the single agent's.

    Harmonic mean of the last five throughputs, divided by one plus the largest of the last five relative errors of
    earlier means. With :func:`choose_many` it plays the batched environment; for lists of episodes there is
    :class:`netllm_gym.agents.abr.mpc_batch.BatchedMPC`.

    Args:
        n: number of episodes.
        robust: divide by the error.
    """

    def __init__(self, n: int, robust: bool = True) -> None:
        self.robust = robust
        self._estimate = np.zeros(n)
        self._errors = np.zeros((n, WINDOW))

    def __call__(self, throughputs: NDArray[np.floating], begins: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the forecasts (Mbit/s), ``[n]``, 0 where nothing was measured yet.

        Args:
            throughputs: the observation's ``throughput_mbps``, ``[n, 8]``.
            begins: where an episode has just begun and the errors are to be forgotten.
        """
        self._estimate[begins] = 0.0
        self._errors[begins] = 0.0
        return _forecast(throughputs[:, -WINDOW:], self._estimate, self._errors, self.robust)


@njit(cache=True)
def _forecast(throughputs: Any, estimate: Any, errors: Any, robust: Any) -> Any:
    n, window = throughputs.shape
    forecasts = np.zeros(n)
    for i in range(n):
        found = harmonic_mean(throughputs[i], window)
        if found <= 0.0:
            continue
        newest = np.float64(throughputs[i, window - 1])
        errors[i, :-1] = errors[i, 1:].copy()
        errors[i, window - 1] = abs(estimate[i] - newest) / newest if estimate[i] > 0.0 else 0.0
        estimate[i] = found
        forecasts[i] = estimate[i] / (1.0 + errors[i].max()) if robust else estimate[i]
    return forecasts
