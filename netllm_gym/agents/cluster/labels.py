"""What each of several decisions would lead to, in states of many workloads: the lessons of expert iteration.

Rollouts (:mod:`netllm_gym.agents.cluster.rollout`) tell for a decision and its alternatives how many job-seconds
follow. A student learns from them where it came to itself, becomes the one that is followed, and is labelled again
(Anthony, Tian & Barber, "Thinking fast and slow with deep learning and tree search", 2017).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import Agent
from netllm_gym.agents.cluster.rollout import Choice, Lookahead, compiled_rule, propose
from netllm_gym.agents.registry import make_agent
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.envs.cluster.view import used
from netllm_gym.errors import DatasetError
from netllm_gym.files import atomic_path
from netllm_gym.play import Play
from netllm_gym.traces.jobs.families import SHAPES, random_workload
from netllm_gym.traces.jobs.statistics import mean_work_s
from netllm_gym.traces.jobs.workload import Workload

COLUMNS = ("stages", "jobs", "edges", "choices", "costs")


@dataclass
class Labels:
    """Labelled states, one after the other.

    Attributes:
        stages, jobs, edges: rows in use of each observation.
        choices: row (-1 ends the round) and executors of each decision compared, the rule's first, ``[…, 2]``.
        costs: job-seconds that follow, in the mean over futures, less those after the rule's, and the standard error,
            ``[…, 2]``.
        ends: where each state ends in those five, ``[states, 5]``.
        executors: to be placed, idle, in all, ``[states, 3]``; moving_s ``[states]``.
        world: what the state's workload is made of, a bit for each of the random shapes, 0 for a named workload
            ``[states]``.
    """

    stages: NDArray[np.float32]
    jobs: NDArray[np.float32]
    edges: NDArray[np.int32]
    choices: NDArray[np.int32]
    costs: NDArray[np.float32]
    ends: NDArray[np.int64]
    executors: NDArray[np.float32]
    moving_s: NDArray[np.float32]
    world: NDArray[np.int32]

    def select(self, kept: NDArray[np.bool_]) -> Labels:
        """Return the states for which `kept` ``[states]`` is true."""
        sizes = np.diff(self.ends, axis=0, prepend=np.zeros((1, 5), np.int64))
        parts = {name: getattr(self, name)[np.repeat(kept, sizes[:, column])] for column, name in enumerate(COLUMNS)}
        ends = np.cumsum(sizes[kept], axis=0)
        return Labels(
            **parts, ends=ends, executors=self.executors[kept], moving_s=self.moving_s[kept], world=self.world[kept]
        )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def compared(self) -> NDArray[np.bool_]:
        """Which states have several choices, ``[states]``."""
        return np.diff(self.ends[:, 3], prepend=0) > 1

    def state(self, k: int) -> tuple[dict[str, NDArray], NDArray[np.int32], NDArray[np.float32]]:
        """Return the observation of state `k` (without padding), its choices and their costs."""
        begin = self.ends[k - 1] if k else np.zeros(5, np.int64)
        part = {n: getattr(self, n)[a:b] for n, a, b in zip(COLUMNS, begin, self.ends[k], strict=True)}
        mask = (part["stages"][:, 2] > 0).astype(np.int8)
        seen = {"stages": part["stages"], "jobs": part["jobs"], "edges": part["edges"]}
        return {**seen, "stage_mask": mask, "executors": self.executors[k]}, part["choices"], part["costs"]

    def save(self, path: str | Path) -> None:
        """Write them as plain arrays, by atomic rename."""
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, paths: Sequence[str | Path]) -> Labels:
        """Read and join files.

        Raises:
            DatasetError: none, or one that does not hold labels.
        """
        parts = []
        for path in paths:
            try:
                with np.load(path, allow_pickle=False) as stored:
                    parts.append(cls(**{name: stored[name] for name in cls.__dataclass_fields__}))
            except (OSError, ValueError, KeyError) as error:
                raise DatasetError(f"{path} holds no labels ({error})") from None
        return cls.join(parts)

    @classmethod
    def join(cls, parts: Sequence[Labels]) -> Labels:
        """Return the states of all parts."""
        if not parts:
            raise DatasetError("no labels given")
        shift = np.cumsum([np.zeros(5, np.int64), *(part.ends[-1] for part in parts[:-1])], axis=0)
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in cls.__dataclass_fields__
            if name != "ends"
        }
        return cls(**joined, ends=np.concatenate([part.ends + at for part, at in zip(parts, shift, strict=True)]))


class _Book:
    """States as they come."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def note(
        self, observation: Any, moving_s: float, world: int, choices: Sequence[Choice], costs: NDArray[np.float64]
    ) -> None:
        """Keep a state, its choices and what they cost ``[futures, choices]``."""
        stages, jobs, edges = (part.copy() for part in used(observation))
        less = costs - costs[:, :1]
        error = less.std(0, ddof=1) / np.sqrt(len(less)) if len(less) > 1 else np.zeros(len(choices))
        table = np.column_stack([less.mean(0), error]).astype(np.float32)
        self.rows.append(
            (stages, jobs, edges, np.array(choices, np.int32), table, observation["executors"], moving_s, world)
        )

    def labels(self) -> Labels:
        """Return what was noted.

        Raises:
            DatasetError: nothing was.
        """
        if not self.rows:
            raise DatasetError("no state was labelled in the time given")
        *parts, executors, moving, world = zip(*self.rows, strict=True)
        ends = np.cumsum([[len(part) for part in row[:5]] for row in self.rows], axis=0)
        stages, jobs, edges, choices, costs = (np.concatenate(part) for part in parts)
        last = np.array(executors), np.array(moving, np.float32), np.array(world, np.int32)
        return Labels(stages, jobs, edges, choices, costs, ends, *last)


