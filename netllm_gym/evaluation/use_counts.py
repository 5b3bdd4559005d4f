"""How often a test split has been scored on this machine: each use makes choosing by test a little easier.

One line per use is appended to a file named by the content of the trace set, in the cache folder. A command that finds
all its episodes on disk uses nothing new and adds no line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from netllm_gym.files import cache_dir, make_folder


def _file(digest: str) -> Path:
    folder = cache_dir() / "test-uses"
    older = folder.with_name("test-looks")  # the folder's name in the first release: what it counts stays counted
    if older.is_dir() and not folder.exists():
        older.rename(folder)
    return folder / f"{digest[:32]}.jsonl"


def record_test_use(digest: str, name: str, agents: Sequence[str]) -> None:
    """Record that `agents` are being scored on the test set `name` with the content `digest`."""
    path = _file(digest)
    make_folder(path.parent)
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "traces": name, "agents": list(agents)}
    # One short write to a file opened for appending: lines of processes that run side by side do not mix.
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


def count_test_uses(digest: str) -> int:
    """Return how often the test set with the content `digest` was scored on this machine."""
    path = _file(digest)
    return len(path.read_bytes().splitlines()) if path.is_file() else 0
