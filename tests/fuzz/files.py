"""The way from mutated bytes to a reader of files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path


def scratch_folder(prefix: str) -> Path:
    """Make a folder, in memory where the machine has such a place."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def through_a_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return a target that writes the bytes to `path` and reads that."""

    def run(data: bytes) -> object:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return run
