"""A user's own traces of any kind: read from a path, or imported once under a name (``user/NAME``).

One way in for links, head motion and workloads: the kind is recognised (or named), the files are read, what was
understood is there to be looked at (:class:`netllm_gym.traces.reading.Reading`), and only then is anything kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netllm_gym.errors import ConfigError, NetLLMGymError, TraceFormatError, UnknownNameError
from netllm_gym.files import cache_dir, lock, sweep
from netllm_gym.traces.archives import is_archive, unpacked
from netllm_gym.traces.head.scales import HeadOptions
from netllm_gym.traces.head.sets import load_heads, save_heads
from netllm_gym.traces.head.user import holds_head_logs, understand_heads
from netllm_gym.traces.jobs.sets import load_stored, save_workload
from netllm_gym.traces.jobs.trace import JobTrace, job_traces
from netllm_gym.traces.jobs.user import SEQUENCES, holds_workload, understand_jobs
from netllm_gym.traces.network.store import load_network, save_network
from netllm_gym.traces.network.user import NetworkOptions, holds_links, understand_links
from netllm_gym.traces.reading import Reading, overflowing
from netllm_gym.traces.traceset import TraceSet

KINDS = ("network", "head", "workload")
SPLITS = ("train", "valid", "test", "crowd")


@dataclass(frozen=True)
class ImportOptions:
    """What a user says about his files; everything else is recognised.

    Attributes:
        kind: one of :data:`KINDS`, or empty.
        format: of network traces and workloads, a reader's name; of head logs, what follows the time.
        pattern: of head logs, where user and video stand in a path: ``{user}/{user}_{video}.csv``.
        network, head: the rest, by kind.
    """

    kind: str = ""
    format: str | None = None
    pattern: str | None = None
    network: NetworkOptions = field(default_factory=NetworkOptions)
    head: HeadOptions = field(default_factory=HeadOptions)


@overflowing
def kind_of(path: str | Path) -> str:
    """Return what a path holds: ``head``, ``workload`` or, when it is neither, ``network``."""
    if holds_head_logs(path):
        return "head"
    if holds_workload(path):
        return "workload"
    if Path(path).is_dir() and not holds_links(path):  # what stands first may be something else: answers, machines
        if holds_workload(path, deep=True):
            return "workload"
        if holds_head_logs(path, deep=True):
            return "head"
    return "network"


@overflowing
def understand(path: str | Path, options: ImportOptions | None = None) -> Reading:
    """Read a path without keeping anything; an archive is read like the folder it holds.

    Raises:
        TraceFormatError: a file that cannot be read, as ``file:line: reason``.
        UnknownNameError: no such kind, format or unit.
    """
    options = options or ImportOptions()
    if options.kind not in ("", *KINDS):
        raise UnknownNameError("kind of trace", options.kind, KINDS)
    if is_archive(Path(path)):
        with unpacked(Path(path)) as folder:
            try:
                return understand(folder, options)
            except TraceFormatError as error:
                raise TraceFormatError(path, _inside(str(error), folder)) from None
    kind = options.kind or kind_of(path)
    if kind == "head":
        return understand_heads(path, options.format, options.head, options.pattern)
    if kind == "workload":
        return understand_jobs(path, options.format)
    return understand_links(path, options.format, options.network)


def _inside(message: str, folder: Path) -> str:
    """Return a message about a file of an unpacked archive with the names that the archive has."""
    return message.replace(f"{folder}/", "").replace(f"{folder}: ", "")


def read_user_path(path: str | Path, options: ImportOptions | None = None) -> TraceSet[Any]:
    """Return all traces of a path as a set.

    Raises:
        TraceFormatError, UnknownNameError: as for :func:`understand`.
    """
    found = understand(path, options)
    return TraceSet(str(path), "all", found.traces, "user's own", source=str(path), notes=found.sentences())


# --- what is kept
# -------------------------------------------------------------------------------------------------
# Kind -> (folder in the cache, save(path, traces), load(path, name)). One file a split.


def _save_jobs(path: Path, traces: tuple[JobTrace, ...]) -> None:
    save_workload(path, traces[0].workload)


def _load_jobs(path: Path, name: str) -> tuple[JobTrace, ...]:
    return job_traces(load_stored(path, name), range(SEQUENCES)).traces


_STORES: dict[str, tuple[str, Callable[[Path, Any], None], Callable[[Path, str], tuple[Any, ...]]]] = {
    "network": (
        "user",
        lambda path, traces: save_network(path, {"all": tuple(traces)}),
        lambda path, name: load_network(path)["all"],
    ),
    "head": ("user-heads", save_heads, lambda path, name: tuple(load_heads(path))),
    "workload": ("user-jobs", _save_jobs, _load_jobs),
}


def _folder(kind: str, name: str) -> Path:
    return cache_dir() / _STORES[kind][0] / name.removeprefix("user/")


def imported() -> dict[str, str]:
    """Return the imported sets: ``user/NAME`` → kind."""
    found = {}
    for kind, (folder, _, _) in _STORES.items():
        for path in sorted((cache_dir() / folder).glob("*")):
            if path.is_dir() and any(path.glob("*.npz")):
                found[f"user/{path.name}"] = kind
    return found


def check_place(name: str, split: str) -> None:
    """Refuse a name or a split that no set may have, before anything is read.

    Raises:
        ConfigError: naming what may not be.
    """
    if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum() and len(name) <= 100):
        raise ConfigError(f"a set's name may hold letters, digits, '-' and '_', got {name!r}")
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")


def keep(found: Reading, name: str, split: str = "test", source: str = "") -> TraceSet[Any]:
    """Keep what was read as one split of ``user/NAME`` on this machine; its other splits stay.

    Raises:
        ConfigError: a bad name or split, a set of another kind, or a trace that also stands in another split.
        StorageError: it cannot be written.
    """
    check_place(name, split)
    allowed = SPLITS if found.kind == "head" else SPLITS[:3]
    if split not in allowed:
        raise ConfigError(f"split must be one of {', '.join(allowed)}, got {split!r}")
    known = imported().get(f"user/{name}")
    if known not in (None, found.kind):
        raise ConfigError(f"user/{name} holds {known} traces; choose another name for {found.kind} traces")
    _, save, load = _STORES[found.kind]
    folder = _folder(found.kind, name)
    with lock(folder, f"user/{name}"):
        sweep(folder)
        own = _identities(found.traces)
        for other in SPLITS:
            stored = folder / f"{other}.npz"
            if other == split or not stored.is_file():
                continue
            twice = [own[key] for key in _identities(load(stored, f"user/{name}")) if key in own]
            if twice:
                raise ConfigError(
                    f"{twice[0]} also stands in split {other!r} of user/{name}: splits may not share traces"
                )
        save(folder / f"{split}.npz", found.traces)
    return TraceSet(f"user/{name}", split, found.traces, "user's own", source=source, notes=found.sentences())


def _identities(traces: tuple[Any, ...]) -> dict[str, str]:
    """Digest → name of everything that may not stand in two splits: traces, or the jobs of workloads."""
    if traces and isinstance(traces[0], JobTrace):
        return {traces[0].workload.digest: traces[0].workload.name}
    return {trace.digest: trace.name for trace in traces}


def import_set(path: str | Path, name: str, split: str = "test", options: ImportOptions | None = None) -> TraceSet[Any]:
    """Read traces of any kind from a path and keep them as one split of ``user/NAME``.

    Raises:
        NetLLMGymError: as for :func:`understand` and :func:`keep`; nothing is kept then.
    """
    check_place(name, split)
    return keep(understand(path, options), name, split, str(path))


def load_imported(name: str, split: str) -> TraceSet[Any]:
    """Return one split of an imported set (``user/NAME``), or ``all``.

    Raises:
        UnknownNameError: no such set.
        ConfigError: the set has no such split.
        DamagedError: a stored file is damaged.
    """
    kinds = imported()
    if name not in kinds:
        raise UnknownNameError("imported trace set", name, kinds)
    folder, load = _folder(kinds[name], name), _STORES[kinds[name]][2]
    present = [s for s in SPLITS if (folder / f"{s}.npz").is_file()]
    if split != "all" and split not in present:
        raise ConfigError(f"{name} has no split {split!r}; it has {', '.join(present)}")
    wanted = present if split == "all" else [split]
    traces = tuple(trace for s in wanted for trace in load(folder / f"{s}.npz", name))
    return TraceSet(name, split, traces, "user's own", source="imported")


def import_traces(
    path: str | Path, name: str, format: str | None = None, split: str = "test", columns: dict[str, Any] | None = None
) -> TraceSet[Any]:
    """Import network traces; `columns` name time and throughput and their units (see :class:`NetworkOptions`).

    Raises:
        NetLLMGymError: as for :func:`import_set`.
    """
    network = NetworkOptions(**(columns or {}))
    return import_set(path, name, split, ImportOptions("network", format, network=network))


def import_heads(path: str | Path, name: str, columns: str | None = None, split: str = "test") -> TraceSet[Any]:
    """Import head logs; `columns` is a key of :data:`netllm_gym.traces.head.readers.COLUMNS`.

    Raises:
        NetLLMGymError: as for :func:`import_set`.
    """
    return import_set(path, name, split, ImportOptions("head", columns))


__all__ = [
    "KINDS", "SPLITS", "HeadOptions", "ImportOptions", "NetLLMGymError", "NetworkOptions", "Reading", "check_place",
    "import_heads", "import_set", "import_traces", "imported", "keep", "kind_of", "load_imported", "read_user_path",
    "understand",
]  # fmt: skip