def shapes_of(workload: Workload) -> int:
    """Return a bit for each shape of :data:`SHAPES` that a random workload's jobs have; 0 for others."""
    names = {template.name.rpartition("-")[0] for template in workload.templates}
    return sum(1 << i for i, shape in enumerate(SHAPES) if shape in names) if workload.name == "random" else 0


def random_world(rng: np.random.Generator, shapes: Sequence[str] = tuple(SHAPES), jobs: int = 25) -> dict[str, Any]:
    """Draw arguments of ``ClusterScheduling-v0``: a random workload on 10 to 200 executors at a load of 0.4 to 1.2."""
    executors = int(10.0 ** rng.uniform(1.0, 2.3))
    workload = random_workload(rng, shapes)
    tasks = np.mean([sum(stage.tasks for stage in job.stages) for job in workload.templates])
    moving = float(mean_work_s(workload) / tasks * 10.0 ** rng.uniform(-0.7, 0.5))
    return {
        "traces": workload, "executors": executors, "load": float(rng.uniform(0.4, 1.2)), "moving_s": moving,
        "warmup_s": 0.0, "jobs": jobs,
    }  # fmt: skip


def known_world(rng: np.random.Generator, traces: str = "cluster/tpch") -> dict[str, Any]:
    """Draw arguments for a named workload: 50 or 30 executors and its own arrivals, or 16 to 100 at another load."""
    if rng.random() < 0.6:
        return {"traces": traces, "split": "train", "executors": int(rng.choice([50, 50, 30])), "jobs": 60}
    executors, load = int(10.0 ** rng.uniform(1.2, 2.0)), float(rng.uniform(0.4, 1.2))
    return {"traces": traces, "split": "train", "executors": executors, "jobs": 40, "load": load}


def label(
    seed: int, seconds: float, students: Sequence[Callable[[], Agent]] = (), traces: str = "cluster/tpch",
    known: float = 0.5, shapes: Sequence[str] = tuple(SHAPES), share: float = 0.25, candidates: int = 7,
    futures: int = 4, others: float = 0.0, rule: str = "cluster/adaptive", limit: int | None = None,
    horizon: float = 2.0, until: float = 3.0,
) -> Labels:  # fmt: skip
    """Play episodes for about so many seconds and label a share of the states.

    A third of the episodes are played by the rule, a third by the best of what was labelled, a third by a student (by
    the rule while there is none); one decision in twenty is any of the candidates.

    Args:
        seed: of everything drawn.
        seconds: wall-clock time.
        students: makers of agents whose states are labelled.
        traces: named workload that `known` of the episodes are on; the others are random.
        known: share of the episodes on the named workload; 0 needs none.
        shapes: of the random workloads' jobs.
        share: of the decisions that are labelled.
        candidates, futures: how many.
        others: share of the other states that are kept too, with the rule's decision as the only choice: to be copied.
        rule: who plays on in the futures.
        limit: stop after so many states, whatever the time (then the same seed gives the same labels).
        horizon, until: how far futures reach (:class:`~netllm_gym.agents.cluster.rollout.Lookahead`).
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x1AB,)))
    began, book = time.monotonic(), _Book()
    players = [make() for make in students]
    for episode in _forever():
        world = known_world(rng, traces) if rng.random() < known else random_world(rng, shapes)
        env = ClusterSchedulingEnv(**world, may_wait=True)
        made_of = shapes_of(env.traces[0].workload)
        teacher = make_agent(rule)
        player = players[episode % len(players)] if players and episode % 3 == 0 else None

        def choose(
            play: Play, action: Any, made_of: Any = made_of, player: Agent | None = player, episode: int = episode
        ) -> Any:
            """Label the state that the rule decided on, and say what is played."""
            inner: Any = play.env
            observation, info, top = play.observation, play.info, inner.max_stages
            row = -1 if int(action[0]) == top else int(action[0])
            best: Choice | None = None
            if rng.random() < share:
                choices = propose(observation, info, (row, int(action[1]) + 1), candidates, top)
                if len(choices) > 1:
                    costs = lookahead.costs(choices, futures, rng)  # noqa: B023 (called in this round of the loop only)
                    book.note(observation, inner.moving_s, made_of, choices, costs)
                    best = choices[int(costs.mean(0).argmin())]
                    if rng.random() < 0.05:
                        best = choices[int(rng.integers(len(choices)))]
            elif rng.random() < others and row >= 0:
                book.note(observation, inner.moving_s, made_of, [(row, int(action[1]) + 1)], np.zeros((1, 1)))
            if player is not None:
                return player.act(observation, info)
            if best is not None and episode % 3 == 1:
                return np.array([top, 0]) if best[0] < 0 else np.array([best[0], best[1] - 1])
            return action

        seeds = (int(rng.integers(1 << 31)), int(rng.integers(1 << 31)))
        played = Play(env, teacher, seeds[0], agent_seed=seeds[1], override=choose)
        env_info = played.env_info()
        teacher.reset(env_info)
        if player is not None:
            player.reset(env_info)
        lookahead = Lookahead(env_info.model, compiled_rule(teacher), horizon, until)
        for _ in played:
            if time.monotonic() - began > seconds or (limit is not None and len(book.rows) >= limit):
                return book.labels()
    raise AssertionError


def _forever() -> Iterator[int]:
    k = 0
    while True:
        yield k
        k += 1
