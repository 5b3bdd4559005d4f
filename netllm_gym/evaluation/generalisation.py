"""Does an agent keep its standing where nobody trained it? Scores of two settings, and the gap between them.

Raw metrics of two settings cannot be compared (another link, another scale), so the gap is taken of a *standing*: the
share of the way from floor to oracle where the task has an oracle, and the relative lead over the baseline where it
has none. Both are ratios of sums over episodes.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from netllm_gym.errors import DatasetError
from netllm_gym.evaluation import statistics as stats
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.summary import table

SCORE, LEAD = "score", "lead"


def kind_of_standing(result: EvaluationResult) -> str:
    """``score`` (floor → oracle) where the result has both ends, else ``lead`` (over the baseline)."""
    return SCORE if result.manifest["floor"] and result.manifest["oracle"] else LEAD


def meaning_of_standing(result: EvaluationResult) -> str:
    """Say in a phrase what the standings of a result are."""
    m = result.manifest
    if kind_of_standing(result) == SCORE:
        return f"share of the way from {m['floor']} to {m['oracle']}"
    return f"lead over {m['baseline']}"


def _ends(result: EvaluationResult, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Per episode, the metric at standing 0 and at standing 1."""
    metric = result.metric
    if kind == SCORE:
        names = result.manifest["floor"], result.manifest["oracle"]
        low, high = (table(result.frame, name, metric["name"]).mean(axis=0) for name in names)
        return low, high
    base = table(result.frame, result.manifest["baseline"], metric["name"]).mean(axis=0)
    # A lead of 1: the metric doubled, or, where lower is better, brought to zero.
    return base, base + np.abs(base) if metric["better"] == "higher" else base - np.abs(base)


def standings(result: EvaluationResult, draws: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Return one row per agent: ``agent, standing, low, high``.

    Args:
        result: of one setting; :func:`kind_of_standing` says what the numbers are.
        draws, seed: of the bootstrap over source recordings and training seeds.
    """
    return _resampled(result, draws, seed)[0]


def _resampled(result: EvaluationResult, draws: int, seed: int) -> tuple[pd.DataFrame, dict[str, stats.Floats]]:
    """The standings, and agent → the resampled ones."""
    low, high = _ends(result, kind_of_standing(result))
    groups = result.frame.drop_duplicates("episode").sort_values("episode")["group"].to_numpy()
    rows, resampled = [], {}
    for who, agent in enumerate(result.agents):
        x = table(result.frame, agent, result.metric["name"])
        whole = ~np.isnan(x).any(axis=0) & ~np.isnan(low) & ~np.isnan(high)
        row = {"agent": agent, "standing": math.nan, "low": math.nan, "high": math.nan}
        if whole.any():
            sample = stats.Bootstrap(groups[whole], draws, seed)
            found = sample.score(x[:, whole], low[whole], high[whole], who)
            row["standing"] = stats.normalised_score(x[:, whole].mean(axis=0), low[whole], high[whole])
            if np.isfinite(found).all():
                row["low"], row["high"] = stats.interval(found)
                resampled[agent] = found
        rows.append(row)
    return pd.DataFrame(rows), resampled


def generalisation_gap(seen: EvaluationResult, unseen: EvaluationResult, draws: int = 4000) -> pd.DataFrame:
    """Return, for every agent that played both, its standing on each and the gap: unseen − seen.

    Settings that play the same recordings (another video, say) are resampled together, others independently.

    Returns:
        ``agent, seen, unseen, gap, gap_low, gap_high``; :func:`kind_of_standing` says what a standing is.

    Raises:
        DatasetError: the two measure different things.
    """
    if (seen.metric["name"], kind_of_standing(seen)) != (unseen.metric["name"], kind_of_standing(unseen)):
        raise DatasetError("a generalisation gap needs two settings of one task")
    together = set(seen.frame["group"]) == set(unseen.frame["group"])
    left, before = _resampled(seen, draws, 0)
    right, after = _resampled(unseen, draws, 0 if together else 1)
    rows = []
    for _, row in left.merge(right, on="agent", suffixes=("_seen", "_unseen")).iterrows():
        agent = row["agent"]
        found = {
            "agent": agent,
            "seen": row["standing_seen"],
            "unseen": row["standing_unseen"],
            "gap": row["standing_unseen"] - row["standing_seen"],
            "gap_low": math.nan,
            "gap_high": math.nan,
        }
        if agent in before and agent in after:
            found["gap_low"], found["gap_high"] = stats.interval(after[agent] - before[agent])
        rows.append(found)
    return pd.DataFrame(rows, columns=["agent", "seen", "unseen", "gap", "gap_low", "gap_high"])
