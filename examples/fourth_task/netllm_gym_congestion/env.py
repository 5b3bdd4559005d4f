"""A sender picks its rate on a link that it does not see.

The link is a :class:`netllm_gym.traces.NetworkTrace` behind a queue that drops what does not fit (a fluid model: bits,
not packets). Every 0.1 s the sender learns what was delivered and lost and how long the queue makes a packet wait, and
multiplies its rate by one of five factors. The reward is Copa's utility (Arun and Balakrishnan, NSDI 2018): the
logarithm of the throughput minus half the logarithm of the delay, less what was lost.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym import traces as trace_room
from netllm_gym.errors import ConfigError

STEP_S = 0.1
HISTORY = 8
FACTORS = (0.5, 0.9, 1.0, 1.1, 1.5)
LOWEST_MBPS, HIGHEST_MBPS = 0.05, 100.0


class SenderEnv(gym.Env[dict[str, Any], int]):
    """One flow over one link for a fixed time.

    Action Space: ``Discrete(5)``: the rate is multiplied by 0.5, 0.9, 1, 1.1 or 1.5.

    Observation Space: the last eight steps, newest last (zeros before the first): ``sent_mbps``, ``delivered_mbps``,
    ``delay_ms`` (round trip, queue included), ``lost`` (share of what was sent); and ``rate_mbps``, what is sent now.

    Rewards: log(delivered, Mbit/s) - 0.5 log(delay / base delay) - 5 × share lost.

    Episode End: after `seconds`, by truncation: the link goes on.

    Args:
        traces: links, a name of the catalog, a path or a trace set.
        split: of the set.
        seconds: length of an episode.
        base_ms: round trip through an empty queue.
        queue_ms: what the queue holds, in milliseconds at the link's mean rate.
        start_mbps: rate before the first decision.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "metric": {"name": "utility", "aggregate": "mean", "better": "higher"},
        "reward_terms": {
            "throughput_mbps": {"aggregate": "mean", "unit": "Mbit/s", "better": "higher"},
            "queue_ms": {"aggregate": "mean", "unit": "ms", "better": "lower"},
            "loss": {"aggregate": "mean", "unit": "share", "better": "lower"},
        },
        "modalities": {
            "sent_mbps": "series", "delivered_mbps": "series", "delay_ms": "series", "lost": "series",
            "rate_mbps": "scalar",
        },
        "scales": {"sent_mbps": 5.0, "delivered_mbps": 5.0, "delay_ms": 100.0, "lost": 0.1, "rate_mbps": 5.0},
    }  # fmt: skip

    def __init__(
        self,
        traces: Any = "congestion/bursty",
        split: str = "test",
        seconds: float = 20.0,
        base_ms: float = 40.0,
        queue_ms: float = 200.0,
        start_mbps: float = 1.0,
    ) -> None:
        if min(seconds, base_ms, queue_ms, start_mbps) <= 0:
            raise ConfigError("seconds, base_ms, queue_ms and start_mbps must be positive")
        self.traces = trace_room.load(traces, split)
        self.steps = max(1, round(seconds / STEP_S))
        self.base_ms, self.queue_ms, self.start_mbps = base_ms, queue_ms, start_mbps
        series = spaces.Box(0.0, np.inf, (HISTORY,), np.float32)
        keys = ("sent_mbps", "delivered_mbps", "delay_ms", "lost")
        self.observation_space = spaces.Dict(
            {**dict.fromkeys(keys, series), "rate_mbps": spaces.Box(0.0, np.inf, (1,), np.float32)}
        )
        self.action_space = spaces.Discrete(len(FACTORS))

    def static_info(self) -> dict[str, Any]:
        """Return what a sender knows beforehand: the delay of an empty path."""
        return {"base_ms": self.base_ms}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin on a link drawn at random, or on number ``options["trace"]``."""
        super().reset(seed=seed)
        options = dict(options or {})
        index = options.pop("trace", None)
        if options:
            raise ConfigError(f"unknown reset option {next(iter(options))!r}; known: trace")
        index = int(self.np_random.integers(len(self.traces))) if index is None else int(index)
        self.link = self.traces[index]
        ends = np.cumsum(self.link.duration_s)
        carried = np.cumsum(self.link.duration_s * self.link.throughput_mbps)
        self._ends, self._carried = np.concatenate([[0.0], ends]), np.concatenate([[0.0], carried])
        self.limit_mbit = self.queue_ms / 1e3 * carried[-1] / ends[-1]
        self.t, self.queue_mbit, self.rate = 0, 0.0, self.start_mbps
        self._past = {
            key: deque([0.0] * HISTORY, HISTORY) for key in ("sent_mbps", "delivered_mbps", "delay_ms", "lost")
        }
        return self._observe(), {"trace": self.link.name, "trace_group": self.link.group}

    def capacity_mbit(self, step: int) -> float:
        """Return what the link can carry in one step, Mbit; the trace is cyclic."""
        begin, end = step * STEP_S, (step + 1) * STEP_S
        return self._until(end) - self._until(begin)

    def _until(self, time_s: float) -> float:
        rounds, rest = divmod(time_s, self._ends[-1])
        return float(rounds * self._carried[-1] + np.interp(rest, self._ends, self._carried))

    def _observe(self) -> dict[str, Any]:
        found: dict[str, Any] = {key: np.array(values, np.float32) for key, values in self._past.items()}
        return {**found, "rate_mbps": np.array([self.rate], np.float32)}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Send for 0.1 s at the new rate."""
        self.rate = float(np.clip(self.rate * FACTORS[int(action)], LOWEST_MBPS, HIGHEST_MBPS))
        sent, capacity = self.rate * STEP_S, self.capacity_mbit(self.t)
        delivered = min(self.queue_mbit + sent, capacity)
        left = self.queue_mbit + sent - delivered
        lost = max(0.0, left - self.limit_mbit)
        self.queue_mbit = left - lost
        queue_ms = 1e3 * self.queue_mbit / max(capacity / STEP_S, 0.1)
        delay_ms = self.base_ms + queue_ms
        self.t += 1
        throughput, loss = delivered / STEP_S, lost / sent
        for key, value in zip(self._past, (self.rate, throughput, delay_ms, loss), strict=True):
            self._past[key].append(value)
        reward = float(np.log(max(throughput, 0.01)) - 0.5 * np.log(delay_ms / self.base_ms) - 5.0 * loss)
        info = {
            "trace": self.link.name, "utility": reward, "throughput_mbps": throughput, "queue_ms": queue_ms,
            "loss": loss, "reward": reward,
        }  # fmt: skip
        return self._observe(), reward, False, self.t >= self.steps, info
