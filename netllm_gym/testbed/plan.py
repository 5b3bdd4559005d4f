"""What is played: conditions (links with a video), and the episodes that every agent meets on them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from netllm_gym import traces as trace_room
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.evaluation.specs import AgentSpec, EnvRecipe, Episode, canonical, digest_of, plan_episodes
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest, synthetic_video

ENV = "netllm_gym/ABR-v0"


@dataclass(frozen=True)
class Condition:
    """One kind of network with one video: what the simulator and the testbed both play.

    Attributes:
        name: ``broadband``, …; further videos of a condition are called ``broadband-2``, ….
        base: the condition's name in the catalog.
        profile: ``paper`` (public traces) or ``embedded``.
        traces: the excerpts that are played, each with its start.
        video: what is streamed.
        rtt_s: from a request to its first byte.
        note: one line.
        source: digest of the whole set that the excerpts are from.
    """

    name: str
    base: str
    profile: str
    traces: TraceSet[NetworkTrace]
    video: VideoManifest
    rtt_s: float
    note: str
    source: str = ""

    @property
    def kwargs(self) -> dict[str, Any]:
        """Arguments of ``ABR-v0`` for the simulated twin."""
        return {"traces": self.traces, "video": self.video, "rtt_s": self.rtt_s}

    def recipe(self) -> EnvRecipe:
        """The simulated environment."""
        return EnvRecipe.of(ENV, self.kwargs)


@cache
def _catalog() -> dict[str, Any]:
    text = files("netllm_gym.testbed").joinpath("conditions.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def list_conditions() -> list[str]:
    """Names of the conditions."""
    return list(_catalog())


def _spread(count: int, among: int) -> list[int]:
    """`count` of ``range(among)``, evenly spread; more than there are: again from the beginning."""
    if count >= among:
        return [i % among for i in range(count)]
    return np.linspace(0, among - 1, count).round().astype(int).tolist()


def excerpts(traces: TraceSet[NetworkTrace], count: int) -> TraceSet[NetworkTrace]:
    """Return `count` traces, from as many recordings as possible, evenly spread over the set.

    A recording that is played more than once begins elsewhere each time, at equal parts of its length.
    """
    by_group: dict[str, NetworkTrace] = {}
    for trace in traces:
        by_group.setdefault(trace.group, trace)
    chosen = list(by_group.values())
    picks = _spread(count, len(chosen))
    rounds = -(-count // len(chosen))
    members = []
    for place, index in enumerate(picks):
        trace, turn = chosen[index], place // len(chosen)
        if rounds > 1:
            start = (trace.start_s + turn * trace.total_s / rounds) % trace.total_s
            name = f"{trace.name}@{start:.0f}s"
            trace = NetworkTrace(name, trace.duration_s, trace.throughput_mbps, trace.group, start)
        members.append(trace)
    return replace(traces, traces=tuple(members))


def _video(given: str | Mapping[str, Any]) -> VideoManifest:
    return trace_room.load_video(given) if isinstance(given, str) else synthetic_video(**given)


def _shortened(video: VideoManifest, chunks: int | None) -> VideoManifest:
    if chunks is None or chunks >= video.chunks:
        return video
    if chunks < 2:
        raise ConfigError(f"at least 2 chunks are needed, got {chunks}")
    return VideoManifest(f"{video.name}[:{chunks}]", video.bitrates_kbps, video.chunk_s, video.chunk_bytes[:chunks])


def _naming(words: Sequence[str]) -> Callable[[NetworkTrace], bool]:
    """Choose traces whose names hold one of `words`."""
    return lambda trace: any(word in trace.name for word in words)


def _carrying(mbps: float) -> Callable[[NetworkTrace], bool]:
    """Choose traces that carry at least `mbps` in the mean."""
    return lambda trace: trace.mean_mbps >= mbps


def load_conditions(
    names: Sequence[str] = (), profile: str = "paper", traces: int = 8, videos: int = 1, chunks: int | None = None
) -> list[Condition]:
    """Return the conditions called `names` (all by default), each with its first `videos` videos.

    Args:
        names: see :func:`list_conditions`.
        profile: ``paper`` or ``embedded``.
        traces: excerpts per condition.
        videos: how many of a condition's videos are played.
        chunks: play only so many chunks of each video.

    Raises:
        UnknownNameError: a condition or profile that nobody knows.
        DownloadError: a public set that has not been fetched.
        ConfigError: a number out of range.
    """
    if traces < 1 or videos < 1:
        raise ConfigError("at least one trace and one video are needed")
    conditions = []
    for name in names or list_conditions():
        if name not in _catalog():
            raise UnknownNameError("condition", name, _catalog())
        entry = _catalog()[name]
        profiles = {key: value for key, value in entry.items() if isinstance(value, dict)}
        if profile not in profiles:
            raise UnknownNameError(f"profile of {name}", profile, profiles)
        chosen = profiles[profile]
        members: TraceSet[NetworkTrace] = trace_room.load(chosen["traces"], chosen.get("split", "test"))
        source = members.digest
        if words := chosen.get("only"):
            members = members.filter(_naming(words))
        if least := chosen.get("mean_mbps"):
            members = members.filter(_carrying(least))
        played = excerpts(members, traces)
        if videos > len(chosen["videos"]):
            raise ConfigError(
                f"{name} has {len(chosen['videos'])} videos in profile {profile}, {videos} were asked for"
            )
        for number, video in enumerate(chosen["videos"][:videos], start=1):
            label = name if number == 1 else f"{name}-{number}"
            manifest = _shortened(_video(video), chunks)
            conditions.append(Condition(label, name, profile, played, manifest, entry["rtt_s"], entry["note"], source))
    return conditions


@dataclass(frozen=True)
class SessionPlan:
    """One agent's playback of one episode.

    Attributes:
        key: digest of everything that decides what is played; names the stored episode and the addresses.
        condition, episode, spec: where, which, who. A `spec` whose name begins with ``dash.js/`` is one of the browser
            player's own rules.
    """

    key: str
    condition: Condition
    episode: Episode
    spec: AgentSpec

    @property
    def trace(self) -> NetworkTrace:
        """The link."""
        assert self.episode.trace_index is not None
        return self.condition.traces[self.episode.trace_index]


def plan_sessions(
    conditions: Sequence[Condition], specs: Sequence[AgentSpec], seed: int, how: Mapping[str, Any]
) -> list[SessionPlan]:
    """Return all sessions; agents take turns on an episode, so that they meet the machine in the same state.

    Args:
        conditions: what is played.
        specs: who plays.
        seed: of the agents' own draws.
        how: client, link and speed, part of the key.
    """
    plans = []
    episodes = {c.name: plan_episodes(len(c.traces), len(c.traces), seed) for c in conditions}
    content = {c.name: canonical(c.kwargs) for c in conditions}
    for index in range(max(map(len, episodes.values()), default=0)):
        for condition in conditions:
            if index >= len(episodes[condition.name]):
                continue
            episode = episodes[condition.name][index]
            for spec in specs:
                who = {**spec.key, "label": spec.label, "training_seed": spec.training_seed}
                key = digest_of([content[condition.name], condition.name, who, episode, dict(how)])[:32]
                plans.append(SessionPlan(key, condition, episode, spec))
    return plans
