"""Who is followed in lessons: policies that decide for many worlds at once, from what a player would see.

A row network needs the view alone; the specialist of :mod:`netllm_gym.agents.abr.actor_critic` reads Mbit/s and bytes,
as they stand in the worlds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.actor_critic import ActorCritic, features
from netllm_gym.agents.abr.rows import RowNetwork
from netllm_gym.agents.abr.worlds import Lives, Stage
from netllm_gym.envs.abr.forecast import harmonic_means

Levels = NDArray[np.int64]
# (stage, lives, rows [n, L, F], context [n, C], mask [n, L]) -> levels [n]
Decide = Callable[[Stage, Lives, NDArray[Any], NDArray[Any], NDArray[np.bool_]], Levels]


def of_rows(network: RowNetwork) -> Decide:
    """Return who plays the level whose row scores highest."""

    def decide(
        stage: Stage, lives: Lives, rows: NDArray[Any], context: NDArray[Any], mask: NDArray[np.bool_]
    ) -> Levels:
        return network.scores(rows, context, mask).argmax(1)

    return decide


def home_or_any(home: ActorCritic, away: RowNetwork, top_mbps: float) -> Decide:
    """Return ``abr/actor-critic`` at home: the specialist on links slower than the top level, `away` on faster ones.

    All worlds must play one video of as many levels as the specialist knows, at its own rates; `top_mbps` is the
    highest.
    """
    levels = home.config.levels

    def decide(
        stage: Stage, lives: Lives, rows: NDArray[Any], context: NDArray[Any], mask: NDArray[np.bool_]
    ) -> Levels:
        slow = harmonic_means(lives.throughputs) <= top_mbps  # with nothing measured the forecast is 0
        chosen = np.zeros(len(slow), np.int64)
        if slow.any():
            sizes = stage.sizes[stage.row[lives.video[slow]] + lives.chunk[slow], :levels] * lives.scale[slow, None]
            left = (stage.length[lives.video[slow]] - lives.chunk[slow]).astype(np.float32)
            told: Any = lives.throughputs[slow], lives.delays[slow], lives.buffer[slow], lives.last[slow], sizes, left
            chosen[slow] = home.logits(features(*told)).argmax(1)
        if not slow.all():
            chosen[~slow] = away.scores(rows[~slow], context[~slow], mask[~slow]).argmax(1)
        return chosen

    return decide
