"""What was read from a user's files: the traces, and everything that had to be understood, guessed or repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.text import MAX_TEXT_BYTES

# Files that stand beside data and hold none.
NO_DATA = {".md", ".pdf", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".ipynb", ".py", ".sh", ".m", ".r", ".html", ".bib",
           ".yml", ".yaml", ".toml", ".cfg", ".docx", ".xlsx", ".mp4", ".bat"}  # fmt: skip
NO_DATA_STEMS = ("readme", "license", "licence", "citation", "changelog", "copying", "authors", "notice", "makefile")


@dataclass
class Reading:
    """What a path holds.

    Attributes:
        kind: ``network``, ``head`` or ``workload``.
        format: which reader read it.
        traces: the traces.
        notes: sentences on what was guessed, converted, skipped.
        repairs: what was left out or changed → how many rows.
        table: the first traces, a dict a row, for people to look at.
        assumed: which of the above nothing in the files tells.
    """

    kind: str
    format: str
    traces: tuple[Any, ...]
    notes: list[str] = field(default_factory=list)
    repairs: dict[str, int] = field(default_factory=dict)
    table: list[dict[str, Any]] = field(default_factory=list)

    def sentences(self) -> tuple[str, ...]:
        """Return the notes, and the repairs with their counts."""
        return (*self.notes, *(f"{what}: {count}" for what, count in self.repairs.items()))


def content(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        TraceFormatError: too large, or it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise TraceFormatError(path, f"larger than {MAX_TEXT_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise TraceFormatError(path, f"cannot be read ({error.strerror})") from None


def beginning(path: Path, size: int = 65_536) -> bytes:
    """Return whole lines from the start of a file, for a look at what it is."""
    try:
        with path.open("rb") as file:
            data = file.read(size)
    except OSError as error:
        raise TraceFormatError(path, f"cannot be read ({error.strerror})") from None
    if len(data) < size:
        return data
    return data[: data.rfind(b"\n") + 1] or data


def data_files(root: Path, notes: list[str]) -> list[Path]:
    """Return the files of a path that may hold data, in sorted order; what is skipped is noted.

    Raises:
        TraceFormatError: there is none.
    """
    if not root.exists():
        raise TraceFormatError(root, "no such file or folder")
    if root.is_file():
        return [root]
    members = sorted(
        p for p in root.rglob("*")
        if p.is_file() and not any(part.startswith((".", "__MACOSX")) for part in p.relative_to(root).parts)
    )  # fmt: skip
    kept: list[Path] = []
    skipped: list[str] = []
    for member in members:
        try:
            size = member.stat().st_size
        except OSError as error:
            raise TraceFormatError(member, f"cannot be read ({error.strerror})") from None
        if size == 0:
            skipped.append(f"{member.name} (empty)")
        elif member.suffix.lower() in NO_DATA or member.name.lower().startswith(NO_DATA_STEMS):
            skipped.append(member.name)
        else:
            kept.append(member)
    if skipped:
        more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        notes.append(f"skipped: {', '.join(skipped[:5])}{more}")
    if not kept:
        raise TraceFormatError(root, "the folder holds no data files")
    return kept


def joined(sentences: Sequence[str]) -> str:
    """Return sentences as one line."""
    return "; ".join(sentences)
