"""A user's own head logs: read from a path, or imported once under a name (``user/NAME``)."""

from __future__ import annotations

from pathlib import Path

from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.files import cache_dir
from netllm_gym.traces.head.readers import COLUMNS, head_logs, read_head_csv
from netllm_gym.traces.head.sets import load_heads, save_heads
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.text import decode
from netllm_gym.traces.traceset import TraceSet

_SPLITS = ("train", "valid", "test", "crowd")


def holds_head_logs(path: str | Path) -> bool:
    """Tell whether a folder is laid out as head logs are: ``<video>/<user>.csv`` (network traces lie flat)."""
    root = Path(path)
    return root.is_dir() and any(True for _ in root.glob("*/*.csv"))


def guess_columns(data: bytes, name: str) -> str:
    """Return what follows the time in a log: a key of :data:`netllm_gym.traces.head.readers.COLUMNS`.

    A header decides (``time,w,x,y,z``). Without one three numbers are yaw, pitch and roll; four would be a quaternion
    whose order nobody can see.

    Raises:
        TraceFormatError: it cannot be told.
    """
    first = decode(data, name).lstrip().split("\n", 1)[0]
    fields = tuple(field.strip().strip('"').lower() for field in first.split(","))
    for columns, labels in COLUMNS.items():
        if fields[1:] == labels:
            return columns
    if len(fields) == 4:
        return "ypr"
    raise TraceFormatError(name, f"cannot tell the columns; say which: {', '.join(COLUMNS)}", 1)


def read_heads(path: str | Path, columns: str | None = None) -> TraceSet[HeadTrace]:
    """Read every ``<video>/<user>.csv`` below a folder, or one file.

    Args:
        path: folder or file.
        columns: as for :func:`netllm_gym.traces.read_head_csv`; default: guessed file by file.

    Raises:
        TraceFormatError: nothing to read, or the first file that cannot be read.
    """
    root = Path(path)
    traces = []
    for member in head_logs(root):
        data = member.read_bytes()
        chosen = columns or guess_columns(data, str(member))
        traces.append(read_head_csv(data, member.stem, member.parent.name, chosen))
    return TraceSet(str(root), "all", tuple(traces), "user's own", source=str(root))


def _folder(name: str) -> Path:
    return cache_dir() / "user-heads" / name.removeprefix("user/")


def import_heads(path: str | Path, name: str, columns: str | None = None, split: str = "test") -> TraceSet[HeadTrace]:
    """Read head logs from `path` and keep them as one split of ``user/NAME`` on this machine.

    Other splits of the same set stay. ``train`` and ``test`` may not share a log; split ``crowd`` holds the training
    users on the other splits' videos, for agents that look at the crowd.

    Raises:
        TraceFormatError: a file that cannot be read (nothing is kept then).
        ConfigError: a bad name or split, or a log that stands in two splits.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"a set's name may hold letters, digits, '-' and '_', got {name!r}")
    if split not in _SPLITS:
        raise ConfigError(f"split must be one of {', '.join(_SPLITS)}, got {split!r}")
    found = read_heads(path, columns)
    for other in _SPLITS:
        stored = _folder(name) / f"{other}.npz"
        if other == split or not stored.is_file():
            continue
        known = {trace.digest for trace in load_heads(stored)}
        twice = [trace.name for trace in found if trace.digest in known]
        if twice:
            raise ConfigError(f"{twice[0]} also stands in split {other!r} of user/{name}: splits may not share traces")
    save_heads(_folder(name) / f"{split}.npz", list(found))
    return TraceSet(f"user/{name}", split, tuple(found), "user's own", source=str(path))


def is_imported(name: str) -> bool:
    """Tell whether ``user/NAME`` is an imported set of head logs."""
    return _folder(name).is_dir()


def imported_heads(name: str, split: str) -> TraceSet[HeadTrace]:
    """Return one split of an imported set (``user/NAME``), or ``all``.

    Raises:
        ConfigError: the set has no such split.
    """
    known = [s for s in _SPLITS if (_folder(name) / f"{s}.npz").is_file()]
    if split != "all" and split not in known:
        raise ConfigError(f"{name} has no split {split!r}; it has {', '.join(known)}")
    wanted = known if split == "all" else [split]
    traces = tuple(trace for s in wanted for trace in load_heads(_folder(name) / f"{s}.npz"))
    return TraceSet(name, split, traces, "user's own")
