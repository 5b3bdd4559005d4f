"""Parsed trace sets on disk: one ``.npz`` per set, plain arrays only (nothing is ever unpickled)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.files import atomic_path
from netllm_gym.traces.network.trace import NetworkTrace


def save_network(path: Path, splits: dict[str, tuple[NetworkTrace, ...]]) -> None:
    """Write network traces of several splits by atomic rename."""
    traces = [(split, trace) for split, members in splits.items() for trace in members]
    offsets = np.concatenate([[0], np.cumsum([len(trace) for _, trace in traces])])
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
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
        TraceFormatError: not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns = {key: stored[key] for key in stored.files}
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
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise TraceFormatError(path, f"not a stored trace set ({error}); delete it and fetch or import again") from None
    return {split: tuple(members) for split, members in splits.items()}
