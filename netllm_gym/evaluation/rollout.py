"""Play episodes: one agent, one block of episodes, in lock-step when the agent decides in batches.

Whatever an agent does wrong ends its episode and is written down; nothing it does ends the evaluation.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation.rows import group_columns
from netllm_gym.evaluation.specs import AgentSpec, EnvRecipe, Episode

# Episodes of one unit of work. Fixed, because a batched forward pass may differ in its last bits between
# batch sizes: with fixed blocks the numbers depend neither on the number of workers nor on their order.
BLOCK = 16

Row = dict[str, Any]


def metric_of(env: gym.Env) -> dict[str, str]:
    """The headline number of an environment: ``metadata["metric"]``, by default the return."""
    given = env.unwrapped.metadata.get("metric", {})
    metric = {"name": "return", "aggregate": "sum", "better": "higher", **given}
    if metric["aggregate"] not in ("mean", "sum", "last") or metric["better"] not in ("higher", "lower"):
        raise ConfigError(f"metadata['metric'] of the environment is not understood: {given}")
    return metric


def terms_of(env: gym.Env) -> dict[str, dict[str, str]]:
    """The terms of the reward that ``info`` carries: ``metadata["reward_terms"]``."""
    terms = env.unwrapped.metadata.get("reward_terms", {})
    return {name: {"aggregate": "mean", "unit": "", "better": "higher", **term} for name, term in terms.items()}


def legal_action(space: spaces.Space, action: Any, info: dict[str, Any]) -> Any:
    """Return `action` as the space wants it.

    Raises:
        ValueError: it is not in the space, or masked out by ``info["action_mask"]``.
    """
    if isinstance(space, spaces.Box):
        action = np.asarray(action, dtype=space.dtype)
    if not space.contains(action):
        raise ValueError(f"illegal action {_short(action)}: not in {_short(space)}")
    mask = info.get("action_mask")
    if isinstance(space, spaces.Discrete) and mask is not None and not mask[int(action) - int(space.start)]:
        raise ValueError(f"illegal action {_short(action)}: masked out")
    return action


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "…"


def _reason(error: Exception) -> str:
    return (
        _short(error)
        if isinstance(error, ValueError) and str(error).startswith("illegal")
        else (f"{type(error).__name__}: {_short(error)}")
    )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(np.array_equal(a, b))


def _scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.generic) and not isinstance(value, np.str_ | np.bytes_)


class _Play:
    """The course of one episode."""

    def __init__(self, env: gym.Env, episode: Episode, metric: dict[str, str], terms: dict[str, Any], trace: bool):
        self.env, self.episode, self.metric, self.terms = env, episode, metric, terms
        self.observation, self.info = env.reset(seed=episode.env_seed, options=episode.options or None)
        self.first_info = dict(self.info)
        self.done = False
        self.failure = ""
        self.rewards: list[float] = []
        self.sums: dict[str, list[float]] = {name: [] for name in (*terms, metric["name"])}
        self.latencies: list[float] = []
        self.repeats = 0
        self.previous: Any = None
        self.history: list[Row] | None = [] if trace else None
        self.course: list[Row] = []
        self.inner: Any = env.unwrapped
        if trace and hasattr(self.inner, "record_course"):
            self.inner.record_course()

    def keep_course(self) -> None:
        """Take what the environment tells of the whole episode, where it was asked to record it."""
        if self.history is not None and hasattr(self.inner, "course"):
            self.course = self.inner.course()

    def describe(self, privileged: bool) -> EnvInfo:
        return EnvInfo.of(self.env, self.episode.agent_seed, privileged)

    def fail(self, error: Exception) -> None:
        self.done, self.failure = True, _reason(error)

    def step(self, action: Any, seconds: float) -> None:
        """Apply `action`, which took the agent `seconds`."""
        self.latencies.append(seconds * 1000.0)
        try:
            action = legal_action(self.env.action_space, action, self.info)
            self.observation, reward, terminated, truncated, self.info = self.env.step(action)
            if not math.isfinite(reward):
                raise ValueError(f"the reward became {reward}")
        except Exception as error:  # an agent's mistake may surface in its action or only inside the environment
            self.fail(error)
            return
        self.rewards.append(float(reward))
        for name, values in self.sums.items():
            if name in self.info:
                values.append(float(self.info[name]))
        self.repeats += bool(self.previous is not None and _same(action, self.previous))
        self.previous = action
        self.done = bool(terminated or truncated)
        if self.history is not None:
            numbers = {key: float(value) for key, value in self.info.items() if _scalar(value)}
            seen = {
                key: float(np.asarray(value).item())
                for key, value in (self.observation.items() if isinstance(self.observation, dict) else ())
                if np.size(value) == 1 and key not in numbers
            }
            chosen = {"action": float(action)} if np.size(action) == 1 else {}
            self.history.append({"step": len(self.rewards) - 1, "reward": float(reward), **chosen, **seen, **numbers})

    def _value(self, name: str, aggregate: str, fallback: list[float] | None = None) -> float:
        values = self.sums[name] or fallback or []
        if not values:
            return math.nan
        if aggregate == "last":
            return values[-1]
        return math.fsum(values) / (len(values) if aggregate == "mean" else 1)

    def _groups(self) -> dict[str, Any]:
        """The crossed factors that the episode belongs to; an environment that names none has its recordings."""
        named = self.first_info.get("groups")
        if isinstance(named, dict) and named:
            return named
        return {"recording": self.first_info.get("trace_group", self.first_info.get("trace", self.episode.index))}

    def row(self, spec: AgentSpec, width: int) -> Row:
        """Return the finished episode as a row of the result; numbers of a failed one are NaN."""
        failed = bool(self.failure)
        sign = -1.0 if self.metric["better"] == "lower" else 1.0
        own = [sign * reward for reward in self.rewards]
        total = math.fsum(self.rewards)
        steps = len(self.rewards)
        row: Row = {
            "agent": spec.label,
            "training_seed": spec.training_seed,
            "episode": self.episode.index,
            "trace_index": self.episode.trace_index,
            "trace": str(self.first_info.get("trace", self.episode.index)),
            **group_columns(self._groups()),
            "seed": self.episode.env_seed,
            "steps": steps,
            "return": math.nan if failed else total,
            "mean_reward": math.nan if failed or not steps else total / steps,
        }
        if self.metric["name"] != "return":
            value = self._value(self.metric["name"], self.metric["aggregate"], own)
            row[self.metric["name"]] = math.nan if failed else value
        for name, term in self.terms.items():
            row[name] = math.nan if failed else self._value(name, term["aggregate"])
        row["repeat_rate"] = self.repeats / (steps - 1) if steps > 1 and not failed else math.nan
        for percent in (50, 99):
            value = float(np.percentile(self.latencies, percent)) if self.latencies else math.nan
            row[f"latency_p{percent}_ms"] = value
        row["lockstep"] = width
        row["failed"] = failed
        row["reason"] = self.failure
        return row


def _play_alone(agent: Agent, play: _Play) -> None:
    try:
        agent.reset(play.describe(agent.privileged))
    except Exception as error:  # recorded as this episode's failure
        play.fail(error)
    while not play.done:
        begin = time.perf_counter()
        try:
            action = agent.act(play.observation, play.info)
        except Exception as error:  # recorded as this episode's failure
            play.fail(error)
            return
        play.step(action, time.perf_counter() - begin)


def _play_together(agent: BatchAgent, plays: Sequence[_Play]) -> None:
    """Play in lock-step. Nobody knows which episode broke a batched call: all open ones fail."""
    try:
        agent.reset_batch([play.describe(agent.privileged) for play in plays])
        while not all(play.done for play in plays):
            open_plays = [not play.done for play in plays]
            begin = time.perf_counter()
            actions = agent.act_batch(
                [None if play.done else play.observation for play in plays],
                [None if play.done else play.info for play in plays],
            )
            # The cost of a decision in a batch is its share of the batch.
            seconds = (time.perf_counter() - begin) / sum(open_plays)
            if len(actions) != len(plays):
                raise ValueError(f"illegal batch: {len(actions)} actions for {len(plays)} episodes")
            for play, action, alive in zip(plays, actions, open_plays, strict=True):
                if alive:
                    play.step(action, seconds)
    except Exception as error:  # recorded as the failure of every episode still open
        for play in plays:
            if not play.done:
                play.fail(error)


# What a process keeps between units of work: loading a language model or a trace set anew for each would cost
# more than the episodes.
_kept: dict[str, Any] = {}


def _keep(slot: str, key: Any, make: Any) -> Any:
    if slot not in _kept or _kept[slot][0] != key:
        _kept[slot] = (key, make())
    return _kept[slot][1]


def forget() -> None:
    """Drop the agent and the environments that this process keeps."""
    _kept.clear()


def play_block(
    recipe: EnvRecipe, spec: AgentSpec, episodes: Sequence[Episode], traced: Sequence[int], run: str
) -> dict[str, list[Row]]:
    """Play `episodes` with the agent of `spec`.

    Args:
        recipe: the environment.
        spec: the agent.
        episodes: at most ``BLOCK``.
        traced: numbers of the episodes whose steps are recorded too.
        run: a word that changes from evaluation to evaluation, so that nothing kept outlives its own.

    Returns:
        ``{"rows": one per episode, "steps": one per step of the traced episodes, "courses": what their
        environment tells of the whole episode}``. An environment that has something to tell offers
        ``record_course()``, called after ``reset``, and ``course()``, which returns rows of numbers and text.

    The first episode of an evaluation is played alone even by an agent that decides in batches: it measures what one
    decision costs when nobody else shares the batch.
    """
    agent = _keep("agent", (run, spec.label, spec.training_seed), spec.build)
    batched = isinstance(agent, BatchAgent)
    envs: list[gym.Env] = _keep("envs", run, list)
    while len(envs) < (len(episodes) if batched else 1):
        envs.append(recipe.make())
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    if torch:  # sums over threads differ in their last bits with the number of threads
        torch.set_num_threads(1)
    try:
        metric, terms = metric_of(envs[0]), terms_of(envs[0])
        alone = [e for e in episodes if not batched or e.index == 0]
        together = [e for e in episodes if batched and e.index != 0]
        plays = []
        for episode in alone:
            play = _Play(envs[0], episode, metric, terms, episode.index in traced)
            _play_alone(agent, play)
            play.keep_course()  # before the next episode begins in the same environment
            plays.append((play, 1))
        if together:
            group = [_Play(env, e, metric, terms, e.index in traced) for env, e in zip(envs, together, strict=False)]
            _play_together(agent, group)
            for play in group:
                play.keep_course()
            plays += [(play, len(group)) for play in group]
    finally:
        if torch:
            torch.set_num_threads(threads)
    own = {"agent": spec.label, "training_seed": spec.training_seed}
    return {
        "rows": [play.row(spec, width) for play, width in plays],
        "steps": [{**own, "episode": play.episode.index, **step} for play, _ in plays for step in play.history or ()],
        "courses": [{**own, "episode": play.episode.index, **stay} for play, _ in plays for stay in play.course],
    }
