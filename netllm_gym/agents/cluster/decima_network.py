"""Decima's network on a cluster's state: messages from children to parents, summaries of jobs and of the cluster.

After Mao et al., "Learning Scheduling Algorithms for Data Processing Clusters", SIGCOMM 2019, section 5. A stage's
embedding gathers those of its children, level by level; a job's is the sum over its stages, the cluster's the mean over
its jobs (the paper sums; a mean keeps its size when the backlog grows beyond what was trained on). One head scores the
runnable stages, another the numbers of executors for the chosen one.

Many states are one graph here, so a batch costs little more than a single state. The arithmetic stands once, on arrays
of numpy (playing) or of torch (training): the small table of operations :data:`NUMPY` has a twin in the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.cluster.adaptive import Advice, advise
from netllm_gym.envs.cluster.cluster_view import USUAL_EXECUTORS, USUAL_TASK_S
from netllm_gym.envs.cluster.view import longest_ways
from netllm_gym.errors import ConfigError

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

STAGE_FEATURES = 20
COUNT_FEATURES = 9


@dataclass(frozen=True)
class DecimaConfig:
    """Widths of the network.

    Attributes:
        embedding: of a stage, of a job and of the cluster.
        hidden: of the perceptrons' hidden layers.
        relative: whether the inputs have no units, seconds by the mean task and executors by the cluster's size;
            then the network also sees the moving delay by the mean task, the cluster's size and what
            ``cluster/adaptive`` would do.
    """

    embedding: int = 16
    hidden: int = 32
    relative: bool = False

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden) < 1:
            raise ConfigError("embedding and hidden must be at least 1")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight: matrices ``[inputs, outputs]`` and biases ``[outputs]``."""
        e, h, f = self.embedding, self.hidden, STAGE_FEATURES + 5 * self.relative
        sizes = {
            "stage": (f, h, e), "message": (e, e), "gather": (e, e), "job": (f + e, h, e), "cluster": (e, e),
            "pick": (f + 3 * e, h, h, 1), "count": (f + 3 * e, h), "amount": (h, h, 1),
            "option": (COUNT_FEATURES + 2 * self.relative, h),
        }  # fmt: skip
        found: dict[str, tuple[int, ...]] = {}
        for name, widths in sizes.items():
            for number, (before, after) in enumerate(pairwise(widths)):
                found |= {f"{name}.{number}.weight": (before, after), f"{name}.{number}.bias": (after,)}
        return found


@dataclass(frozen=True)
class States:
    """Decisions to be taken in `len(free)` clusters, as one graph. Stages and jobs stand in the order of the states.

    Attributes:
        features: of every unfinished stage, ``[n, STAGE_FEATURES]``.
        job: of every stage, ``[n]``; state: of every job, ``[j]``.
        height: longest way to a stage without children, ``[n]``; such a stage has height 0.
        parent, child: stages at the ends of every edge, ``[e]``.
        choice: runnable stages, ``[c]``; row: their rows in the observation; limit: how many executors each could take;
            room: executors its job is short of the fair share; held: executors that its job keeps; both count those to
            be placed as gone; work: what its job has left, executor-seconds; advised: executors that
            ``cluster/adaptive`` would give it, -1 where the inputs have units, ``[c]``.
        free: executors to be placed, ``[s]``; executors: in the cluster, ``[s]``; scale: what counts of executors are
            multiplied with before the network sees them, ``[s]``.
    """

    features: Floats
    job: Integers
    state: Integers
    height: Integers
    parent: Integers
    child: Integers
    choice: Integers
    row: Integers
    limit: Integers
    room: Floats
    held: Floats
    work: Floats
    advised: Integers
    free: Integers
    executors: Floats
    scale: Floats

    @property
    def choice_state(self) -> Integers:
        """State of every runnable stage, ``[c]``, in rising order."""
        return self.state[self.job[self.choice]]


