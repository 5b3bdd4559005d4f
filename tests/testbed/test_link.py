"""The embedded link's arithmetic, on a clock that only moves when somebody sleeps."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from netllm_gym.envs.abr.kernel import link_arrays, transfer_s
from netllm_gym.errors import ConfigError
from netllm_gym.testbed.link import PAYLOAD, Clock, LagMeter, Link, Sent, pacing_errors
from netllm_gym.testbed.machine import Machine
from netllm_gym.traces import NetworkTrace


class StoppedClock(Clock):
    """Time passes in sleeps only; several sleepers wake in order."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 100.0
        self._sleepers: list[float] = []

    def now(self) -> float:
        return self.at

    async def sleep_until(self, when: float) -> None:
        self._sleepers.append(when)
        await asyncio.sleep(0)
        while when > self.at:
            earliest = min(self._sleepers)
            if earliest >= when:
                self.at = max(self.at, when)
            else:
                await asyncio.sleep(0)
        self._sleepers.remove(when)


def _send(link: Link, size: int, level: int = 0) -> tuple[Sent, list[tuple[float, int]]]:
    """One response; when which byte was handed over."""
    seen: list[tuple[float, int]] = []

    async def send() -> Sent:
        sent = Sent(level, 0, link.since_start())
        link.log.append(sent)
        await link.arrive(sent)

        async def write(begin: int, end: int) -> None:
            seen.append((link.since_start(), end))

        await link.pace(sent, size, write)
        return sent

    return asyncio.run(send()), seen


def test_a_response_takes_what_the_trace_says() -> None:
    trace = NetworkTrace("t", [2.0, 3.0, 5.0], [1.0, 4.0, 0.5])
    for size in (1, 1448, 100_000, 1_000_000, 5_000_000):
        link = Link(trace, 1.0, 0.05, StoppedClock())
        sent, seen = _send(link, size)
        expected = 0.05 + transfer_s(*link_arrays(trace, PAYLOAD), 1.05, float(size))
        assert sent.done_s == pytest.approx(expected, abs=1e-9)
        assert sent.whole and sent.size == size == seen[-1][1]
        assert pacing_errors(link.log) == pytest.approx([0.0], abs=1e-9)
        # Never ahead of the link: what has been handed over by then, it could have carried.
        for (at, end), _ in zip(seen, range(2000), strict=False):
            assert transfer_s(*link_arrays(trace, PAYLOAD), 1.05, float(end)) <= at - 0.05 + 1e-9


def test_an_outage_is_waited_through() -> None:
    trace = NetworkTrace("t", [1.0, 30.0, 1.0], [2.0, 0.0, 2.0])
    sent, _ = _send(Link(trace, 0.0, 0.0, StoppedClock()), 300_000)
    first = 2e6 / 8 * PAYLOAD
    assert sent.done_s == pytest.approx(31.0 + (300_000 - first) / first, abs=1e-6)


def test_the_trace_goes_on_while_nobody_downloads() -> None:
    trace = NetworkTrace("t", [10.0, 10.0], [1.0, 0.1])
    clock = StoppedClock()
    link = Link(trace, 0.0, 0.0, clock)
    first, _ = _send(link, 10_000)
    clock.at += 12.0
    second, _ = _send(link, 10_000)
    rate = 1e6 / 8 * PAYLOAD
    assert first.done_s == pytest.approx(10_000 / rate)
    assert second.done_s - second.asked_s == pytest.approx(10_000 / rate * 10)  # it met the slow half


def test_two_responses_share_the_link() -> None:
    link = Link(NetworkTrace("t", [10.0], [1.0]), 0.0, 0.0, StoppedClock())

    async def both() -> list[Sent]:
        async def one() -> Sent:
            sent = Sent(0, 0, link.since_start())
            await link.arrive(sent)

            async def write(begin: int, end: int) -> None:
                pass

            await link.pace(sent, 100_000, write)
            return sent

        return list(await asyncio.gather(one(), one()))

    ends = [sent.done_s for sent in asyncio.run(both())]
    rate = 1e6 / 8 * PAYLOAD
    assert max(ends) == pytest.approx(200_000 / rate)
    assert min(ends) > 0.9 * 200_000 / rate  # neither waited for the other's end


def test_speed_is_checked() -> None:
    for speed in (0.0, -1.0, 1e4):
        with pytest.raises(ConfigError, match="speed"):
            Clock(speed)


def test_the_verdict_on_the_machine() -> None:
    def log(late: float) -> list[dict]:
        return [{"whole": True, "asked_s": 0.0, "planned_s": 1.0, "done_s": 1.0 + late}] * 20

    machine = Machine()
    machine.add({"content": {"p50_ms": 0.1, "p99_ms": 3.0, "max_ms": 9.0}})
    assert "kept up" in machine.verdict([log(0.001)])
    assert "BOTTLENECK" in machine.verdict([log(0.1)])
    assert "content 3" in machine.verdict([log(0.001)])
    assert "unknown" in Machine().verdict([])
    assert "kept up" in machine.verdict([log(0.1)], kernel=True)


def test_the_lag_meter_sums_up() -> None:
    meter = LagMeter()
    assert meter.summary()["p99_ms"] == 0.0
    meter.lags = [0.001] * 99 + [0.2]
    assert meter.summary()["max_ms"] == 200.0
    assert np.isclose(meter.summary()["p50_ms"], 1.0)
    assert list(itertools.islice(meter.summary(), 3)) == ["p50_ms", "p99_ms", "max_ms"]
