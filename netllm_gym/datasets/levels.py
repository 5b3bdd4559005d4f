"""Streaming experience by rows: what a learner that scores levels is shown of episodes on one ladder.

Episodes of different ladders, chunk lengths and QoE become one dataset: observations are those of
:class:`~netllm_gym.envs.abr.view.ABRView`, values count ranges of the ladder's quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.envs.abr.view import ABRView
from netllm_gym.envs.abr.view import Episode as Facts
from netllm_gym.errors import DatasetError

ENV = "netllm_gym/ABR-v0"


def by_levels(experience: Experience, static: Mapping[str, Any], max_levels: int, unit: float) -> Experience:
    """Show a dataset of ``ABR-v0`` through :class:`ABRView`.

    Args:
        experience: as collected, on one video.
        static: what the environment says of its episodes (video, QoE, player).
        max_levels: rows of the view; the ladder may have fewer levels.
        unit: what one range of the ladder's quality becomes in rewards and values.

    Raises:
        DatasetError: another environment, or episodes of another ladder.
    """
    if experience.env_id.rpartition(":")[2] != ENV:
        raise DatasetError(f"dataset {experience.name} is of {experience.env_id}, not of {ENV}")
    facts, view = Facts(static), ABRView(max_levels)
    if int(getattr(experience.action_space, "n", -1)) != facts.levels:
        raise DatasetError(f"dataset {experience.name} is not of a ladder of {facts.levels} levels")
    quality = np.asarray(static["qoe"].per_chunk(facts.chunks), np.float64)
    factor = unit / float(quality.max() - quality.min())
    legal = np.broadcast_to(view.mask(facts.levels), (1, max_levels))
    return replace(
        experience,
        episodes=[_shown(one, facts, view, factor, legal) for one in experience.episodes],
        observation_space=view.observation_space,
        action_space=view.action_space,
        modalities=view.modalities,
        scales=view.scales,
    )


def _shown(episode: Episode, facts: Facts, view: ABRView, factor: float, legal: np.ndarray) -> Episode:
    steps = range(len(episode))
    seen = [view(facts, {key: values[t] for key, values in episode.observations.items()}) for t in steps]
    values = None
    if episode.action_values is not None:
        values = np.full((len(episode), view.max_levels), np.nan)
        values[:, : facts.levels] = np.asarray(episode.action_values, np.float64) * factor
    return replace(
        episode,
        observations={key: np.stack([one[key] for one in seen]) for key in seen[0]},
        rewards=np.asarray(episode.rewards, np.float64) * factor,
        action_values=values,
        action_mask=np.repeat(legal, len(episode), axis=0),
    )