def join(parts: Sequence[States]) -> States:
    """Return the states of all `parts` as one graph."""
    shift = {"job": "state", "state": "free", "parent": "features", "child": "features", "choice": "features"}
    columns = {}
    for field in fields(States):
        arrays = [getattr(part, field.name) for part in parts]
        if field.name in shift:
            sizes = [len(getattr(part, shift[field.name])) for part in parts]
            arrays = [a + offset for a, offset in zip(arrays, np.cumsum([0, *sizes[:-1]]), strict=True)]
        columns[field.name] = np.concatenate(arrays)
    return States(**columns)


def read_states(
    observations: Sequence[Mapping[str, Any]],
    moving_s: Sequence[float] | None = None,
    advices: Sequence[Advice] | None = None,
) -> States:
    """Turn observations of the environment, which must wait for a decision, into one graph.

    With the moving delay of each cluster the features have no units
    (:func:`~netllm_gym.envs.cluster.cluster_view.relative`); `advices` are what the rule says, if that is known.
    """
    stages, jobs, edges, counts = [], [], [], []
    stage_at = job_at = 0
    for observation in observations:
        n = int(np.count_nonzero(observation["stages"][:, 4] >= 0))
        j = int(np.count_nonzero(observation["jobs"][:, 0] >= 0))
        e = int(np.count_nonzero(observation["edges"][:, 0] >= 0))
        stages.append(observation["stages"][:n])
        jobs.append(observation["jobs"][:j])
        edges.append(observation["edges"][:e] + stage_at)
        counts.append((n, j, stage_at, job_at))
        stage_at, job_at = stage_at + n, job_at + j
    sizes = np.array(counts)
    amounts = np.stack([observation["executors"] for observation in observations]).astype(np.float64)
    stage, active = np.concatenate(stages).astype(np.float64), np.concatenate(jobs).astype(np.float64)
    link = np.concatenate(edges).astype(np.int64)
    state = np.repeat(np.arange(len(sizes)), sizes[:, 1])
    job = stage[:, 4].astype(np.int64) + np.repeat(sizes[:, 3], sizes[:, 0])
    tasks, all_free = stage[:, 0].copy(), amounts[:, 0].astype(np.int64)
    scale, more, rule = np.ones(len(sizes)), [], []
    advised = np.full(job_at, -1, np.int64)
    if moving_s is not None:
        advices = advices or [advise(o, float(s)) for o, s in zip(observations, moving_s, strict=True)]
        flags = np.zeros(stage_at)
        flags[[advice.row + begin for advice, begin in zip(advices, sizes[:, 2], strict=True) if advice.row >= 0]] = 1.0
        room = np.concatenate([advice.room for advice in advices])
        advised = room.astype(np.int64)
        rule = [np.concatenate([advice.place for advice in advices]), room / np.maximum(all_free[state], 1)]
        of = state[job]
        count = np.bincount(of, tasks, len(sizes))
        mean_s = np.bincount(of, tasks * stage[:, 1], len(sizes)) / np.maximum(count, 1.0)
        plain = np.bincount(of, stage[:, 1], len(sizes)) / np.maximum(np.bincount(of, minlength=len(sizes)), 1)
        faster = USUAL_TASK_S / np.maximum(np.where(mean_s > 0, mean_s, plain), 1e-3)
        scale = USUAL_EXECUTORS / amounts[:, 2]
        more = [np.log1p(np.asarray(moving_s) * faster)[state], np.log(scale)[state]]
        amounts = amounts * scale[:, None]
        stage[:, 0] *= scale[of]
        stage[:, 1] *= faster[of]
        active[:, 0] *= scale[state]
        active[:, 2] *= faster[state]
    free, total = amounts[state, 0], amounts[state, 2]
    supply, releasing, age = active.T
    crowd = sizes[state, 1].astype(np.float64)
    work = np.bincount(job, stage[:, 0] * stage[:, 1], job_at)
    place = np.arange(job_at) - sizes[state, 3]
    rank = np.empty(job_at)
    by_work = np.lexsort((work, state))
    rank[by_work] = place
    shorter = np.empty(job_at)  # work of the state's shorter jobs
    before = np.cumsum(work[by_work]) - work[by_work]
    shorter[by_work] = before - before[sizes[state, 3]]
    seconds = longest_ways(link[:, 0], link[:, 1], stage[:, 1])
    critical = np.zeros(job_at)
    np.maximum.at(critical, job, seconds)
    held = supply - releasing * free
    # Executors that the fair share leaves a job: those to be placed are nobody's yet.
    room = np.ceil(total / scale[state] / crowd - 1e-9) * scale[state] - held
    common = 1.0 - np.bincount(state, releasing, len(sizes))[state]
    of_job = np.stack(
        [
            free / total, releasing, supply / total, np.clip(room / 10.0, -3.0, 3.0), (room > 0).astype(float),
            np.log1p(crowd) / 3.0, np.log1p(work) / 7.0, np.log1p(age) / 5.0, rank / crowd, place / crowd, common,
            np.log1p(shorter / total) / 4.0, np.log1p(work / np.maximum(held, 1.0)) / 6.0, np.log1p(critical) / 4.0,
            *more, *rule,
        ],
        axis=1,
    )  # fmt: skip
    of_stage = np.stack(
        [
            np.log1p(stage[:, 0]) / 5.0, np.log1p(stage[:, 1]) / 2.0, np.log1p(stage[:, 0] * stage[:, 1]) / 6.0,
            stage[:, 2], stage[:, 3], np.log1p(seconds) / 4.0, *([flags] if rule else []),
        ],
        axis=1,
    )  # fmt: skip
    choice = np.flatnonzero(stage[:, 2] > 0)
    return States(
        features=np.concatenate([of_stage, of_job[job]], axis=1).astype(np.float32),
        job=job,
        state=state,
        height=longest_ways(link[:, 0], link[:, 1], np.ones(stage_at, np.int64)) - 1,
        parent=link[:, 0],
        child=link[:, 1],
        choice=choice,
        row=choice - sizes[state[job[choice]], 2],
        limit=np.maximum(1, np.minimum(tasks[choice], all_free[state[job[choice]]])).astype(np.int64),
        room=room[job[choice]].astype(np.float32),
        held=held[job[choice]].astype(np.float32),
        work=work[job[choice]].astype(np.float32),
        advised=advised[job[choice]],
        free=all_free,
        executors=amounts[:, 2].astype(np.float32),
        scale=scale.astype(np.float32),
    )


