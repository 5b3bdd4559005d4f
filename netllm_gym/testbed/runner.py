"""Play every agent on every episode of every condition in real time; a killed run goes on where it was."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from netllm_gym.errors import ConfigError
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.specs import AgentSpec, agent_specs, code_digest
from netllm_gym.extras import require
from netllm_gym.progress import bar_of
from netllm_gym.testbed import content, kernel, own_rules, store, tools
from netllm_gym.testbed.clients import client_of
from netllm_gym.testbed.link import Clock, LagMeter
from netllm_gym.testbed.machine import Machine
from netllm_gym.testbed.plan import Condition, SessionPlan, load_conditions, plan_sessions
from netllm_gym.testbed.processes import Service, link_service, policy_service
from netllm_gym.testbed.rescue import sent
from netllm_gym.testbed.server import LinkPlan
from netllm_gym.versions import versions

CLIENTS = ("python", "dash.js")
LINKS = ("embedded", "kernel")
BASELINE, FLOOR = "abr/robust-mpc", "abr/constant"
# Players begin one after the other (s), so that their first requests do not fall together.
STAGGER_S = 0.25


@dataclass(frozen=True)
class Setup:
    """How a run is played; part of every episode's key.

    Attributes:
        client: ``python`` or ``dash.js``.
        link: ``embedded`` or ``kernel``.
        speed: see :class:`netllm_gym.testbed.link.Clock`.
    """

    client: str = "python"
    link: str = "embedded"
    speed: float = 1.0

    def check(self) -> None:
        """Refuse what cannot be played.

        Raises:
            ConfigError: an unknown client or link, or a combination that makes no sense.
            MissingExtraError: a module that it needs is missing.
        """
        if self.client not in CLIENTS:
            raise ConfigError(f"client is {' or '.join(CLIENTS)}, got {self.client!r}")
        if self.link not in LINKS:
            raise ConfigError(f"link is {' or '.join(LINKS)}, got {self.link!r}")
        Clock(self.speed)
        if self.speed != 1.0 and (self.client != "python" or self.link != "embedded"):
            raise ConfigError("only the Python client on the embedded link can be faster than real time")
        require("testbed", "the testbed")
        if self.client == "dash.js":
            require("testbed", "dash.js in a browser", "playwright")
            tools.chromium()
        if self.link == "kernel":
            tools.need_kernel()


def describe_agents(agents: Sequence[Any], setup: Setup) -> list[AgentSpec]:
    """Describe the agents, references added.

    Raises:
        ConfigError: an agent that looks into the simulator, or a browser's rule without a browser.
    """
    specs = []
    for given in agents:
        if isinstance(given, str) and own_rules.is_own(given):
            if setup.client != "dash.js":
                raise ConfigError(f"{given} is a rule of the browser's player: add --client dash.js")
            own_rules.parse(given)
            specs.append(AgentSpec(given, given))
        else:
            specs.append(AgentSpec.of(given))
    specs = agent_specs(specs, (BASELINE, FLOOR))
    for spec in specs:
        if not own_rules.is_own(spec.name) and spec.build().privileged:
            raise ConfigError(f"{spec.label} looks into the simulator; nobody can on a real network")
    return specs


@dataclass(frozen=True)
class Game:
    """Everything that is to be played.

    Attributes:
        setup, conditions, specs, plans: how, on what, by whom, and one by one.
        call: the arguments that make it again.
    """

    setup: Setup
    conditions: list[Condition]
    specs: list[AgentSpec]
    plans: list[SessionPlan]
    call: dict[str, Any]

    def links(self, plans: Sequence[SessionPlan], say: Callable[[str], None]) -> dict[str, LinkPlan]:
        """Return what the content server needs of `plans`; content that is missing is encoded."""
        folders = {c.name: content.build(c.video, say=say).folder for c in self.conditions}
        return {
            plan.key: LinkPlan(
                folders[plan.condition.name],
                plan.condition.video,
                plan.trace,
                plan.trace.start_s,
                plan.condition.rtt_s,
            )
            for plan in plans
        }

    @staticmethod
    def copies(plans: Sequence[SessionPlan], parallel: int) -> int:
        """How many of each agent play at the same time, and one to spare."""
        labels = {(plan.spec.label, plan.spec.training_seed) for plan in plans}
        return min(-(-parallel // len(labels)) + 1, parallel)


def prepare(
    agents: Sequence[Any],
    conditions: Sequence[str],
    setup: Setup,
    *,
    traces: int,
    videos: int,
    chunks: int | None,
    profile: str,
    seed: int,
) -> Game:
    """Plan a run; arguments as of :func:`run`.

    Raises:
        UnknownNameError, ConfigError, DownloadError, MissingExtraError: what cannot be played.
    """
    setup.check()
    chosen = load_conditions(conditions, profile, traces, videos, chunks)
    specs = describe_agents(agents, setup)
    how = {**asdict(setup), "versions": versions(), "code": code_digest()}
    call = {
        "agents": [spec.label for spec in specs], "conditions": list(conditions), "traces": traces, "videos": videos,
        "chunks": chunks, "profile": profile, "seed": seed, **asdict(setup),
    }  # fmt: skip
    return Game(setup, chosen, specs, plan_sessions(chosen, specs, seed, how), call)


async def _play_all(
    plans: Sequence[SessionPlan],
    client: Any,
    services: tuple[Service, Service],
    parallel: int,
    keep: Callable[[SessionPlan, dict[str, Any]], None],
) -> dict[str, float]:
    """Play `plans`, `parallel` at a time; return how late this process's own event loop woke up.

    When a server dies, the episodes that are being played end (at the lowest level, or at once) and are kept as failed;
    the others are not begun.

    Raises:
        ConfigError: a server died.
    """
    meter = LagMeter()
    measuring = asyncio.create_task(meter.run())
    gate = asyncio.Semaphore(parallel)
    begun = 0

    async def one(plan: SessionPlan) -> None:
        nonlocal begun
        async with gate:
            if not all(service.alive() for service in services):
                return
            begun += 1
            if begun <= parallel:
                await asyncio.sleep(begun * STAGGER_S)
            content_url, policy_url = (f"{service.url}/s/{plan.key}" for service in services)
            record = await client.play(plan, content_url, policy_url)
            keep(plan, {**record, "sent": await sent(http, content_url)})

    try:
        async with client, httpx.AsyncClient(trust_env=False, verify=False) as http, asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(one(plan))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        measuring.cancel()
    for service in services:
        if not service.alive():
            raise ConfigError(
                f"the {service.name} server died: the episodes that it was serving are kept as failed; "
                "the same command plays the others, --retry-failed those too"
            )
    return meter.summary()


def run(
    agents: Sequence[Any],
    conditions: Sequence[str] = (),
    traces: int = 8,
    videos: int = 1,
    chunks: int | None = None,
    parallel: int = 8,
    client: str = "python",
    link: str = "embedded",
    speed: float = 1.0,
    profile: str = "paper",
    seed: int = 0,
    out: str | Path = "runs/testbed",
    retry_failed: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = True,
) -> dict[str, EvaluationResult]:
    """Play agents on a real player in real time, each on the same episodes as the simulator would give it.

    Args:
        agents: as of :func:`netllm_gym.evaluate`; with ``client="dash.js"`` also its own rules, ``dash.js/throughput``,
            ``dash.js/bola``, ``dash.js/dynamic``, ``dash.js/l2a`` and ``dash.js/lolp``, each with dash.js's buffer
            target or another (``dash.js/bola-60s``). The baseline ``abr/robust-mpc`` and the lowest level
            (``abr/constant``) are added.
        conditions: names of :func:`netllm_gym.testbed.plan.list_conditions`; all by default.
        traces, videos, chunks: per condition, see :func:`netllm_gym.testbed.plan.load_conditions`.
        parallel: sessions at a time, each with a link of its own.
        client: ``python`` or ``dash.js`` (headless Chromium).
        link: ``embedded`` (no privileges) or ``kernel`` (network namespaces and a token bucket; root).
        speed: above 1 everything runs faster than in real time, and the machine's delays weigh that much more.
        profile: ``paper`` (public traces) or ``embedded``.
        seed: of the agents' own draws.
        out: folder for the results. Finished episodes are kept there, and the same command takes them up again.
        retry_failed: play again what has failed.
        say: told what happens.
        progress: show a progress bar on stderr.

    Returns:
        An :class:`EvaluationResult` per condition, as :func:`netllm_gym.evaluate` gives for the simulator.

    Raises:
        UnknownNameError, ConfigError, DownloadError, MissingExtraError: what cannot be played.
    """
    if parallel < 1:
        raise ConfigError(f"parallel must be at least 1, got {parallel}")
    game = prepare(
        agents, conditions, Setup(client, link, speed), traces=traces, videos=videos, chunks=chunks, profile=profile,
        seed=seed,
    )  # fmt: skip
    call = {**game.call, "parallel": parallel, "out": str(out)}
    plans, folder = game.plans, Path(out)
    with store.alone_in(folder):
        records = {plan.key: record for plan in plans if (record := store.read_record(folder, plan))}
        if retry_failed:
            records = {key: record for key, record in records.items() if not record["row"]["failed"]}
        waiting = [plan for plan in plans if plan.key not in records]
        machine = Machine.load(folder / "machine.json")
        if waiting:
            store.record_test_uses(waiting)
            machine.add(_run(waiting, game, parallel, folder, records, say, progress))
            machine.save(folder / "machine.json")
        say(
            machine.verdict(
                [record["sent"] for record in records.values() if record.get("sent")], speed, link == "kernel"
            )
        )
        return save_results(game, records, folder, {**call, "call": call, "machine": machine.describe()})


def save_results(
    game: Game, records: Mapping[str, Any], folder: Path, how: Mapping[str, Any]
) -> dict[str, EvaluationResult]:
    """Write the evaluation result of every condition below `folder`; return them by name."""
    results = {}
    for condition in game.conditions:
        own = [plan for plan in game.plans if plan.condition.name == condition.name]
        result = store.result_of(condition, own, records, game.specs, BASELINE, FLOOR, how)
        result.save(folder / condition.name)
        results[condition.name] = result
    return results


def _run(
    waiting: Sequence[SessionPlan],
    game: Game,
    parallel: int,
    folder: Path,
    records: dict[str, Any],
    say: Callable[[str], None],
    progress: bool,
) -> dict[str, Any]:
    """Play what is waiting; return what the servers say of the machine."""
    setup = game.setup
    links, copies = game.links(waiting, say), game.copies(waiting, parallel)
    say(f"{len(waiting)} episodes to play, {min(parallel, len(waiting))} at a time")
    services: list[Service] = []
    bar = bar_of(progress)
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(kernel.pairs(min(parallel, len(waiting)))) if setup.link == "kernel" else []
        client = client_of(setup.client, setup.speed, made)
        services.append(link_service(links, client.pages(), setup.speed, made=made))
        stack.callback(services[-1].stop)
        services.append(policy_service({plan.key: plan for plan in waiting}, copies, made=made))
        stack.callback(services[-1].stop)
        for service in services:
            service.wait_until_ready()
        with bar:
            task = bar.add_task("testbed", total=len(waiting))

            def keep(plan: SessionPlan, record: dict[str, Any]) -> None:
                store.write_record(folder, plan, record)
                records[plan.key] = record
                bar.update(task, advance=1, description=f"testbed: {plan.condition.name} {plan.spec.label}")

            own = asyncio.run(_play_all(waiting, client, (services[0], services[1]), parallel, keep))
        return {"player": own, **{service.name: lag_of(service) for service in services}}


def lag_of(service: Service) -> dict[str, float]:
    """How late a server's event loop woke up; empty when it does not answer."""
    try:
        lag: dict[str, float] = httpx.get(f"{service.url}/metrics", trust_env=False).json()["lag"]
        return lag
    except (httpx.HTTPError, ValueError, KeyError):
        return {}
