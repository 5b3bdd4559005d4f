"""Files that appear whole or not at all, the cache folder, and content digests."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs


def cache_dir() -> Path:
    """Folder for downloads and derived files: ``$NETLLM_GYM_CACHE`` or the user's cache folder."""
    root = os.environ.get("NETLLM_GYM_CACHE") or platformdirs.user_cache_dir("netllm_gym")
    path = Path(root)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target` (same suffix) that replaces it when the block succeeds."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)  # the only way to read it
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files private; a report is meant to be shared
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 by atomic rename."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON by atomic rename."""
    write_text(target, json.dumps(value, indent=2) + "\n")


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below `folder`."""
    members = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest(
        part for path in members for part in (path.relative_to(folder).as_posix().encode(), path.read_bytes())
    )


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over length-prefixed parts, so that moving a boundary changes the digest."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.hexdigest()
