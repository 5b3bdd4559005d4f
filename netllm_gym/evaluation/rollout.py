"""Play episodes: one agent, one block of episodes, in lock-step when the agent decides in batches.

Whatever an agent does wrong ends its episode and is written down; nothing it does ends the evaluation.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.agents.base import Agent, BatchAgent
from netllm_gym.answers import ObservationError, named, same, short, total
from netllm_gym.envs.lookup import metadata_of, name_of
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation.rows import group_columns, notice_of
from netllm_gym.evaluation.specs import AgentSpec, EnvRecipe, Episode
from netllm_gym.play import Play, Step, lockstep, reason_of

# Episodes of one unit of work. Fixed, because a batched forward pass may differ in its last bits between
# batch sizes: with fixed blocks the numbers depend neither on the number of workers nor on their order.
BLOCK = 16

Row = dict[str, Any]


def metric_of(env: gym.Env) -> dict[str, str]:
    """The headline number of an environment: ``metadata["metric"]``, by default the return."""
    given = metadata_of(env).get("metric", {})
    if not isinstance(given, Mapping):
        raise ConfigError(f"metadata['metric'] of the environment is a table, not {short(repr(given))}")
    metric = {"name": "return", "aggregate": "sum", "better": "higher", **given}
    if not _understood(metric["name"], metric):
        raise ConfigError(f"metadata['metric'] of the environment is not understood: {given}")
    return metric


def _understood(name: Any, facts: Mapping[str, Any]) -> bool:
    known = facts["aggregate"] in ("mean", "sum", "last") and facts["better"] in ("higher", "lower")
    return known and isinstance(name, str) and name != ""


def terms_of(env: gym.Env) -> dict[str, dict[str, str]]:
    """The terms of the reward that ``info`` carries: ``metadata["reward_terms"]``."""
    terms = metadata_of(env).get("reward_terms", {})
    if not isinstance(terms, Mapping) or not all(isinstance(term, Mapping) for term in terms.values()):
        raise ConfigError(f"metadata['reward_terms'] of the environment is a table of tables, not {short(repr(terms))}")
    found = {name: {"aggregate": "mean", "unit": "", "better": "higher", **term} for name, term in terms.items()}
    if odd := [name for name, term in found.items() if not _understood(name, term)]:
        raise ConfigError(
            f"metadata['reward_terms'][{odd[0]!r}] of the environment is not understood: {short(repr(terms[odd[0]]))}"
        )
    return found


# What a recorded step says itself; an info of that name says something else.
_OWN = ("agent", "training_seed", "episode", "step", "reward", "action")


def _number(value: Any) -> float | None:
    """Return what an info holds as a float; ``None`` where it is no number, or larger than a float."""
    if not isinstance(value, bool | int | float | np.number | np.bool_) or isinstance(value, np.complexfloating):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _rows(timeline: Any) -> list[Row]:
    if not isinstance(timeline, list) or not all(isinstance(row, Mapping) for row in timeline):
        raise ObservationError(f"timeline() returned {short(repr(timeline))}, not a list of rows")
    return [dict(row) for row in timeline]


class _Account:
    """What is noted of one episode while it is played, and its row of the result."""

    def __init__(
        self,
        env: gym.Env,
        episode: Episode,
        metric: dict[str, str],
        terms: dict[str, Any],
        trace: bool,
        timeout_s: float | None,
    ) -> None:
        self.episode, self.metric, self.terms = episode, metric, terms
        self.play = Play(
            env, seed=episode.env_seed, options=episode.options or None,
            agent_seed=episode.agent_seed, record_errors=True, timeout_s=timeout_s,
        )  # fmt: skip
        self.sums: dict[str, list[float]] = {name: [] for name in (*terms, metric["name"])}
        self.repeats = 0
        self.notice = ""
        self.previous: Any = None
        self.history: list[Row] | None = [] if trace else None
        self.timeline: list[Row] = []
        inner: Any = env.unwrapped
        self.inner = inner
        self.records = trace and all(hasattr(inner, name) for name in ("record_timeline", "timeline"))
        if self.records:
            self._recorded(inner.record_timeline)

    def keep_timeline(self) -> None:
        """Take what the environment recorded of the whole episode, where it was asked to record it."""
        if self.records and not self.play.failure:
            self.timeline = self._recorded(lambda: _rows(self.inner.timeline())) or []

    def _recorded(self, record: Callable[[], Any]) -> Any:
        """Call what an environment records by; where it fails the episode counts all the same."""
        try:
            return record()
        except (Exception, SystemExit) as error:
            self.records = False
            warnings.warn(f"{name_of(self.inner)} records no timeline: {reason_of(error)}", stacklevel=2)
        return None

    def note(self, step: Step) -> None:
        """Add up what one decision brought."""
        info, observation = step.next_info, step.next_observation
        for name, values in self.sums.items():
            if name in info:
                number = np.asarray(info[name])
                if number.size != 1 or number.dtype.kind not in "biuf":
                    text = short(repr(info[name]))
                    self.play.fail(ObservationError(f"info[{name!r}] is {text}, not a number"))
                    return
                values.append(float(number.item()))
        self.repeats += bool(self.previous is not None and same(step.action, self.previous))
        self.previous = step.action
        if self.history is not None:
            numbers = {
                key: one
                for key, value in info.items()
                if isinstance(key, str) and key not in _OWN  # a column has a name
                if (one := _number(value)) is not None
            }
            shown = {
                key: float(np.asarray(value).item())
                for key, value in (observation.items() if isinstance(observation, dict) else ())
                if isinstance(value, np.ndarray | np.generic | int | float) and np.size(value) == 1
                if isinstance(key, str) and key not in numbers and key not in _OWN
            }
            single = isinstance(step.action, np.ndarray | np.generic | int | float) and np.size(step.action) == 1
            chosen = {"action": float(np.asarray(step.action).item())} if single else {}
            self.history.append({"step": step.index, "reward": step.reward, **chosen, **shown, **numbers})

    def _value(self, name: str, aggregate: str, fallback: list[float] | None = None) -> float:
        values = self.sums[name] or fallback or []
        if not values:
            return math.nan
        if aggregate == "last":
            return values[-1]
        return total(values) / (len(values) if aggregate == "mean" else 1)

    def _groups(self) -> dict[str, Any]:
        """The crossed factors that the episode belongs to; an environment that names none has its recordings."""
        info = self.play.first_info
        groups = info.get("groups")
        if isinstance(groups, dict) and groups and all(isinstance(k, str) and named(v) for k, v in groups.items()):
            return groups
        return {"recording": named(info.get("trace_group")) or self._trace()}

    def _trace(self) -> str:
        return named(self.play.first_info.get("trace")) or str(self.episode.index)

    def row(self, spec: AgentSpec, width: int) -> Row:
        """Return the finished episode as a row of the result; numbers of a failed one are NaN."""
        play = self.play
        sign = -1.0 if self.metric["better"] == "lower" else 1.0
        own = [sign * reward for reward in play.rewards]
        metric = play.total_reward
        if self.metric["name"] != "return":
            metric = self._value(self.metric["name"], self.metric["aggregate"], own)
        for name, value in ((f"metric {self.metric['name']}", metric), ("return", play.total_reward)):
            if not play.failure and not math.isfinite(value):
                play.fail(ObservationError(f"the {name} became {value}"))
        failed = bool(play.failure)
        steps = play.steps
        row: Row = {
            "agent": spec.label,
            "training_seed": spec.training_seed,
            "episode": self.episode.index,
            "trace_index": self.episode.trace_index,
            "trace": self._trace(),
            **group_columns(self._groups()),
            "seed": self.episode.env_seed,
            "steps": steps,
            "return": math.nan if failed else play.total_reward,
            "mean_reward": math.nan if failed or not steps else play.total_reward / steps,
        }
        row[self.metric["name"]] = math.nan if failed else metric
        for name, term in self.terms.items():
            row[name] = math.nan if failed else self._value(name, term["aggregate"])
        row["repeat_rate"] = self.repeats / (steps - 1) if steps > 1 and not failed else math.nan
        for percent in (50, 99):
            value = 1000.0 * float(np.percentile(play.seconds, percent)) if play.seconds else math.nan
            row[f"latency_p{percent}_ms"] = value
        row["lockstep"] = width
        row["failed"] = failed
        row["reason"] = play.failure
        row["notice"] = notice_of(self.notice, play.notice)
        return row


def _play(agent: Agent, accounts: Sequence[_Account]) -> None:
    for steps in lockstep([account.play for account in accounts], agent):
        for step in steps:
            accounts[step.slot].note(step)
    for account in accounts:
        account.keep_timeline()  # before the next episode begins in the same environment


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


def _asked(recipe: EnvRecipe) -> str:
    return str(recipe.kwargs.get("on_illegal", "repair"))


def play_block(
    recipe: EnvRecipe,
    spec: AgentSpec,
    episodes: Sequence[Episode],
    traced: Sequence[int],
    run: str,
    timeout_s: float | None = None,
) -> dict[str, list[Row]]:
    """Play `episodes` with the agent of `spec`.

    Args:
        recipe: the environment.
        spec: the agent.
        episodes: at most ``BLOCK``.
        traced: numbers of the episodes whose steps are recorded too.
        timeout_s: seconds for a decision; an episode in which one takes longer has failed.
        run: a word that changes from evaluation to evaluation, so that nothing kept outlives its own.

    Returns:
        ``{"rows": one per episode, "steps": one per step of the traced episodes, "timelines": what their
        environment recorded of the whole episode}``. An environment that records something offers
        ``record_timeline()``, called after ``reset``, and ``timeline()``, which returns rows of numbers and text.

    The first episode of an evaluation is played alone even by an agent that decides in batches: it measures what one
    decision costs when nobody else shares the batch.
    """
    agent = _keep("agent", (run, spec.label, spec.training_seed), spec.build)
    batched = isinstance(agent, BatchAgent)
    envs: list[gym.Env] = _keep("envs", run, list)
    while len(envs) < (len(episodes) if batched else 1):
        envs.append(recipe.make())
    for env in envs:  # what this package ships must play by the masks; others' slips are repaired and counted
        inner: Any = env.unwrapped
        if hasattr(inner, "on_illegal"):
            inner.on_illegal = "error" if type(agent).__module__.startswith("netllm_gym.") else _asked(recipe)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    if torch:  # sums over threads differ in their last bits with the number of threads
        torch.set_num_threads(1)
    try:
        metric, terms = metric_of(envs[0]), terms_of(envs[0])
        alone = [e for e in episodes if not batched or e.index == 0]
        together = [e for e in episodes if batched and e.index != 0]
        accounts: list[tuple[_Account, int]] = []
        for group in [[e] for e in alone] + ([together] if together else []):
            played = [
                _Account(env, e, metric, terms, e.index in traced, timeout_s)
                for env, e in zip(envs, group, strict=False)
            ]
            _play(agent, played)
            for account in played:
                account.notice = agent.notice
            accounts += [(account, len(group)) for account in played]
    finally:
        if torch:
            torch.set_num_threads(threads)
    own = {"agent": spec.label, "training_seed": spec.training_seed}
    return {
        "rows": [account.row(spec, width) for account, width in accounts],
        "steps": [{**own, "episode": a.episode.index, **step} for a, _ in accounts for step in a.history or ()],
        "timelines": [{**own, "episode": a.episode.index, **stay} for a, _ in accounts for stay in a.timeline],
    }
