"""From rows of episodes to one row per agent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from netllm_gym.errors import DatasetError, UnknownNameError
from netllm_gym.evaluation import statistics as stats

REQUIRED = ("agent", "training_seed", "episode", "group", "failed")


def check_paired(frame: pd.DataFrame, metric: str, terms: tuple[str, ...] = ()) -> None:
    """Refuse rows from which no fair comparison can be made.

    Raises:
        DatasetError: a missing column, a duplicated row, or agents that played different episodes.
    """
    missing = [name for name in (*REQUIRED, metric, *terms) if name not in frame.columns]
    if missing:
        raise DatasetError(f"the results lack the column {missing[0]!r}")
    if frame.empty:
        raise DatasetError("the results hold no episode")
    keys = ["agent", "training_seed", "episode"]
    twice = frame[frame.duplicated(keys)]
    if len(twice):
        row = twice.iloc[0]
        raise DatasetError(f"episode {row['episode']} of {row['agent']} (seed {row['training_seed']}) stands twice")
    played = {key: frozenset(rows["episode"]) for key, rows in frame.groupby(["agent", "training_seed"], sort=False)}
    everything = frozenset().union(*played.values())
    for (agent, seed), episodes in played.items():
        if episodes != everything:
            lost = sorted(everything - episodes)
            raise DatasetError(
                f"{agent} (seed {seed}) lacks {len(lost)} of {len(everything)} episodes, first {lost[0]}; "
                "agents must meet the same episodes"
            )
    recordings = frame.groupby("episode")["group"].nunique()
    if (recordings > 1).any():
        raise DatasetError(f"episode {recordings.idxmax()} has different source recordings for different agents")


def table(frame: pd.DataFrame, agent: str, column: str) -> np.ndarray:
    """Return `column` of one agent as ``[S, N]``: training seeds × episodes, both in ascending order."""
    rows = frame[frame["agent"] == agent]
    return rows.pivot(index="training_seed", columns="episode", values=column).to_numpy(dtype=np.float64)


def summarise(
    frame: pd.DataFrame,
    metric: Mapping[str, str],
    terms: Mapping[str, Mapping[str, str]],
    baseline: str | None = None,
    floor: str | None = None,
    oracle: str | None = None,
    privileged: frozenset[str] = frozenset(),
    draws: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise paired episodes, one row per agent, best first, privileged agents (bounds, not rivals) last.

    Args:
        frame: one row per (agent, training seed, episode).
        metric: ``name`` of the headline column and ``better`` (``higher`` or ``lower``).
        terms: columns of the reward's terms.
        baseline: the agent that the others are compared with.
        floor, oracle: ends of the normalised score; without them there is no score and no equivalence test.
        privileged: agents that see the future.
        draws, seed: of the bootstrap.

    Failed episodes are left out of an agent's own numbers and of its comparison; since what is left is no
    fair sample, such an agent's verdict is ``undecided``.

    Returns:
        Columns: ``agent, privileged, episodes, failed, recordings, seeds, mean, ci_low, ci_high, iqm,
            iqm_low,
        iqm_high, median, tail, difference, difference_low, difference_high, p_holm, win_rate,
        improvement, improvement_low, improvement_high, verdict, score, score_low, score_high, regret, regret_low,
        regret_high``, the terms, ``repeat_rate, latency_p50_ms,
        latency_p99_ms, decision_cost_ms``. ``tail`` is the mean of the worst 5 %. Latencies are medians over
        episodes of each episode's percentile, of episodes played alone; ``decision_cost_ms`` is the median
        over all, a batched decision counting its share of the batch. ``regret``: what the oracle
        gains over the agent, never negative where the oracle is a bound. ``attrs["margin"]`` is the half-width of
        the equivalence region.

    Raises:
        DatasetError: see :func:`check_paired`.
        UnknownNameError: a baseline, floor or oracle that did not play.
    """
    name, better = metric["name"], metric["better"]
    check_paired(frame, name, tuple(terms))
    agents = list(dict.fromkeys(frame["agent"]))
    for reference in (baseline, floor, oracle):
        if reference is not None and reference not in agents:
            raise UnknownNameError("agent in these results", reference, agents)
    groups = frame.drop_duplicates("episode").sort_values("episode")["group"].to_numpy()
    values = {agent: table(frame, agent, name) for agent in agents}
    whole = {agent: ~np.isnan(values[agent]).any(axis=0) for agent in agents}
    samples = {}

    def bootstrap(mask: np.ndarray) -> stats.Bootstrap:
        key = mask.tobytes()
        if key not in samples:
            samples[key] = stats.Bootstrap(groups[mask], draws, seed)
        return samples[key]

    rows, comparisons = [], {}
    for who, agent in enumerate(agents):
        own = frame[frame["agent"] == agent]
        ok = whole[agent]
        row: dict[str, Any] = {
            "agent": agent,
            "privileged": agent in privileged,
            "episodes": len(ok),
            "failed": int(own["failed"].sum()),
            "recordings": len(set(groups[ok])),
            "seeds": len(values[agent]),
        }
        if ok.any():
            x = values[agent][:, ok]
            sample = bootstrap(ok)
            per_episode = x.mean(axis=0)
            row["mean"] = float(x.mean())
            row["ci_low"], row["ci_high"] = stats.interval(sample.mean(x, who))
            row["iqm"] = float(stats.iqm(per_episode))
            row["iqm_low"], row["iqm_high"] = stats.interval(sample.statistic(per_episode, stats.iqm))
            row["median"] = float(np.median(per_episode))
            row["tail"] = stats.tail_mean(per_episode, better)
            both = ok & whole[baseline] if baseline else np.zeros_like(ok)
            if baseline and agent != baseline and both.any():
                pair = (who, agents.index(baseline))
                comparisons[agent] = stats.compare(
                    values[agent][:, both], values[baseline][:, both], bootstrap(both), better, pair
                )
            ends = ok & whole[floor] & whole[oracle] if floor and oracle else np.zeros_like(ok)
            if floor and oracle and ends.any():
                low, high = values[floor][:, ends].mean(axis=0), values[oracle][:, ends].mean(axis=0)
                row["score"] = stats.normalised_score(values[agent][:, ends].mean(axis=0), low, high)
                scores = bootstrap(ends).score(values[agent][:, ends], low, high, who)
                if np.isfinite(scores).all():
                    row["score_low"], row["score_high"] = stats.interval(scores)
            bounded = ok & whole[oracle] if oracle else np.zeros_like(ok)
            if oracle and bounded.any():
                sign = 1.0 if better == "higher" else -1.0
                lost = sign * (values[oracle][:, bounded].mean(axis=0) - values[agent][:, bounded])
                row["regret"] = float(lost.mean())
                row["regret_low"], row["regret_high"] = stats.interval(bootstrap(bounded).mean(lost, who))
        for term in terms:
            row[term] = float(own[term].mean())
        row["repeat_rate"] = float(own["repeat_rate"].mean()) if "repeat_rate" in own else math.nan
        alone = own[own["lockstep"] == 1] if "lockstep" in own else own
        for column in ("latency_p50_ms", "latency_p99_ms"):
            row[column] = float(alone[column].median()) if column in own else math.nan
        row["decision_cost_ms"] = float(own["latency_p50_ms"].median()) if "latency_p50_ms" in own else math.nan
        rows.append(row)

    margin = None
    if floor and oracle:
        ends = whole[floor] & whole[oracle]
        if ends.any():
            span = values[oracle][:, ends].mean() - values[floor][:, ends].mean()
            margin = stats.EQUIVALENCE * abs(float(span))
    # Bounds are not rivals: they enter no family of tests and get no verdict.
    ranked = [agent for agent in comparisons if agent not in privileged]
    corrected = dict(zip(ranked, stats.holm([comparisons[agent].p_value for agent in ranked]), strict=True))
    for row in rows:
        agent = row["agent"]
        row["verdict"] = "baseline" if agent == baseline else "bound" if row["privileged"] else ""
        if agent not in comparisons:
            if not row["verdict"] and row["failed"]:
                row["verdict"] = "undecided"
            continue
        found = comparisons[agent]
        row["difference"], row["difference_low"], row["difference_high"] = (
            found.difference,
            found.low,
            found.high,
        )
        row["win_rate"] = found.wins
        row["improvement"], row["improvement_low"], row["improvement_high"] = found.improvement
        if agent in corrected:
            row["p_holm"] = float(corrected[agent])
            recordings = len(set(groups[whole[agent] & whole[baseline]]))
            lost = row["failed"] or not whole[baseline].all()
            row["verdict"] = "undecided" if lost else stats.verdict(found, row["p_holm"], recordings, better, margin)
    columns = [
        "agent", "privileged", "episodes", "failed", "recordings", "seeds", "mean", "ci_low", "ci_high",
        "iqm", "iqm_low", "iqm_high", "median", "tail", "difference", "difference_low", "difference_high",
        "p_holm", "win_rate", "improvement", "improvement_low", "improvement_high", "verdict",
        "score", "score_low", "score_high",
        "regret", "regret_low", "regret_high", *terms,
        "repeat_rate", "latency_p50_ms", "latency_p99_ms", "decision_cost_ms",
    ]  # fmt: skip
    summary = pd.DataFrame(rows).reindex(columns=columns)
    summary["_order"] = summary["mean"] * (-1.0 if better == "higher" else 1.0)
    summary = summary.sort_values(["privileged", "_order"], kind="stable", ignore_index=True).drop(columns="_order")
    summary.attrs["margin"] = margin
    return summary
