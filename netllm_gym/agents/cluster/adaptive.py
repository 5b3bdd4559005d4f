"""`cluster/adaptive`: shortest jobs first with as many executors as pay, on workloads of any size and pace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.checkpoint import rebuilding
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.cluster.adaptive import COEFFICIENTS, HASTY, NEVER, SIZE, advise
from netllm_gym.errors import ConfigError

KIND = "adaptive"
ENV = "netllm_gym/ClusterScheduling-v0"


@register_agent("cluster/adaptive")
class Adaptive(Agent):
    """A rule like ``cluster/tuned`` whose constants have no units.

    How many seconds a job should take with what it gets, who is served first and which stage comes first depend on
    ratios of the moving delay, the job's longest way and its work (:mod:`netllm_gym.envs.cluster.adaptive`). So it fits
    short tasks and long ones, ten executors and two hundred. It may let executors wait at a job rather than bind them
    to a stage whose parents still run.

    Args:
        coefficients: of the rule; default: those that the search of ``netllm-gym train cluster-adaptive`` chose. The
            first sixteen alone make a rule that is never patient.
    """

    memoryless = True

    def __init__(self, coefficients: Sequence[float] | None = None) -> None:
        chosen = COEFFICIENTS if coefficients is None else np.asarray(coefficients, np.float64)
        if chosen.shape == (SIZE - len(NEVER),):
            chosen = np.append(chosen, NEVER)
        if chosen.shape != (SIZE,) or not np.isfinite(chosen).all():
            raise ConfigError(f"coefficients must be {SIZE} finite numbers")
        self.coefficients = chosen

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode."""
        if "max_stages" not in env_info.static:
            raise ConfigError(f"{self.name} schedules clusters, not {env_info.env_id}")
        self.end, self.moving_s = int(env_info.static["max_stages"]), float(env_info.static["moving_s"])

    def act(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        """Return (row, count - 1)."""
        row, count, _, _ = advise(observation, self.moving_s, self.coefficients)
        if row < 0:
            if info.get("may_wait", True):
                return np.array([self.end, 0])
            row, count = int(observation["stage_mask"].argmax()), 1
        return np.array([row, count - 1])


@register_agent("cluster/hasty")
def hasty() -> Adaptive:
    """Return the rule as it was searched for before it could be patient; the students were taught with it."""
    return Adaptive(HASTY.tolist())


def load(folder: Path, description: dict[str, Any]) -> Adaptive:
    """Rebuild the rule of a checkpoint folder.

    Raises:
        CheckpointError: its coefficients are missing or no numbers.
    """
    with rebuilding(folder):
        return Adaptive([float(x) for x in description["config"]["coefficients"]])
