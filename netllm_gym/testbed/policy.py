"""The policy server: a player's measurements in, the agent's level out, under real time.

Below ``/s/KEY/``: ``begin`` (the agent is reset; answers with what a player must know), ``decide`` (a measurement of
the last segment, the number of the next; answers with its level), ``finish`` (answers with the evaluation's row). All
are POST with JSON. Agents are built before anybody plays; each session has one to itself. Decisions are made one at a
time in one thread, so that a slow one delays its own request, and the whole wait is what the player measures.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
from aiohttp import web

from netllm_gym.agents.base import Agent
from netllm_gym.errors import ConfigError, NetLLMGymError
from netllm_gym.evaluation.specs import AgentSpec
from netllm_gym.play import Play
from netllm_gym.testbed import own_rules
from netllm_gym.testbed.link import LagMeter
from netllm_gym.testbed.plan import SessionPlan
from netllm_gym.testbed.server import LAG, OPEN_TO_PAGES
from netllm_gym.testbed.session import Measured, Session
from netllm_gym.testbed.store import write_record

# A session whose player has not been heard of for so long (s of the wall) is offered again: the player was killed.
SILENT_S = 180.0


class Pool:
    """Agents that are not playing, by label and training seed."""

    def __init__(self) -> None:
        self._free: dict[tuple[str, int], list[Agent]] = {}

    def take(self, spec: AgentSpec) -> Agent:
        """Return one that is free, or a new one."""
        free = self._free.setdefault((spec.label, spec.training_seed), [])
        return free.pop() if free else spec.build()

    def give(self, spec: AgentSpec, agent: Agent) -> None:
        """Take back one that has played."""
        self._free.setdefault((spec.label, spec.training_seed), []).append(agent)

    def stock(self, specs: Sequence[AgentSpec], each: int, env: gym.Env) -> None:
        """Build `each` of every spec ahead of time and let it play a few chunks of `env`.

        The first decisions of an agent may compile its code or load its libraries.
        """
        for spec in specs:
            if own_rules.is_own(spec.name):
                continue
            built = [self.take(spec) for _ in range(each)]
            for agent in built:
                _rehearse(agent, env)
                self.give(spec, agent)


def _rehearse(agent: Agent, env: gym.Env, steps: int = 10) -> None:
    # An agent that cannot play here fails in its episodes, where it is recorded.
    for step in Play(env, agent, seed=0, record_errors=True):
        if step.index + 1 == steps:
            break


@dataclass
class Desk:
    """Everything the policy server knows.

    Attributes:
        plans: the sessions by key.
        folder: where finished sessions are kept; ``None`` when the client's owner keeps them.
        content_port: of the content server on the same machine.
        client: which player is meant to come.
    """

    plans: dict[str, SessionPlan]
    folder: Path | None = None
    content_port: int = 0
    client: str = ""
    heard: dict[str, float] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    pool: Pool = field(default_factory=Pool)
    sessions: dict[str, Session] = field(default_factory=dict)
    envs: dict[str, Any] = field(default_factory=dict)
    # One thread decides; another builds and resets agents, which may take seconds.
    deciding: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "decide"))
    building: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "build"))

    def open(self, key: str) -> dict[str, Any]:
        """Begin the session `key`, anew if it was begun before."""
        plan = self.plans[key]
        self.close(key)
        name = plan.condition.name
        if name not in self.envs:
            self.envs[name] = plan.condition.recipe().make().unwrapped
        agent = None if own_rules.is_own(plan.spec.name) else self.pool.take(plan.spec)
        session = Session(plan, self.envs[name], agent)
        facts = session.begin()
        self.sessions[key] = session
        return facts

    def close(self, key: str) -> Session | None:
        """End the session `key` and free its agent."""
        session = self.sessions.pop(key, None)
        if session is not None and session.agent is not None:
            self.pool.give(session.plan.spec, session.agent)
        return session


DESK: web.AppKey[Desk] = web.AppKey("desk", Desk)


def record(session: Session) -> dict[str, Any]:
    """Return a session as it is stored: the evaluation's row and the segments."""
    return {"key": session.plan.key, "row": session.row(), "segments": session.segments()}


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise ConfigError("the request is not JSON") from None
    if not isinstance(body, dict):
        raise ConfigError("the request is not a JSON object")
    return body


async def _begin(request: web.Request) -> web.Response:
    desk, key = request.app[DESK], request.match_info["key"]
    if key not in desk.plans:
        raise web.HTTPNotFound(text="no such session", headers=OPEN_TO_PAGES)
    desk.heard[key] = time.monotonic()
    loop = asyncio.get_running_loop()
    return web.json_response(await loop.run_in_executor(desk.building, desk.open, key))


