"""dash.js in headless Chromium: our agents and its own rules, in real time on a short video."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.testbed import dashjs, own_rules, policy, runner, server, tools
from netllm_gym.testbed.browser import Browser, page_files, page_url
from netllm_gym.testbed.link import Clock
from netllm_gym.testbed.plan import SessionPlan
from netllm_gym.traces import NetworkTrace, TraceSet
from tests.testbed.conftest import small_condition, small_plans
from tests.testbed.test_remote import Serving

ARGUMENTS = {"conditions": ["broadband"], "profile": "embedded", "traces": 1, "chunks": 3}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where there is no Chromium, or dash.js cannot be fetched."""
    pytest.importorskip("playwright")
    try:
        tools.chromium()
    except ConfigError as error:
        pytest.skip(str(error))
    try:
        dashjs.bring()
    except (ConfigError, DownloadError) as error:
        pytest.skip(f"dash.js cannot be fetched: {error}")


def test_dash_js_plays_agents_and_its_own_rules(browser, ffmpeg, tmp_path: Path) -> None:
    agents = ["dash.js/bola-60s"]
    result = runner.run(agents, client="dash.js", parallel=3, out=tmp_path, progress=False, **ARGUMENTS)["broadband"]
    frame = result.frame.set_index("agent")
    assert not frame["failed"].any(), frame["reason"].tolist()
    assert (frame["steps"] == 2).all()
    assert (frame["dropped_frames"] >= 0).all() and (frame["player_kbps"] > 0).all()
    assert frame.loc[["abr/robust-mpc", "abr/constant"], "latency_p50_ms"].notna().all()
    assert np.isnan(frame.loc["dash.js/bola-60s", "latency_p50_ms"])
    steps = result.steps[result.steps["agent"] == "abr/constant"]
    assert (steps["level"] == 0).all() and steps["chunk"].tolist() == [0, 1, 2]
    assert (steps["delay_s"] >= steps["first_byte_s"]).all() and (steps["asked_s"].diff().dropna() > 0).all()


async def _play_until(plan: SessionPlan, folder: Path, asked: int, act: Callable[..., Any]) -> dict[str, Any]:
    """Play a session in the browser; await ``act(browser, the policy's runner)`` after so many requests."""
    from aiohttp import web

    links = {
        plan.key: server.LinkPlan(folder, plan.condition.video, plan.trace, plan.trace.start_s, plan.condition.rtt_s)
    }
    sessions = server.sessions_of(links, Clock())
    runners, urls = [], []
    for app in (server.application(sessions, page_files()), policy.application({plan.key: plan}, 1)):
        runners.append(web.AppRunner(app, access_log=None, shutdown_timeout=0.1))
        await runners[-1].setup()
        listener = server.bind("127.0.0.1", 0)
        await web.SockSite(runners[-1], listener).start()
        urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}/s/{plan.key}")

    async def watch(browser: Browser) -> None:
        while len(sessions[plan.key].link.log) < asked:
            await asyncio.sleep(0.02)
        await act(browser, runners[1])

    try:
        async with Browser() as browser:
            record, _ = await asyncio.gather(browser.play(plan, urls[0], urls[1]), watch(browser))
            return record
    finally:
        for each in runners:
            await each.cleanup()


def test_dash_js_goes_on_at_the_lowest_level_without_a_policy_server(browser, content_folder: Path) -> None:
    plan = small_plans(small_condition(mbps=3.0), "abr/rate-based")[0]

    async def kill(_: Browser, served: Any) -> None:
        await served.cleanup()

    record = asyncio.run(_play_until(plan, content_folder, 3, kill))
    assert record["row"]["failed"] and record["row"]["reason"].startswith("policy server: ")
    levels = [segment["level"] for segment in record["segments"]]
    assert len(levels) == 5 and levels[-1] == 0


def test_a_browser_that_is_killed_is_recorded(browser, content_folder: Path) -> None:
    plan = small_plans(small_condition(mbps=0.5), "abr/constant")[0]

    async def kill(playing: Browser, _: Any) -> None:
        await playing._browser.close()

    record = asyncio.run(_play_until(plan, content_folder, 2, kill))
    assert record["row"]["failed"] and record["row"]["reason"].startswith("browser: ")


@pytest.mark.slow
def test_dash_js_waits_through_an_outage_of_thirty_seconds(browser, content_folder: Path) -> None:
    trace = NetworkTrace("outage", [2.0, 30.0, 60.0], [0.4, 0.0, 2.0], "recording")
    condition = replace(small_condition(), traces=TraceSet("small", "test", (trace,)))

    async def nothing(*_: object) -> None:
        return None

    plan = small_plans(condition, "abr/constant")[0]
    record = asyncio.run(_play_until(plan, content_folder, 1, nothing))
    assert not record["row"]["failed"], record["row"]["reason"]
    assert max(segment["delay_s"] for segment in record["segments"]) > 25.0


def test_a_browser_elsewhere_plays_the_address_that_was_printed(browser, ffmpeg, tmp_path: Path) -> None:
    async def open_all(pages: list[str]) -> None:
        async with Browser() as playing:
            for address in pages:
                page = await playing._browser.new_page()
                await page.goto(address)
                await page.wait_for_function("outcome.done", timeout=100_000)
                await page.close()

    with Serving(tmp_path / "run", client="dash.js") as serving:
        serving.line("open each in a browser")
        pages = [serving.line("/page/player.html").rsplit(" ", 1)[1] for _ in range(2)]
        asyncio.run(open_all(pages))
        frame = serving.wait()["broadband"].frame
    assert not frame["failed"].any() and len(frame) == 2


def test_names_of_rules() -> None:
    assert own_rules.parse("dash.js/bola") == ("bola", None)
    assert own_rules.parse("dash.js/l2a-60s") == ("l2a", 60)
    for name in ("dash.js/bola-", "dash.js/bola-60", "dash.js/bola-2s", "dash.js/", "dash.js/bola-60s-60s"):
        with pytest.raises(ConfigError):
            own_rules.parse(name)
    assert "rule=bola&buffer=60" in page_url("http://a/s/k", "http://b/s/k", "dash.js/bola-60s")
    assert page_url("http://a/s/k", "http://b/s/k", "abr/bba").endswith("rule=policy")


def test_an_unknown_rule_is_refused(browser, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no rule 'festive'"):
        runner.run(["dash.js/festive"], client="dash.js", out=tmp_path, progress=False, **ARGUMENTS)


def test_another_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match="not the pinned package"):
        dashjs.extract(b"something else")
    data = b"no archive"
    monkeypatch.setattr(dashjs, "INTEGRITY", "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode())
    with pytest.raises(DownloadError):
        dashjs.extract(data)
