"""`cluster/rollout`: look ahead in sampled futures before every decision (policy improvement by rollout).

A base policy proposes a decision. Others are tried beside it: each is taken in a copy of the cluster, a rule plays on,
and the job-seconds until everything is done are compared (Bertsekas, Tsitsiklis & Wu, "Rollout algorithms for
combinatorial optimization", 1997). Futures are drawn from what a scheduler knows
(:mod:`netllm_gym.envs.cluster.model`), the same for all candidates, so that their differences are small against their
spread. A candidate replaces the base's decision only if it is better by `margin` standard errors.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.cluster.adaptive import Adaptive
from netllm_gym.agents.cluster.rules import Fair, StrictFair
from netllm_gym.agents.cluster.tuned import ShortFirst
from netllm_gym.agents.registry import make_agent, register_agent
from netllm_gym.envs.cluster.adaptive import offered_again, releasing_job
from netllm_gym.envs.cluster.lookahead import ADAPTIVE, FAIR, STRICT_FAIR, TUNED, WAIT, candidate_costs
from netllm_gym.envs.cluster.model import ClusterModel
from netllm_gym.envs.cluster.view import used
from netllm_gym.errors import ConfigError

Choice = tuple[int, int]  # row and executors; row -1 ends the round


def compiled_rule(agent: Agent) -> tuple[int, NDArray[np.float64]]:
    """Return the number and the constants of a rule that the kernel can play.

    Raises:
        ConfigError: any other agent.
    """
    if type(agent) is ShortFirst:
        return TUNED, np.array([agent.whole, agent.floor])
    if type(agent) is Adaptive:
        return ADAPTIVE, agent.coefficients
    if type(agent) is StrictFair:
        return STRICT_FAIR, np.zeros(2)
    if type(agent) is Fair:
        return FAIR, np.zeros(2)
    names = "cluster/adaptive, cluster/tuned, cluster/strict-fair or cluster/fair"
    raise ConfigError(f"rollouts can go on with {names}, not {agent.name}")


def propose(observation: Any, info: dict[str, Any], first: Choice, most: int, end: int) -> list[Choice]:
    """Return decisions worth trying, `first` in front: other numbers of executors, other jobs, waiting.

    Args:
        observation, info: of ``ClusterScheduling-v0``.
        first: the base's decision.
        most: how many at most.
        end: row that ends the round.
    """
    stages, jobs, edges = used(observation)
    free = int(observation["executors"][0])
    rows = np.flatnonzero(observation["stage_mask"])
    owner = stages[rows, 4].astype(np.intp)
    work = np.bincount(stages[:, 4].astype(np.intp), stages[:, 0] * stages[:, 1], len(jobs))
    found: list[Choice] = []

    def add(row: int, count: int) -> None:
        choice = (row, max(1, min(count, free, int(stages[row, 0])))) if row >= 0 else (-1, 0)
        if choice not in found:
            found.append(choice)

    add(*first)
    row, count = found[0]
    share = int(np.ceil(float(observation["executors"][2]) / max(1, len(jobs))))
    heads: list[int] = []  # a stage of each job with a runnable one, the shortest job first
    for job in np.argsort(work, kind="stable"):
        own = rows[owner == job]
        if len(own):
            heads.append(int(own[stages[own, 3].argmax()]))
    if row >= 0:
        add(row, free)
        add(row, max(1, count // 2))
    for head in heads[:2]:
        add(head, free)
    if info.get("may_wait", True) and row >= 0 and not _forgotten(stages, jobs, edges):
        add(-1, 0)
    if row >= 0:
        add(row, min(free, 2 * count))
        own = rows[owner == int(stages[row, 4])]
        if len(own) > 1:
            add(int(own[own != row][0]), count)
    for head in heads[:3]:
        add(head, max(1, share - int(jobs[int(stages[head, 4]), 0])))
        add(head, max(1, free // 2))
    for head in heads[3:]:
        add(head, free)
    return found[:most]


def _forgotten(stages: NDArray[np.float32], jobs: NDArray[np.float32], edges: NDArray[np.int32]) -> bool:
    """Whether executors left to wait may be asked for late or never, which a future of bounded length does not show."""
    own = releasing_job(jobs)
    return own >= 0 and not offered_again(stages[:, 0], edges[:, 0], edges[:, 1], stages[:, 4] == own)


class Lookahead:
    """Costs of candidate decisions in futures that a model imagines.

    Args:
        model: of the running cluster.
        rule: who plays on, as :func:`compiled_rule` gives it.
        horizon: jobs arrive for so long in a future; after that the door is closed.
        until: a future is played for at most so long; what is left then is estimated. Both in what a mean job would
            take alone.
    """

    def __init__(
        self, model: ClusterModel, rule: tuple[int, NDArray[np.float64]], horizon: float, until: float
    ) -> None:
        self.model, self.rule, self.horizon, self.until = model, rule, horizon, until

    def costs(self, choices: Sequence[Choice], futures: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the job-seconds to come after each choice in each future, ``[futures, choices]``."""
        model = self.model
        stages, counts = model.places([row for row, _ in choices]), np.array([count for _, count in choices])
        costs = np.empty((futures, len(choices)))
        unit = model.alone_s
        until = model.now + self.until * unit
        for k in range(futures):
            world, durations, seed = model.imagine(rng, self.horizon * unit)
            candidate_costs(world, durations, seed, model.moving_s, until, *self.rule, stages, counts, costs[k])
        return costs


