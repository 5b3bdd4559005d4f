"""Two machines: the servers here, a player there."""

from __future__ import annotations

import asyncio
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
from netllm_gym.testbed.player import play_alone
from netllm_gym.testbed.processes import link_service, policy_service
from netllm_gym.testbed.runner import Setup, prepare, save_results

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
    folder = Path(out)
    with store.alone_in(folder):
        waiting = [plan for plan in game.plans if store.read_record(folder, plan) is None]
        if waiting:
            pages = client_of(client, 1.0, ()).pages()
            content = link_service(game.links(waiting, say), pages, host=host, port=port + 1 if port else 0)
            try:
                policy = policy_service(
                    {plan.key: plan for plan in waiting}, game.copies(waiting, 4), host, port,
                    folder=folder.resolve(), content_port=content.port,
                )  # fmt: skip
                try:
                    content.wait_until_ready()
                    policy.wait_until_ready()
                    say(f"{len(waiting)} sessions wait; on the other machine: netllm-gym testbed play {policy.url}")
                    for plan in waiting if client == "dash.js" else ():
                        page = page_url(f"{content.url}/s/{plan.key}", f"{policy.url}/s/{plan.key}", plan.spec.name)
                        say(f"{plan.condition.name} {plan.spec.label} {plan.trace.name}: open {page}")
                    while not until() and any(store.read_record(folder, plan) is None for plan in waiting):
                        time.sleep(POLL_S)
                finally:
                    policy.stop()
            finally:
                content.stop()
        records = {plan.key: found for plan in game.plans if (found := store.read_record(folder, plan))}
        if missing := len(game.plans) - len(records):
            say(f"{missing} sessions are still to be played; the same command goes on from here")
            return {}
        call = {**game.call, "parallel": 1, "out": str(out)}
        return save_results(game, records, folder, {**call, "call": call, "machine": Machine().describe()})


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
        keys, content_port = [str(key) for key in offer["waiting"]], int(offer["content_port"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"no testbed answers at {server} ({type(error).__name__})") from None
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
