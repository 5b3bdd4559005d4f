"""A link that follows a network trace, made of clock and arithmetic: who may send how much when.

The trace runs with the wall clock from the first request on, also while nobody downloads: bytes the link could have
carried then are lost, as on a real link. Several responses at once share it piece by piece.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from netllm_gym.envs.abr.kernel import link_arrays, transfer_s, wrap
from netllm_gym.errors import ConfigError
from netllm_gym.traces import NetworkTrace

# An Ethernet frame of 1514 bytes carries 1448 bytes of a TCP stream (IPv4, timestamps). The trace counts frames.
FRAME_BYTES, SEGMENT_BYTES = 1514, 1448
PAYLOAD = SEGMENT_BYTES / FRAME_BYTES
# Pieces are handed to the socket about so far apart (s), but never smaller than a TCP segment.
TICK_S = 0.02
MAX_PIECE_BYTES = 256 * 1024
# A sender who wakes up late may catch up at most so much (s): the depth of the token bucket.
DEPTH_S = 0.1


class Clock:
    """A clock that runs `speed` times as fast as the wall's: everything in the testbed is in its seconds.

    Args:
        speed: 1 for real time. Above 1 (tests), links and players run that much faster, and so weighs every delay of
            the machine: 1 ms of lag counts as `speed` ms.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not 0 < speed < 1000:
            raise ConfigError(f"speed must lie between 0 and 1000, got {speed}")
        self.speed = float(speed)

    def now(self) -> float:
        """Seconds since some moment, the same for all processes of this machine."""
        return time.monotonic() * self.speed

    async def sleep_until(self, when: float) -> None:
        """Return at `when`, or at once when it is past."""
        await asyncio.sleep(max(when - self.now(), 0.0) / self.speed)


@dataclass
class Sent:
    """One response as the link saw it; times in seconds of the clock since the first request.

    Attributes:
        level, chunk: what was asked for.
        asked_s: when the request arrived.
        planned_s: when the trace says that the last byte is through.
        done_s: when it was handed to the socket; ``planned_s`` and this differ by the pacing error.
        size: bytes.
        whole: whether all of it was taken.
    """

    level: int
    chunk: int
    asked_s: float
    planned_s: float = 0.0
    done_s: float = 0.0
    size: int = 0
    whole: bool = False


@dataclass
class Link:
    """One client's link.

    Attributes:
        trace, start_s: what it carries, and where in the trace it begins.
        rtt_s: from a request's arrival to the first byte; it passes on the trace.
        payload: share of the trace's bytes that is HTTP.
        clock: see :class:`Clock`.
        log: what was sent.
    """

    trace: NetworkTrace
    start_s: float
    rtt_s: float
    clock: Clock
    payload: float = PAYLOAD
    log: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._arrays = link_arrays(self.trace, self.payload)
        self._zero: float | None = None
        transfer_s(*self._arrays, self.start_s, 1.0)  # compiles, so that the first segment need not wait
        self._free = 0.0  # when the bytes already promised are through, since the first request

    def since_start(self) -> float:
        """Seconds since the first request, which this call is when there was none."""
        now = self.clock.now()
        if self._zero is None:
            self._zero = now
        return now - self._zero

    @property
    def zero(self) -> float:
        """The clock at the first request."""
        return self._zero or 0.0

    def rate_at(self, since: float) -> float:
        """Payload bytes per second `since` seconds after the first request."""
        end, _, rate = self._arrays
        offset = wrap(end[-1], self.start_s + since)
        return float(rate[min(int(np.searchsorted(end, offset, side="right")), len(rate) - 1)])

    def reserve(self, size: int) -> float:
        """Promise the link to `size` bytes after those already promised; return when they are through."""
        end, carried, rate = self._arrays
        begin = max(self._free, self.since_start() - DEPTH_S)
        offset = wrap(end[-1], self.start_s + begin)
        self._free = begin + float(transfer_s(end, carried, rate, offset, float(size)))
        return self._free

    def piece(self) -> int:
        """Bytes to hand over next: what the link carries in one tick."""
        rate = self.rate_at(max(self._free, self.since_start()))
        return int(min(max(rate * TICK_S * self.clock.speed, SEGMENT_BYTES), MAX_PIECE_BYTES))

    async def arrive(self, sent: Sent) -> None:
        """Let the round trip pass that lies between a request and its first byte."""
        self._free = max(self._free, sent.asked_s + self.rtt_s)
        await self.clock.sleep_until(self.zero + sent.asked_s + self.rtt_s)

    async def pace(self, sent: Sent, size: int, write: Callable[[int, int], Awaitable[None]]) -> None:
        """Hand `size` bytes to ``await write(begin, end)`` as the trace lets them through."""
        begin = 0
        while begin < size:
            end = min(begin + self.piece(), size)
            sent.planned_s = self.reserve(end - begin)
            await self.clock.sleep_until(self.zero + sent.planned_s)
            await write(begin, end)
            sent.done_s = self.since_start()
            sent.size = begin = end
        sent.whole = True


def pacing_errors(log: list[Sent]) -> list[float]:
    """Seconds by which each whole response left later than the trace says."""
    return [entry.done_s - entry.planned_s for entry in log if entry.whole]


class LagMeter:
    """How late the event loop wakes up: sleeps 50 ms again and again and keeps the delays (s of the wall)."""

    PERIOD_S = 0.05

    def __init__(self) -> None:
        self.lags: list[float] = []

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = time.monotonic() + self.PERIOD_S
            await asyncio.sleep(self.PERIOD_S)
            self.lags.append(max(time.monotonic() - due, 0.0))

    def summary(self) -> dict[str, float]:
        """Median, 99th percentile and maximum in milliseconds."""
        if not self.lags:
            return {"p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}
        p50, p99 = np.percentile(self.lags, [50, 99]) * 1000.0
        return {"p50_ms": float(p50), "p99_ms": float(p99), "max_ms": max(self.lags) * 1000.0}
