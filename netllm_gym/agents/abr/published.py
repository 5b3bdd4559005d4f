"""RobustMPC exactly as NetLLM's repository evaluates it, departures included: for reproducing its numbers only."""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import download
from netllm_gym.errors import ConfigError
from netllm_gym.traces import catalog


@njit(cache=True)
def _plan(seconds: Any, kbps: Any, stall_weight: Any, chunk_s: Any, buffer: Any, last: Any, reach: Any) -> Any:
    """First level of the best plan whose every move is at most `reach` levels; the last of equals wins."""
    horizon, levels = seconds.shape
    best, answer = -np.inf, last
    for code in range(levels**horizon):
        rest, before, ahead, stall = code, last, buffer, 0.0
        gain, switch, first, legal = 0, 0, -1, True
        for i in range(horizon):
            power = levels ** (horizon - 1 - i)
            level = rest // power
            rest -= level * power
            if abs(level - before) > reach:
                legal = False
                break
            if i == 0:
                first = level
            time = seconds[i, level]
            if time > ahead:
                stall += time - ahead
                ahead = 0.0
            else:
                ahead -= time
            ahead += chunk_s
            gain += kbps[level]
            switch += abs(kbps[level] - kbps[before])
            before = level
        if legal:
            value = gain / 1000.0 - stall_weight * stall - switch / 1000.0
            if value >= best:
                best, answer = value, first
    return answer


@register_agent("abr/mpc-as-published")
class PublishedMPC(Agent):
    """NetLLM's MPC baseline (commit 105bcf0): do not use it as a rival, use ``abr/robust-mpc``.

    Results depend on the order of the traces while errors are kept, and the agent must be one object for all of them,
    the ``linear`` QoE being built in. Each departure from the paper can be switched off, to see what it is worth.

    It counts as privileged because the estimate after the last chunk needs that chunk's throughput, which the
    protocol never shows; it is taken from the simulator when the chunk is requested. No future steers a decision.

    Args:
        neighbours: every move of a plan is at most one level.
        late_sizes: the plan's sizes begin one chunk too late (so a 49th chunk is needed, a figure of the video's
            catalog entry).
        keep_errors: errors and estimates live on from video to video.
        after_end: one more estimate is made after the last chunk.
    """

    privileged = True
    HORIZON, WINDOW, STALL_WEIGHT = 5, 5, 4.3

    def __init__(
        self, neighbours: bool = True, late_sizes: bool = True, keep_errors: bool = True, after_end: bool = True
    ) -> None:
        self.neighbours, self.late_sizes = neighbours, late_sizes
        self.keep_errors, self.after_end = keep_errors, after_end
        self._estimate = 0.0
        self._errors: list[float] = []

    def reset(self, env_info: EnvInfo) -> None:
        """Begin a video; the history stays unless told otherwise."""
        if not self.keep_errors:
            self._estimate, self._errors = 0.0, []
        video = env_info.static["video"]
        entry = catalog.entries().get(f"video/{video.name}", {})
        if "lookahead_bytes" not in entry:
            raise ConfigError(
                f"abr/mpc-as-published needs the 49th chunk of {video.name}; only NetLLM's videos have it"
            )
        self._sizes = np.vstack([video.chunk_bytes, np.array(entry["lookahead_bytes"], dtype=np.float64)])
        self._chunks, self._chunk_s = video.chunks, video.chunk_s
        self._kbps = np.rint(np.asarray(video.bitrates_kbps)).astype(np.int64)
        self._env = env_info.simulator

    def _forecast(self, throughputs: list[float]) -> float:
        past = [x for x in throughputs[-self.WINDOW :] if x > 0]
        self._errors.append(abs(self._estimate - past[-1]) / past[-1] if self._estimate > 0 else 0.0)
        self._estimate = len(past) / sum(1.0 / x for x in past)
        return self._estimate / (1.0 + max(self._errors[-self.WINDOW :]))

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level NetLLM's code would request."""
        history = [float(x) for x in observation["throughput_mbps"]]
        forecast = self._forecast(history)
        chunk = self._chunks - round(float(observation["chunks_left"][0]))
        horizon = min(self.HORIZON, self._chunks - chunk)
        first = chunk + self.late_sizes
        seconds = self._sizes[first : first + horizon] / (forecast * 1e6 / 8.0)
        level = int(
            _plan(
                seconds,
                self._kbps,
                self.STALL_WEIGHT,
                self._chunk_s,
                float(observation["buffer_s"][0]),
                int(observation["last_quality"]),
                1 if self.neighbours else len(self._kbps),
            )
        )
        if self.after_end and chunk == self._chunks - 1:
            self._forecast([*history, self._last_throughput(level)])
        return level

    def _last_throughput(self, level: int) -> float:
        """Throughput (Mbit/s) the last chunk will have at `level`, without delay noise."""
        env = self._env
        end, carried, rate = env.link
        size = float(self._sizes[self._chunks - 1, level])
        delay = download(
            end,
            carried,
            rate,
            env.offset_s,
            size,
            env.buffer_s,
            env.rtt_s,
            1.0,
            self._chunk_s,
            env.buffer_cap_s,
            env.sleep_quantum_s,
        )[0]
        return size * 8e-6 / float(delay)
