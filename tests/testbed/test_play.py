"""Servers and the headless player, in one process, thirty times faster than in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from aiohttp import web

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import evaluate
from netllm_gym.evaluation.specs import AgentSpec
from netllm_gym.testbed import policy, server
from netllm_gym.testbed.link import Clock
from netllm_gym.testbed.plan import SessionPlan, plan_sessions
from netllm_gym.testbed.player import Playback, play_alone
from netllm_gym.testbed.rescue import rescued
from netllm_gym.testbed.session import Measured, Session
from tests.testbed.conftest import small_condition, small_plans

SPEED = 30.0


class Recorder(Agent):
    """Plays the level after the last, and keeps what it saw."""

    seen: list[dict[str, Any]]

    def reset(self, env_info: EnvInfo) -> None:
        self.space = env_info.observation_space
        self.seen = []

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        assert self.space.contains(observation)
        self.seen.append(observation)
        return (int(observation["last_quality"]) + 1) % 3


class Wrong(Agent):
    """Answers a level that does not exist, at its third decision."""

    def reset(self, env_info: EnvInfo) -> None:
        self.count = 0

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        self.count += 1
        return 7 if self.count == 3 else 2


async def _with_servers(
    plans: list[SessionPlan], folder: Path, act: Callable[[str, str, web.AppRunner], Awaitable[Any]]
) -> Any:
    """Call ``act(content URL, policy URL, the policy's runner)`` while both servers run."""
    links = {
        plan.key: server.LinkPlan(folder, plan.condition.video, plan.trace, plan.trace.start_s, plan.condition.rtt_s)
        for plan in plans
    }
    apps = [
        server.application(server.sessions_of(links, Clock(SPEED))),
        policy.application({p.key: p for p in plans}, 1),
    ]
    runners, urls = [], []
    for app in apps:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listener = server.bind("127.0.0.1", 0)
        await web.SockSite(runner, listener).start()
        runners.append(runner)
        urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        return await act(urls[0], urls[1], runners[1])
    finally:
        for runner in runners:
            await runner.cleanup()


def test_an_agent_decides_over_http_as_in_the_simulator(content_folder: Path) -> None:
    condition, agent = small_condition(), Recorder()
    plan = plan_sessions([condition], [AgentSpec("recorder", "Recorder", instance=agent)], 0, {})[0]

    async def act(content: str, decisions: str, _: object) -> Any:
        return await play_alone(f"{content}/s/{plan.key}", f"{decisions}/s/{plan.key}", SPEED)

    outcome = asyncio.run(_with_servers([plan], content_folder, act))
    assert outcome.reason == "" and len(outcome.measured) == condition.video.chunks
    assert [seen.level for seen in outcome.measured] == [0, 1, 2, 0, 1]
    for seen in outcome.measured:
        assert seen.size == condition.video.chunk_bytes[seen.chunk, seen.level]
        assert seen.delay_s >= seen.first_byte_s >= condition.rtt_s
    row = outcome.record["row"]
    assert not row["failed"] and row["steps"] == condition.video.chunks - 1
    assert row["qoe"] == row["mean_reward"] == pytest.approx(row["return"] / row["steps"])
    # What the agent saw is what the player measured.
    first, last = agent.seen[0], agent.seen[-1]
    assert first["download_time_s"][-1] == pytest.approx(outcome.measured[0].delay_s, rel=1e-6)
    assert (first["download_time_s"][:-1] == 0).all() and int(last["chunks_left"][0]) == 1
    assert last["next_chunk_bytes"].tolist() == condition.video.chunk_bytes[-1].tolist()


def test_the_row_has_the_columns_of_an_evaluation(content_folder: Path) -> None:
    condition = small_condition()
    plan = small_plans(condition, "abr/bba")[0]
    simulated = evaluate(agents=["abr/bba"], setting=condition.kwargs, progress=False).frame
    row = rescued(plan, [], "nobody played")["row"]
    assert list(row)[: len(simulated.columns)] == list(simulated.columns)


def test_an_illegal_action_fails_the_episode_and_playback_goes_on(content_folder: Path) -> None:
    plan = plan_sessions([small_condition()], [AgentSpec("wrong", "Wrong", instance=Wrong())], 0, {})[0]

    async def act(content: str, decisions: str, _: object) -> Any:
        return await play_alone(f"{content}/s/{plan.key}", f"{decisions}/s/{plan.key}", SPEED)

    outcome = asyncio.run(_with_servers([plan], content_folder, act))
    assert [seen.level for seen in outcome.measured] == [0, 2, 2, 0, 0]
    assert "illegal action 7" in outcome.reason
    told = outcome.record or rescued(plan, outcome.measured, outcome.reason)
    assert told["row"]["failed"] and np.isnan(told["row"]["qoe"]) and "illegal" in told["row"]["reason"]


def test_a_policy_server_that_dies_leaves_the_lowest_level(content_folder: Path) -> None:
    plan = small_plans(small_condition(), "abr/constant")[0]

    async def act(content: str, decisions: str, runner: web.AppRunner) -> Any:
        async def kill() -> None:
            async with httpx.AsyncClient(trust_env=False) as http:
                while len((await http.get(f"{content}/s/{plan.key}/log")).json()) < 2:
                    await asyncio.sleep(0.01)
            await runner.cleanup()

        played, _ = await asyncio.gather(
            play_alone(f"{content}/s/{plan.key}", f"{decisions}/s/{plan.key}", SPEED), kill()
        )
        return played

    outcome = asyncio.run(_with_servers([plan], content_folder, act))
    assert outcome.record is None and outcome.reason.startswith("policy server")
    assert len(outcome.measured) == 5 and {seen.level for seen in outcome.measured[2:]} == {0}
    row = rescued(plan, outcome.measured, outcome.reason)["row"]
    assert row["failed"] and row["reason"].startswith("policy server") and row["steps"] == 4


def test_nothing_outside_the_content_is_ever_served(content_folder: Path) -> None:
    plan = small_plans(small_condition(), "abr/constant")[0]
    paths = (
        "/s/{}/../../etc/passwd", "/s/{}/%2e%2e/%2e%2e/etc/passwd", "/s/{}/0/../../content.json", "/s/{}/content.json",
        "/s/{}/0/1.m4s/..%2f..%2fetc", "/s/{}/9/1.m4s", "/s/{}/0/0.m4s", "/s/{}/0/6.m4s", "/s/{}/-1/1.m4s",
        "/s/{}/0/99999999999.m4s", "/s/other/0/1.m4s", "/page/..%2fplayer.py", "/page/player.html", "/etc/passwd", "/",
    )  # fmt: skip

    async def act(content: str, decisions: str, _: object) -> list[int]:
        codes = []
        for path in paths:
            # Raw: an HTTP library would tidy the dots away.
            host, port = content.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            request = f"GET {path.format(plan.key)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            codes.append(int((await reader.readline()).split()[1]))
            writer.close()
        return codes

    assert set(asyncio.run(_with_servers([plan], content_folder, act))) <= {400, 404}


def test_a_client_that_goes_away_harms_nobody(content_folder: Path) -> None:
    plans = small_plans(small_condition(mbps=0.2), "abr/constant")[:2]

    async def act(content: str, decisions: str, _: object) -> Any:
        host, port = content.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /s/{plans[0].key}/2/1.m4s HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readline()
        writer.transport.abort()
        outcome = await play_alone(f"{content}/s/{plans[1].key}", f"{decisions}/s/{plans[1].key}", SPEED)
        async with httpx.AsyncClient(trust_env=False) as http:
            log = (await http.get(f"{content}/s/{plans[0].key}/log")).json()
        return outcome, log

    outcome, log = asyncio.run(_with_servers(plans, content_folder, act))
    assert not outcome.record["row"]["failed"]
    assert [entry["whole"] for entry in log] == [False]


def test_what_a_player_sends_is_checked(content_folder: Path) -> None:
    plan = small_plans(small_condition(), "abr/constant")[0]
    good = {
        "chunk": 0, "level": 0, "size": 1.0, "asked_s": 0.0, "delay_s": 1.0, "first_byte_s": 0.5, "decision_s": 0.0,
        "stall_s": 0.0, "startup_s": 1.0, "sleep_s": 0.0, "buffer_s": 4.0, "wall_s": 1.0,
    }  # fmt: skip
    bad: list[Any] = [
        None, [], "x", {}, {**good, "delay_s": 0.0}, {**good, "delay_s": -1.0}, {**good, "stall_s": float("nan")},
        {**good, "size": "1"}, {**good, "chunk": True}, {**good, "wall_s": 1e9}, {**good, "level": 1e300},
    ]  # fmt: skip
    for told in bad:
        with pytest.raises(ConfigError):
            Measured.of(told)
    env: Any = plan.condition.recipe().make().unwrapped
    session = Session(plan, env, None)
    session.begin()
    for told in ({**good, "chunk": 1}, {**good, "level": 3}):
        with pytest.raises(ConfigError, match="not the next"):
            session.arrived(Measured.of(told))
    session.arrived(Measured.of(good))

    async def act(content: str, decisions: str, _: object) -> list[int]:
        async with httpx.AsyncClient(trust_env=False) as http:
            root = f"{decisions}/s/{plan.key}"
            answers = [
                await http.post(f"{root}/decide", json={"chunk": 1, "buffer_s": 4.0}),  # not begun
                await http.post(f"{decisions}/s/nobody/begin"),
                await http.post(f"{root}/begin"),
                await http.post(f"{root}/decide", content=b"{"),
                await http.post(f"{root}/decide", json=[1]),
                await http.post(f"{root}/decide", json={"chunk": 0}),
                await http.post(f"{root}/decide", json={"chunk": 5, "buffer_s": 4.0}),
                await http.post(f"{root}/decide", json={"chunk": 1, "buffer_s": 4.0, "last": good}),
            ]
        return [answer.status_code for answer in answers]

    codes = asyncio.run(_with_servers([plan], content_folder, act))
    assert codes == [404, 404, 200, 400, 400, 400, 400, 200]


def test_playback_keeps_its_books() -> None:
    playback = Playback(0.0)
    playback.advance(3.0)
    assert (playback.buffer_s, playback.take_stall()) == (0.0, 0.0)  # start-up is no stall
    playback.playing, playback.buffer_s = True, 4.0
    playback.advance(5.0)
    assert (playback.buffer_s, playback.take_stall()) == (2.0, 0.0)
    playback.advance(9.5)
    assert (playback.buffer_s, playback.take_stall(), playback.take_stall()) == (0.0, 2.5, 0.0)


def test_a_port_that_is_taken_is_one_line() -> None:
    first = server.bind("127.0.0.1", 0)
    try:
        with pytest.raises(ConfigError, match="choose another --port"):
            server.bind("127.0.0.1", first.getsockname()[1])
    finally:
        first.close()
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.9"):
        server.bind("203.0.113.9", 0)
