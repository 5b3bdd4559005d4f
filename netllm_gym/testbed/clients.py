"""The clients as the runner sees them: something that plays a session and returns its record."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import httpx

from netllm_gym.testbed import kernel
from netllm_gym.testbed.browser import Browser
from netllm_gym.testbed.link import Clock
from netllm_gym.testbed.plan import SessionPlan
from netllm_gym.testbed.player import Outcome, clients, play
from netllm_gym.testbed.rescue import rescued
from netllm_gym.testbed.server import Page
from netllm_gym.testbed.tools import chromium

Record = dict[str, Any]


class Client(Protocol):
    """What plays sessions; an asynchronous context, within which it can."""

    async def __aenter__(self) -> Client: ...

    async def __aexit__(self, *_: object) -> None: ...

    def pages(self) -> dict[str, Page]:
        """What the content server must offer it besides segments."""
        ...

    async def play(self, plan: SessionPlan, content_url: str, policy_url: str) -> Record:
        """Play one session at these addresses to its end; a failure is recorded, never raised."""
        ...


class Python:
    """The headless player.

    Args:
        speed: of the clock.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.clock = Clock(speed)

    async def __aenter__(self) -> Python:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def pages(self) -> dict[str, Page]:
        """None."""
        return {}

    async def play(self, plan: SessionPlan, content_url: str, policy_url: str) -> Record:
        """Play one session."""
        first, second = clients()
        async with first, second:
            try:
                outcome = await play(content_url, policy_url, self.clock, first, second)
            except httpx.HTTPError as error:
                outcome = Outcome(None, [], f"content server: {type(error).__name__}")
        return outcome.record or rescued(plan, outcome.measured, outcome.reason or "the record was lost")


class Kernel:
    """Either client inside namespaces: a session takes a free pair and gives it back.

    Args:
        made: the pairs.
        name: ``python`` or ``dash.js``.
    """

    def __init__(self, made: Sequence[kernel.Pair], name: str) -> None:
        self.made, self.name = list(made), name
        self._threads = ThreadPoolExecutor(len(self.made), "player")
        self._browsers: dict[int, Browser] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="netllm-gym-")

    async def __aenter__(self) -> Kernel:
        self._free: asyncio.Queue[kernel.Pair] = asyncio.Queue()
        for pair in self.made:
            self._free.put_nowait(pair)
        return self

    async def __aexit__(self, *_: object) -> None:
        for browser in self._browsers.values():
            await browser.__aexit__()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._folder.cleanup()

    def pages(self) -> dict[str, Page]:
        """Those of the client inside."""
        return Browser().pages() if self.name == "dash.js" else {}

    async def _browser(self, pair: kernel.Pair) -> Browser:
        """The browser of a pair, started when it is first needed."""
        if pair.number not in self._browsers:
            wrapper = Path(self._folder.name) / f"chromium-{pair.number}"
            wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {pair.client} {shlex.quote(chromium())} "$@"\n')
            wrapper.chmod(0o755)
            self._browsers[pair.number] = await Browser(str(wrapper)).__aenter__()
        return self._browsers[pair.number]

    async def play(self, plan: SessionPlan, content_url: str, policy_url: str) -> Record:
        """Play one session over a pair of its own; the given addresses are those outside the namespaces."""
        pair = await self._free.get()
        try:
            content = f"{pair.url}/s/{plan.key}"
            policy = f"http://127.0.0.1:{kernel.PORT}/s/{plan.key}"
            if self.name == "dash.js":
                return await (await self._browser(pair)).play(plan, content, policy)

            def work() -> Record:
                return kernel.inside(pair.client, lambda: asyncio.run(Python().play(plan, content, policy)))

            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free.put_nowait(pair)


def client_of(name: str, speed: float, made: Sequence[kernel.Pair]) -> Client:
    """Return the client called `name`, over the kernel's link when pairs were made."""
    if made:
        return Kernel(made, name)
    return Browser() if name == "dash.js" else Python(speed)
