"""The kernel's link: two network namespaces, a veth pair and a token bucket that follows the trace. Linux, root.

Real TCP runs over it: queues, slow start and congestion control are the kernel's. The kernels this was made on have no
netem, so the round trip still passes in the server. Namespaces are private and have no way out: what is sent in them
reaches nobody. A guardian shell waits for this process to end, however it ends, and removes them; whatever a guardian
could not remove is removed by the next testbed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from netllm_gym.errors import ConfigError
from netllm_gym.testbed.link import FRAME_BYTES, Clock, Link, Sent
from netllm_gym.testbed.listening import bind
from netllm_gym.testbed.tools import need_kernel

T = TypeVar("T")

PREFIX = "ngtest"
NETNS = Path("/run/netns")
PORT = 8080  # inside the namespaces, where nobody else listens
CLONE_NEWNET = 0x40000000
# Each change of rate refills the bucket, so it is small: a few milliseconds, at least one frame.
BUCKET_S, BUCKET_MIN = 0.004, 1600
QUEUE_BYTES = 128 * 1024
# The token bucket knows no standstill: during an outage one frame passes in a quarter of an hour.
STANDSTILL_BITS = 16
POLL_S = 0.003
BELLS_S = (0.002, 0.008, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class Pair:
    """A server's and a client's namespace, joined by a veth pair.

    Attributes:
        number: from 0; part of the names and addresses.
        owner: id of the process that made it.
    """

    number: int
    owner: int

    @property
    def server(self) -> str:
        """Name of the server's namespace."""
        return f"{PREFIX}-{self.owner}-{self.number}-s"

    @property
    def client(self) -> str:
        """Name of the client's namespace."""
        return f"{PREFIX}-{self.owner}-{self.number}-c"

    @property
    def address(self) -> str:
        """The server's address, known in this pair only."""
        return f"10.77.{self.number}.1"

    @property
    def url(self) -> str:
        """Of the content server, for the client."""
        return f"http://{self.address}:{PORT}"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ConfigError(f"ip {' '.join(words)}: {' '.join(done.stderr.split())[:120]}")


def _make(pair: Pair) -> None:
    server, client = pair.server, pair.client
    near, far = f"ngs{pair.number}", f"ngc{pair.number}"
    for name in (server, client):
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    # Made inside, so that the devices never show up among the machine's own.
    _ip("-n", server, "link", "add", near, "type", "veth", "peer", "name", far, "netns", client)
    for name, device, host in ((server, near, 1), (client, far, 2)):
        _ip("-n", name, "address", "add", f"10.77.{pair.number}.{host}/30", "dev", device)
        # A frame that is larger than the bucket never passes it: TCP must hand over single segments, not bundles that
        # fitted into the larger bucket of a moment ago.
        _ip("-n", name, "link", "set", device, "gso_max_segs", "1")
        _ip("-n", name, "link", "set", device, "up")


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _ours() -> Iterator[tuple[str, int]]:
    """Yield the testbeds' namespaces on this machine, with the process that each belongs to."""
    for path in sorted(NETNS.glob(f"{PREFIX}-*")) if NETNS.is_dir() else ():
        owner = path.name.split("-")[1]
        if owner.isdigit():
            yield path.name, int(owner)


def sweep() -> list[str]:
    """Remove namespaces whose testbed is dead; return their names."""
    gone = [name for name, owner in _ours() if not _alive(owner)]
    for name in gone:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return gone


@contextlib.contextmanager
def pairs(count: int) -> Iterator[list[Pair]]:
    """Make `count` pairs; they are gone when the block ends, or the process, even by ``kill -9``.

    Raises:
        ConfigError: not root, not Linux, more than 250, or the kernel refuses.
    """
    need_kernel()
    if not 1 <= count <= 250:
        raise ConfigError(f"1 to 250 links can run side by side, got {count}")
    sweep()
    made = [Pair(number, os.getpid()) for number in range(count)]
    names = " ".join(name for pair in made for name in (pair.server, pair.client))
    script = f"trap '' INT TERM HUP; read -r _; for n in {names}; do ip netns delete $n 2>/dev/null; done"
    guardian = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)
    try:
        for pair in made:
            _make(pair)
        yield made
    finally:
        assert guardian.stdin is not None
        guardian.stdin.close()
        guardian.wait()


