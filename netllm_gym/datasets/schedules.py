"""Cluster experience for learners: what they are shown, whose decisions they copy, and returns that mean something.

An episode's reward is minus the job-seconds since the last decision, so its return-to-go tells mostly how many jobs are
still to come, not how well they are scheduled. :func:`advantages` replaces it by what compares: the mean job completion
time that an episode saved against Fair on the same arrivals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.envs.cluster.cluster_view import ClusterView
from netllm_gym.envs.cluster.padded import PaddedView
from netllm_gym.envs.cluster.view import ScheduleView, rows_of
from netllm_gym.errors import ConfigError, DatasetError

ENV = "netllm_gym/ClusterScheduling-v0"


def bounds_of(experience: Experience) -> tuple[int, int, int, int]:
    """Return executors, max_stages, max_jobs and max_edges of a cluster dataset.

    Raises:
        DatasetError: a dataset of another environment.
    """
    if experience.env_id.rpartition(":")[2] != ENV:
        raise DatasetError(f"dataset {experience.name} is of {experience.env_id}, not of {ENV}")
    actions: Any = experience.action_space
    return int(actions.nvec[1]), *rows_of(experience.observation_space)


def advantages(experience: Experience, fair: Experience) -> Experience:
    """Replace rewards: an episode earns, at its end, the seconds of mean completion time it saved against Fair.

    Its return-to-go is the same at every decision, so a return-conditioned agent can be asked for it throughout.

    Args:
        experience: episodes of any agents.
        fair: episodes of ``cluster/fair`` on the same sequences.

    Raises:
        DatasetError: a sequence that Fair has not played.
    """
    jobs = experience.env_kwargs.get("jobs", 200)
    reference = {episode.trace: -float(episode.rewards.sum()) / jobs for episode in fair.episodes}
    collected = []
    for episode in experience.episodes:
        if episode.trace not in reference:
            raise DatasetError(f"dataset {fair.name} holds no episode of Fair on {episode.trace}")
        rewards = np.zeros(len(episode))
        rewards[-1] = reference[episode.trace] + float(episode.rewards.sum()) / jobs
        collected.append(replace(episode, rewards=rewards))
    return replace(experience, episodes=collected)


def viewed(experience: Experience, executors: int = 0) -> Experience:
    """Show a dataset of ``ClusterScheduling-v0`` through :class:`ScheduleView`.

    Args:
        experience: as collected.
        executors: choices of a count, by default as many as the dataset's cluster has; datasets of clusters of several
            sizes can be merged when all are shown with the largest.

    Raises:
        DatasetError: another environment, or a dataset without action masks.
        ConfigError: fewer choices than the cluster has executors.
    """
    own, max_stages, max_jobs, max_edges = bounds_of(experience)
    if executors and executors < own:
        raise ConfigError(f"dataset {experience.name} is of {own} executors, more than {executors}")
    return _through(ScheduleView(executors or own, max_stages, max_jobs, max_edges), experience)


def advised(experience: Experience, moving_s: float) -> Experience:
    """Show a dataset of ``ClusterScheduling-v0`` through :class:`ClusterView`: without units, with a rule's advice.

    Counts become the nearest of the view's choices; datasets of clusters of any size can be merged.

    Args:
        experience: as collected.
        moving_s: the environment's moving delay, in seconds.

    Raises:
        DatasetError: another environment, or a dataset without action masks.
    """
    view = ClusterView(moving_s, *bounds_of(experience)[1:])
    shown = _through(view, experience)
    pairs = zip(shown.episodes, experience.episodes, strict=True)
    coded = [
        replace(one, actions=np.array([view.encode(a, row) for a, row in zip(raw.actions, _rows(raw), strict=True)]))
        for one, raw in pairs
    ]
    return replace(shown, episodes=coded)


def _through(view: ScheduleView, experience: Experience) -> Experience:
    """Show every state and mask by `view`."""
    episodes = []
    for episode in experience.episodes:
        if episode.action_mask is None:
            raise DatasetError(f"dataset {experience.name} has no action masks; collect it again")
        observed = [view(row) for row in _rows(episode)]
        stacked = {key: np.stack([one[key] for one in observed]) for key in observed[0]}
        mask = np.stack([view.mask(legal, view.max_stages) for legal in episode.action_mask])
        episodes.append(replace(episode, observations=stacked, action_mask=mask))
    return replace(
        experience,
        episodes=episodes,
        observation_space=view.observation_space,
        action_space=view.action_space,
        modalities=view.modalities,
        scales=view.scales,
    )


def _rows(episode: Episode) -> Sequence[dict[str, np.ndarray]]:
    return [{key: values[t] for key, values in episode.observations.items()} for t in range(len(episode))]


def padded(experience: Experience, max_candidates: int = 64, reward_scale: float = 0.01) -> Experience:
    """Show a dataset of ``ClusterScheduling-v0`` through :class:`PaddedView`, for learners of vectors and one action.

    Counts become the nearest of the view's shares. Rewards are multiplied by `reward_scale`: an episode's job-seconds
    run into thousands, which Q-learning does not digest.

    Raises:
        DatasetError: another environment, or a dataset without action masks.
        ConfigError: more runnable stages than `max_candidates`.
    """
    view = PaddedView(max_candidates, *bounds_of(experience))
    episodes = []
    for episode in experience.episodes:
        if episode.action_mask is None:
            raise DatasetError(f"dataset {experience.name} has no action masks; collect it again")
        rows = _rows(episode)
        observed = [view(row) for row in rows]
        episodes.append(
            replace(
                episode,
                observations={key: np.stack([one[key] for one in observed]) for key in observed[0]},
                actions=np.array([view.encode(a, row) for a, row in zip(episode.actions, rows, strict=True)]),
                rewards=episode.rewards * reward_scale,
                action_mask=np.stack([view.mask(r, m) for r, m in zip(rows, episode.action_mask, strict=True)]),
            )
        )
    return replace(
        experience,
        episodes=episodes,
        observation_space=view.observation_space,
        action_space=view.action_space,
        modalities=view.modalities,
        scales=view.scales,
    )
