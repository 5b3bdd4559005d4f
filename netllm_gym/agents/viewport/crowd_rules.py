"""Follow the crowd by rule: the neighbours who looked most alike, no network and no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.agents.viewport.rules import PredictorAgent
from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.geometry import unwrap_to_last, wrap_deg


@register_agent("crowd/knn")
class CrowdNeighbours(PredictorAgent):
    """Drift from where the viewer looks towards where his k nearest predecessors looked next.

    Near is who was close to the viewer over the shown history (mean folded difference of the angles). The share of the
    neighbours' places grows with the horizon, ``1 - exp(-t / blend_s)``. Works in either reading of the angles.

    Args:
        neighbours: k.
        blend_s: time constant of the drift; 0 trusts the neighbours at once.
    """

    memoryless = True

    def __init__(self, neighbours: int = 5, blend_s: float = 12.0) -> None:
        if neighbours < 1 or blend_s < 0:
            raise ConfigError("neighbours ≥ 1 and blend_s ≥ 0 are needed")
        self.neighbours, self.blend_s = neighbours, blend_s

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode.

        Raises:
            ConfigError: an environment that shows no crowd.
        """
        super().reset(env_info)
        if "crowd_deg" not in getattr(env_info.observation_space, "spaces", {}):
            raise ConfigError(f"{self.name} follows a crowd: make {env_info.env_id} with crowd=N")
        self._hz = env_info.static["hz"]

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the next `future` samples in degrees, ``[future, 3]``; the last place where nobody else is known."""
        history = unwrap_to_last(np.asarray(observation["history_deg"], np.float64)[None])[0]
        crowd, known = np.asarray(observation["crowd_deg"], np.float64), observation["crowd_mask"].astype(bool)
        past = len(history)
        span = min(future, crowd.shape[1] - past)
        there = known[:, : past + span].all(axis=1)
        result = np.repeat(history[-1:], future, axis=0)
        if not there.any():
            return result
        crowd = crowd[there]
        apart = np.abs(wrap_deg(crowd[:, :past] - history)).mean(axis=(1, 2))
        near = np.argsort(apart, kind="stable")[: self.neighbours]
        target = wrap_deg(crowd[near, past : past + span] - history[-1]).mean(axis=0)
        time = np.arange(1, span + 1) / self._hz
        share = 1.0 - np.exp(-time / self.blend_s) if self.blend_s else np.ones(span)
        result[:span] += share[:, None] * target
        result[span:] = result[span - 1]
        return result
