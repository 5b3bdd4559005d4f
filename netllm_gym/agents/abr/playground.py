"""Whole videos in lock-step on the compiled kernel: where the ABR policy is trained and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.actor_critic import features
from netllm_gym.agents.abr.mpc import RobustForecast, choose_many
from netllm_gym.compiled import njit
from netllm_gym.envs.abr.kernel import bytes_by, download, link_arrays
from netllm_gym.envs.abr.qoe import QoE
from netllm_gym.traces import NetworkTrace, VideoManifest

AHEAD_S = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])
HISTORY = 8


@njit(cache=True)
def _step(end, carried, rate, first, which, size, rtt, noise, chunk_s, cap, quantum, offset, buffer, delay, stall):
    """Download one chunk in every episode; updates `offset` and `buffer`, writes `delay` and `stall` (all ``[n]``)."""
    for i in range(len(which)):
        a, b = first[which[i]], first[which[i] + 1]
        delay[i], stall[i], buffer[i], _, offset[i] = download(
            end[a:b], carried[a:b], rate[a:b], offset[i], size[i], buffer[i], rtt, noise[i], chunk_s, cap, quantum
        )


@njit(cache=True)
def _look_ahead(end, carried, rate, first, which, offset, spans, out):
    """Write the link's mean Mbit/s over each of the coming `spans` (s) into `out` ``[n, spans]``."""
    for i in range(len(which)):
        a, b = first[which[i]], first[which[i] + 1]
        total, whole = end[b - 1], carried[b - 1]
        start = bytes_by(end[a:b], carried[a:b], rate[a:b], offset[i])
        for k in range(len(spans)):
            until = offset[i] + spans[k]
            cycles = np.floor(until / total)
            there = bytes_by(end[a:b], carried[a:b], rate[a:b], until - cycles * total)
            out[i, k] = (cycles * whole + there - start) * 8e-6 / spans[k]


class Playground:
    """Episodes in lock-step with the environment's default physics (80 ms, 95 % payload, 60 s, 0.5 s).

    Args:
        traces: the links.
        videos: all of one shape ``[chunks, L]``, ladder and chunk length.
    """

    def __init__(self, traces: Sequence[NetworkTrace], videos: Sequence[VideoManifest]) -> None:
        links = [link_arrays(trace, 0.95) for trace in traces]
        self.end, self.carried, self.rate = (np.concatenate(parts) for parts in zip(*links, strict=True))
        self.first = np.concatenate([[0], np.cumsum([len(trace) for trace in traces])])
        self.length = np.array([trace.total_s for trace in traces])
        self.starts = np.array([trace.start_s for trace in traces])
        self.sizes = np.stack([video.chunk_bytes for video in videos])
        self.chunk_s = videos[0].chunk_s
        self.qoe = QoE.preset("lin", videos[0])

    def begin(self, which: NDArray, video: NDArray, offset: NDArray, noise: NDArray) -> None:
        """Start ``n`` episodes and download their first chunk at level 0; `noise` ``[n, chunks]`` scales delays."""
        n = len(which)
        self.which, self.video, self.offset, self.noise = which, video, offset.copy(), noise
        self.buffer, self.delay, self.stall = np.zeros(n), np.zeros(n), np.zeros(n)
        self.throughputs, self.delays = np.zeros((n, HISTORY), np.float32), np.zeros((n, HISTORY), np.float32)
        self.chunk = 0
        self.last = np.zeros(n, np.int64)
        self.play(self.last)

    def play(self, level: NDArray) -> NDArray[np.float64]:
        """Download the next chunk of every episode; return the rewards ``[n]``."""
        size = self.sizes[self.video, self.chunk, level]
        _step(
            self.end, self.carried, self.rate, self.first, self.which, size, 0.08, self.noise[:, self.chunk],
            self.chunk_s, 60.0, 0.5, self.offset, self.buffer, self.delay, self.stall,
        )  # fmt: skip
        quality = self.qoe.quality
        reward = quality[level] - self.qoe.stall_weight * self.stall
        reward -= self.qoe.switch_weight * np.abs(quality[level] - quality[self.last])
        self.throughputs = np.roll(self.throughputs, -1, axis=1)
        self.throughputs[:, -1] = size * 8e-6 / self.delay
        self.delays = np.roll(self.delays, -1, axis=1)
        self.delays[:, -1] = self.delay
        self.last = level
        self.chunk += 1
        return reward

    def observe(self) -> NDArray[np.float32]:
        """The policy's features, ``[n, inputs]``."""
        chunks = self.sizes.shape[1]
        left = np.full(len(self.which), chunks - self.chunk, np.float32)
        sizes = self.sizes[self.video, self.chunk].astype(np.float32)
        return features(self.throughputs, self.delays, self.buffer.astype(np.float32), self.last, sizes, left)

    def ahead(self) -> NDArray[np.float32]:
        """What only the critic sees: log throughput of the link over the coming spans, ``[n, 8]``."""
        out = np.empty((len(self.which), len(AHEAD_S)))
        _look_ahead(self.end, self.carried, self.rate, self.first, self.which, self.offset, AHEAD_S, out)
        return np.log(out + 0.02).astype(np.float32)


def measured(ground: Playground, decide: Callable[[Playground], NDArray[np.int64]]) -> NDArray[np.float64]:
    """QoE per chunk (the first left out) of every trace once, on the first video, from its own start, without noise.

    Args:
        ground: the traces.
        decide: returns the next level of every episode, ``[n]``.

    Returns:
        One number a trace, ``[n]``.
    """
    n, chunks = len(ground.length), ground.sizes.shape[1]
    ground.begin(np.arange(n), np.zeros(n, np.int64), ground.starts, np.ones((n, chunks)))
    total = np.zeros(n)
    while ground.chunk < chunks:
        total += ground.play(decide(ground))
    return total / (chunks - 1)


def robust_mpc(ground: Playground) -> Callable[[Playground], NDArray[np.int64]]:
    """``abr/robust-mpc`` for :func:`measured`: a decision rule for one run over `ground`, on its first video."""
    n = len(ground.length)
    forecast, begins = RobustForecast(n), np.zeros(n, np.bool_)

    def decide(ground: Playground) -> NDArray[np.int64]:
        bytes_per_s = forecast(ground.throughputs, begins) * 1e6 / 8.0
        return choose_many(
            ground.sizes[0], np.full(n, ground.chunk), 5, ground.qoe.quality, ground.qoe.stall_weight,
            ground.qoe.switch_weight, ground.chunk_s, bytes_per_s, ground.buffer, ground.last,
        )  # fmt: skip

    return decide
