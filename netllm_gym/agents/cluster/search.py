"""Search for a rule's coefficients: whole episodes of many workloads, played by compiled code, decide.

Covariance matrix adaptation (Hansen & Ostermeier 2001; the constants are those of Hansen's tutorial, arXiv:1604.00772).
Every generation meets workloads of its own, the same for all its candidates; a candidate's score is the mean logarithm
of its mean completion time over that of ``cluster/tuned``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.cluster.labels import random_world
from netllm_gym.envs.cluster.adaptive import SIZE, START
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.envs.cluster.lookahead import ADAPTIVE, TUNED, copy_world, play_on
from netllm_gym.envs.cluster.model import ClusterModel
from netllm_gym.envs.cluster.world import Durations, World
from netllm_gym.errors import ConfigError
from netllm_gym.traces.jobs.families import SHAPES

Floats = NDArray[np.float64]
BASE = TUNED, np.array([1250.0, 0.5])
# How far the search looks at first, in each coefficient.
SCALE = np.array([0.5, 0.3, 0.3, 0.3, 0.3, 0.2, 0.2, 0.4, 0.4, 0.3, 0.3, 0.3, 2.0, 1.0, 0.4, 0.4, 2.0, 0.7, 0.7, 0.7,
                  0.7, 1.0, 2.0, 1.0])  # fmt: skip


@dataclass(frozen=True)
class SearchConfig:
    """What the search plays and for how long.

    Attributes:
        generations, candidates: how many, and how many of each generation.
        traces: named workloads with a train split; empty: none.
        shapes: of the random workloads' jobs.
        named, random: episodes of each named set, and on random workloads, in a generation.
        spread: how far the first generation is spread, in :data:`SCALE`.
        start: coefficients to begin with; empty: those of a rule like ``cluster/tuned``, with patience.
        seed: of the search and of the workloads.
    """

    generations: int = 40
    candidates: int = 14
    traces: tuple[str, ...] = ("cluster/tpch-unseen-queries", "cluster/wfcommons")
    shapes: tuple[str, ...] = ("chain", "fork-join", "map-reduce", "layered", "tree", "wide")
    named: int = 8
    random: int = 18
    spread: float = 0.3
    start: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.generations, self.named) < 1 or self.candidates < 4 or self.random < 0:
            raise ConfigError("generations and named must be at least 1, candidates 4, random not negative")
        if self.start and len(self.start) != SIZE:
            raise ConfigError(f"start takes {SIZE} coefficients")
        if odd := [shape for shape in self.shapes if shape not in SHAPES]:
            raise ConfigError(f"no shape of jobs is called {odd[0]}")
        if not self.traces and not self.random:
            raise ConfigError("nothing to play: give traces, or random above 0")


@dataclass(frozen=True)
class Episode:
    """An episode ready to be played by compiled code, as often as wanted."""

    world: World
    durations: Durations
    seed: int
    moving_s: float
    jobs: int

    @classmethod
    def of(cls, env: ClusterSchedulingEnv) -> Episode:
        """Take over the episode that an environment has begun."""
        model = ClusterModel(env.sim)
        return cls(*model.true_world(), env.moving_s, len(env.sim.arrivals))

    def mean_jct_s(self, rule: int, constants: Floats) -> float:
        """Play it to the end and return the mean completion time."""
        world = copy_world(self.world)
        return float(play_on(world, self.durations, self.seed, self.moving_s, np.inf, rule, constants)) / self.jobs


def worlds(config: SearchConfig, rng: np.random.Generator) -> Iterator[tuple[str, dict[str, Any]]]:
    """Draw a generation's environments: the name that each counts for, and its arguments."""
    for name in config.traces:
        for k in range(config.named):
            small = 0.45 * config.named <= k  # a smaller cluster with the workload's own arrivals: a backlog
            kwargs = {"traces": name, "split": "train", "executors": 30 if small else 50}
            if name.startswith("cluster/tpch"):
                # a backlog shows what a rule wastes only after many jobs
                yield f"{name}/{kwargs['executors']}", {**kwargs, "jobs": int(rng.choice([40, 100, 200]))}
            elif k % 2:  # workflows have many stages: fewer episodes of fewer jobs
                executors, load = int(10.0 ** rng.uniform(1.2, 2.2)), float(rng.uniform(0.4, 1.1))
                yield name, {**kwargs, "executors": executors, "jobs": 15, "load": load}
    for _ in range(config.random):
        yield "random", random_world(rng, config.shapes, int(rng.choice([25, 25, 75])))


