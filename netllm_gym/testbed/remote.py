"""Two machines: the servers here, a player there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from netllm_gym.errors import ConfigError
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.testbed import store
from netllm_gym.testbed.browser import page_url
from netllm_gym.testbed.clients import client_of
from netllm_gym.testbed.machine import Machine
from netllm_gym.testbed.plan import SessionPlan
from netllm_gym.testbed.player import play_alone
from netllm_gym.testbed.processes import link_service, policy_service
from netllm_gym.testbed.runner import Game, Setup, lag_of, prepare, save_results

POLL_S = 1.0


def serve(
    agents: Sequence[Any],
    conditions: Sequence[str] = (),
    traces: int = 8,
    videos: int = 1,
    chunks: int | None = None,
    client: str = "python",
    profile: str = "paper",
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 8090,
    out: str | Path = "runs/testbed",
    say: Callable[[str], None] = lambda line: None,
    until: Callable[[], bool] = lambda: False,
) -> dict[str, EvaluationResult]:
    """Offer sessions to players elsewhere until all have been played; the same command goes on where it was.

    The policy server listens on `port`, the content server on the next one. Whoever reaches them can play: bind to an
    address of a network you trust.

    Args:
        agents, conditions, traces, videos, chunks, profile, seed, out: as of :func:`netllm_gym.testbed.run`.
        client: which player is meant to come; part of what identifies an episode.
        host, port: where the servers listen.
        say: told the addresses.
        until: asked every second; true ends the wait.

    Returns:
        The results, by condition; empty when sessions are still open.

    Raises:
        ConfigError: see :func:`netllm_gym.testbed.run`; or an address that is taken.
    """
    game = prepare(
        agents, conditions, Setup(client), traces=traces, videos=videos, chunks=chunks, profile=profile, seed=seed
    )
    folder, machine = Path(out), Machine()
    with store.alone_in(folder):
        waiting = [plan for plan in game.plans if store.read_record(folder, plan) is None]
        if waiting:
            store.record_test_uses(waiting)
            _offer(waiting, game, folder, machine, (host, port), say, until)
        records = {plan.key: record for plan in game.plans if (record := store.read_record(folder, plan))}
        if missing := len(game.plans) - len(records):
            say(f"{missing} sessions are still to be played; the same command goes on from here")
            return {}
        call = {**game.call, "parallel": 1, "out": str(out)}
        return save_results(game, records, folder, {**call, "call": call, "machine": machine.describe()})


def _offer(
    waiting: Sequence[SessionPlan],
    game: Game,
    folder: Path,
    machine: Machine,
    address: tuple[str, int],
    say: Callable[[str], None],
    until: Callable[[], bool],
) -> None:
    """Serve `waiting` until all are played; what the servers say of the machine goes into `machine`."""
    (host, port), client = address, game.setup.client
    with contextlib.ExitStack() as stack:
        pages = client_of(client, 1.0, ()).pages()
        content = link_service(game.links(waiting, say), pages, host=host, port=port + 1 if port else 0)
        stack.callback(content.stop)
        policy = policy_service(
            {plan.key: plan for plan in waiting}, game.copies(waiting, 4), host, port, folder=folder.resolve(),
            content_port=content.port, client=client,
        )  # fmt: skip
        stack.callback(policy.stop)
        for service in (content, policy):
            service.wait_until_ready()
        roots = [f"http://{_name(host)}:{service.port}" for service in (content, policy)]
        if client == "dash.js":
            say(f"{len(waiting)} sessions wait; on the other machine open each in a browser:")
            for plan in waiting:
                page = page_url(f"{roots[0]}/s/{plan.key}", f"{roots[1]}/s/{plan.key}", plan.spec.name)
                say(f"{plan.condition.name} {plan.spec.label} {plan.trace.name}: {page}")
        else:
            say(f"{len(waiting)} sessions wait; on the other machine: netllm-gym testbed play {roots[1]}")
        while not until() and any(store.read_record(folder, plan) is None for plan in waiting):
            for service in (content, policy):
                if not service.alive():
                    raise ConfigError(f"the {service.name} server died; the same command goes on from here")
            time.sleep(POLL_S)
        machine.add({service.name: lag_of(service) for service in (content, policy)})
        with httpx.Client(trust_env=False) as http:
            logs = [http.get(f"{content.url}/s/{plan.key}/log").json() for plan in waiting]
        say(machine.verdict([log for log in logs if log]))


def _name(host: str) -> str:
    """How others call this machine when it listens on `host`."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def play_there(server: str, parallel: int = 1, say: Callable[[str], None] = lambda line: None) -> int:
    """Play what a server's policy server offers, with the headless player; return how many sessions were played.

    Args:
        server: address that ``netllm-gym testbed serve`` printed.
        parallel: sessions at a time.
        say: told of each.

    Raises:
        ConfigError: no such server.
    """
    parts = urlsplit(server)
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"a server's address looks like http://192.0.2.1:8090, got {server!r}")
    root = server.rstrip("/")
    try:
        offer = httpx.get(f"{root}/sessions", trust_env=False, timeout=10.0).json()
        keys, content_port, client = [str(key) for key in offer["waiting"]], int(offer["content_port"]), offer["client"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"no testbed answers at {server} ({type(error).__name__})") from None
    if client != "python":
        raise ConfigError(f"{server} waits for {client}: open the addresses that it printed in a browser")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(parallel)

        async def one(key: str) -> None:
            async with gate:
                outcome = await play_alone(f"http://{host}:{content_port}/s/{key}", f"{root}/s/{key}")
                row = (outcome.record or {}).get("row", {})
                say(f"{row.get('agent', key)}: {outcome.reason or row.get('qoe')}")

        await asyncio.gather(*(one(key) for key in keys))

    try:
        asyncio.run(all_of_them())
    except httpx.HTTPError as error:
        raise ConfigError(f"the content server at {host}:{content_port} is gone ({type(error).__name__})") from None
    return len(keys)
