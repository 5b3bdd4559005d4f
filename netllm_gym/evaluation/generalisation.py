"""Does an agent keep its standing where nobody trained it? Scores of two settings, and the gap between them.

Raw metrics of two settings cannot be compared (another link, another scale), so the gap is taken of a *standing*: the
share of the way from floor to oracle where the task has an oracle, and the relative lead over the baseline where it
has none. Both are ratios of sums over episodes.

What two settings share is paired: an agent's training seeds always, and the recordings when they share at least half
of the smaller setting's; the gap is then of those recordings alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from netllm_gym.errors import DatasetError
from netllm_gym.evaluation import rows as rows_of
from netllm_gym.evaluation.bootstrap import DRAWS, Bootstrap, Estimate, Floats, Part
from netllm_gym.evaluation.result import EvaluationResult

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


@dataclass(frozen=True)
class _Side:
    """One setting: the levels of its episodes, and the metric at standing 0 and 1."""

    result: EvaluationResult
    levels: dict[str, np.ndarray]
    cells: np.ndarray
    low: Floats
    high: Floats

    @classmethod
    def of(cls, result: EvaluationResult) -> _Side:
        metric, m = result.metric, result.manifest
        levels = rows_of.factors(result.frame)

        def mean(agent: str) -> Floats:
            return rows_of.table(result.frame, agent, metric["name"]).mean(axis=0)

        if kind_of_standing(result) == SCORE:
            low, high = mean(m["floor"]), mean(m["oracle"])
        else:
            low = mean(m["baseline"])
            # A lead of 1: the metric doubled, or, where lower is better, brought to zero.
            high = low + np.abs(low) if metric["better"] == "higher" else low - np.abs(low)
        return cls(result, levels, rows_of.cells(levels), low, high)

    def part(self, agent: str, kept: np.ndarray, sign: float = 1.0) -> Part | None:
        """The standing of `agent` on its finished episodes among `kept`; ``None`` when there is none."""
        x = rows_of.table(self.result.frame, agent, self.result.metric["name"])
        here = kept & ~np.isnan(x).any(axis=0) & ~np.isnan(self.low) & ~np.isnan(self.high)
        span = np.where(here, self.high - self.low, 0.0)
        if not span.sum():
            return None
        return Part(np.where(here, x - self.low, 0.0), span, sign, agent)


def standings(result: EvaluationResult, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Return one row per agent: ``agent, standing, low, high``.

    Args:
        result: of one setting; :func:`kind_of_standing` says what the numbers are.
        draws, seed: of the bootstrap over groups and training seeds.
    """
    side = _Side.of(result)
    sample = Bootstrap(side.levels, draws, seed)
    everything = np.ones(len(side.cells), dtype=bool)
    rows = []
    for agent in result.agents:
        part = side.part(agent, everything)
        found = sample.estimate([part]) if part else None
        rows.append({"agent": agent, **_columns("standing", "low", "high", found)})
    return pd.DataFrame(rows)


def _columns(value: str, low: str, high: str, found: Estimate | None) -> dict[str, float]:
    if found is None:
        return {value: math.nan, low: math.nan, high: math.nan}
    ends = found.interval()
    return {value: found.value, low: ends[0], high: ends[1]}


def generalisation_gap(seen: EvaluationResult, unseen: EvaluationResult, draws: int = DRAWS) -> pd.DataFrame:
    """Return, for every agent that played both, its standing on each and the gap: unseen - seen.

    Returns:
        ``agent, seen, unseen, gap, gap_low, gap_high, shared``; :func:`kind_of_standing` says what a standing is.
        ``shared`` counts the recordings that were paired; where it is not 0, both standings are of those.

    Raises:
        DatasetError: the two measure different things, are grouped by different factors, or an agent has other
            training seeds in one than in the other.
    """
    if (seen.metric["name"], kind_of_standing(seen)) != (unseen.metric["name"], kind_of_standing(unseen)):
        raise DatasetError("a generalisation gap needs two settings of one task")
    left, right = _Side.of(seen), _Side.of(unseen)
    if set(left.levels) != set(right.levels):
        one, other = (", ".join(side.levels) for side in (left, right))
        raise DatasetError(f"a generalisation gap needs the same groups in both settings, got {one} and {other}")
    shared = set(left.cells) & set(right.cells)
    paired = 2 * len(shared) >= min(len(set(left.cells)), len(set(right.cells)))
    kept = [np.isin(s.cells, list(shared)) if paired else np.ones(len(s.cells), dtype=bool) for s in (left, right)]
    sides = np.repeat(["seen", "unseen"], [len(left.cells), len(right.cells)])
    levels = {
        factor: [
            level if paired else f"{side}: {level}"
            for side, level in zip(sides, [*left.levels[factor], *right.levels[factor]], strict=True)
        ]
        for factor in left.levels
    }
    inside = np.concatenate(kept)
    sample = Bootstrap(
        {factor: np.array(level)[inside].tolist() for factor, level in levels.items()},
        draws,
        strata=None if paired else sides[inside],
    )
    rows = []
    for agent in (name for name in seen.agents if name in unseen.agents):
        _same_seeds(seen, unseen, agent)
        parts = left.part(agent, kept[0], -1.0), right.part(agent, kept[1])
        before, after = (Bootstrap.point([p]) if p else math.nan for p in parts)
        row = {"agent": agent, "seen": -before, "unseen": after}
        found = None
        if parts[0] and parts[1]:
            found = sample.estimate([_widened(p, sides, i, inside) for i, p in enumerate(parts) if p])
        rows.append(row | _columns("gap", "gap_low", "gap_high", found) | {"shared": len(shared) if paired else 0})
    return pd.DataFrame(rows, columns=["agent", "seen", "unseen", "gap", "gap_low", "gap_high", "shared"])


def _same_seeds(seen: EvaluationResult, unseen: EvaluationResult, agent: str) -> None:
    one, other = (rows_of.training_seeds(result.frame, agent) for result in (seen, unseen))
    if one != other:
        raise DatasetError(
            f"{agent} has training seeds {', '.join(map(str, one))} in one setting and {', '.join(map(str, other))} in "
            "the other: a gap needs the same trainings"
        )


def _widened(part: Part, sides: np.ndarray, index: int, inside: np.ndarray) -> Part:
    """The part with the other setting's episodes beside its own, where it is zero."""
    x, y = np.zeros((len(part.x), len(sides))), np.zeros(len(sides))
    own = sides == ("seen", "unseen")[index]
    x[:, own], y[own] = part.x, part.y
    return Part(x[:, inside], y[inside], part.sign, part.who)
