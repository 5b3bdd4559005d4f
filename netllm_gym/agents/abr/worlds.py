"""Randomised worlds to train ABR policies in: another video, link, QoE and player in every episode, in lock-step.

An :class:`~netllm_gym.envs.abr.vector.ABRVectorEnv` plays one video under one QoE; a policy that is to serve any needs
them all at once. The download is the same compiled function (:func:`netllm_gym.envs.abr.kernel.download_from`), so
what is learnt here is paid out there (a test plays both). Observations are :mod:`netllm_gym.envs.abr.view`'s, which
know no absolute rate; hence a video may be scaled to its link instead of drawing links for every ladder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import bytes_by, download_from, link_arrays, piece_at
from netllm_gym.envs.abr.observation import HISTORY
from netllm_gym.envs.abr.qoe import HD_SCORES
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.envs.abr.view import CONTEXT_FEATURES, HORIZON, ROW_FEATURES, see
from netllm_gym.traces import NetworkTrace, VideoManifest, synthetic_video
from netllm_gym.traces.network.synthetic import RegimeModel
from netllm_gym.traces.protocol import refuse_test

MAX_LEVELS = 10
PAYLOAD, QUANTUM_S = 0.95, 0.5
# A long outage must not drown everything else in a batch; in ranges of the ladder.
WORST_REWARD = -60.0
# Spans over which a critic may see the link's true future, in chunk lengths.
AHEAD = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
# Rate of a drawn video's top level over its link's mean.
TOP_OVER_LINK = (0.25, 8.0)
_STREAM = 0x30B1D


class Stage(NamedTuple):
    """Links and videos, each laid one behind the other, and the parameters of the episodes being played."""

    end: NDArray[np.float64]
    carried: NDArray[np.float64]
    rate: NDArray[np.float64]
    first: NDArray[np.int64]
    sizes: NDArray[np.float64]  # [rows of all videos, MAX_LEVELS]
    row: NDArray[np.int64]  # first row of each video
    length: NDArray[np.int64]  # chunks of each video
    levels: NDArray[np.int64]  # of each video


class Lives(NamedTuple):
    """State and parameters of the episodes, ``[n, …]``."""

    link: NDArray[np.int64]
    video: NDArray[np.int64]
    piece: NDArray[np.int64]
    chunk: NDArray[np.int64]
    last: NDArray[np.int64]
    offset: NDArray[np.float64]
    buffer: NDArray[np.float64]
    scale: NDArray[np.float64]  # factor on the video's sizes
    quality: NDArray[np.float64]  # [n, MAX_LEVELS]
    facts: NDArray[np.float64]  # [n, 7], see view.see
    noise: NDArray[np.float64]  # half width of the factor on delays
    aligned: NDArray[np.bool_]  # begun where the recording begins: `offset` is then the time since
    throughputs: NDArray[np.float64]
    delays: NDArray[np.float64]


def taken(lives: Lives, which: NDArray[Any]) -> Lives:
    """Return copies of the episodes `which`."""
    arrays: Any = [array[which] for array in lives]
    return Lives(*arrays)


@njit(cache=True, error_model="numpy")
def advance(stage: Any, lives: Any, choices: Any, luck: Any, reward: Any, over: Any) -> None:
    """Download the next chunk of each episode; write its reward (in ranges of the ladder) and whether it is over."""
    for i in range(len(choices)):
        v, k, a = lives.video[i], lives.chunk[i], choices[i]
        low, stop = stage.first[lives.link[i]], stage.first[lives.link[i] + 1]
        facts, grades = lives.facts[i], lives.quality[i]
        size = stage.sizes[stage.row[v] + k, a] * lives.scale[i]
        noise = 1.0 + lives.noise[i] * (2.0 * luck[i] - 1.0)
        delay, stall, buffer, _, offset, piece = download_from(
            stage.end, stage.carried, stage.rate, low, stop, lives.piece[i], lives.offset[i], size, lives.buffer[i],
            facts[2], noise, facts[0], facts[1], QUANTUM_S,
        )  # fmt: skip
        lives.buffer[i], lives.offset[i], lives.piece[i] = buffer, offset, piece
        change = grades[a] - grades[lives.last[i]] if k > 0 else 0.0
        unit = max(grades[stage.levels[v] - 1] - grades[0], 1e-9)
        cost = facts[4] * change if change > 0.0 else -facts[5] * change
        reward[i] = (grades[a] - grades[0] - facts[3] * stall - cost) / unit
        for h in range(HISTORY - 1):
            lives.throughputs[i, h] = lives.throughputs[i, h + 1]
            lives.delays[i, h] = lives.delays[i, h + 1]
        lives.throughputs[i, HISTORY - 1] = np.float32(size * 8e-6 / delay)
        lives.delays[i, HISTORY - 1] = np.float32(delay)
        lives.last[i], lives.chunk[i] = a, k + 1
        over[i] = k + 1 >= stage.length[v]


@njit(cache=True, error_model="numpy")
def observe(stage: Any, lives: Any, rows: Any, context: Any) -> None:
    """Write the views of all episodes; rows beyond a ladder are zero."""
    for i in range(len(context)):
        v, k = lives.video[i], lives.chunk[i]
        levels, left = stage.levels[v], stage.length[v] - k
        start = stage.row[v] + k
        sizes = stage.sizes[start : start + min(left, HORIZON), :levels] * lives.scale[i]
        grades = lives.quality[i, :levels]
        before = grades[lives.last[i]] if k > 0 else np.nan
        rows[i] = 0.0
        see(
            sizes, grades, before, lives.facts[i], left, lives.throughputs[i], lives.delays[i], lives.buffer[i],
            lives.last[i], rows[i, :levels], context[i],
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def look_ahead(stage: Any, lives: Any, out: Any) -> None:
    """Write what only a critic may see: log of how many chunks at the top level the link will carry in each span."""
    for i in range(len(out)):
        a, b = stage.first[lives.link[i]], stage.first[lives.link[i] + 1]
        end, carried, rate = stage.end[a:b], stage.carried[a:b], stage.rate[a:b]
        v = lives.video[i]
        k = min(lives.chunk[i], stage.length[v] - 1)
        size = stage.sizes[stage.row[v] + k, stage.levels[v] - 1] * lives.scale[i]
        start = bytes_by(end, carried, rate, lives.offset[i])
        for s in range(len(AHEAD)):
            until = lives.offset[i] + AHEAD[s] * lives.facts[i, 0]
            cycles = np.floor(until / end[-1])
            there = bytes_by(end, carried, rate, until - cycles * end[-1]) + cycles * carried[-1]
            out[i, s] = np.log(max(there - start, 0.0) / AHEAD[s] / size + 0.02) / 2.0


@njit(cache=True)
def _places(stage: Any, lives: Any, which: Any) -> None:
    for i in which:
        low, stop = stage.first[lives.link[i]], stage.first[lives.link[i] + 1]
        lives.piece[i] = piece_at(stage.end, lives.offset[i], low, stop)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def drawn_video(rng: np.random.Generator, ranges: Ranges) -> VideoManifest:
    """Draw a video whose top level needs about 1 Mbit/s."""
    levels = int(rng.integers(int(ranges.levels[0]), int(ranges.levels[1]) + 1))
    low = 1.0 / log_uniform(rng, *ranges.ladder)
    steps = rng.uniform(0.5, 1.5, levels - 1)
    place = np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])
    ladder = 1000.0 * np.exp(np.log(low) * (1.0 - place))
    chunk_s = float(rng.choice([1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0, rng.uniform(*ranges.chunk_s)]))
    chunks = int(log_uniform(rng, *ranges.chunks))
    variation = float(rng.choice([0.05, 0.1, 0.2, 0.35, 0.6]))
    return synthetic_video(int(rng.integers(2**31)), ladder, chunks, chunk_s, variation, rng.uniform(0.85, 1.25))


def drawn_link(rng: np.random.Generator, steps: int = 400, memoryless: float = 0.0) -> NetworkTrace:
    """Draw a synthetic link of about 1 Mbit/s: any variation, any persistence.

    With the chance `memoryless` its past tells little of its future, or nothing.
    """
    model = RegimeModel(
        1.0, 0.0, log_uniform(rng, 0.05, 1.6), 0.3, rng.uniform(0.2, 0.95), log_uniform(rng, 3.0, 80.0),
        rng.uniform(0.0, 0.98), step_s=float(rng.choice([0.5, 1.0, 1.0, 2.0, 5.0])),
    )  # fmt: skip
    if memoryless and rng.random() < memoryless:  # at 0 nothing is drawn for it: the links of before stay
        model = replace(model, weight=0.0, rho=max(0.0, float(rng.uniform(-1.0, 0.5))))
    rates = np.maximum(model.draw(rng, steps), 1e-3)
    if rng.random() < 0.2:  # an outage now and then
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(steps))
            rates[at : at + int(rng.integers(2, 12))] *= log_uniform(rng, 0.01, 0.3)
    return NetworkTrace("drawn", np.full(steps, model.step_s), rates)


class Worlds:
    """``n`` episodes in lock-step, each begun anew in another world when it ends.

    Args:
        n: number of episodes.
        families: name → links of it (never of a test split), drawn from with equal chances (of half of the episodes).
        videos: real videos; they are played at their own rates on the families' links.
        seed: of everything.
        ranges: of the drawn worlds.
        at_home: share of the episodes that play a real video at its own rates with QoE `lin` and the default player.
        home: families that those episodes draw from; by default all.
        drawn_videos, drawn_links: sizes of the pools.
        from_start: share of the episodes on the families' links that begin where the recording does, as the
            environment's own do by default; the others begin anywhere. Some recordings have a course: a slow minute,
            then fast ones.
        memoryless: share of the drawn links whose past tells little of their future (:func:`drawn_link`).
    """

    def __init__(
        self,
        n: int,
        families: Mapping[str, Sequence[NetworkTrace]],
        videos: Sequence[VideoManifest],
        seed: int = 0,
        ranges: Ranges | None = None,
        at_home: float = 0.35,
        home: dict[str, float] | None = None,
        drawn_videos: int = 400,
        drawn_links: int = 400,
        from_start: float = 0.0,
        memoryless: float = 0.0,
    ) -> None:
        self.n, self.ranges, self.at_home, self.from_start = n, ranges or Ranges(), at_home, from_start
        self.rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(_STREAM,)))
        pool = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(_STREAM, 1)))
        for family in families.values():
            refuse_test(getattr(family, "split", None), "training the ABR policy")
        links = [link for family in families.values() for link in family]
        edges = np.cumsum([0, *(len(family) for family in families.values())])
        self.family_links = [np.arange(a, b) for a, b in pairwise(edges.tolist())]
        links += [drawn_link(pool, memoryless=memoryless) for _ in range(drawn_links)]
        self.drawn_first, self.links = int(edges[-1]), links
        self.real_videos = len(videos)
        self.videos = [*videos, *(drawn_video(pool, self.ranges) for _ in range(drawn_videos))]
        weights = np.array([(home or {}).get(name, 0.0 if home else 1.0) for name in families])
        self.home_chances = weights / max(weights.sum(), 1e-9)
        self.total_s = np.array([link.total_s for link in links])
        self.mean_mbps = np.array([float((link.throughput_mbps * link.duration_s).sum()) for link in links])
        self.mean_mbps /= self.total_s
        # Drawn links are told apart by their variation, in fifths.
        spread = np.array([np.log(link.throughput_mbps).std() for link in links[self.drawn_first :]])
        fifth = np.searchsorted(np.quantile(spread, [0.2, 0.4, 0.6, 0.8]), spread) if len(spread) else spread
        families_of = np.repeat(np.arange(len(families)), np.diff(edges))
        self._kind = np.concatenate([families_of, len(families) + fifth]).astype(np.int64)
        self.kinds = len(families) + 5
        parts = [link_arrays(link, PAYLOAD) for link in links]
        sizes = np.zeros((sum(video.chunks for video in self.videos), MAX_LEVELS))
        row = np.cumsum([0, *(video.chunks for video in self.videos)])
        for video, at in zip(self.videos, row[:-1], strict=True):
            sizes[at : at + video.chunks, : video.levels] = video.chunk_bytes
        self.stage = Stage(
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
            np.cumsum([0, *(len(part[0]) for part in parts)]),
            sizes,
            row[:-1],
            np.array([video.chunks for video in self.videos]),
            np.array([video.levels for video in self.videos]),
        )
        whole, real = (lambda *shape: np.zeros(shape, np.int64)), (lambda *shape: np.zeros(shape))
        self.lives = Lives(
            whole(n), whole(n), whole(n), whole(n), whole(n), real(n), real(n), np.ones(n), real(n, MAX_LEVELS),
            real(n, 7), real(n), np.zeros(n, np.bool_), real(n, HISTORY), real(n, HISTORY),
        )  # fmt: skip
        self.reward, self.over = np.zeros(n), np.ones(n, np.bool_)
        self.rows = np.zeros((n, MAX_LEVELS, ROW_FEATURES), np.float32)
        self.context = np.zeros((n, CONTEXT_FEATURES), np.float32)
        self._begin(np.arange(n))
        # So that episodes do not end together, each begins somewhere in its video; with its recording, at its start.
        somewhere = (self.rng.random(n) * 0.9 * self.stage.length[self.lives.video]).astype(np.int64)
        self.lives.chunk[:] = np.where(self.lives.aligned, self.lives.chunk, somewhere)
        self.lives.last[:] = 0

    @property
    def kind(self) -> NDArray[np.int64]:
        """Kind of each episode's link: its family, or how much a drawn one varies; ``[n]``, below :attr:`kinds`."""
        return self._kind[self.lives.link]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which rows are levels, ``[n, MAX_LEVELS]``."""
        return np.arange(MAX_LEVELS) < self.stage.levels[self.lives.video][:, None]

    def family_of(self, link: int) -> NDArray[np.int64]:
        """The links that are of one kind with `link`, itself included; a drawn link is alone."""
        for members in self.family_links:
            if members[0] <= link <= members[-1]:
                return members
        return np.array([link])

    def _begin(self, which: NDArray[np.int64]) -> None:
        """Draw a world for each of the episodes `which`, and download its first chunk in most of them."""
        rng, lives = self.rng, self.lives
        for i in which.tolist():
            self._draw(i, rng)
        lives.chunk[which] = lives.last[which] = 0
        lives.buffer[which] = 0.0
        lives.throughputs[which] = lives.delays[which] = 0.0
        lives.offset[which] = rng.random(len(which)) * self.total_s[lives.link[which]]
        if self.from_start:
            lives.aligned[which] = (rng.random(len(which)) < self.from_start) & (lives.link[which] < self.drawn_first)
            lives.offset[which[lives.aligned[which]]] = 0.0
        _places(self.stage, lives, which)
        fetched = which[rng.random(len(which)) < 0.85]
        if len(fetched):
            part = taken(lives, fetched)
            reward, over = np.zeros(len(fetched)), np.zeros(len(fetched), np.bool_)
            advance(self.stage, part, np.zeros(len(fetched), np.int64), rng.random(len(fetched)), reward, over)
            for whole, own in zip(lives, part, strict=True):
                whole[fetched] = own

    def _draw(self, i: int, rng: np.random.Generator) -> None:
        lives, ranges = self.lives, self.ranges
        home = rng.random() < self.at_home
        if home:
            link = int(rng.choice(self.family_links[int(rng.choice(len(self.family_links), p=self.home_chances))]))
        elif rng.random() < 0.5:
            link = int(rng.choice(self.family_links[int(rng.integers(len(self.family_links)))]))
        else:
            link = int(rng.integers(self.drawn_first, len(self.links)))
        real = home or rng.random() < 0.1
        index = int(rng.integers(self.real_videos)) if real else int(rng.integers(self.real_videos, len(self.videos)))
        video = self.videos[index]
        ladder = np.asarray(video.bitrates_kbps) / 1000.0
        # The rate of the top level is what a ladder is scaled by; a home video keeps its own.
        top = self.mean_mbps[link] * log_uniform(rng, *TOP_OVER_LINK)
        # A link that cannot carry the lowest level teaches nothing but noise.
        top = min(top, 0.8 * self.mean_mbps[link] * ladder[-1] / ladder[0])
        scale = 1.0 if home else top / ladder[-1]
        kind = 0 if home else int(rng.choice(4, p=[0.55, 0.2, 0.15, 0.1]))
        share = ladder / ladder[-1]
        if kind == 1:
            quality = np.log(share / share[0])
        elif kind == 2:  # saturating, as perceptual measures are
            quality = share ** rng.uniform(0.25, 0.7)
        elif kind == 3:  # rising late, as the scores of `hd` do
            quality = np.interp(np.linspace(0, 1, len(share)), np.linspace(0, 1, 6), HD_SCORES)
        else:
            quality = share
        # The published rules weigh a second of stall by the top quality.
        weight = 1.0 if home else log_uniform(rng, 0.35, 2.5) if rng.random() < 0.6 else 1.0
        stall = quality[-1] * weight
        up = 1.0 if home or rng.random() < 0.5 else float(rng.uniform(*ranges.switch))
        down = up if home or rng.random() < 0.8 else float(rng.uniform(*ranges.switch))
        cap = 60.0
        if not home and rng.random() < 0.6:
            cap = max(log_uniform(rng, *ranges.buffer_cap_s), 1.5 * video.chunk_s)
        rtt = 0.08 if home or rng.random() < 0.5 else float(rng.uniform(*ranges.rtt_s))
        lives.link[i], lives.video[i], lives.scale[i] = link, index, scale
        lives.quality[i] = quality[-1]
        lives.quality[i, : len(quality)] = quality
        lives.facts[i] = (video.chunk_s, cap, rtt, stall, up, down, 0.0)
        lives.noise[i] = 0.1 if rng.random() < 0.5 else 0.0

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The episodes in progress, and what the next draws depend on (JSON)."""
        return self.lives._asdict(), dict(self.rng.bit_generator.state)

    def take_up(self, lives: dict[str, NDArray[Any]], drawn: dict[str, Any]) -> None:
        """Go on from a :meth:`state` of worlds made with the same arguments."""
        for name, array in lives.items():
            getattr(self.lives, name)[...] = array
        self.rng.bit_generator.state = drawn

    def see(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Views of all episodes, in arrays that are used again: rows ``[n, L, F]`` and context ``[n, C]``."""
        observe(self.stage, self.lives, self.rows, self.context)
        return self.rows, self.context

    def future(self) -> NDArray[np.float32]:
        """What only a critic sees, ``[n, len(AHEAD)]``."""
        out = np.empty((self.n, len(AHEAD)), np.float32)
        look_ahead(self.stage, self.lives, out)
        return out

    def step(self, choices: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Play one chunk in each episode; return rewards and which episodes ended (they have begun anew)."""
        reward, over = np.empty(self.n), np.empty(self.n, np.bool_)
        advance(self.stage, self.lives, choices, self.rng.random(self.n), reward, over)
        if over.any():
            self._begin(np.flatnonzero(over))
        return np.maximum(reward, WORST_REWARD), over
