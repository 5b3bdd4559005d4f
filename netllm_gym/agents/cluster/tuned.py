"""The best rule that search has found: strict fair with an advance for short jobs."""

from __future__ import annotations

import numpy as np

from netllm_gym.agents.cluster.rules import SRPT, StrictFair
from netllm_gym.agents.registry import register_agent
from netllm_gym.errors import ConfigError


@register_agent("cluster/tuned")
class ShortFirst(StrictFair):
    """Every job may hold `floor` of its fair share; the rest of the cluster is handed out to the shortest job first.

    A job gets of that rest the part of the cluster that its remaining work is of `whole` executor-seconds: more would
    hardly speed it up, since each executor costs a move and a fresh task. What nobody's work asks for is shared
    equally. The releasing job obeys its cap; left-overs stay with it or go to the shortest job; and nobody else's
    executors are sent to wait for a stage's parents.

    The constants were chosen on validation sequences, with 50 and with 30 executors (docs/envs/cluster.md).
    """

    leftover_stays = True
    patient = True
    order = SRPT.order

    def __init__(self, whole: float = 1250.0, floor: float = 0.5):
        if whole <= 0 or not 0 <= floor <= 1:
            raise ConfigError("whole must be positive and floor in [0, 1]")
        self.whole, self.floor = whole, floor

    def caps(self, work: np.ndarray) -> np.ndarray:
        """Return the advance of each job, given the remaining work in executor-seconds."""
        caps = np.full(len(work), np.floor(self.floor * self.executors / len(work)))
        left = self.executors - caps.sum()
        for job in np.argsort(work, kind="stable"):
            advance = min(left, max(0.0, np.ceil(work[job] * self.executors / self.whole) - caps[job]))
            caps[job] += advance
            left -= advance
        return caps + np.ceil(left / len(work))
