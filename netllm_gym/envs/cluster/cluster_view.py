"""A learner's view of the cluster that has no units and knows what the rule would do.

One network then schedules short tasks and long ones, ten executors and two hundred. The rule's advice makes it robust:
a network that has learnt no more than to follow it is as good as ``cluster/adaptive`` on any workload, and what it
learns beyond that are corrections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.envs.cluster.adaptive import COEFFICIENTS, Advice, advise
from netllm_gym.envs.cluster.view import CLUSTER_SCALES, JOB_SCALES, STAGE_SCALES, ScheduleView, used

USUAL_EXECUTORS, USUAL_TASK_S = 50.0, 1.3  # of the cluster that every cluster is made to look like
OPTIONS = 8  # choices of a count; see :meth:`ClusterView.counts`


def relative(observation: Mapping[str, Any]) -> tuple[dict[str, NDArray], float, float]:
    """Return an observation in units of its own: seconds by the mean task, counts by the cluster's size.

    A task of mean length takes 1.3 s in it and the cluster has 50 executors, whatever they really are.

    Returns:
        The observation, what seconds were multiplied with and what counts were multiplied with.
    """
    stages, jobs, _ = used(observation)
    tasks = float(stages[:, 0].sum())
    mean_s = float((stages[:, 0].astype(float) * stages[:, 1]).sum()) / tasks if tasks else 0.0
    if mean_s <= 0:
        mean_s = float(stages[:, 1].mean()) if len(stages) else 1.0
    faster, more = USUAL_TASK_S / max(mean_s, 1e-3), USUAL_EXECUTORS / float(observation["executors"][2])
    shown = {key: np.array(value) for key, value in observation.items()}
    shown["stages"][: len(stages), :2] *= [more, faster]
    shown["jobs"][: len(jobs), 0] *= more
    shown["jobs"][: len(jobs), 2] *= faster
    shown["executors"] = (shown["executors"] * more).astype(np.float32)
    return shown, faster, more


def options(room: int, free: int) -> NDArray[np.int64]:
    """Return the numbers of executors that the choices of a count stand for, ``[8]``: what the rule would give the job,
    half, three halves and twice of it, all that are to be placed, half and a quarter of them, and one."""
    room = max(1, min(room, free))
    counts = [room, (room + 1) // 2, (3 * room + 1) // 2, 2 * room, free, (free + 1) // 2, (free + 3) // 4, 1]
    return np.clip(np.array(counts, np.int64), 1, max(1, free))


class ClusterView(ScheduleView):
    """A :class:`ScheduleView` in units of its own (:func:`relative`), with the advice of ``cluster/adaptive``.

    `stages` has a column more before the last: whether the rule would pick the stage; `jobs` two more: the job's place
    in the rule's order, 0 for the first, and the share of the executors to be placed that it would get; `cluster` two
    more, the moving delay by the mean task and how large the cluster really is.

    Args:
        moving_s: of the environment.
        max_stages, max_jobs, max_edges: rows of the arrays; exceeding one is an error.
        coefficients: of the rule.
    """

    def __init__(
        self, moving_s: float, max_stages: int, max_jobs: int, max_edges: int,
        coefficients: NDArray[np.float64] = COEFFICIENTS,
    ) -> None:  # fmt: skip
        super().__init__(OPTIONS, max_stages, max_jobs, max_edges)
        self.moving_s, self.coefficients = moving_s, coefficients
        high = np.float32(3.4e38)
        wider = {
            "stages": spaces.Box(-1.0, high, (max_stages, len(STAGE_SCALES) + 1), np.float32),
            "jobs": spaces.Box(-high, high, (max_jobs, len(JOB_SCALES) + 2), np.float32),
            "cluster": spaces.Box(0.0, high, (len(CLUSTER_SCALES) + 2,), np.float32),
        }
        self.observation_space = spaces.Dict({**self.observation_space.spaces, **wider})
        self.scales = {
            **self.scales, "stages": [*STAGE_SCALES[:-1], 1.0, STAGE_SCALES[-1]], "jobs": [*JOB_SCALES, 1.0, 1.0],
            "cluster": [*CLUSTER_SCALES, 2.0, 50.0],
        }  # fmt: skip

    def advice(self, observation: Mapping[str, Any]) -> Advice:
        """Return what the rule would do."""
        return advise(observation, self.moving_s, self.coefficients)

    def __call__(self, observation: Mapping[str, Any], advice: Advice | None = None) -> dict[str, NDArray]:
        """Return the learner's observation; `advice` is what :meth:`advice` says of it, if that is known.

        Raises:
            ConfigError: more stages, jobs or edges than rows.
        """
        shown, faster, _ = relative(observation)
        seen, advice = super().__call__(shown), advice or self.advice(observation)
        stages, jobs, _ = used(observation)
        flags = np.full((self.max_stages, 1), -1, np.float32)
        flags[: len(stages)] = 0.0
        if advice.row >= 0:
            flags[advice.row] = 1.0
        seen["stages"] = np.hstack([seen["stages"][:, :-1], flags, seen["stages"][:, -1:]])
        ways = np.full((self.max_jobs, 2), -1, np.float32)
        free = max(1.0, float(observation["executors"][0]))
        ways[: len(jobs)] = np.column_stack([advice.place, advice.room / free])
        seen["jobs"] = np.hstack([seen["jobs"], ways])
        more = [self.moving_s * faster, float(observation["executors"][2])]
        seen["cluster"] = np.append(seen["cluster"], np.array(more, np.float32))
        return seen

    def counts(self, observation: Mapping[str, Any], row: int, advice: Advice | None = None) -> NDArray[np.int64]:
        """Return how many executors each choice of a count stands for when the stage in `row` is picked, ``[8]``."""
        advice, job = advice or self.advice(observation), int(observation["stages"][row, 4])
        return options(int(advice.room[job]), int(observation["executors"][0]))

    def encode(self, action: Any, observation: Mapping[str, Any]) -> NDArray[np.int64]:
        """Return the view's action that comes nearest to the environment's (row, count - 1)."""
        row, count = int(action[0]), int(action[1]) + 1
        if row == self.max_stages:
            return np.array([row, 0])
        return np.array([row, int(np.abs(self.counts(observation, row) - count).argmin())])

    def decode(self, action: Any, observation: Mapping[str, Any], advice: Advice | None = None) -> NDArray[np.int64]:
        """Return the environment's (row, count - 1) for the view's action."""
        row = int(action[0])
        if row == self.max_stages:
            return np.array([row, 0])
        return np.array([row, int(self.counts(observation, row, advice)[int(action[1])]) - 1])

    def mask(self, legal: NDArray, max_stages: int) -> NDArray[np.bool_]:
        """Turn the environment's mask into the view's: rows, the end of the round, every choice of a count."""
        found = np.ones(self.max_stages + 1 + OPTIONS, bool)
        rows = min(max_stages, self.max_stages)
        found[: self.max_stages] = False
        found[:rows] = legal[:rows]
        found[self.max_stages] = legal[max_stages]
        return found
