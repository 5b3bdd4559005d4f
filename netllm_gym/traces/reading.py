"""What was read from a user's files: the traces, and everything that had to be understood, guessed or repaired."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.packed import BROKEN, opened
from netllm_gym.traces.text import MAX_TEXT_BYTES

# Files that stand beside data and hold none.
NO_DATA = {".md", ".pdf", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".ipynb", ".py", ".sh", ".m", ".r", ".html", ".bib",
           ".yml", ".yaml", ".toml", ".cfg", ".docx", ".xlsx", ".mp4", ".bat"}  # fmt: skip
# What hostile numbers overflow to while files are looked at is refused as a value; NumPy's warning adds nothing.
overflowing = np.errstate(over="ignore", invalid="ignore")
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


@dataclass
class Notes:
    """What was guessed about a set of files while they were read, and what was repaired in them.

    Attributes:
        guesses: sentences, each once.
        repairs: what → how many rows.
    """

    guesses: list[str] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)

    def guess(self, sentence: str) -> None:
        """Note a guess once; nothing for an empty one."""
        if sentence and sentence not in self.guesses:
            self.guesses.append(sentence)


class SaidOf:
    """What was guessed about groups of files: a sentence that does not hold for all of them names those it is about."""

    def __init__(self) -> None:
        self._groups: dict[str, list[list[str]]] = {}

    def add(self, sentences: Sequence[str], files: Sequence[str]) -> None:
        """Take the sentences on one group."""
        for sentence in sentences:
            self._groups.setdefault(sentence, []).append(list(dict.fromkeys(files)))

    def sentences(self, groups: int) -> list[str]:
        """Return all sentences on so many groups."""
        out = []
        for sentence, members in self._groups.items():
            files = [file for member in members for file in member]
            more = f" and {len(files) - 2} more" if len(files) > 3 else ""
            shown = ", ".join(files[: 2 if more else 3])
            out.append(sentence if len(members) == groups else f"{shown}{more}: {sentence}")
        return out


def passed_over(beside: Sequence[tuple[Path, TraceFormatError]], files: int, what: str, few: bool = False) -> str:
    """Return a sentence on those of so many `files` that name no `what`, as they hold something else; empty for none.

    Args:
        beside: the files that are left out, and why they cannot be read.
        files: how many there are.
        what: they lack.
        few: the others may be fewer than they, as logs are beside questionnaires.

    Raises:
        TraceFormatError: they are most of the files, or all where few are enough; the error is the first one's.
    """
    if len(beside) > files - len(beside) and (not few or len(beside) == files):
        raise beside[0][1]
    shown = ", ".join(path.name for path, _ in beside[:5]) + (f" and {len(beside) - 5} more" if beside[5:] else "")
    return f"skipped {len(beside)} files that name no {what}: {shown}" if beside else ""


def content(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        TraceFormatError: too large, or it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise TraceFormatError(path, f"larger than {MAX_TEXT_BYTES // 2**20} MiB")
        data = b"".join(_bounded(path))
    except BROKEN as error:
        raise _unreadable(path, error) from None
    _refuse_binary(path, data)
    return utf8(data)


def _bounded(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, unpacked, up to the bound."""
    size = 0
    with opened(path) as file:
        while piece := file.read(2**22):
            size += len(piece)
            if size > MAX_TEXT_BYTES:
                raise TraceFormatError(path, f"larger than {MAX_TEXT_BYTES // 2**20} MiB unpacked")
            yield piece


def _unreadable(path: Path, error: Exception) -> TraceFormatError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100]
    return TraceFormatError(path, f"cannot be read ({reason})")


# How files begin that are no text -> what they are and what to do.
_MAGIC = (
    (b"PK\x03\x04", "an archive or a spreadsheet: unpack it, or export its table as CSV"),
    (b"7z\xbc\xaf", "an archive: unpack it first"), (b"Rar!", "an archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it first"),
    (b"\x04\x22\x4d\x18", "packed with lz4: unpack it first"),
    (b"LZ4Block", "packed with lz4: unpack it first (spark.eventLog.compression.codec=none writes plain text)"),
    (b"\x82SNAPPY", "packed with snappy: unpack it first"), (b"PAR1", "Parquet: export it as CSV"),
    (b"\x89HDF", "HDF5 (or MATLAB 7.3): export its table as CSV"),
    (b"MATLAB", "a MATLAB file: export its table as CSV"),
    (b"\x93NUMPY", "a numpy array: export it as CSV"), (b"\x80\x02", "a pickle, which may run code: export it as CSV"),
    (b"\x80\x03", "a pickle, which may run code: export it as CSV"),
    (b"\x80\x04", "a pickle, which may run code: export it as CSV"),
    (b"\x80\x05", "a pickle, which may run code: export it as CSV"),
    (b"SQLite", "an SQLite database: export it as CSV"),
    (b"%PDF", "a PDF"), (b"\xd4\xc3\xb2\xa1", "a packet capture: export rates over time as CSV"),
    (b"\x0a\x0d\x0d\x0a", "a packet capture: export rates over time as CSV"),
)  # fmt: skip


