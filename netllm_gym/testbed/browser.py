"""dash.js in headless Chromium as a client of the runner, driven by Playwright."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from netllm_gym.errors import ConfigError
from netllm_gym.testbed import dashjs, own_rules
from netllm_gym.testbed.plan import SessionPlan
from netllm_gym.testbed.rescue import rescued
from netllm_gym.testbed.server import Page
from netllm_gym.testbed.session import Measured
from netllm_gym.testbed.tools import chromium

# A closed network: the browser talks to nobody but this machine.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--mute-audio",
    "--autoplay-policy=no-user-gesture-required", "--no-proxy-server",
)  # fmt: skip
POLL_S = 1.0
# A page that has not moved on for so long, plus the trace's longest outage, is dead.
PATIENCE_S = 120.0


def page_files() -> dict[str, Page]:
    """Return the files of the player's page by name.

    Raises:
        ConfigError, DownloadError: dash.js cannot be had.
    """
    folder = files("netllm_gym.testbed").joinpath("page")
    return {
        "player.html": Page(folder.joinpath("player.html").read_bytes(), "text/html"),
        "player.js": Page(folder.joinpath("player.js").read_bytes(), "text/javascript"),
        "dash.js": Page(dashjs.bring().read_bytes(), "text/javascript"),
    }


def page_url(content_url: str, policy_url: str, agent: str) -> str:
    """Return the address of the page that plays a session, by the policy server or by a rule of the player's own."""
    root = content_url.partition("/s/")[0]
    query = {"content": content_url, "policy": policy_url, "rule": "policy"}
    if own_rules.is_own(agent):
        query["rule"], target = own_rules.parse(agent)
        query |= {"buffer": str(target)} if target else {}
    return f"{root}/page/player.html?{urlencode(query)}"


def longest_outage_s(plan: SessionPlan) -> float:
    """Seconds of the longest run of pieces in which the trace carries next to nothing."""
    longest = run = 0.0
    for seconds, mbps in zip(plan.trace.duration_s, plan.trace.throughput_mbps, strict=True):
        run = run + float(seconds) if mbps < 0.02 else 0.0
        longest = max(longest, run)
    return longest


class Browser:
    """One Chromium; every session gets a fresh context (no cache, no storage) and a page.

    Args:
        executable: of the browser; by default the system's Chromium.
        screenshots: folder for a picture of the page in the middle of its episode, or ``None``.
    """

    def __init__(self, executable: str | None = None, screenshots: Any = None) -> None:
        self.executable, self.screenshots = executable or chromium(), screenshots

    async def __aenter__(self) -> Browser:
        from playwright.async_api import Error, async_playwright

        self._playwright = await async_playwright().start()
        try:
            self._browser = await self._playwright.chromium.launch(
                executable_path=self.executable, headless=True, args=list(FLAGS)
            )
        except Error as error:
            await self._playwright.stop()
            raise ConfigError(f"Chromium does not start: {' '.join(str(error).split())[:160]}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._browser.close()
        await self._playwright.stop()

    def pages(self) -> dict[str, Page]:
        """The files of the player's page."""
        return page_files()

    async def play(self, plan: SessionPlan, content_url: str, policy_url: str) -> dict[str, Any]:
        """Play one session; return its record."""
        from playwright.async_api import Error

        outcome: dict[str, Any] = {"segments": [], "record": None, "reason": ""}
        try:
            context = await self._browser.new_context(viewport={"width": 680, "height": 620})
            try:
                page = await context.new_page()
                await page.goto(page_url(content_url, policy_url, plan.spec.name))
                outcome = await self._watch(page, plan)
            finally:
                await context.close()
        except Error as error:  # the page crashed, the browser was killed
            outcome["reason"] = f"browser: {' '.join(str(error).split())[:120]}"
        if outcome["record"]:
            record: dict[str, Any] = json.loads(outcome["record"])
            return record
        measured = [Measured.of(segment) for segment in outcome["segments"]]
        return rescued(plan, measured, outcome["reason"] or "the record was lost")

    async def _watch(self, page: Any, plan: SessionPlan) -> dict[str, Any]:
        """Wait until the page is done; give it up when no segment arrives any more."""
        patience = PATIENCE_S + longest_outage_s(plan)
        count, moved, pictured = -1, 0.0, False
        waited = 0.0
        while True:
            await asyncio.sleep(POLL_S)
            waited += POLL_S
            state = await page.evaluate("({done: outcome.done, count: outcome.segments.length})")
            if state["count"] != count:
                count, moved = state["count"], waited
            if self.screenshots and not pictured and count > plan.condition.video.chunks // 2:
                pictured = True
                await page.screenshot(path=str(self.screenshots / f"{plan.key}.png"))
            if state["done"] or waited - moved > patience:
                outcome: dict[str, Any] = await page.evaluate("outcome")
                if not state["done"]:
                    outcome["reason"] = outcome["reason"] or f"browser: no segment for {patience:.0f} s"
                return outcome
