"""What a learner is shown of the cluster: the same graph, with the sums over stages and jobs done for it.

Rules sum a job's work, walk its paths and compare jobs before they decide; a network of few layers would have to learn
that arithmetic first. Nothing here is hidden from other agents: all of it is computed from the observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from netllm_gym.compiled import njit
from netllm_gym.errors import ConfigError

STAGE_SCALES = [100.0, 5.0, 1.0, 1.0, 300.0, 300.0, 50.0]
JOB_SCALES = [50.0, 1.0, 100.0, 1000.0, 1000.0, 20.0]
CLUSTER_SCALES = [50.0, 50.0, 50.0, 5.0, 20.0]


def path_lengths(stages: NDArray[np.float32], edges: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return each stage's longest way to the end of its job, itself included, in executor-seconds of work."""
    edges = edges[edges[:, 0] >= 0]
    return longest_ways(edges[:, 0], edges[:, 1], stages[:, 0] * stages[:, 1])


def longest_ways(parent: NDArray[Any], child: NDArray[Any], own: NDArray[Any]) -> NDArray[Any]:
    """Return the largest sum of `own` ``[n]`` along a way from each stage to one without children, both included."""
    length = own.copy()
    _lengthen(parent, child, own, length)
    return length


@njit(cache=True)
def _lengthen(parent: Any, child: Any, own: Any, length: Any) -> None:
    """Raise `length`, which begins as `own`, until no edge makes a way longer."""
    changed = len(parent) > 0
    while changed:
        changed = False
        for k in range(len(parent) - 1, -1, -1):
            longer = own[parent[k]] + length[child[k]]
            if longer > length[parent[k]]:
                length[parent[k]] = longer
                changed = True


def used(observation: Mapping[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Return the rows of stages, jobs and edges that are in use (the others hold -1)."""
    stages, jobs, edges = observation["stages"], observation["jobs"], observation["edges"]
    return stages[: filled(stages[:, 4])], jobs[: filled(jobs[:, 0])], edges[: filled(edges[:, 0])]


def rows_of(observation_space: Any) -> tuple[int, int, int]:
    """Return how many stages, jobs and edges the observations of a space have room for."""
    stages, jobs, edges = (observation_space[key].shape[0] for key in ("stages", "jobs", "edges"))
    return stages, jobs, edges


def filled(column: NDArray) -> int:
    """Return how many entries of a column come before the padding, which is negative."""
    low, high, entry = 0, len(column), column.item
    while low < high:
        middle = (low + high) // 2
        if entry(middle) < 0:
            high = middle
        else:
            low = middle + 1
    return low


class ScheduleView:
    """Turn an observation of ``ClusterScheduling-v0`` into a learner's.

    ========== ===================================================================================================
    stages     tasks to launch, recent seconds a task, runnable, parents finished; work and longest way to the end of
               the job, executor-seconds; row of its job
    edges      as in the observation
    jobs       executors here or promised, releases the free ones, age in s; work left and work of shorter jobs,
               executor-seconds; executors beyond an equal share
    cluster    executors to be placed, idle, in all; active jobs; an equal share
    ========== ===================================================================================================

    Args:
        executors: of the action space: how many choices of a count there are.
        max_stages, max_jobs, max_edges: rows of the arrays; exceeding one is an error.
    """

    def __init__(self, executors: int, max_stages: int, max_jobs: int, max_edges: int) -> None:
        self.executors, self.max_stages, self.max_jobs, self.max_edges = executors, max_stages, max_jobs, max_edges
        high = np.float32(3.4e38)
        self.observation_space = spaces.Dict({
            "stages": spaces.Box(-1.0, high, (max_stages, len(STAGE_SCALES)), np.float32),
            "edges": spaces.Box(-1, max_stages - 1, (max_edges, 2), np.int32),
            "jobs": spaces.Box(-high, high, (max_jobs, len(JOB_SCALES)), np.float32),
            "cluster": spaces.Box(0.0, high, (len(CLUSTER_SCALES),), np.float32),
        })  # fmt: skip
        self.action_space = spaces.MultiDiscrete([max_stages + 1, executors])
        self.modalities = {"stages": "graph", "edges": "graph", "jobs": "graph", "cluster": "scalar"}
        self.scales: dict[str, Any] = {
            "stages": STAGE_SCALES, "edges": 1.0, "jobs": JOB_SCALES, "cluster": CLUSTER_SCALES,
        }  # fmt: skip

    def __call__(self, observation: Mapping[str, Any]) -> dict[str, NDArray]:
        """Return the learner's observation.

        Raises:
            ConfigError: more stages, jobs or edges than rows.
        """
        stages, jobs, edges = used(observation)
        for name, rows, bound in (
            ("max_stages", stages, self.max_stages),
            ("max_jobs", jobs, self.max_jobs),
            ("max_edges", edges, self.max_edges),
        ):
            if len(rows) > bound:
                raise ConfigError(f"{len(rows)} in the system exceed {name}={bound} of the view; raise {name}")
        own = stages[:, 0] * stages[:, 1]
        work = np.bincount(stages[:, 4].astype(np.intp), own, len(jobs)).astype(np.float32)
        order = np.argsort(work, kind="stable")
        shorter = np.empty_like(work)
        shorter[order] = np.cumsum(work[order]) - work[order]
        total = float(observation["executors"][2])
        share = total / max(1, len(jobs))
        seen: dict[str, NDArray] = {
            "stages": np.full((self.max_stages, len(STAGE_SCALES)), -1, np.float32),
            "edges": np.full((self.max_edges, 2), -1, np.int32),
            "jobs": np.full((self.max_jobs, len(JOB_SCALES)), -1, np.float32),
            "cluster": np.array([*observation["executors"], len(jobs), share], np.float32),
        }
        seen["stages"][: len(stages)] = np.column_stack([stages[:, :4], own, path_lengths(stages, edges), stages[:, 4]])
        seen["edges"][: len(edges)] = edges
        seen["jobs"][: len(jobs)] = np.column_stack([jobs, work, shorter, jobs[:, 0] - share])
        return seen

    def mask(self, legal: NDArray, max_stages: int) -> NDArray[np.bool_]:
        """Turn the environment's mask (rows, end of the round, counts) of `max_stages` rows into the view's."""
        found = np.zeros(self.max_stages + 1 + self.executors, bool)
        rows = min(max_stages, self.max_stages)
        found[:rows] = legal[:rows]
        found[self.max_stages] = legal[max_stages]
        counts = np.asarray(legal[max_stages + 1 :], bool)[: self.executors]
        found[self.max_stages + 1 : self.max_stages + 1 + len(counts)] = counts
        return found
