"""What is checked of a dataset's files before Minari opens them: that they are the bytes that were written, and that
nothing in them claims to be larger than they are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netllm_gym.errors import DatasetError
from netllm_gym.files import file_digest

DATA = "data"  # Minari's folder below a dataset's
MAX_METADATA_BYTES = 64 * 2**20
# Minari stores without compression; these leave room for chunks that were never filled and for small files.
MAX_UNPACKED, SPARE_BYTES = 50, 64 * 2**20
MAX_SPACE = 2**24  # numbers of one space whose bounds are not written out


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that Minari keeps for the dataset at `folder`, by its path below it."""
    members = sorted(path for path in (folder / DATA).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in members}


def check_files(dataset: str, folder: Path, description: Mapping[str, Any]) -> None:
    """Refuse files that changed since they were written; those of datasets from before digests were kept pass.

    Raises:
        DatasetError: a file is missing, was added, or differs.
    """
    recorded = description.get("files")
    if recorded is None:
        return
    here = file_digests(folder)
    if recorded != here:
        names = {*here, *recorded} if isinstance(recorded, dict) else here
        odd = [name for name in sorted(names) if not isinstance(recorded, dict) or recorded.get(name) != here.get(name)]
        raise DatasetError(
            f"dataset {dataset} is damaged: {odd[0] if odd else DATA} is not what was written; "
            f"delete {folder} and collect it again"
        )


def measure(folder: Path, steps: list[int]) -> None:
    """Check what the files at `folder` say of their size, without allocating any of it.

    Args:
        folder: of the dataset.
        steps: of every episode, as its description has them.

    Raises:
        ValueError: a number, space or array that is larger than the files, or data that lie outside of them.
    """
    path = folder / DATA / "metadata.json"
    if path.stat().st_size > MAX_METADATA_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_METADATA_BYTES // 2**20} MiB")
    metadata = json.loads(path.read_text(encoding="utf-8"))
    for key, expected in (("total_episodes", len(steps)), ("total_steps", sum(steps))):
        if metadata[key] != expected:
            raise ValueError(f"{path.name} has {key} {str(metadata[key])[:20]}, its description {expected}")
    for key in ("observation_space", "action_space"):
        text = metadata.get(key)
        if isinstance(text, str):
            _measure_space(json.loads(text), max(len(text), MAX_SPACE))
    _measure_arrays(folder / DATA / "main_data.hdf5")


def _measure_space(space: Any, most: int) -> None:
    waiting = [space]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += [part for part in node if isinstance(part, list | dict)]
        elif isinstance(node, dict):
            waiting += [part for part in node.values() if isinstance(part, list | dict)]
            shape = node.get("shape", ())
            sizes = shape if isinstance(shape, list) else [shape]
            if node.get("type") == "MultiBinary":
                count = node.get("n", 1)
                sizes = count if isinstance(count, list) else [count]
            if math.prod(size for size in sizes if isinstance(size, int)) > most:
                raise ValueError(f"a space has more than {most:,} numbers")


def _measure_arrays(path: Path) -> None:
    import h5py

    most = SPARE_BYTES + MAX_UNPACKED * path.stat().st_size
    total = 0

    def add(name: str, node: Any) -> None:
        nonlocal total
        if not isinstance(node, h5py.Dataset):
            return
        if node.external or node.is_virtual:
            raise ValueError(f"{name} lies outside of the file")
        total += node.size * node.dtype.itemsize if node.shape is not None else 0
        if total > most:
            raise ValueError(f"its arrays claim more than {most // 2**20:,} MiB")

    with h5py.File(path, "r") as file:
        file.visititems(add)
