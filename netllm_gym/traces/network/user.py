"""A user's own traces: read from a path, or imported once under a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.files import cache_dir
from netllm_gym.traces.network import readers
from netllm_gym.traces.network.readers.columns import guess_columns
from netllm_gym.traces.network.store import load_network, save_network
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.text import MAX_TEXT_BYTES, decode
from netllm_gym.traces.traceset import TraceSet

# name -> reader(data, name) returning a trace, or a tuple of them for files that hold many.
FORMATS: dict[str, Callable[[bytes, str], NetworkTrace | tuple[NetworkTrace, ...]]] = {
    "cooked": readers.read_cooked,
    "csv": readers.read_columns,
    "gnettrack": readers.read_gnettrack,
    "mahimahi": readers.read_mahimahi,
    "puffer": readers.read_puffer,
    "sabre": readers.read_sabre,
}
# Columns that give a CSV away.
_HEADERS = {"gnettrack": {"Timestamp", "DL_bitrate"}, "puffer": {"session_id", "delivery_rate"}}


def guess_format(data: bytes, name: str) -> str:
    """Return the format a file's first line with content suggests: a key of :data:`FORMATS`.

    A JSON list is ``sabre``; a header with G-NetTrack's or Puffer's columns is theirs, one with a time and a
    throughput that name their units is ``csv``; one column of numbers is ``mahimahi``, two are ``cooked``.

    Raises:
        TraceFormatError: empty or binary, or a first line that suggests none of them.
    """
    first = decode(data, name).lstrip().split("\n", 1)[0]
    if first.startswith("["):
        return "sabre"
    header = [field.strip().strip('"') for field in first.split(",")]
    for format, needed in _HEADERS.items():
        if needed <= set(header):
            return format
    if guess_columns(header):
        return "csv"
    columns = {1: "mahimahi", 2: "cooked"}
    if len(first.split()) not in columns or "," in first:
        raise TraceFormatError(name, f"looks like no known format ({', '.join(FORMATS)}); name it, or its columns", 1)
    return columns[len(first.split())]


def _members(path: Path) -> list[Path]:
    if not path.exists():
        raise TraceFormatError(path, "no such file or folder")
    members = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
    if not members:
        raise TraceFormatError(path, "the folder holds no files")
    return members


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise TraceFormatError(path, f"larger than {MAX_TEXT_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise TraceFormatError(path, f"cannot be read ({error.strerror})") from None


def guess_path(path: Path) -> str:
    """Return the format of a file, or of the first file of a folder (:func:`guess_format`)."""
    first = _members(path)[0]
    return guess_format(_content(first), str(first))


def read_path(
    path: Path, format: str | None = None, columns: Mapping[str, str] | None = None
) -> TraceSet[NetworkTrace]:
    """Read a file, or every file of a folder in sorted order (hidden files left out).

    Args:
        path: file or folder.
        format: a key of :data:`FORMATS`; guessed from the first file when not given.
        columns: for ``csv``: names and units, as the arguments of
            :func:`netllm_gym.traces.network.readers.read_columns`.

    Raises:
        TraceFormatError: the first file that cannot be read, as ``file:line: reason``.
        UnknownNameError: no such format or unit.
        ConfigError: columns for another format than ``csv``.
    """
    if columns and format not in (None, "csv"):
        raise ConfigError(f"columns belong to the format csv, not {format}")
    format = format or ("csv" if columns else guess_path(path))
    if format not in FORMATS:
        raise UnknownNameError("trace format", format, FORMATS)
    traces: list[NetworkTrace] = []
    for member in _members(path):
        data = _content(member)
        if columns:
            found: NetworkTrace | tuple[NetworkTrace, ...] = readers.read_columns(data, str(member), **columns)
        else:
            found = FORMATS[format](data, str(member))
        traces += found if isinstance(found, tuple) else (found,)
    return TraceSet(str(path), "all", tuple(traces), "user's own", source=str(path))


def _stored(name: str) -> Path:
    return cache_dir() / "user" / f"{name.removeprefix('user/')}.npz"


def import_traces(
    path: Path,
    name: str,
    format: str | None = None,
    split: str = "test",
    columns: Mapping[str, str] | None = None,
) -> TraceSet[NetworkTrace]:
    """Read traces from `path` and keep them as one split of ``user/NAME`` on this machine.

    Formats and columns are as for :func:`read_path`. Other splits of the same set stay; content that already stands in
    another of its splits is refused.

    Raises:
        TraceFormatError: a file that cannot be read (nothing is kept then).
        ConfigError: a bad name, or a trace that stands in two splits.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"a set's name may hold letters, digits, '-' and '_', got {name!r}")
    found = read_path(path, format, columns)
    splits = load_network(_stored(name)) if _stored(name).is_file() else {}
    for other, members in splits.items():
        known = {trace.digest for trace in members}
        twice = [trace.name for trace in found if other != split and trace.digest in known]
        if twice:
            raise ConfigError(f"{twice[0]} also stands in split {other!r} of user/{name}: splits may not share traces")
    save_network(_stored(name), {**splits, split: tuple(found)})
    return TraceSet(f"user/{name}", split, tuple(found), "user's own", source=str(path))


def user_set(name: str, split: str) -> TraceSet[NetworkTrace]:
    """Return one split of an imported set (``user/NAME``)."""
    if not _stored(name).is_file():
        known = [f"user/{path.stem}" for path in (cache_dir() / "user").glob("*.npz")]
        raise UnknownNameError("imported trace set", name, known)
    splits = load_network(_stored(name))
    if split != "all" and split not in splits:
        raise ConfigError(f"{name} has no split {split!r}; it has {', '.join(splits)}")
    traces = splits[split] if split != "all" else tuple(t for members in splits.values() for t in members)
    return TraceSet(name, split, traces, "user's own")
