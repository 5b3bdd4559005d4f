"""`cluster/decima-as-published`: Decima with the weights released with NetLLM (those of spark-sched-sim).

A graph network summarises stages, jobs and the cluster; one small network scores the runnable stages and another the
number of executors (Mao et al., SIGCOMM 2019; sizes as in spark-sched-sim's port). Both decisions are drawn from their
probabilities, in evaluation too: taken greedily the same weights are a fifth worse.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.museum.archive import NETLLM, Exhibit
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.cluster.view import used
from netllm_gym.errors import ConfigError

Floats = NDArray[np.float32]

EMBEDDING, FEATURES, OF_A_JOB = 16, 5, 3
# Name of a network of three layers -> its inputs, and the widths after them.
_NETWORKS = {
    "encoder.node_encoder.mlp_prep": (FEATURES, 32, 16, EMBEDDING),
    "encoder.node_encoder.mlp_msg": (EMBEDDING, 32, 16, EMBEDDING),
    "encoder.node_encoder.mlp_update": (EMBEDDING, 32, 16, EMBEDDING),
    "encoder.dag_encoder.mlp": (FEATURES + EMBEDDING, 32, 16, EMBEDDING),
    "encoder.global_encoder.mlp": (EMBEDDING, 32, 16, EMBEDDING),
    "stage_policy_network.mlp_score": (FEATURES + 3 * EMBEDDING, 64, 64, 1),
    "exec_policy_network.mlp_score": (OF_A_JOB + 2 * EMBEDDING + 1, 64, 64, 1),
}


def _shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, widths in _NETWORKS.items():
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            found[f"{name}.{2 * number}.weight"] = (outputs, inputs)
            found[f"{name}.{2 * number}.bias"] = (outputs,)
    return found


EXHIBITS = {
    "decima": Exhibit(
        NETLLM, "cluster_job_scheduling/models/decima/model.pt",
        "b6a441f870cc7f028bf906bb73007dc2bd7240cb1902fd9d0b6e0f4f0f032753", _shapes(),
    ),
}  # fmt: skip


def heights(parent: NDArray[np.intp], child: NDArray[np.intp], count: int) -> NDArray[np.int64]:
    """Return how many stages stand below each on its longest way down, ``[count]``."""
    height = np.zeros(count, np.int64)
    while len(parent):
        raised = height.copy()
        np.maximum.at(raised, parent, height[child] + 1)
        if np.array_equal(raised, height):
            break
        height = raised
    return height


class PublishedDecima(Agent):
    """Schedules by the released weights.

    Args:
        greedy: take the most probable decisions instead of drawing them.

    Raises:
        DownloadError, CheckpointError, MissingExtraError: weights that cannot be had or read.
    """

    def __init__(self, greedy: bool = False) -> None:
        self.weights, self.greedy = EXHIBITS["decima"].tensors(), greedy

    def reset(self, env_info: EnvInfo) -> None:
        """Seed the episode's draws."""
        if "max_stages" not in env_info.static:
            raise ConfigError(f"{self.name} schedules clusters, not {env_info.env_id}")
        self.rng = env_info.rng()

    def _run(self, name: str, values: Floats, tanh: bool = False) -> Floats:
        for layer in (0, 2, 4):
            values = values @ self.weights[f"{name}.{layer}.weight"].T + self.weights[f"{name}.{layer}.bias"]
            if layer < 4:
                values = np.tanh(values) if tanh else np.where(values > 0, values, np.float32(0.2) * values)
        return values

    def _embed(self, features: Floats, parent: NDArray[np.intp], child: NDArray[np.intp]) -> Floats:
        """Pass messages from children to parents, one height after the other."""
        initial = self._run("encoder.node_encoder.mlp_prep", features)
        if not len(parent):
            return initial
        height = heights(parent, child, len(features))
        found = np.zeros_like(initial)
        leaves = height == 0
        found[leaves] = self._run("encoder.node_encoder.mlp_update", initial[leaves])
        for level in range(1, int(height.max()) + 1):
            here = height[parent] == level
            total = np.zeros_like(initial)
            np.add.at(total, parent[here], self._run("encoder.node_encoder.mlp_msg", found[child[here]]))
            mine = height == level
            found[mine] = initial[mine] + self._run("encoder.node_encoder.mlp_update", total[mine])
        return found

    def _pick(self, scores: Floats) -> int:
        noise = 0.0 if self.greedy else self.rng.gumbel(size=len(scores))
        return int(np.argmax(scores + noise))

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.int64]:
        """Return (row, count - 1)."""
        stages, jobs, edges = used(observation)
        runnable = np.flatnonzero(observation["stage_mask"][: len(stages)])
        if not len(runnable):
            return np.array([len(observation["stages"]), 0])
        committable, _, executors = (float(number) for number in observation["executors"])
        job = stages[:, 4].astype(np.intp)
        supply, source = jobs[:, 0], jobs[:, 1] > 0
        room = np.where(source, committable, np.minimum(executors - supply, committable))
        features = np.column_stack([
            room[job] / executors, np.where(source[job], 1.0, -1.0), supply[job] / executors, stages[:, 0] / 200.0,
            stages[:, 0] * stages[:, 1] * 1000.0 / 1e5,
        ]).astype(np.float32)  # fmt: skip
        nodes = self._embed(features, edges[:, 0].astype(np.intp), edges[:, 1].astype(np.intp))
        dags = np.zeros((len(jobs), EMBEDDING), np.float32)
        np.add.at(dags, job, self._run("encoder.dag_encoder.mlp", np.hstack([features, nodes])))
        whole = self._run("encoder.global_encoder.mlp", dags).sum(axis=0, keepdims=True)

        wide = np.repeat(whole, len(runnable), axis=0)
        seen = np.hstack([features[runnable], nodes[runnable], dags[job[runnable]], wide])
        row = int(runnable[self._pick(self._run("stage_policy_network.mlp_score", seen, tanh=True)[:, 0])])
        most = max(1, int(room[job[row]]))
        first = features[np.flatnonzero(job == job[row])[0], :OF_A_JOB]
        shares = np.arange(most, dtype=np.float32)[:, None] / np.float32(executors)
        context = np.concatenate([first, dags[job[row]], whole[0]])
        counts = self._run("exec_policy_network.mlp_score", np.hstack([np.tile(context, (most, 1)), shares]), tanh=True)
        return np.array([row, self._pick(counts[:, 0])])


@register_agent("cluster/decima-as-published")
def decima() -> PublishedDecima:
    """Decima's released weights; it draws its decisions, as its authors do."""
    return PublishedDecima()


@register_agent("cluster/decima-as-published-greedy")
def decima_greedy() -> PublishedDecima:
    """Decima's released weights, taken greedily."""
    return PublishedDecima(greedy=True)