# How a pickle of the oldest protocol begins, which is text: a global, or a list, dict or tuple that is numbered.
_OLD_PICKLE = re.compile(rb"c[\w.]+\n\w+\np\d+\n|\([ldt]?p\d+\n")


def _refuse_binary(path: Path, data: bytes) -> None:
    if _OLD_PICKLE.match(data):
        raise TraceFormatError(path, "not text but a pickle, which may run code: export it as CSV")
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise TraceFormatError(path, f"not text but {what}")


def utf8(data: bytes) -> bytes:
    """Return text of two other encodings as UTF-8, and everything else as it is.

    UTF-16 tells itself by its first bytes (PowerShell and Excel's "Unicode text" write it). A header of one byte a
    character (``Yaw [°]``) is taken for Windows' where nothing below it is beyond ASCII.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and len(data) % 2 == 0:
        try:
            return data.decode("utf-16").encode()
        except UnicodeDecodeError:
            return data
    head, newline, rows = data.partition(b"\n")
    if head.isascii() or not rows.strip() or not rows.isascii() or b"\0" in data:
        return data
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return head.decode("cp1252", "replace").encode() + newline + rows
    return data


def beginning(path: Path, size: int = 65_536) -> bytes:
    """Return whole lines from the start of a file, for a look at what it is."""
    try:
        with opened(path) as file:
            data = file.read(size)
    except BROKEN as error:
        raise _unreadable(path, error) from None
    _refuse_binary(path, data)
    whole, data = len(data) < size, utf8(data)
    return data if whole else data[: data.rfind(b"\n") + 1] or data


# Endings of what people write beside their data.
_WRITTEN = {"", ".txt", ".text", ".rst", ".info", ".log"}
_WORD = re.compile(r"[(\[\"'\u201c*]*[^\W\d_][^\W\d_'\u2019-]*[)\].,:;!?\"'\u201d*]*")
_AMOUNT = re.compile(r"[-+\d.,:;eE%/T]*\d[-+\d.,:;eE%/TZ]*")


def notes_beside(files: Sequence[Path]) -> list[Path]:
    """Return those of some files that hold prose (notes, a licence), not data: mostly words, some in a row."""
    return [file for file in files if file.suffix.lower() in _WRITTEN and _is_prose(file)]


def without_notes(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files without notes, and the notes; prose alone stays, to be refused as what it is."""
    prose = notes_beside(files)
    if len(prose) == len(files):
        return [*files], []
    return [file for file in files if file not in set(prose)], prose


def _is_prose(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            data = utf8(file.read(8192))
    except OSError:
        return False
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if "\0" in text or text.lstrip()[:1] in ("", "{", "[", "<", "@"):
        return False
    tokens = text.split()
    words = sum(_WORD.fullmatch(token) is not None for token in tokens)
    amounts = sum(_AMOUNT.fullmatch(token) is not None for token in tokens)
    sentence = any(sum(_WORD.fullmatch(x) is not None for x in line.split()) >= 4 for line in text.splitlines())
    return sentence and words >= 0.6 * len(tokens) and amounts <= 0.2 * len(tokens)


def data_files(root: Path, notes: list[str]) -> list[Path]:
    """Return the files of a path that may hold data, in sorted order; what is skipped is noted.

    Raises:
        TraceFormatError: there is none.
    """
    if not root.exists():
        raise TraceFormatError(root, "no such file or folder")
    if root.is_file():
        return [root]
    if not root.is_dir():  # a pipe or a device, which may never end
        raise TraceFormatError(root, "neither an ordinary file nor a folder: write its content to a file first")
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
        if size == 0 or (size < 64 and not member.read_bytes().strip()):
            skipped.append(f"{member.name} (empty)")
        elif member.suffix.lower() in NO_DATA or member.name.lower().startswith(NO_DATA_STEMS):
            skipped.append(member.name)
        else:
            kept.append(member)
    kept, prose = without_notes(kept)
    skipped += [f"{member.name} (notes)" for member in prose]
    if skipped:
        more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        notes.append(f"skipped: {', '.join(skipped[:5])}{more}")
    if not kept:
        raise TraceFormatError(root, "the folder holds no data files")
    return kept


def joined(sentences: Sequence[str]) -> str:
    """Return sentences as one line."""
    return "; ".join(sentences)
