"""What a learner is shown of an ABR episode: a row per level, in units that no ladder, link or chunk length changes.

A network that reads Mbit/s and six sizes knows one ladder. Here time is counted in chunk lengths, quality in ranges of
the ladder and sizes as the time they take at the present forecast, so a policy that scores rows plays any number of
levels, any chunk length and any QoE. Planning is done for the learner too: each row holds how much worse its level is
than the best one if the link runs at several multiples of the forecast (:mod:`netllm_gym.envs.abr.lookahead`); the
first of these is RobustMPC's own view. Nothing here is hidden from other agents: all of it is computed from the
observation and the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.forecast import harmonic_mean, largest_error
from netllm_gym.envs.abr.lookahead import level_values
from netllm_gym.envs.abr.observation import HISTORY
from netllm_gym.envs.abr.options import REQUEST
from netllm_gym.errors import ConfigError

# Multiples of the forecast that each level is valued under; the first is divided by RobustMPC's error and looks
# five chunks ahead without a thought of what comes after, the others look farther.
SPEEDS = np.array([1.0, 0.4, 0.65, 0.85, 1.05, 1.4])
HORIZON, ROBUST_HORIZON = 7, 5
# A second of buffer at the end of the plan counts by this much of what the link could deliver in it.
BUFFER_WORTH = 0.7
PLAIN_ROWS = 10
ROW_FEATURES = PLAIN_ROWS + 2 * len(SPEEDS)
CONTEXT_FEATURES = 18 + 2 * HISTORY
# Where in a row the plans' losses stand, uncompressed and compressed.
LOSSES = slice(PLAIN_ROWS, PLAIN_ROWS + len(SPEEDS))
DEEPEST = -2.0


@njit(cache=True, error_model="numpy", inline="always")
def _log(x: Any) -> Any:
    return np.log(min(max(x, 1e-4), 1e4))


@njit(cache=True, error_model="numpy")
def see(
    sizes: Any,
    quality: Any,
    before: Any,
    facts: Any,
    left: Any,
    throughputs: Any,
    delays: Any,
    buffer_s: Any,
    last: Any,
    rows: Any,
    context: Any,
) -> None:
    """Write the view of one state.

    Args:
        sizes: bytes of the coming chunks, ``[n, L]``, the next one first; at least one, only the first few are read.
        quality: of the next chunk at each level, ``[L]``.
        before: quality of the last chunk, NaN before the first.
        facts: chunk length, buffer cap, request latency (s), stall weight, weight of rising and of falling quality,
            and 1 if throughputs count from the first byte instead of from the request.
        left: chunks left, this one included.
        throughputs, delays: Mbit/s and s of the last chunks, newest last, 0 where there was none.
        buffer_s, last: the buffer (s) and the last level.
        rows, context: ``[L, ROW_FEATURES]`` and ``[CONTEXT_FEATURES]``, written.
    """
    chunk_s, cap_s, rtt, stall_weight, up, down, from_first_byte = facts
    levels = sizes.shape[1]
    horizon = min(HORIZON, len(sizes))
    # The link's own speed: the request's latency taken out, as planning adds it again.
    link = np.zeros(HISTORY)
    seen = 0
    for h in range(HISTORY):
        if throughputs[h] > 0.0:
            seen += 1
            delay = np.float64(delays[h])
            if from_first_byte > 0.0:
                link[h] = throughputs[h]
            else:
                link[h] = throughputs[h] * delay / max(delay - rtt, 0.1 * delay)
    forecast = harmonic_mean(link, HISTORY)
    if forecast <= 0.0:  # nothing measured yet: a link that just carries the lowest level
        forecast = sizes[0, 0] * 8e-6 / chunk_s
    error = largest_error(link)
    lowest, highest = quality[0], quality[0]
    for a in range(levels):
        lowest, highest = min(lowest, quality[a]), max(highest, quality[a])
    unit = max(highest - lowest, 1e-9)
    stall = stall_weight * chunk_s / unit
    buffer, cap, latency = buffer_s / chunk_s, cap_s / chunk_s, rtt / chunk_s
    per_byte = 8e-6 / forecast / chunk_s
    times = np.empty((horizon, levels))
    worths = np.empty(levels)
    mean = np.zeros(levels)
    for k in range(horizon):
        for a in range(levels):
            times[k, a] = sizes[k, a] * per_byte
            mean[a] += times[k, a] / horizon
    grades = np.empty(levels)
    rising = lowest
    for a in range(levels):
        rising = max(rising, quality[a])
        grades[a] = (rising - lowest) / unit
    start = (before - lowest) / unit
    useful = float(max(left - horizon, 0))
    for m in range(len(SPEEDS)):
        scale = (1.0 + error) if m == 0 else 1.0 / SPEEDS[m]
        worth = 0.0
        if m > 0:
            slow, fast = mean[0] * scale + latency, mean[levels - 1] * scale + latency
            if slow >= 1.0:
                worth = BUFFER_WORTH * stall
            elif fast > 1.0:
                worth = BUFFER_WORTH * min(1.0 / max(fast - slow, 1e-6), stall)
        steps = min(ROBUST_HORIZON, horizon) if m == 0 else horizon
        level_values(
            times[:steps], scale, latency, grades, start, stall, up, down, buffer, 1e9 if m == 0 else cap, worth,
            useful, worths,
        )  # fmt: skip
        best = worths[0]
        for a in range(levels):
            best = max(best, worths[a])
        for a in range(levels):
            loss = max(worths[a] - best, 10.0 * DEEPEST)
            rows[a, PLAIN_ROWS + m] = max(loss, DEEPEST)
            rows[a, PLAIN_ROWS + len(SPEEDS) + m] = -np.log1p(-20.0 * loss) / 3.0
    for a in range(levels):
        grade = (quality[a] - lowest) / unit
        change = 0.0 if np.isnan(before) else grade - start
        need = times[0, a] + latency
        rows[a, 0] = _log(need) / 2.0
        rows[a, 1] = np.tanh((buffer - need) / 2.0)
        rows[a, 2] = _log(mean[a]) / 2.0
        rows[a, 3] = grade
        rows[a, 4] = change
        rows[a, 5] = min((up if change > 0.0 else down) * abs(change), 3.0)
        rows[a, 6] = np.log1p(max(need - buffer, 0.0) * stall) / 2.0
        rows[a, 7] = 1.0 if a == last and seen > 0 else 0.0
        rows[a, 8] = a / max(levels - 1, 1)
        rows[a, 9] = _log(times[0, a] / mean[a])
    spread, slowest, fastest = 0.0, 0.0, 0.0
    newest = 0.0
    for h in range(HISTORY):
        ratio = _log(link[h] / forecast) if link[h] > 0.0 else 0.0
        context[18 + h] = ratio
        context[18 + HISTORY + h] = _log(delays[h] / chunk_s) / 2.0 if delays[h] > 0.0 else 0.0
        if link[h] > 0.0:
            spread += ratio * ratio
            slowest, fastest = min(slowest, ratio), max(fastest, ratio)
            newest = ratio
    context[0] = np.tanh(buffer / 5.0)
    context[1] = np.log1p(buffer) / 2.0
    context[2] = np.tanh((cap - buffer) / 5.0)
    context[3] = _log(cap) / 2.0
    context[4] = np.tanh(left / 10.0)
    context[5] = np.log1p(left) / 5.0
    context[6] = _log(stall) / 2.0
    context[7] = min(up, 4.0)
    context[8] = min(down, 4.0)
    context[9] = _log(chunk_s)
    context[10] = _log(mean[0]) / 2.0
    context[11] = _log(mean[levels - 1]) / 2.0
    context[12] = min(latency * 4.0, 2.0)
    context[13] = np.sqrt(spread / max(seen, 1))
    context[14] = newest
    context[15] = fastest - slowest
    context[16] = 1.0 / (1.0 + error)
    context[17] = seen / HISTORY


class Episode:
    """The public facts of an episode, laid out for :func:`see`.

    Args:
        static: what :meth:`netllm_gym.envs.abr.env.ABREnv.static_info` says.
    """

    def __init__(self, static: Mapping[str, Any]) -> None:
        video, qoe = static["video"], static["qoe"]
        self.chunks, self.levels = video.chunks, video.levels
        self._sizes = np.ascontiguousarray(video.chunk_bytes, np.float64)
        self._quality = np.ascontiguousarray(qoe.per_chunk(video.chunks), np.float64)
        self.facts = (
            float(video.chunk_s), float(static["buffer_cap_s"]), float(static["rtt_s"]), float(qoe.stall_weight),
            float(qoe.switch_weight), float(qoe.falling), float(static.get("throughput", REQUEST) != REQUEST),
        )  # fmt: skip

    def see(self, observation: Mapping[str, Any], rows: NDArray[Any], context: NDArray[Any]) -> None:
        """Write the view of an observation into `rows` ``[≥ L, ROW_FEATURES]`` and `context`; absent rows are zero."""
        left = round(float(observation["chunks_left"][0]))
        chunk, last = self.chunks - left, int(observation["last_quality"])
        rows[self.levels :] = 0.0
        if left <= 0:  # the video is over; nobody decides on this
            rows[:], context[:] = 0.0, 0.0
            return
        see(
            self._sizes[chunk : chunk + HORIZON], self._quality[chunk],
            self._quality[chunk - 1, last] if chunk else np.nan, self.facts, left,
            np.asarray(observation["throughput_mbps"], np.float64),
            np.asarray(observation["download_time_s"], np.float64),
            float(observation["buffer_s"][0]), last, rows[: self.levels], context,
        )  # fmt: skip


class ABRView:
    """Turn observations of ``ABR-v0`` into a learner's: a graph whose nodes are levels, and a context.

    ========== ==========================================================================================
    levels     a row per level, [max_levels, ROW_FEATURES]; rows of nothing but -1 are padding
    ladder     edges from each level to the next, -1 where there is none
    context    the link's recent past, the buffer, the video and the QoE, [CONTEXT_FEATURES]
    ========== ==========================================================================================

    Args:
        max_levels: rows of the arrays.
    """

    modalities: ClassVar[dict[str, str]] = {"levels": "graph", "ladder": "graph", "context": "scalar"}
    scales: ClassVar[dict[str, Any]] = {}

    def __init__(self, max_levels: int) -> None:
        if max_levels < 1:
            raise ConfigError("max_levels must be at least 1")
        self.max_levels = max_levels
        high = np.float32(3.4e38)
        self.observation_space = spaces.Dict({
            "levels": spaces.Box(-high, high, (max_levels, ROW_FEATURES), np.float32),
            "ladder": spaces.Box(-1, max_levels - 1, (max_levels, 2), np.int32),
            "context": spaces.Box(-high, high, (CONTEXT_FEATURES,), np.float32),
        })  # fmt: skip
        self.action_space = spaces.Discrete(max_levels)

    def pack(self, rows: NDArray[Any], context: NDArray[Any], levels: int) -> dict[str, NDArray[Any]]:
        """Return the observation of one state whose first `levels` rows count."""
        table = np.full((self.max_levels, ROW_FEATURES), -1, np.float32)
        table[:levels] = rows[:levels]
        edges = np.full((self.max_levels, 2), -1, np.int32)
        edges[: levels - 1, 0], edges[: levels - 1, 1] = np.arange(levels - 1), np.arange(1, levels)
        return {"levels": table, "ladder": edges, "context": np.asarray(context, np.float32)}

    def __call__(self, episode: Episode, observation: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Return the learner's observation.

        Raises:
            ConfigError: more levels than rows.
        """
        if episode.levels > self.max_levels:
            raise ConfigError(f"{episode.levels} levels exceed max_levels={self.max_levels} of the view")
        rows = np.empty((episode.levels, ROW_FEATURES), np.float32)
        context = np.empty(CONTEXT_FEATURES, np.float32)
        episode.see(observation, rows, context)
        return self.pack(rows, context, episode.levels)

    def mask(self, levels: int) -> NDArray[np.bool_]:
        """Which of the view's choices are levels of a ladder, bool ``[max_levels]``."""
        return np.arange(self.max_levels) < levels