class Operations(NamedTuple):
    """What the network needs of an array library: joining rows, ``maximum``, and sums of rows by index."""

    array: Callable[[Any], Any]
    join: Callable[[Sequence[Any]], Any]
    beside: Callable[[Sequence[Any]], Any]
    maximum: Callable[[Any, Any], Any]
    sums: Callable[[Any, Any, int], Any]


def _sums(rows: Floats, index: Integers, count: int) -> Floats:
    out = np.zeros((count, rows.shape[1]), rows.dtype)
    np.add.at(out, index, rows)
    return out


NUMPY = Operations(np.asarray, np.concatenate, lambda parts: np.concatenate(parts, axis=1), np.maximum, _sums)


class Network:
    """The forward pass.

    Args:
        weights: as :meth:`DecimaConfig.shapes` names them, arrays of one library.
        ops: that library's operations.
    """

    def __init__(self, weights: Mapping[str, Any], ops: Operations = NUMPY) -> None:
        self.weights, self.ops = weights, ops

    def _layer(self, name: str, x: Any, number: int = 0) -> Any:
        return x @ self.weights[f"{name}.{number}.weight"] + self.weights[f"{name}.{number}.bias"]

    def _soft(self, x: Any) -> Any:
        return self.ops.maximum(x, 0.2 * x)  # leaky rectifier

    def contexts(self, states: States) -> Any:
        """Return what the heads see of each runnable stage: its features and the three embeddings, ``[c, …]``."""
        ops = self.ops
        order = np.argsort(states.height, kind="stable")
        at = np.empty_like(order)
        at[order] = np.arange(len(order))
        features = ops.array(states.features[order])
        own = self._layer("stage", self._soft(self._layer("stage", features)), 1)
        bounds = np.cumsum([0, *np.bincount(states.height)])
        level = states.height[states.parent]
        embedded = [own[: bounds[1]]]
        messages = [self._soft(self._layer("message", self._soft(embedded[0])))]
        for number, (begin, end) in enumerate(pairwise(bounds[1:]), start=1):
            edges = np.flatnonzero(level == number)
            sent = ops.join(messages)[ops.array(at[states.child[edges]])]
            heard = ops.sums(sent, ops.array(at[states.parent[edges]] - begin), int(end - begin))
            embedded.append(own[begin:end] + self._layer("gather", heard))
            messages.append(self._soft(self._layer("message", self._soft(embedded[-1]))))
        seen = ops.beside([features, self._soft(ops.join(embedded))])
        whole = self._layer("job", self._soft(self._layer("job", seen)), 1)
        jobs = self._soft(ops.sums(whole, ops.array(states.job[order]), len(states.state)))
        share = (1.0 / np.bincount(states.state))[states.state].astype(np.float32)[:, None]
        mean = ops.sums(self._layer("cluster", jobs) * ops.array(share), ops.array(states.state), len(states.free))
        job = states.job[states.choice]
        return ops.beside([
            seen[ops.array(at[states.choice])], jobs[ops.array(job)],
            self._soft(mean)[ops.array(states.state[job])],
        ])  # fmt: skip

    def picks(self, contexts: Any) -> Any:
        """Unnormalised log probabilities of the runnable stages, ``[c]``, from their contexts."""
        x = self._soft(self._layer("pick", contexts))
        return self._layer("pick", self._soft(self._layer("pick", x, 1)), 2)[:, 0]

    def amounts(self, contexts: Any, options: Floats, owner: Integers) -> Any:
        """Unnormalised log probabilities of the `options` ``[o, COUNT_FEATURES]`` of stages `owner` ``[o]``."""
        base, index = self._layer("count", contexts), self.ops.array(owner)
        x = self._soft(base[index] + self._layer("option", self.ops.array(options)))
        return self._layer("amount", self._soft(self._layer("amount", x)), 1)[:, 0]


