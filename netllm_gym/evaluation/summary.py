"""From rows of episodes to one row per agent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.evaluation import rows as rows_of
from netllm_gym.evaluation import statistics as stats
from netllm_gym.evaluation.bootstrap import DRAWS, Bootstrap, percentile_interval
from netllm_gym.evaluation.verdicts import Comparison, Margin, Verdict, compare, judge, needed_draws

# Half-width of the equivalence region where a task names none: a share of the span from floor to oracle.
EQUIVALENCE = 0.02
SPAN, BASELINE = "span", "baseline"

COLUMNS = (
    "agent", "privileged", "episodes", "failed", "recordings", "seeds", "mean", "ci_low", "ci_high",
    "iqm", "iqm_low", "iqm_high", "median", "tail", "difference", "difference_low", "difference_high",
    "p_value", "p_holm", "p_equivalent", "win_rate", "improvement", "improvement_low", "improvement_high",
    "verdict", "why", "half_of_lead", "without_three", "score", "score_low", "score_high",
    "regret", "regret_low", "regret_high",
)  # fmt: skip
COSTS = ("repeat_rate", "latency_p50_ms", "latency_p99_ms", "decision_cost_ms")


@dataclass(frozen=True)
class Roles:
    """Who stands for what in a comparison.

    Attributes:
        baseline: the agent that the others are compared with.
        floor, oracle: ends of the normalised score; without them there is none.
        privileged: agents that see the future: bounds, not rivals.
        trained: agents that come out of a training, whose verdict speaks of a checkpoint or of a method.
        margin: ``share`` and ``of`` (``span`` from floor to oracle, or the ``baseline``'s mean) of the half-width of
            the equivalence region, and the ``reason`` for it; by default 2 % of the span.
    """

    baseline: str | None = None
    floor: str | None = None
    oracle: str | None = None
    privileged: frozenset[str] = frozenset()
    trained: frozenset[str] = frozenset()
    margin: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.margin is not None and (
            self.margin.get("of") not in (SPAN, BASELINE)
            or not isinstance(self.margin.get("share"), int | float)
            or not 0 < self.margin["share"] < 1
        ):
            raise ConfigError(f"a margin needs a share between 0 and 1 of the span or the baseline, got {self.margin}")


@dataclass(frozen=True)
class Assessment:
    """What was made of the rows.

    Attributes:
        table: one row per agent; see :func:`summarise`.
        comparisons: agent → comparison with the baseline, bounds included.
        verdicts: agent → verdict, of those that are judged.
        margin: of equivalence, ``None`` when unknown.
    """

    table: pd.DataFrame
    comparisons: dict[str, Comparison]
    verdicts: dict[str, Verdict]
    margin: Margin | None


@dataclass
class _Sheet:
    """The metric of all agents as arrays, and a bootstrap for every set of episodes that is asked for."""

    frame: pd.DataFrame
    metric: Mapping[str, str]
    roles: Roles
    draws: int
    seed: int
    _samples: dict[bytes, Bootstrap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.better = self.metric["better"]
        self.agents = list(dict.fromkeys(self.frame["agent"]))
        for name in (self.roles.baseline, self.roles.floor, self.roles.oracle):
            if name is not None and name not in self.agents:
                raise UnknownNameError("agent in these results", name, self.agents)
        self.levels = rows_of.factors(self.frame)
        self.cells = rows_of.cells(self.levels)
        self.values = {agent: rows_of.table(self.frame, agent, self.metric["name"]) for agent in self.agents}
        self.whole = {agent: ~np.isnan(x).any(axis=0) for agent, x in self.values.items()}
        self.draws = max(self.draws, needed_draws(len(self.rivals)))

    @property
    def rivals(self) -> list[str]:
        """Those that are judged: neither the baseline nor a bound."""
        return [name for name in self.agents if name != self.roles.baseline and name not in self.roles.privileged]

    def bootstrap(self, mask: np.ndarray) -> Bootstrap:
        key = mask.tobytes()
        if key not in self._samples:
            levels = {factor: level[mask] for factor, level in self.levels.items()}
            self._samples[key] = Bootstrap(levels, self.draws, self.seed)
        return self._samples[key]

    def finished(self, *agents: str | None) -> np.ndarray:
        """Which episodes all of `agents` finished with all their seeds; none when one of them is ``None``."""
        if any(agent is None for agent in agents):
            return np.zeros(len(self.cells), dtype=bool)
        return np.logical_and.reduce([self.whole[agent] for agent in agents if agent is not None])

    def end(self, agent: str | None, mask: np.ndarray) -> np.ndarray:
        """Mean over seeds of an end of the score on the episodes of `mask`."""
        return self.values[str(agent)][:, mask].mean(axis=0)

    def trainings(self, *agents: str) -> int | None:
        counts = [len(self.values[agent]) for agent in agents if agent in self.roles.trained]
        return min(counts) if counts else None


def check(frame: pd.DataFrame, metric: Mapping[str, str], terms: Mapping[str, Any]) -> None:
    """Refuse rows from which no fair comparison can be made; see :func:`netllm_gym.evaluation.rows.check_paired`."""
    rows_of.check_paired(frame, metric["name"], tuple(terms))


def _spread(prefix: str, names: tuple[str, str], ends: tuple[float, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": end for name, end in zip(names, ends, strict=True)}


def _own(sheet: _Sheet, agent: str, ok: np.ndarray) -> dict[str, float]:
    """What an agent's episodes say by themselves."""
    x, sample = sheet.values[agent][:, ok], sheet.bootstrap(ok)
    per_episode, runs = x.mean(axis=0), x.ravel()
    drawn = sample.resampled({agent: x}, lambda weights: stats.iqm(runs, weights[agent]))
    found = sample.mean(x, agent)
    return {
        "mean": found.value,
        **_spread("ci", ("low", "high"), found.interval()),
        "iqm": float(stats.iqm(runs)),
        **_spread("iqm", ("low", "high"), percentile_interval(drawn)),
        "median": float(np.median(per_episode)),
        "tail": stats.tail_mean(per_episode, sheet.better),
    }


def _score(sheet: _Sheet, agent: str, ok: np.ndarray) -> dict[str, float]:
    """How far from the floor to the oracle."""
    ends = ok & sheet.finished(sheet.roles.floor, sheet.roles.oracle)
    if not ends.any():
        return {}
    low, high = sheet.end(sheet.roles.floor, ends), sheet.end(sheet.roles.oracle, ends)
    if not np.sum(high - low):
        return {}
    found = sheet.bootstrap(ends).ratio(sheet.values[agent][:, ends] - low, high - low, agent)
    return {"score": found.value, **_spread("score", ("low", "high"), found.interval())}


def _regret(sheet: _Sheet, agent: str, ok: np.ndarray) -> dict[str, float]:
    """What the oracle gains over the agent."""
    ends = ok & sheet.finished(sheet.roles.oracle)
    if not ends.any():
        return {}
    sign = 1.0 if sheet.better == "higher" else -1.0
    lost = sign * (sheet.end(sheet.roles.oracle, ends) - sheet.values[agent][:, ends])
    found = sheet.bootstrap(ends).mean(lost, agent)
    return {"regret": found.value, **_spread("regret", ("low", "high"), found.interval())}


def _costs(own: pd.DataFrame, terms: Mapping[str, Any]) -> dict[str, float]:
    """The reward's terms, and what a decision costs."""
    row = {term: float(own[term].mean()) for term in terms}
    row["repeat_rate"] = float(own["repeat_rate"].mean()) if "repeat_rate" in own else math.nan
    alone = own[own["lockstep"] == 1] if "lockstep" in own else own
    for column in ("latency_p50_ms", "latency_p99_ms"):
        row[column] = float(alone[column].median()) if column in own else math.nan
    row["decision_cost_ms"] = float(own["latency_p50_ms"].median()) if "latency_p50_ms" in own else math.nan
    return row


def _margin(sheet: _Sheet) -> Margin | None:
    """The half-width of the equivalence region in the metric's unit."""
    roles = sheet.roles
    given = roles.margin or {"share": EQUIVALENCE, "of": SPAN}
    reason = str(given.get("reason", ""))
    if given["of"] == BASELINE:
        ok = sheet.finished(roles.baseline)
        return Margin(given["share"] * abs(float(sheet.end(roles.baseline, ok).mean())), reason) if ok.any() else None
    ends = sheet.finished(roles.floor, roles.oracle)
    if not ends.any():
        return None
    span = sheet.end(roles.oracle, ends).mean() - sheet.end(roles.floor, ends).mean()
    return Margin(given["share"] * abs(float(span)), reason)


def _compare(sheet: _Sheet) -> dict[str, Comparison]:
    """Every agent against the baseline, on the episodes that both finished."""
    baseline, found = sheet.roles.baseline, {}
    if baseline is None:
        return {}
    for agent in sheet.agents:
        both = sheet.finished(agent, baseline)
        if agent != baseline and both.any():
            found[agent] = compare(
                sheet.values[agent][:, both], sheet.values[baseline][:, both], sheet.bootstrap(both), sheet.better,
                (agent, baseline), sheet.cells[both], sheet.trainings(agent, baseline),
            )  # fmt: skip
    return found


def _compared(found: Comparison) -> dict[str, Any]:
    """The columns of a comparison."""
    return {
        "difference": found.difference,
        **_spread("difference", ("low", "high"), found.interval),
        "p_value": found.p_value,
        "win_rate": found.wins,
        "improvement": found.improvement[0],
        **_spread("improvement", ("low", "high"), found.improvement[1:]),
        "half_of_lead": found.influence.half,
        "without_three": found.influence.without_three,
    }


def assess(
    frame: pd.DataFrame,
    metric: Mapping[str, str],
    terms: Mapping[str, Mapping[str, str]],
    roles: Roles | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Assessment:
    """Summarise and judge paired episodes; see :func:`summarise` for the table."""
    check(frame, metric, terms)
    sheet = _Sheet(frame, metric, roles or Roles(), draws, seed)
    comparisons, margin = _compare(sheet), _margin(sheet)
    judged = [agent for agent in sheet.rivals if agent in comparisons]
    verdicts = dict(zip(judged, judge([comparisons[a] for a in judged], sheet.better, margin), strict=True))
    lost = sheet.roles.baseline is not None and not sheet.whole[sheet.roles.baseline].all()
    rows = []
    for agent in sheet.agents:
        own, ok = frame[frame["agent"] == agent], sheet.whole[agent]
        failed = int(own["failed"].sum())
        row: dict[str, Any] = {
            "agent": agent,
            "privileged": agent in sheet.roles.privileged,
            "episodes": len(ok),
            "failed": failed,
            "recordings": len(set(sheet.cells[ok])),
            "seeds": len(sheet.values[agent]),
        }
        if ok.any():
            row |= _own(sheet, agent, ok) | _score(sheet, agent, ok) | _regret(sheet, agent, ok)
        row |= _costs(own, terms)
        row["verdict"] = "baseline" if agent == sheet.roles.baseline else "bound" if row["privileged"] else ""
        row["why"] = ""
        if agent in comparisons:
            row |= _compared(comparisons[agent])
        if not row["verdict"] and failed:
            verdicts[agent] = Verdict("undecided", reason=f"{failed} failed episodes: what remains is no fair sample")
        elif agent in verdicts and lost:
            verdicts[agent] = Verdict("undecided", reason="the baseline failed in some episodes")
        if agent in verdicts:
            said = verdicts[agent]
            row |= {
                "verdict": str(said), "why": said.reason,
                "p_holm": said.p_difference, "p_equivalent": said.p_equivalent,
            }  # fmt: skip
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=[*COLUMNS, *terms, *COSTS])
    table["_order"] = table["mean"] * (-1.0 if sheet.better == "higher" else 1.0)
    table = table.sort_values(["privileged", "_order"], kind="stable", ignore_index=True).drop(columns="_order")
    table.attrs |= {
        "margin": margin.value if margin else None,
        "margin_reason": margin.reason if margin else "",
        "family": len(judged),
        "draws": sheet.draws,
        "groups": _described(sheet),
    }
    return Assessment(table, comparisons, verdicts, margin)


def _described(sheet: _Sheet) -> str:
    """What the episodes are grouped by: ``6 videos × 21 users``."""
    sample = sheet.bootstrap(np.ones(len(sheet.cells), dtype=bool))
    return " × ".join(f"{count} {factor}{'s' * (count != 1)}" for factor, count in sample.levels.items())


def summarise(
    frame: pd.DataFrame,
    metric: Mapping[str, str],
    terms: Mapping[str, Mapping[str, str]],
    baseline: str | None = None,
    floor: str | None = None,
    oracle: str | None = None,
    privileged: frozenset[str] = frozenset(),
    draws: int = DRAWS,
    seed: int = 0,
    trained: frozenset[str] = frozenset(),
    margin: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Summarise paired episodes, one row per agent, best first, privileged agents (bounds, not rivals) last.

    Args:
        frame: one row per (agent, training seed, episode). Columns ``group:FACTOR`` name the crossed groups of an
            episode; without any, ``group`` is its recording.
        metric: ``name`` of the headline column and ``better`` (``higher`` or ``lower``).
        terms: columns of the reward's terms.
        baseline, floor, oracle, privileged, trained, margin: see :class:`Roles`.
        draws, seed: of the bootstrap; more are drawn when Holm's correction needs finer p values.

    Failed episodes are left out of an agent's own numbers and of its comparison; since what is left is no
    fair sample, such an agent's verdict is ``undecided``.

    Returns:
        The columns :data:`COLUMNS`, the terms and :data:`COSTS`. ``…_low`` and ``…_high`` are ends of 95 % intervals.
        ``recordings`` counts distinct combinations of groups. ``tail`` is the mean of the worst 5 %. ``difference`` is
        paired, agent - baseline. ``p_holm`` and ``p_equivalent`` are corrected over all agents that are judged. ``why``
        says what keeps a verdict undecided. ``half_of_lead``: how many recordings carry half of the difference;
        ``without_three``: the difference without the three that carry most of it. ``regret``: what the oracle gains
        over the agent, never negative where the oracle is a bound. Latencies are medians over episodes of each
        episode's percentile, of episodes played alone; ``decision_cost_ms`` is the median over all, a batched decision
        counting its share of the batch. ``attrs`` has the ``margin`` of equivalence and its reason, the ``family`` of
        tests, the ``draws`` and the ``groups``.

    Raises:
        DatasetError: see :func:`netllm_gym.evaluation.rows.check_paired`.
        UnknownNameError: a baseline, floor or oracle that did not play.
        ConfigError: a margin that is none.
    """
    roles = Roles(baseline, floor, oracle, privileged, trained, margin)
    return assess(frame, metric, terms, roles, draws, seed).table