def episodes(config: SearchConfig, rng: np.random.Generator) -> list[tuple[str, Episode, float]]:
    """Begin a generation's episodes: the name each counts for, the episode, the logarithm of the base's time."""
    found = []
    for name, kwargs in worlds(config, rng):
        env = ClusterSchedulingEnv(**kwargs)
        trace = int(rng.integers(len(env.traces)))
        env.reset(seed=int(rng.integers(1 << 31)), options={"trace": trace})
        episode = Episode.of(env)
        found.append((name, episode, float(np.log(episode.mean_jct_s(*BASE)))))
    return found


def score(played: Sequence[tuple[str, Episode, float]], coefficients: Floats) -> dict[str, float]:
    """Return the mean log ratio to the base by name, and their mean as ``all``."""
    found: dict[str, list[float]] = {}
    for name, episode, base in played:
        found.setdefault(name, []).append(float(np.log(episode.mean_jct_s(ADAPTIVE, coefficients))) - base)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return {**means, "all": float(np.mean(list(means.values())))}


def search(
    config: SearchConfig, say: Callable[[str], None] | None = None, stop: Callable[[], bool] = lambda: False
) -> Floats:
    """Return the coefficients that the search ends with: the mean of the last quarter of its generations.

    Args:
        config: what to play.
        say: receives a line a generation.
        stop: asked before each generation.
    """
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(0xC3A,)))
    centre = np.array(config.start) if config.start else START.copy()
    n, many = SIZE, config.candidates
    few = many // 2
    weights = np.log(few + 0.5) - np.log(np.arange(1, few + 1))
    weights /= weights.sum()
    effective = 1.0 / float((weights**2).sum())
    c_path = (4 + effective / n) / (n + 4 + 2 * effective / n)
    c_sigma = (effective + 2) / (n + effective + 5)
    c_one = 2 / ((n + 1.3) ** 2 + effective)
    c_few = min(1 - c_one, 2 * (effective - 2 + 1 / effective) / ((n + 2) ** 2 + effective))
    usual = n**0.5 * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    mean, sigma, covariance = np.zeros(n), config.spread, np.eye(n)
    path, sigma_path, means = np.zeros(n), np.zeros(n), []
    for generation in range(1, config.generations + 1):
        if stop():
            break
        played = episodes(config, rng)
        values, axes = np.linalg.eigh(covariance)
        widths = np.sqrt(np.maximum(values, 1e-12))
        steps = (rng.standard_normal((many, n)) * widths) @ axes.T
        scores = [score(played, centre + SCALE * (mean + sigma * step))["all"] for step in steps]
        best = np.argsort(scores)[:few]
        step = weights @ steps[best]
        mean = mean + sigma * step
        sigma_path = (1 - c_sigma) * sigma_path + np.sqrt(c_sigma * (2 - c_sigma) * effective) * (
            axes @ ((axes.T @ step) / widths)
        )
        length = float(np.linalg.norm(sigma_path))
        steady = length / np.sqrt(1 - (1 - c_sigma) ** (2 * generation)) < (1.4 + 2 / (n + 1)) * usual
        path = (1 - c_path) * path + steady * np.sqrt(c_path * (2 - c_path) * effective) * step
        covariance = (
            (1 - c_one - c_few) * covariance
            + c_one * np.outer(path, path)
            + c_few * (steps[best].T * weights) @ steps[best]
        )
        sigma *= float(np.exp((c_sigma / (1 + c_sigma)) * (length / usual - 1)))
        means.append(centre + SCALE * mean)
        if say:
            parts = score(played, means[-1])
            say(f"generation {generation}: " + ", ".join(f"{k} {100 * v:+.1f} %" for k, v in parts.items()))
    if not means:
        raise ConfigError("the search had no time for a generation")
    return np.mean(means[-max(1, len(means) // 4) :], axis=0)