def inside(namespace: str, call: Callable[[], T]) -> T:
    """Return ``call()``, run in a thread that lives in `namespace`; sockets made there stay there.

    Raises:
        ConfigError: the namespace cannot be entered. Whatever `call` raises.
    """
    outcome: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with open(NETNS / namespace, "rb") as handle:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle.fileno(), CLONE_NEWNET):
                    raise ConfigError(f"cannot enter {namespace}: {os.strerror(ctypes.get_errno())}")
            outcome.append(call())
        except BaseException as error:  # handed to the thread that waits
            errors.append(error)

    thread = threading.Thread(target=work, name=namespace)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def listen_inside(namespace: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens in `namespace`."""
    return inside(namespace, lambda: bind(host, port))


class Shaper:
    """The token bucket of one pair; ``tc`` runs all the time and reads its orders from a pipe."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.device = pair, f"ngs{pair.number}"
        self._tc = subprocess.Popen(
            ["ip", "netns", "exec", pair.server, "tc", "-force", "-batch", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._bell = inside(pair.server, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._verb = "add"

    def rate(self, bits_per_s: float) -> None:
        """Let so much through from now on (bits of Ethernet frames per second)."""
        rate = max(int(bits_per_s), STANDSTILL_BITS)
        bucket = max(int(rate / 8 * BUCKET_S), BUCKET_MIN)
        assert self._tc.stdin is not None
        line = f"qdisc {self._verb} dev {self.device} root tbf rate {rate}bit burst {bucket} limit {QUEUE_BYTES}\n"
        try:
            self._tc.stdin.write(line.encode())
            self._tc.stdin.flush()
        except OSError:
            raise ConfigError(f"tc died: {self._tc.stderr.read(200) if self._tc.stderr else b''!r}") from None
        self._verb = "change"

    def ring(self) -> None:
        """Send a frame that nobody waits for: the bucket looks at its queue only when something happens."""
        with contextlib.suppress(OSError):
            self._bell.sendto(b"", (f"10.77.{self.pair.number}.2", 9))

    def close(self) -> None:
        """End ``tc``."""
        self._bell.close()
        if self._tc.stdin:
            self._tc.stdin.close()
        self._tc.wait(5)


class Slots:
    """The shapers of all pairs, in the content server's process; one session at a time plays over each."""

    def __init__(self, made: Sequence[Pair], clock: Clock) -> None:
        self.clock = clock
        self.shapers = {pair.address: Shaper(pair) for pair in made}
        for shaper in self.shapers.values():
            shaper.rate(1e9)
        self._tasks: dict[str, tuple[Link, asyncio.Task[None]]] = {}
        self._ringing: set[asyncio.Task[None]] = set()

    def follow(self, address: str, link: Link) -> None:
        """Let the shaper behind `address` follow the link's trace from now on, unless it does already."""
        running = self._tasks.get(address)
        if running is not None and running[0] is link:
            return
        if running is not None:
            running[1].cancel()
        task = asyncio.get_running_loop().create_task(self._follow(self.shapers[address], link))
        self._tasks[address] = (link, task)

    @staticmethod
    async def _ring(shaper: Shaper) -> None:
        """Make the bucket look at its queue again. ``tc`` may be slow to read its order, and a bell that rings before
        it does is not heard: after an outage a frame would then wait for its turn at the outage's rate."""
        for pause in BELLS_S:
            await asyncio.sleep(pause)
            shaper.ring()

    async def _follow(self, shaper: Shaper, link: Link) -> None:
        trace = link.trace
        ends = trace.end_s
        cycle, piece = 0, int((ends <= link.start_s).sum()) % len(trace)
        before = -1.0
        while True:
            bits = float(trace.throughput_mbps[piece]) * 1e6
            if bits != before:
                shaper.rate(bits)
                ringing = asyncio.get_running_loop().create_task(self._ring(shaper))
                self._ringing.add(ringing)
                ringing.add_done_callback(self._ringing.discard)
                before = bits
            await self.clock.sleep_until(link.zero + cycle * trace.total_s + float(ends[piece]) - link.start_s)
            piece += 1
            if piece == len(trace):
                cycle, piece = cycle + 1, 0

    def close(self) -> None:
        """Stop following; the shapers end."""
        for _, task in self._tasks.values():
            task.cancel()
        for shaper in self.shapers.values():
            shaper.close()


async def hand_over(link: Link, sent: Sent, size: int, write: Callable, unsent: Callable[[], int]) -> None:
    """Give a whole segment to the kernel and wait until the client has acknowledged it.

    ``planned_s`` is when a fluid link would be through, so that the difference is what TCP and the bucket add.
    """
    sent.planned_s = link.reserve(size)
    await write(0, size)
    while unsent() > 0:
        await asyncio.sleep(POLL_S)
    sent.done_s, sent.size, sent.whole = link.since_start(), size, True


assert FRAME_BYTES < BUCKET_MIN
