"""A headless player: real downloads over HTTP, a buffer that drains with the wall clock, stalls, start-up."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from netllm_gym.testbed.link import Clock
from netllm_gym.testbed.session import Measured

# A policy server that does not answer for so long (s of the wall) is gone.
POLICY_TIMEOUT_S = 30.0
LOWEST = 0


@dataclass
class Playback:
    """A buffer that drains with the clock.

    Attributes:
        at_s: the moment up to which the books are kept.
        buffer_s: video waiting then.
        playing: whether the first picture has been shown.
        stall_s: time without a picture since the books were last read.
    """

    at_s: float
    buffer_s: float = 0.0
    playing: bool = False
    stall_s: float = 0.0

    def advance(self, now: float) -> None:
        """Play until `now`."""
        if self.playing:
            passed = now - self.at_s
            self.stall_s += max(passed - self.buffer_s, 0.0)
            self.buffer_s = max(self.buffer_s - passed, 0.0)
        self.at_s = now

    def take_stall(self) -> float:
        """Return the stall since the last call."""
        stall, self.stall_s = self.stall_s, 0.0
        return stall


class _Policy:
    """The policy server as the player sees it: an answer, or the reason why there is none any more."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.http, self.url, self.reason = http, url, ""

    async def finish(self, measured: list[Measured]) -> dict[str, Any] | None:
        """End the session; return its record, or ``None`` when nobody is there to write it.

        After a failure the server is told everything once more, with the reason: an agent may have failed on a server
        that lives.
        """
        if not self.reason:
            return await self.post("finish", {"last": asdict(measured[-1])})
        reason, self.reason = self.reason, ""
        record = await self.post("finish", {"segments": [asdict(entry) for entry in measured], "reason": reason})
        self.reason = reason
        return record

    async def post(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer; ``None`` once the policy server has failed, and from then on."""
        if self.reason:
            return None
        try:
            response = await self.http.post(f"{self.url}/{what}", json=body, timeout=POLICY_TIMEOUT_S)
            answer: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            self.reason = f"policy server: {type(error).__name__}"
            return None
        if response.status_code != 200:
            self.reason = str(answer.get("reason", f"policy server: status {response.status_code}"))
            return None
        return answer


@dataclass
class Outcome:
    """How a playback ended.

    Attributes:
        record: what the policy server stored of it; ``None`` when it could not be asked any more.
        measured: the segments.
        reason: why the agent was not in charge to the end; empty when it was.
    """

    record: dict[str, Any] | None
    measured: list[Measured]
    reason: str


async def play(
    content: str, policy: str, clock: Clock, content_http: httpx.AsyncClient, policy_http: httpx.AsyncClient
) -> Outcome:
    """Play one session to its end.

    When the policy server dies or its agent fails, playback goes on at the lowest level and the episode is recorded as
    failed with the reason.

    Args:
        content, policy: addresses of the session at the two servers.
        clock: must run as fast as the servers'.
        content_http, policy_http: clients; the first must be this player's alone.

    Raises:
        httpx.HTTPError: the content server is gone.
    """
    desk = _Policy(policy_http, policy)
    facts = await desk.post("begin", {})
    if facts is None:
        return Outcome(None, [], desk.reason)
    chunks, chunk_s = int(facts["chunks"]), float(facts["chunk_s"])
    measured: list[Measured] = []
    zero = clock.now()
    playback = Playback(0.0)
    decision_s = 0.0
    for chunk in range(chunks):
        if chunk == 0 and facts["first_level"] is not None:
            level = int(facts["first_level"])
        else:
            begin = clock.now()
            playback.advance(begin - zero)
            body = {
                "chunk": chunk,
                "buffer_s": playback.buffer_s,
                "last": asdict(measured[-1]) if measured else None,
            }
            answer = await desk.post("decide", body)
            level = LOWEST if answer is None else int(answer["level"])
            decision_s = clock.now() - begin
        if chunk == 0:
            zero = clock.now()
            playback.at_s = 0.0
        asked = clock.now() - zero
        size, first = 0, 0.0
        async with content_http.stream("GET", f"{content}/{level}/{chunk + 1}.m4s") as response:
            response.raise_for_status()
            async for part in response.aiter_raw():
                first = first or clock.now() - zero
                size += len(part)
        done = clock.now() - zero
        playback.advance(done)
        stall, startup = playback.take_stall(), 0.0
        if not playback.playing:
            startup, playback.playing = done, True
        playback.buffer_s += chunk_s
        sleep = _sleep(playback.buffer_s, float(facts["buffer_cap_s"]), float(facts["sleep_quantum_s"]))
        if sleep:
            await clock.sleep_until(zero + done + sleep)
            playback.advance(clock.now() - zero)
        measured.append(
            Measured(
                chunk=chunk,
                level=level,
                size=size,
                asked_s=asked,
                delay_s=done - asked,
                first_byte_s=(first or done) - asked,
                decision_s=decision_s,
                stall_s=stall,
                startup_s=startup,
                sleep_s=sleep,
                buffer_s=playback.buffer_s,
                wall_s=playback.at_s,
            )
        )
    record = await desk.finish(measured)
    return Outcome(record, measured, desk.reason)


def _sleep(buffer_s: float, cap_s: float, quantum_s: float) -> float:
    """The simulator's pause above the cap: whole quanta."""
    return -(-(buffer_s - cap_s) // quantum_s) * quantum_s if buffer_s > cap_s else 0.0


def clients() -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """Return clients for segments and for decisions: no proxies; an outage may last as long as it likes.

    Both speak plain HTTP; without ``verify=False`` each would spend 30 ms of CPU on certificates.
    """
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    patient = httpx.Timeout(None, connect=10.0)
    return (
        httpx.AsyncClient(timeout=patient, limits=limits, trust_env=False, verify=False),
        httpx.AsyncClient(trust_env=False, verify=False),
    )


async def play_alone(content: str, policy: str, speed: float = 1.0) -> Outcome:
    """Play one session with clients of its own."""
    content_http, policy_http = clients()
    async with content_http, policy_http:
        return await play(content, policy, Clock(speed), content_http, policy_http)


def main(content: str, policy: str, speed: float = 1.0) -> Outcome:
    """Like :func:`play_alone`, from ordinary code."""
    return asyncio.run(play_alone(content, policy, speed))
