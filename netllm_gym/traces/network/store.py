"""Parsed trace sets on disk: one sealed ``.npz`` per set, plain arrays only (nothing is ever unpickled)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netllm_gym.arrays import load_arrays, save_arrays
from netllm_gym.errors import DamagedError
from netllm_gym.traces.network.trace import NetworkTrace

REMEDY = "delete it and fetch or import again"


def save_network(path: Path, splits: dict[str, tuple[NetworkTrace, ...]]) -> None:
    """Write network traces of several splits by atomic rename."""
    traces = [(split, trace) for split, members in splits.items() for trace in members]
    offsets = np.concatenate([[0], np.cumsum([len(trace) for _, trace in traces])])
    save_arrays(
        path,
        split=np.array([split for split, _ in traces]),
        name=np.array([trace.name for _, trace in traces]),
        group=np.array([trace.group for _, trace in traces]),
        start_s=np.array([trace.start_s for _, trace in traces]),
        offset=offsets.astype(np.int64),
        duration_s=np.concatenate([trace.duration_s for _, trace in traces]),
        throughput_mbps=np.concatenate([trace.throughput_mbps for _, trace in traces]),
    )


def load_network(path: Path) -> dict[str, tuple[NetworkTrace, ...]]:
    """Read what :func:`save_network` wrote.

    Raises:
        DamagedError: not such a file, or damaged.
    """
    columns = load_arrays(path, REMEDY)
    try:
        splits: dict[str, list[NetworkTrace]] = {}
        for i, split in enumerate(columns["split"]):
            piece = slice(int(columns["offset"][i]), int(columns["offset"][i + 1]))
            splits.setdefault(str(split), []).append(
                NetworkTrace(
                    str(columns["name"][i]),
                    columns["duration_s"][piece],
                    columns["throughput_mbps"][piece],
                    str(columns["group"][i]),
                    float(columns["start_s"][i]),
                )
            )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DamagedError(f"{path}: not a stored trace set ({error}); {REMEDY}") from None
    return {split: tuple(members) for split, members in splits.items()}