def count_options(states: States, picked: Integers) -> tuple[Floats, Integers, Integers]:
    """List the numbers of executors that can be promised to the picked runnable stages, one a state.

    Args:
        picked: positions in `states.choice`, ``[s]``.

    Returns:
        Features ``[o, COUNT_FEATURES]``, the state of each option and the number itself, ``[o]``. No option exceeds the
        stage's tasks: more executors could not work on it.
    """
    limit = states.limit[picked]
    owner = np.repeat(np.arange(len(limit)), limit)
    begin = np.cumsum(limit) - limit
    number = np.arange(len(owner)) - begin[owner] + 1
    scale = states.scale[owner]
    shown = number * scale
    spare = states.room[picked][owner] - shown  # what the fair share would still leave the job
    then = states.held[picked][owner] + shown
    advised, more = states.advised[picked][owner], []
    if len(advised) and advised[0] >= 0:
        more = [
            np.clip(np.log(number / np.maximum(advised, 1)), -3.0, 3.0),
            (number == np.clip(advised, 1, limit[owner])).astype(float),
        ]
    features = np.stack(
        [
            shown / 10.0, np.log(shown), np.clip(spare / 10.0, -3.0, 3.0), np.minimum(np.abs(spare), 5.0) / 5.0,
            (np.abs(spare) < 0.5 * scale).astype(float), (number == limit[owner]).astype(float),
            (number == states.free[owner]).astype(float), np.log1p(then) / 4.0,
            np.log1p(states.work[picked][owner] / then) / 5.0, *more,
        ],
        axis=1,
    )  # fmt: skip
    return features.astype(np.float32), owner, number


def best_of(scores: Floats, owner: Integers) -> Integers:
    """Return the position of each owner's highest score (the first of equals); `owner` rises and misses none."""
    begin = np.flatnonzero(np.diff(owner, prepend=-1))
    top = np.maximum.reduceat(scores, begin)
    place = np.where(scores == top[owner], np.arange(len(scores)), len(scores))
    return np.minimum.reduceat(place, begin)
