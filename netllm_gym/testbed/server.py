"""The content server behind the link: HTTP whose responses leave as fast as the network trace lets them.

Addresses, all below ``/s/KEY/``, one session each: ``manifest.mpd``, ``LEVEL/init.mp4``, ``LEVEL/NUMBER.m4s`` (numbers
from 1), ``log`` (what was sent, as JSON). Only segments pass the link; manifest and initialisation do not, as no
simulator has them. Levels and numbers are integers looked up in memory: no part of an address ever names a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from netllm_gym.testbed import kernel
from netllm_gym.testbed.content import Content
from netllm_gym.testbed.link import Clock, LagMeter, Link, Sent, pacing_errors
from netllm_gym.testbed.listening import bind as bind

OPEN_TO_PAGES = {
    "Access-Control-Allow-Origin": "*",
    "Timing-Allow-Origin": "*",
    "Cache-Control": "no-store",
}


@dataclass
class Served:
    """One session of the content server."""

    content: Content
    link: Link


@dataclass(frozen=True)
class Page:
    """A file of the browser's player: its bytes and type."""

    data: bytes
    kind: str


def _session(request: web.Request) -> Served:
    served: Served | None = request.app[SESSIONS].get(request.match_info["key"])
    if served is None:
        raise web.HTTPNotFound(text="no such session", headers=OPEN_TO_PAGES)
    return served


def _number(request: web.Request, name: str, below: int, first: int = 0) -> int:
    number = int(request.match_info[name]) - first
    if not 0 <= number < below:
        raise web.HTTPNotFound(text="no such segment", headers=OPEN_TO_PAGES)
    return number


async def _manifest(request: web.Request) -> web.Response:
    text = _session(request).content.mpd()
    return web.Response(text=text, content_type="application/dash+xml", headers=OPEN_TO_PAGES)


async def _initialisation(request: web.Request) -> web.Response:
    content = _session(request).content
    level = _number(request, "level", content.video.levels)
    return web.Response(body=content.initialisation(level), content_type="video/mp4", headers=OPEN_TO_PAGES)


async def _segment(request: web.Request) -> web.StreamResponse:
    served = _session(request)
    video, link = served.content.video, served.link
    level = _number(request, "level", video.levels)
    chunk = _number(request, "number", video.chunks, first=1)
    sent = Sent(level, chunk, link.since_start())
    link.log.append(sent)
    slots, address = request.app.get(SLOTS), _local_address(request)
    shaped = slots is not None and address in slots.shapers
    if slots is not None and shaped:
        slots.follow(address, link)
    body = memoryview(served.content.segment(level, chunk))
    await link.arrive(sent)
    response = web.StreamResponse(headers={**OPEN_TO_PAGES, "Content-Length": str(len(body))})
    response.content_type = "video/mp4"

    async def write(begin: int, end: int) -> None:
        await response.write(body[begin:end])

    # A player that gives a download up (abandonment, a closed page) closes its connection: nothing is wrong.
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        if shaped:
            await kernel.hand_over(link, sent, len(body), write, lambda: _unsent(request))
        else:
            await link.pace(sent, len(body), write)
        await response.write_eof()
    return response


def _local_address(request: web.Request) -> str:
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return str(name[0]) if name else ""


def _unsent(request: web.Request) -> int:
    """Bytes of a connection that the client has not acknowledged."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    waiting = struct.unpack("i", fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"1234"))[0]
    return int(waiting) + int(transport.get_write_buffer_size())


async def _log(request: web.Request) -> web.Response:
    return web.json_response([asdict(entry) for entry in _session(request).link.log], headers=OPEN_TO_PAGES)


async def _page(request: web.Request) -> web.Response:
    page: Page | None = request.app[PAGES].get(request.match_info["name"])
    if page is None:
        raise web.HTTPNotFound(text="no such page", headers=OPEN_TO_PAGES)
    return web.Response(body=page.data, content_type=page.kind, headers=OPEN_TO_PAGES)


async def _metrics(request: web.Request) -> web.Response:
    errors = [error for served in request.app[SESSIONS].values() for error in pacing_errors(served.link.log)]
    return web.json_response({"lag": request.app[LAG].summary(), "pacing_error_s": errors}, headers=OPEN_TO_PAGES)


SESSIONS: web.AppKey[dict[str, Served]] = web.AppKey("sessions", dict)
PAGES: web.AppKey[dict[str, Page]] = web.AppKey("pages", dict)
LAG: web.AppKey[LagMeter] = web.AppKey("lag", LagMeter)
SLOTS: web.AppKey[kernel.Slots] = web.AppKey("slots", kernel.Slots)


async def _measure_lag(app: web.Application) -> Any:
    task = asyncio.create_task(app[LAG].run())
    yield
    task.cancel()
    if slots := app.get(SLOTS):
        slots.close()


def application(
    sessions: dict[str, Served], pages: Mapping[str, Page] | None = None, slots: kernel.Slots | None = None
) -> web.Application:
    """Return the content server of `sessions` (by key).

    Args:
        sessions: what is served.
        pages: of the browser's player, by name.
        slots: the kernel's links; what comes in over one of them is left to it.
    """
    app = web.Application(client_max_size=2**16)
    if slots is not None:
        app[SLOTS] = slots
    app[SESSIONS], app[PAGES], app[LAG] = sessions, dict(pages or {}), LagMeter()
    app.cleanup_ctx.append(_measure_lag)
    app.add_routes(
        [
            web.get(r"/s/{key:[0-9a-z-]+}/manifest.mpd", _manifest),
            web.get(r"/s/{key:[0-9a-z-]+}/{level:\d{1,4}}/init.mp4", _initialisation),
            web.get(r"/s/{key:[0-9a-z-]+}/{level:\d{1,4}}/{number:\d{1,7}}.m4s", _segment),
            web.get(r"/s/{key:[0-9a-z-]+}/log", _log),
            web.get(r"/page/{name:[a-z.-]+}", _page),
            web.get("/metrics", _metrics),
        ]
    )
    return app


@dataclass(frozen=True)
class LinkPlan:
    """What the content server needs to know of a session; travels to its process.

    Attributes:
        folder: of the content.
        video, trace, start_s, rtt_s: what is streamed over what.
    """

    folder: Path
    video: Any
    trace: Any
    start_s: float
    rtt_s: float


def sessions_of(plans: Mapping[str, LinkPlan], clock: Clock) -> dict[str, Served]:
    """Open the contents of `plans`, each once, and give every session a link of its own."""
    from netllm_gym.testbed.content import load

    contents: dict[Path, Content] = {}
    served = {}
    for key, plan in plans.items():
        if plan.folder not in contents:
            contents[plan.folder] = load(plan.folder, plan.video)
        served[key] = Served(contents[plan.folder], Link(plan.trace, plan.start_s, plan.rtt_s, clock))
    return served
