"""Rows of further trainings, committed as data: the weights of one training ship, the results of all of them count.

A file ``CELL--NAME.csv.gz`` in ``benchmarks/results/rows`` of a checkout holds rows of ``episodes.csv`` that an
evaluation of the same cell wrote (``python benchmarks/keep_rows.py FOLDER CELL``): other training seeds of an agent
that plays there. They join the cell when their episodes are the ones that were played: same traces, groups and seeds.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from netllm_gym.errors import DatasetError
from netllm_gym.evaluation.result import CLOCK, EvaluationResult, parsed_rows
from netllm_gym.files import atomic_path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "rows"
MOST_BYTES = 64 * 2**20
# What must agree before rows of two runs may stand side by side.
IDENTITY = ("trace", "group", "seed")


def write_rows(result: EvaluationResult, cell: str, agents: Sequence[str] = (), folder: Path = FOLDER) -> Path:
    """Write the rows of the trained `agents` of `result` (all of them by default), without clock readings.

    Raises:
        DatasetError: none of them is a trained agent.
    """
    chosen = list(agents) or list(result.manifest.get("trained", ()))
    frame = result.frame[result.frame["agent"].isin(chosen)].drop(columns=list(CLOCK), errors="ignore")
    if frame.empty:
        raise DatasetError("these results hold no rows of a trained agent")
    name = "+".join(label.replace("/", "-") for label in dict.fromkeys(frame["agent"]))
    text = frame.to_csv(index=False)
    path = folder / f"{cell}--{name}.csv.gz"
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def read_rows(path: Path) -> pd.DataFrame:
    """Read what :func:`write_rows` wrote.

    Raises:
        DatasetError: a file that is damaged, too large or no table.
    """
    try:
        with gzip.open(path) as source:
            data = source.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise DatasetError(f"{path}: more than {MOST_BYTES >> 20} MiB of rows")
        return parsed_rows(io.StringIO(data.decode("utf-8")))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, ValueError, csv.Error) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: not a table of rows ({' '.join(str(error).split())[:100]})") from None


def with_stored(result: EvaluationResult, cell: str, folder: Path = FOLDER) -> EvaluationResult:
    """Return `result` with the committed rows of its trained agents beside its own.

    Raises:
        DatasetError: rows that are damaged or of other episodes, or that lack some.
    """
    frames, keys = [result.frame], ["agent", "training_seed"]
    played = result.frame.drop_duplicates("episode").set_index("episode")[list(IDENTITY)].astype(str)
    for path in sorted(folder.glob(f"{cell}--*.csv.gz")) if folder.is_dir() else ():
        stored = read_rows(path)
        if lost := [name for name in (*keys, "episode", *IDENTITY, result.metric["name"]) if name not in stored]:
            raise DatasetError(f"{path}: the rows lack the column {lost[0]!r}")
        stored = stored[stored["episode"].isin(played.index) & stored["agent"].isin(result.agents)]
        if stored.empty:
            continue
        other = stored[list(IDENTITY)].astype(str).to_numpy() != played.loc[stored["episode"]].to_numpy()
        if other.any():
            row = stored.iloc[int(other.any(axis=1).argmax())]
            raise DatasetError(f"{path}: episode {row['episode']} of {row['agent']} is not the one played here")
        for (agent, seed), own in stored.groupby(keys):
            if len(own) != len(played):
                raise DatasetError(f"{path}: {agent} (seed {seed}) has {len(own)} of {len(played)} episodes")
        known = pd.concat(frames)[keys].apply(tuple, axis=1)
        frames.append(stored[~stored[keys].apply(tuple, axis=1).isin(set(known))])
    if len(frames) == 1:
        return result
    frame = pd.concat(frames, ignore_index=True)[list(result.frame.columns)]
    order = {agent: place for place, agent in enumerate(result.agents)}
    frame["_order"] = frame["agent"].map(order)
    frame = frame.sort_values(["_order", "training_seed", "episode"], kind="stable", ignore_index=True)
    return EvaluationResult(frame.drop(columns="_order"), result.manifest, result.steps, result.timelines)
