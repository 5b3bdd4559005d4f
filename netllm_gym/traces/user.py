"""A user's own traces: read from a path, or imported once under a name."""

from __future__ import annotations

from pathlib import Path

from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.files import cache_dir
from netllm_gym.traces import readers
from netllm_gym.traces.network import NetworkTrace
from netllm_gym.traces.readers.text import decode
from netllm_gym.traces.store import load_network, save_network
from netllm_gym.traces.traceset import TraceSet

FORMATS = {"cooked": readers.read_cooked, "mahimahi": readers.read_mahimahi, "sabre": readers.read_sabre}


def guess_format(data: bytes, name: str) -> str:
    """Return the format a file's first line with content suggests: a key of :data:`FORMATS`.

    A JSON list is ``sabre``, one column ``mahimahi``, two are ``cooked``.

    Raises:
        TraceFormatError: empty or binary, or a first line that suggests none of them.
    """
    first = decode(data, name).lstrip().split("\n", 1)[0]
    columns = {1: "mahimahi", 2: "cooked"}
    if first.startswith("["):
        return "sabre"
    if len(first.split()) not in columns:
        raise TraceFormatError(name, f"looks like no known format ({', '.join(FORMATS)})", 1)
    return columns[len(first.split())]


def read_path(path: Path, format: str = "cooked") -> TraceSet[NetworkTrace]:
    """Read a file, or every file of a folder in sorted order (hidden files left out).

    Raises:
        TraceFormatError: the first file that cannot be read, as ``file:line: reason``.
        UnknownNameError: no such format.
    """
    if format not in FORMATS:
        raise UnknownNameError("trace format", format, FORMATS)
    if not path.exists():
        raise TraceFormatError(path, "no such file or folder")
    members = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
    if not members:
        raise TraceFormatError(path, "the folder holds no files")
    traces = []
    for member in members:
        try:
            traces.append(FORMATS[format](member.read_bytes(), str(member)))
        except OSError as error:
            raise TraceFormatError(member, f"cannot be read ({error.strerror})") from None
    return TraceSet(str(path), "all", tuple(traces), "user's own", source=str(path))


def _stored(name: str) -> Path:
    return cache_dir() / "user" / f"{name.removeprefix('user/')}.npz"


def import_traces(path: Path, name: str, format: str = "cooked", split: str = "test") -> TraceSet[NetworkTrace]:
    """Read traces from `path` and keep them as one split of ``user/NAME`` on this machine.

    Other splits of the same set stay; content that already stands in another of its splits is refused.

    Raises:
        TraceFormatError: a file that cannot be read (nothing is kept then).
        ConfigError: a bad name, or a trace that stands in two splits.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"a set's name may hold letters, digits, '-' and '_', got {name!r}")
    found = read_path(path, format)
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
