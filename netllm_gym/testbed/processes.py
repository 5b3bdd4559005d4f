"""The two servers in processes of their own, which end when their parent ends, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from netllm_gym.errors import ConfigError, NetLLMGymError
from netllm_gym.testbed import kernel, server
from netllm_gym.testbed.link import Clock

if TYPE_CHECKING:
    from netllm_gym.testbed.plan import SessionPlan

START_TIMEOUT_S = 600.0


# Where else a server listens: (namespace, host, port).
Inside = Sequence[tuple[str, str, int]]


def _link_app(
    plans: Mapping[str, server.LinkPlan],
    pages: Mapping[str, server.Page],
    speed: float,
    made: Sequence[kernel.Pair],
) -> web.Application:
    clock = Clock(speed)
    slots = kernel.Slots(made, clock) if made else None
    return server.application(server.sessions_of(plans, clock), pages, slots)


async def _serve(app: web.Application, listeners: Sequence[socket.socket], pipe: Connection) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    for listener in listeners:
        await web.SockSite(runner, listener).start()
    pipe.send(None)
    with contextlib.suppress(EOFError):  # the parent has closed its end, or is gone
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    await runner.cleanup()


def _main(
    pipe: Connection,
    make: Callable[..., web.Application],
    arguments: tuple[Any, ...],
    host: str,
    port: int,
    inside: Inside,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    try:
        listeners = [server.bind(host, port), *(kernel.listen_inside(*place) for place in inside)]
        pipe.send(listeners[0].getsockname()[1])
        app = make(*arguments)
    except NetLLMGymError as error:
        pipe.send(str(error))
        return
    gc.collect()
    gc.freeze()  # what is loaded stays: no long collections in the middle of a segment
    asyncio.run(_serve(app, listeners, pipe))


class Service:
    """A server in its own process.

    Args:
        name: in messages.
        make, arguments: what makes the application there.
        host, port: where it listens; port 0 lets the system choose.
        inside: where else.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., web.Application],
        arguments: tuple[Any, ...],
        host: str,
        port: int = 0,
        inside: Inside = (),
    ) -> None:
        self.name, self.host = name, host
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self.process = context.Process(
            target=_main, args=(there, make, arguments, host, port, inside), name=f"testbed-{name}", daemon=True
        )
        self.process.start()
        there.close()

    @cached_property
    def port(self) -> int:
        """Where it listens; known as soon as the process runs.

        Raises:
            ConfigError: it could not start.
        """
        return int(self._hear(int))

    def wait_until_ready(self) -> None:
        """Return when the server answers.

        Raises:
            ConfigError: it could not start.
        """
        assert self.port
        self._hear(type(None))

    def _hear(self, kind: type) -> Any:
        try:
            if not self._pipe.poll(START_TIMEOUT_S):
                raise ConfigError(f"the {self.name} server did not start in {START_TIMEOUT_S:.0f} s")
            message = self._pipe.recv()
        except EOFError:
            raise ConfigError(f"the {self.name} server died while starting") from None
        if not isinstance(message, kind):
            self.stop()
            raise ConfigError(str(message))
        return message

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.is_alive()

    def stop(self) -> None:
        """End it, by force if it does not listen."""
        self._pipe.close()
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def link_service(
    plans: Mapping[str, server.LinkPlan],
    pages: Mapping[str, server.Page],
    speed: float = 1.0,
    host: str = "127.0.0.1",
    port: int = 0,
    made: Sequence[kernel.Pair] = (),
) -> Service:
    """Start the content server, which also listens in the server's namespace of every pair in `made`."""
    inside = [(pair.server, pair.address, kernel.PORT) for pair in made]
    return Service("content", _link_app, (dict(plans), dict(pages), speed, list(made)), host, port, inside)


def policy_service(
    plans: dict[str, SessionPlan],
    copies: int,
    host: str = "127.0.0.1",
    port: int = 0,
    made: Sequence[kernel.Pair] = (),
    folder: Path | None = None,
    content_port: int = 0,
    client: str = "python",
) -> Service:
    """Start the policy server with `copies` of every agent; it also listens in the clients' namespaces, off the link.

    Args: see :class:`Service` and :func:`netllm_gym.testbed.policy.application`.
    """
    # Here, so that the content server's process does not import every agent.
    from netllm_gym.testbed import policy

    inside = [(pair.client, "127.0.0.1", kernel.PORT) for pair in made]
    return Service("policy", policy.application, (plans, copies, folder, content_port, client), host, port, inside)
