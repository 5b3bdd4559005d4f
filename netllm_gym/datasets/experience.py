"""Offline experience in memory: what every learner of this package trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.errors import DatasetError
from netllm_gym.plugins import plain_id
from netllm_gym.traces.protocol import refuse_test


@dataclass
class Episode:
    """One episode of T decisions.

    Attributes:
        observations: key → array ``[T, …]``, what was seen before each decision.
        actions: array ``[T, …]``.
        rewards: float ``[T]``, what each action brought.
        action_values: hindsight value of each action, float ``[T, A]``, or ``None``.
        trace: name of the trace that was played.
        action_mask: which choices were legal, all factors one after the other, bool ``[T, A]``, or ``None``.
        taught: what a teacher would have done in each state, array ``[T, …]``, or ``None``.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    action_values: np.ndarray | None = None
    trace: str = ""
    action_mask: np.ndarray | None = None
    taught: np.ndarray | None = None

    def __post_init__(self) -> None:
        steps = len(self.rewards)
        parts = {**self.observations, "actions": self.actions}
        if self.action_values is not None:
            parts["action_values"] = self.action_values
        if self.action_mask is not None:
            parts["action_mask"] = self.action_mask
        if self.taught is not None:
            parts["taught"] = self.taught
        for name, array in parts.items():
            if len(array) != steps:
                raise DatasetError(f"episode on {self.trace or 'a trace'}: {len(array)} {name} for {steps} rewards")

    def __len__(self) -> int:
        return len(self.rewards)

    def returns_to_go(self) -> np.ndarray:
        """Sum of this and all later rewards, float64 ``[T]``."""
        return np.cumsum(np.asarray(self.rewards, np.float64)[::-1])[::-1].copy()


@dataclass
class Experience:
    """Episodes of one environment and what a learner must know about it.

    Attributes:
        episodes: the data.
        env_id, env_kwargs: which environment, JSON-able.
        observation_space, action_space: of the environment.
        modalities, scales: per observation key, from the environment's metadata.
        name, digest: of the dataset.

    Raises:
        ConfigError: the environment's arguments say that it was cut from a test split.
    """

    episodes: list[Episode]
    env_id: str
    env_kwargs: dict[str, Any]
    observation_space: gym.Space
    action_space: gym.Space
    modalities: dict[str, str]
    scales: dict[str, float]
    name: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        refuse_test(self.env_kwargs.get("split"), "learning from experience")

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def steps(self) -> int:
        """Number of decisions in all episodes."""
        return sum(len(episode) for episode in self.episodes)

    def returns(self) -> np.ndarray:
        """Undiscounted return of each episode, float64 ``[episodes]``."""
        return np.array([float(np.sum(episode.rewards)) for episode in self.episodes])


def as_taught(experience: Experience) -> Experience:
    """Put the teacher's decisions in place of the agents', for cloning (DAgger, Ross et al. 2011).

    Raises:
        DatasetError: a dataset that no teacher watched.
    """
    episodes = []
    for episode in experience.episodes:
        if episode.taught is None:
            raise DatasetError(f"dataset {experience.name} has no teacher's decisions; collect it with --teacher")
        episodes.append(replace(episode, actions=episode.taught, taught=None))
    return replace(experience, episodes=episodes, name=f"{experience.name} as taught")


def pad(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Stack episodes of different lengths into one batch, zero-padded on the right to the longest (L steps).

    Returns:
        ``observations`` (key → ``[B, L, …]``), ``actions`` ``[B, L, …]``, ``rewards`` and ``returns_to_go``
        float32 ``[B, L]``, ``mask`` bool ``[B, L]`` (true where there was a decision) and, when every episode has
        them, ``action_values`` float32 ``[B, L, A]`` and ``action_mask`` bool ``[B, L, A]``.
    """
    longest = max(len(episode) for episode in episodes)

    def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
        first = np.asarray(arrays[0])
        batch = np.zeros((len(arrays), longest, *first.shape[1:]), first.dtype)
        for row, array in zip(batch, arrays, strict=True):
            row[: len(array)] = array
        return batch

    batch: dict[str, Any] = {
        "observations": {key: stack([e.observations[key] for e in episodes]) for key in episodes[0].observations},
        "actions": stack([e.actions for e in episodes]),
        "rewards": stack([np.asarray(e.rewards, np.float32) for e in episodes]),
        "returns_to_go": stack([e.returns_to_go().astype(np.float32) for e in episodes]),
        "mask": stack([np.ones(len(e), bool) for e in episodes]),
    }
    values = [e.action_values for e in episodes if e.action_values is not None]
    if len(values) == len(episodes):
        batch["action_values"] = stack([np.asarray(v, np.float32) for v in values])
    masks = [e.action_mask for e in episodes if e.action_mask is not None]
    if len(masks) == len(episodes):
        batch["action_mask"] = stack(masks)
    return batch


def merge(parts: Sequence[Experience]) -> Experience:
    """Join datasets of one environment.

    Raises:
        DatasetError: none given, or datasets of different environments.
    """
    if not parts:
        raise DatasetError("no dataset given")
    first = parts[0]
    for other in parts[1:]:
        if (plain_id(other.env_id), other.observation_space, other.action_space) != (
            plain_id(first.env_id),
            first.observation_space,
            first.action_space,
        ):
            raise DatasetError(f"datasets {first.name} and {other.name} come from different environments")
    return replace(
        first,
        episodes=[episode for part in parts for episode in part.episodes],
        name="+".join(part.name for part in parts),
        digest="+".join(part.digest for part in parts),
    )
