"""The job sequences that an iteration of Decima's training plays, and what each decision in them was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.cluster.decima import decide
from netllm_gym.agents.cluster.decima_network import (
    Integers,
    Network,
    States,
    read_states,
)
from netllm_gym.agents.registry import make_agent
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.play import Play, lockstep


@dataclass
class Moment:
    """One step of all rollouts still running: their states and what was decided in them, ``[s]``.

    `picked` and `number` are as in :func:`~netllm_gym.agents.cluster.decima.decide`; while imitating they hold
    the teacher's decision.
    """

    states: States
    slot: Integers
    picked: Integers
    number: Integers
    time_s: NDArray[np.float64]
    reward: NDArray[np.float64]


def play(
    network: Network, envs: Sequence[ClusterSchedulingEnv], starts: Sequence[tuple[int, int]],
    rng: np.random.Generator, teacher: str = "",
) -> tuple[list[Moment], float]:  # fmt: skip
    """Play an episode in every environment, in lock-step, with drawn decisions.

    Args:
        starts: (seed, index of the job sequence) of every episode.
        teacher: rule whose decisions are recorded in place of the network's.

    Returns:
        The moments in order, and the mean job completion time, s.
    """
    plays = [Play(env, seed=seed, options={"trace": trace}) for env, (seed, trace) in zip(envs, starts, strict=True)]
    teachers: list[Agent] = []
    for episode in plays if teacher else ():
        teachers.append(make_agent(teacher))
        teachers[-1].reset(EnvInfo.of(episode.env))
    moments: list[Moment] = []

    def choose(observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Decide in every open episode and note the moment; the rewards follow."""
        open_slots = [i for i, observation in enumerate(observations) if observation is not None]
        states = read_states([observations[i] for i in open_slots])
        picked, number = decide(network, states, [rng] * len(open_slots))
        noted, amount = picked, number
        if teacher:
            wanted = np.array([teachers[i].act(observations[i], infos[i]) for i in open_slots])
            # A rule may end the round, which the network cannot: it is not imitated there.
            owner = states.choice_state
            match = np.flatnonzero(states.row == wanted[owner, 0])
            known = owner[match]
            noted, amount = picked.copy(), number.copy()
            noted[known] = match
            amount[known] = np.minimum(wanted[known, 1] + 1, states.limit[match])
        now = np.array([infos[i]["time_s"] for i in open_slots])
        moments.append(Moment(states, np.array(open_slots), noted, amount, now, np.zeros(len(open_slots))))
        return in_slots(len(plays), open_slots, states.row[picked], number)

    for steps in lockstep(plays, choose):
        moments[-1].reward[:] = [step.reward for step in steps]
    return moments, float(np.mean([episode.info["mean_jct_s"] for episode in plays]))


def in_slots(count: int, open_slots: Sequence[int], rows: Integers, number: Integers) -> list[Any]:
    """Return the actions (stage, count - 1) of the open episodes at their places among `count`."""
    actions: list[Any] = [None] * count
    for slot, row, amount in zip(open_slots, rows, number, strict=True):
        actions[slot] = np.array([row, amount - 1], dtype=np.int64)
    return actions


def backlog(states: States) -> NDArray[np.float64]:
    """Describe how much is waiting in each state: jobs, work, its root, and the seconds that the jobs would stay if the
    whole cluster served the shortest first; all summed over the jobs, work in executor-seconds.
    """
    count = len(states.free)
    work = np.bincount(states.job, np.expm1(states.features[:, 2].astype(float) * 6.0), len(states.state))
    by_work = np.lexsort((work, states.state))
    done = np.cumsum(work[by_work])
    sums = np.bincount(states.state, work, count)
    begin = np.cumsum(sums) - sums
    stay = (done - begin[states.state]) / states.executors[states.state]  # in the order of `by_work`, state by state
    columns = [np.bincount(states.state, x, count) for x in (np.ones_like(work), work, np.sqrt(work), stay)]
    return np.stack(columns, axis=1)


def advantages(
    moments: Sequence[Moment], rollouts: int, horizon_s: float, credit_s: float
) -> tuple[list[NDArray[np.float64]], float, float]:
    """Say how much better than the baseline each decision was.

    Rollouts of one sequence hold consecutive slots.

    Returns:
        One array a moment, in standard deviations among decisions on clusters of the same size; the baseline's fit
        (R²); and the standard deviation, job-seconds, over all sizes.
    """
    slot = np.concatenate([moment.slot for moment in moments])
    at = np.concatenate([moment.time_s for moment in moments])
    reward = np.concatenate([moment.reward for moment in moments])
    waiting = np.concatenate([backlog(moment.states) for moment in moments])
    mine = [np.flatnonzero(slot == k) for k in range(int(slot.max()) + 1)]
    gain, fade, total = np.zeros_like(at), np.ones_like(at), np.zeros_like(at)
    for rows in mine:
        # The seconds after an episode's last decision are in its reward; nothing follows them.
        gap = np.diff(at[rows], append=at[rows[-1]])
        fade[rows] = np.exp(-gap / horizon_s)
        share = gap / horizon_s
        gain[rows] = reward[rows] * np.where(share > 1e-9, -np.expm1(-share) / np.maximum(share, 1e-9), 1.0)
        carried = 0.0
        for i in rows[::-1]:
            carried = total[i] = gain[i] + fade[i] * carried
    expected, extra = np.zeros_like(at), np.zeros_like(waiting)
    for k, rows in enumerate(mine):
        others = [mine[o] for o in range(k - k % rollouts, k - k % rollouts + rollouts) if o != k]
        expected[rows] = np.mean([np.interp(at[rows], at[o], total[o], right=0.0) for o in others], axis=0)
        for c in range(waiting.shape[1]):
            usual = [np.interp(at[rows], at[o], waiting[o, c], right=0.0) for o in others]
            extra[rows, c] = waiting[rows, c] - np.mean(usual, axis=0)
    size = np.concatenate([moment.states.executors for moment in moments])
    kinds = [np.flatnonzero(size == executors) for executors in np.unique(size)]
    value = expected.copy()
    for rows in kinds:
        scaled = extra[rows] / (extra[rows].std(0) + 1e-9)
        gram = scaled.T @ scaled + 1e-3 * len(rows) * np.eye(scaled.shape[1])
        value[rows] += scaled @ np.linalg.solve(gram, scaled.T @ (total - expected)[rows])
    out = np.zeros_like(at)
    for rows in mine:
        carried, following = 0.0, 0.0
        for i in rows[::-1]:
            keep = fade[i] ** (1.0 + horizon_s / credit_s)
            carried = out[i] = gain[i] + fade[i] * following - value[i] + keep * carried
            following = value[i]
    fit = 1.0 - float(np.var(total - value) / (np.var(total) + 1e-9))
    spread = float(out.std())
    for rows in kinds:
        out[rows] = (out[rows] - out[rows].mean()) / (out[rows].std() + 1e-6)
    return np.split(out, np.cumsum([len(moment.slot) for moment in moments])[:-1]), fit, spread