@register_agent("cluster/rollout")
class ClusterRollout(Agent):
    """The base's decision, unless another is better in sampled futures.

    It decides from what a scheduler knows and from its own draws; the true future is not looked at, as a test proves.
    Two episodes with one seed are decided alike, unless `seconds` cuts a decision short.

    Args:
        base: who proposes: any agent of this task.
        rule: who plays on in the futures: ``cluster/adaptive``, ``cluster/tuned``, ``cluster/strict-fair`` or
            ``cluster/fair``.
        candidates: how many decisions are compared, the base's among them.
        futures: how many futures, in two halves: candidates that are clearly worse after the first are dropped.
        horizon: how long jobs go on arriving in a future, in what a mean job would take alone (TPC-H on 50 executors:
            26 s).
        until: after how long a future is cut off and the rest estimated, in the same unit.
        margin: standard errors by which a candidate must be better than the base's decision.
        seconds: at most about so long a decision; what has been compared by then decides.
    """

    def __init__(
        self, base: str = "cluster/adaptive", rule: str = "cluster/adaptive", candidates: int = 7, futures: int = 8,
        horizon: float = 2.0, until: float = 3.0, margin: float = 2.0, seconds: float | None = None,
    ) -> None:  # fmt: skip
        if candidates < 1 or futures < 2 or min(horizon, until) <= 0 or margin < 0:
            raise ConfigError("candidates must be at least 1, futures 2, times positive, margin not negative")
        self.base = make_agent(base)
        if self.base.privileged:
            raise ConfigError(f"{base} looks into the simulator; a rollout's base must not")
        self.rule = compiled_rule(make_agent(rule))
        self.candidates, self.futures, self.margin, self.seconds = candidates, futures, margin, seconds
        self.horizon, self.until = horizon, until

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode.

        Raises:
            ConfigError: an environment that offers no model of itself.
        """
        if not isinstance(env_info.model, ClusterModel):
            raise ConfigError(f"{self.name} needs an environment with a model of its future, not {env_info.env_id}")
        self.base.reset(env_info)
        self.end = int(env_info.static["max_stages"])
        self.rng = env_info.rng()
        self.lookahead = Lookahead(env_info.model, self.rule, self.horizon, self.until)
        self.decisions = self.changed = 0

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """Return (row, count - 1)."""
        action = self.base.act(observation, info)
        row, count = int(action[0]), int(action[1]) + 1
        choices = propose(observation, info, (-1 if row == self.end else row, count), self.candidates, self.end)
        self.decisions += 1
        best = self._best(choices)
        if not best:
            return action
        self.changed += 1
        row, count = choices[best]
        return np.array([self.end, 0]) if row == WAIT else np.array([row, count - 1])

    def _best(self, choices: Sequence[Choice]) -> int:
        """Return the position of the choice to take, 0 for the base's."""
        if len(choices) < 2:
            return 0
        began, kept = time.monotonic(), list(range(len(choices)))
        found: dict[int, list[float]] = {k: [] for k in kept}
        for futures in (self.futures // 2, self.futures - self.futures // 2):
            costs = self.lookahead.costs([choices[k] for k in kept], futures, self.rng)
            for column, k in enumerate(kept):
                found[k] += (costs[:, column] - costs[:, 0]).tolist()
            kept = [0] + [k for k in kept[1:] if np.mean(found[k]) < self.margin * _error(found[k])]
            if len(kept) == 1 or (self.seconds is not None and time.monotonic() - began > self.seconds):
                break
        better = [(float(np.mean(found[k])), k) for k in kept[1:]]
        better = [(mean, k) for mean, k in better if mean < -self.margin * _error(found[k])]
        return min(better)[1] if better else 0


def _error(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return np.inf
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences)))


@register_agent("cluster/llm-rollout")
def llm_rollout(**kwargs: Any) -> ClusterRollout:
    """Return ``cluster/rollout`` on top of ``cluster/llm``: the language model proposes, looking ahead corrects.

    Keyword arguments are those of :class:`ClusterRollout`.
    """
    return ClusterRollout(**{"base": "cluster/llm", **kwargs})
