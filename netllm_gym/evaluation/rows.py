"""Rows of episodes: which columns they need, what makes them a fair comparison, and how they become arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from netllm_gym.errors import DatasetError

REQUIRED = ("agent", "training_seed", "episode", "failed")
# One column per factor that an episode's group belongs to: ``group:video``, ``group:user``.
PREFIX = "group:"
# What a table without such columns is grouped by.
SINGLE = "group"
# In the column ``notice``: what follows is said of the environment, what stands before it of the agent.
_OF_ENV = "the environment: "


def notice_of(agent: str, env: str) -> str:
    """Return the notice of an episode: what is to be known of the agent in it, and of the environment."""
    return "; ".join(filter(None, (agent, env and _OF_ENV + env)))


def notice_parts(notice: str) -> tuple[str, str]:
    """Return what :func:`notice_of` joined."""
    agent, _, env = str(notice).partition(_OF_ENV)
    return agent.removesuffix("; "), env


def group_columns(groups: Mapping[str, object]) -> dict[str, str]:
    """Return the columns of a row that name its groups: one per factor, and all of them in ``group``."""
    named = {f"{PREFIX}{factor}": str(level) for factor, level in groups.items()}
    return {SINGLE: " × ".join(named.values()), **named}


def factor_columns(frame: pd.DataFrame) -> dict[str, str]:
    """Return factor → column: those called ``group:…``, or ``group`` alone as the factor ``recording``.

    Raises:
        DatasetError: no column names a group.
    """
    found = {str(name).removeprefix(PREFIX): str(name) for name in frame.columns if str(name).startswith(PREFIX)}
    if found:
        return found
    if SINGLE not in frame.columns:
        raise DatasetError(f"the results lack the column {SINGLE!r}")
    return {"recording": SINGLE}


def check_paired(frame: pd.DataFrame, metric: str, terms: tuple[str, ...] = ()) -> None:
    """Refuse rows from which no fair comparison can be made.

    Raises:
        DatasetError: a missing column, a duplicated row, agents that played different episodes, or an episode whose
            groups are missing or differ between agents.
    """
    missing = [name for name in (*REQUIRED, metric, *terms) if name not in frame.columns]
    if missing:
        raise DatasetError(f"the results lack the column {missing[0]!r}")
    factors = factor_columns(frame)
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
    for factor, column in factors.items():
        unnamed = frame[frame[column].isna() | (frame[column].astype(str) == "")]
        if len(unnamed):
            row = unnamed.iloc[0]
            raise DatasetError(f"episode {row['episode']} of {row['agent']} names no {factor} that it belongs to")
        levels = frame.groupby("episode")[column].nunique()
        if (levels > 1).any():
            raise DatasetError(f"episode {levels.idxmax()} has a different {factor} for different agents")


def factors(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return factor → level of each episode, ``[N]``, in ascending order of the episodes."""
    once = frame.drop_duplicates("episode").sort_values("episode")
    return {factor: once[column].astype(str).to_numpy() for factor, column in factor_columns(frame).items()}


def cells(levels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the combination of levels of each episode as text, ``[N]``."""
    return np.array([" × ".join(parts) for parts in zip(*levels.values(), strict=True)])


def table(frame: pd.DataFrame, agent: str, column: str) -> np.ndarray:
    """Return `column` of one agent as ``[S, N]``: training seeds × episodes, both in ascending order."""
    rows = frame[frame["agent"] == agent]
    return rows.pivot(index="training_seed", columns="episode", values=column).to_numpy(dtype=np.float64)


def training_seeds(frame: pd.DataFrame, agent: str) -> tuple[int, ...]:
    """Return the training seeds of an agent, in ascending order."""
    return tuple(sorted(int(seed) for seed in set(frame.loc[frame["agent"] == agent, "training_seed"])))
