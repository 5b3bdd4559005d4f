"""What the ABR environment does beyond Pensieve's player, each part off by default: latency, slow start, live, ….

Every option keeps the books exact: what the wall clock shows is downloads + decisions + waits + sleeps, and also video
played + stalls + start-up delay; what the link carried is what arrived plus what was thrown away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import bytes_by, transfer_s, wrap
from netllm_gym.errors import ConfigError

# Sabre's rule (its abandonment module): look every half second, give up above 1.8 chunk lengths.
ABANDON_CHECK_S = 0.5
ABANDON_FACTOR = 1.8
MEASURED = "measured"
# From where a download's throughput is counted.
REQUEST, FIRST_BYTE = "request", "first-byte"

Link = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@njit(cache=True)
def link_bytes(end: Any, carried: Any, rate: Any, offset: Any, seconds: Any) -> Any:
    """Bytes the link can carry in the `seconds` after `offset` (s, within the cycle)."""
    total = end[-1]
    until = offset + seconds
    cycles = math.floor(until / total)
    there = bytes_by(end, carried, rate, until - cycles * total)
    return max(cycles * carried[-1] + there - bytes_by(end, carried, rate, offset), 0.0)


@njit(cache=True)
def _ramp(end: Any, carried: Any, rate: Any, offset: Any, rtt: Any, window: Any, size: Any, limit: Any) -> Any:
    """Run slow start until `size` bytes are sent, `limit` seconds are over, or the link is the bottleneck.

    Returns:
        ``(seconds, sent, last window)``: of the whole round trips in which the window was the bottleneck; the window is
        0 once the link is.
    """
    seconds, sent = 0.0, 0.0
    while window > 0.0:
        if link_bytes(end, carried, rate, wrap(end[-1], offset + seconds), rtt) < window:
            return seconds, sent, 0.0
        if sent + window >= size or seconds + rtt > limit:
            break
        seconds += rtt
        sent += window
        window *= 2.0
    return seconds, sent, window


@njit(cache=True)
def ramped_transfer_s(end: Any, carried: Any, rate: Any, offset: Any, size: Any, rtt: Any, window: Any) -> Any:
    """Seconds to deliver `size` bytes when a sender starts with `window` bytes per `rtt` and doubles it each time.

    The ramp ends for good in the first round trip in which the link carries less than the window; from then on the
    link is the limit. ``window = 0`` or ``rtt = 0``: no ramp.
    """
    if window <= 0.0 or rtt <= 0.0:
        return transfer_s(end, carried, rate, offset, size)
    seconds, sent, window = _ramp(end, carried, rate, offset, rtt, window, size, np.inf)
    rest = transfer_s(end, carried, rate, wrap(end[-1], offset + seconds), size - sent)
    if window > 0.0:  # paced over the round trip, never faster than the link
        rest = max(rest, (size - sent) / window * rtt)
    return seconds + rest


@njit(cache=True)
def ramped_bytes(end: Any, carried: Any, rate: Any, offset: Any, elapsed: Any, rtt: Any, window: Any) -> Any:
    """Bytes delivered `elapsed` seconds into a transfer: the inverse of :func:`ramped_transfer_s`."""
    if window <= 0.0 or rtt <= 0.0:
        return link_bytes(end, carried, rate, offset, elapsed)
    seconds, sent, window = _ramp(end, carried, rate, offset, rtt, window, np.inf, elapsed)
    more = link_bytes(end, carried, rate, wrap(end[-1], offset + seconds), elapsed - seconds)
    if window > 0.0:
        more = min(more, window * (elapsed - seconds) / rtt)
    return sent + more


@dataclass
class Player:
    """A player's state between requests.

    Attributes:
        offset_s: position in the trace's cycle.
        buffer_s: video waiting.
        wall_s: seconds since the first request.
        playing: whether playback has begun.
    """

    offset_s: float = 0.0
    buffer_s: float = 0.0
    wall_s: float = 0.0
    playing: bool = True

    def pass_time(self, end: NDArray[np.float64], seconds: float, on_link: float | None = None) -> tuple[float, float]:
        """Let `seconds` go by (`on_link` of them on the trace, by default all); return (stall, start-up delay) in s."""
        self.wall_s += seconds
        self.offset_s = float(wrap(end[-1], self.offset_s + (seconds if on_link is None else on_link)))
        if not self.playing:
            return 0.0, seconds
        stall = max(seconds - self.buffer_s, 0.0)
        self.buffer_s = max(self.buffer_s - seconds, 0.0)
        return stall, 0.0


@dataclass
class Fetched:
    """What one decision led to; seconds, bytes and the level that arrived."""

    level: int
    size: float
    delay: float = 0.0
    stall: float = 0.0
    startup: float = 0.0
    sleep: float = 0.0
    wait: float = 0.0
    decision: float = 0.0
    transfer: float = 0.0
    wasted: float = 0.0
    abandoned: int = 0


@dataclass(frozen=True)
class Options:
    """Everything that is off by default; see the environment's arguments of the same names."""

    rtt_s: float | tuple[float, float] = 0.08
    initial_window_bytes: float = 0.0
    decision_latency_s: float | tuple[float, float] | str = 0.0
    startup_buffer_s: float = 0.0
    live_latency_s: float | None = None
    abandon: bool = False
    buffer_targets_s: tuple[float, ...] = ()
    throughput: str = REQUEST
    latency_on_trace: bool = False

    def __post_init__(self) -> None:
        latency, rtt = self.decision_latency_s, self.rtt_s
        if isinstance(latency, str):
            if latency != MEASURED:
                raise ConfigError(f"decision_latency_s is seconds, (low, high) or {MEASURED!r}, got {latency!r}")
        elif isinstance(latency, tuple | list):
            if len(latency) != 2 or not 0 <= latency[0] <= latency[1] < math.inf:
                raise ConfigError(f"a range of decision_latency_s needs 0 ≤ low ≤ high, got {latency}")
        elif not 0 <= latency < math.inf:
            raise ConfigError(f"decision_latency_s must not be negative, got {latency}")
        if isinstance(rtt, tuple | list):
            if len(rtt) != 2 or not (0 < rtt[0] < math.inf and 0 <= rtt[1] < math.inf):
                raise ConfigError(f"a distribution of rtt_s needs (mean > 0, standard deviation ≥ 0), got {rtt}")
        elif not 0 <= rtt < math.inf:
            raise ConfigError(f"rtt_s must not be negative, got {rtt}")
        targets = self.buffer_targets_s
        if any(not 0 <= target < math.inf for target in targets) or len(set(targets)) < len(targets):
            raise ConfigError(f"buffer_targets_s are seconds, no two alike, got {targets}")
        if self.throughput not in (REQUEST, FIRST_BYTE):
            raise ConfigError(f"throughput is {REQUEST!r} or {FIRST_BYTE!r}, got {self.throughput!r}")
        if not 0 <= self.initial_window_bytes < math.inf or not 0 <= self.startup_buffer_s < math.inf:
            raise ConfigError("initial_window_bytes and startup_buffer_s must not be negative")

    @property
    def plain(self) -> bool:
        """Whether the player is Pensieve's: nothing is switched on."""
        return self == Options(rtt_s=self.rtt_s) and not isinstance(self.rtt_s, tuple | list)

    def require_plannable(self) -> None:
        """Refuse what :mod:`netllm_gym.envs.abr.planner` does not know.

        Raises:
            ConfigError: another option than live video or the kind of throughput is on.
        """
        if not replace(self, live_latency_s=None, throughput=REQUEST).plain:
            raise ConfigError("hindsight planning knows no options but live_latency_s and throughput")

    @property
    def mean_rtt_s(self) -> float:
        """The expected request latency."""
        return float(self.rtt_s[0] if isinstance(self.rtt_s, tuple | list) else self.rtt_s)

    def draw_rtt(self, rng: np.random.Generator) -> float:
        """Latency of one request (s): constant, or lognormal with the given mean and standard deviation."""
        if not isinstance(self.rtt_s, tuple | list):
            return self.rtt_s
        mean, std = self.rtt_s
        variance = math.log1p((std / mean) ** 2)
        return math.exp(math.log(mean) - variance / 2 + math.sqrt(variance) * rng.standard_normal())

    def draw_decision(self, rng: np.random.Generator, measured_s: float) -> float:
        """How long a decision took (s): constant, uniform, or what was measured."""
        latency = self.decision_latency_s
        if isinstance(latency, str):
            return measured_s
        if isinstance(latency, tuple | list):
            return float(rng.uniform(latency[0], latency[1]))
        return latency

    def download(
        self, link: Link, player: Player, sizes: list[float], level: int, chunk_s: float, noise: float,
        rng: np.random.Generator,
    ) -> Fetched:  # fmt: skip
        """Download one chunk at `level`, or lower when it is abandoned; `player` moves on to its arrival.

        Abandonment is Sabre's: every half second of a transfer its whole duration is estimated from its own speed;
        above 1.8 chunk lengths the chunk is asked for again at the highest lower level that this speed would bring
        within one chunk length (the lowest otherwise), unless that is no less than what is still missing.
        """
        found = Fetched(level, sizes[level])
        while True:
            rtt = self.draw_rtt(rng)
            if self.latency_on_trace:
                player.offset_s = float(wrap(link[0][-1], player.offset_s + rtt))
            size = sizes[found.level]
            seconds = float(ramped_transfer_s(*link, player.offset_s, size, rtt, self.initial_window_bytes))
            lower = -1
            checks = math.ceil(seconds / ABANDON_CHECK_S) - 1 if self.abandon and found.level > 0 else 0
            for k in range(1, checks + 1):
                elapsed = k * ABANDON_CHECK_S
                got = float(ramped_bytes(*link, player.offset_s, elapsed, rtt, self.initial_window_bytes))
                # Before the first byte the speed is not known but surely too low.
                if got > 0 and size / got * elapsed <= ABANDON_FACTOR * chunk_s:
                    continue
                fits = [n for n in range(found.level) if sizes[n] <= got / elapsed * chunk_s]
                choice = fits[-1] if fits else 0
                if sizes[choice] < size - got:
                    lower, seconds = choice, elapsed
                    found.wasted += got
                    found.abandoned += 1
                    break
            delay = (seconds + rtt) * noise
            stall, startup = player.pass_time(link[0], delay, on_link=seconds)
            found.delay += delay
            found.transfer += seconds * noise
            found.stall += stall
            found.startup += startup
            if lower < 0:
                found.size = size
                return found
            found.level = lower

    def linger(self, link: Link, player: Player, found: Fetched, choice: int) -> None:
        """Wait before a request until the buffer has fallen to the target chosen; never so long that it stalls."""
        if not self.buffer_targets_s:
            return
        wait = max(player.buffer_s - self.buffer_targets_s[choice], 0.0) if player.playing else 0.0
        player.pass_time(link[0], wait)
        found.wait += wait

    def account(
        self, found: Fetched, startup_weight: float, latency_weight: float, arrived: int, chunk_s: float, player: Player
    ) -> tuple[float, dict[str, Any]]:
        """What the options cost in the reward, and their part of ``info``."""
        penalty = startup_weight * found.startup
        more: dict[str, Any] = {
            "startup_s": found.startup,
            "wait_s": found.wait,
            "decision_latency_s": found.decision,
            "abandoned": found.abandoned,
            "wasted_bytes": found.wasted,
        }
        if self.live_latency_s is not None:
            # Behind the live edge: the edge's position less what has been played.
            played = arrived * chunk_s - player.buffer_s
            more["latency_s"] = player.wall_s + self.live_latency_s - played
            penalty += latency_weight * max(more["latency_s"] - self.live_latency_s, 0.0)
        return penalty, more | {"penalty": penalty}

    def settle(
        self, link: Link, player: Player, found: Fetched, arrived: int, chunks: int, chunk_s: float, cap: float,
        quantum: float,
    ) -> None:  # fmt: skip
        """After an arrival: put the chunk in the buffer, begin playback, sleep at the cap, wait for the live edge."""
        player.buffer_s += chunk_s
        if not player.playing and (player.buffer_s >= self.startup_buffer_s or arrived == chunks):
            player.playing = True
        if player.buffer_s > cap:
            found.sleep = math.ceil((player.buffer_s - cap) / quantum) * quantum
            player.pass_time(link[0], found.sleep)
        if self.live_latency_s is not None and arrived < chunks:
            available = (arrived + 1) * chunk_s - self.live_latency_s
            wait = max(available - player.wall_s, 0.0)
            stall, startup = player.pass_time(link[0], wait)
            found.wait += wait
            found.stall += stall
            found.startup += startup