def _open_session(request: web.Request) -> Session:
    desk, key = request.app[DESK], request.match_info["key"]
    desk.heard[key] = time.monotonic()
    session = desk.sessions.get(key)
    if session is None:
        raise web.HTTPNotFound(text="the session has not begun", headers=OPEN_TO_PAGES)
    return session


async def _decide(request: web.Request) -> web.Response:
    session, body = _open_session(request), await _body(request)
    if body.get("last") is not None:
        session.arrived(Measured.of(body["last"]))
    if session.agent is None:
        return web.json_response({"level": None})
    chunk, buffer_s = body.get("chunk"), body.get("buffer_s")
    if not isinstance(chunk, int) or not isinstance(buffer_s, int | float) or not 0 <= buffer_s < 1e6:
        raise ConfigError("decide needs 'chunk' and 'buffer_s'")
    loop = asyncio.get_running_loop()
    try:
        level = await loop.run_in_executor(request.app[DESK].deciding, session.decide, chunk, float(buffer_s))
    except ConfigError:
        raise
    except ValueError as error:
        return web.json_response({"reason": str(error)}, status=500)
    return web.json_response({"level": level})


def _untold(session: Session, body: dict[str, Any]) -> list[Any]:
    """What a player's last message says of segments: the last one, or, after a failure, all of them."""
    if "segments" not in body:
        return [body["last"]] if body.get("last") is not None else []
    segments = body["segments"]
    if not isinstance(segments, list):
        raise ConfigError("'segments' is a list of measurements")
    return segments[len(session.measured) :]


async def _finish(request: web.Request) -> web.Response:
    session, body = _open_session(request), await _body(request)
    for entry in _untold(session, body):
        session.arrived(Measured.of(entry))
    if reason := body.get("reason"):
        session.fail(" ".join(str(reason).split())[:160])
    extra = body.get("extra") or {}
    if not isinstance(extra, dict) or not all(isinstance(v, int | float) for v in extra.values()):
        raise ConfigError("'extra' holds numbers by name")
    session.extra.update({str(name): float(value) for name, value in extra.items()})
    desk = request.app[DESK]
    desk.close(request.match_info["key"])
    finished = record(session)
    if desk.folder is not None:
        write_record(desk.folder, session.plan, finished)
    desk.finished.add(session.plan.key)
    return web.json_response(finished)


async def _sessions(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    now = time.monotonic()
    playing = [key for key in desk.sessions if now - desk.heard.get(key, now) < SILENT_S]
    waiting = [key for key in desk.plans if key not in desk.finished and key not in playing]
    return web.json_response(
        {"waiting": waiting, "playing": playing, "content_port": desk.content_port, "client": desk.client}
    )


async def _metrics(request: web.Request) -> web.Response:
    return web.json_response({"lag": request.app[LAG].summary(), "pid": os.getpid()})


@web.middleware
async def _plain_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer a caller's mistake with its one line; open every answer to the player's page."""
    try:
        response: web.StreamResponse = await handler(request)
    except NetLLMGymError as error:
        response = web.json_response({"reason": str(error)}, status=400)
    response.headers.update(OPEN_TO_PAGES)
    return response


async def _measure_lag(app: web.Application) -> Any:
    task = asyncio.create_task(app[LAG].run())
    yield
    task.cancel()


def application(
    plans: dict[str, SessionPlan],
    copies: int,
    folder: Path | None = None,
    content_port: int = 0,
    client: str = "python",
) -> web.Application:
    """Return the policy server of `plans`, with `copies` of every agent built.

    Args:
        plans: the sessions by key.
        copies: agents of each kind that are built ahead.
        folder, content_port, client: see :class:`Desk`.
    """
    desk = Desk(plans, folder, content_port, client)
    specs = {(plan.spec.label, plan.spec.training_seed): plan.spec for plan in plans.values()}
    if plans:
        desk.pool.stock(list(specs.values()), copies, next(iter(plans.values())).condition.recipe().make())
    app = web.Application(middlewares=[_plain_errors], client_max_size=2**20)
    app[DESK], app[LAG] = desk, LagMeter()
    app.cleanup_ctx.append(_measure_lag)
    app.add_routes(
        [
            web.post(r"/s/{key:[0-9a-z-]+}/begin", _begin),
            web.post(r"/s/{key:[0-9a-z-]+}/decide", _decide),
            web.post(r"/s/{key:[0-9a-z-]+}/finish", _finish),
            web.get("/sessions", _sessions),
            web.get("/metrics", _metrics),
        ]
    )
    return app
