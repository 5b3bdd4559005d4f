"""The catalog: what trace sets and videos exist, as data (``catalog/*.toml``), and how an entry becomes traces.

An entry's ``kind`` names its builder. Other packages add entries as a TOML file under the entry-point group
``netllm_gym.catalog``, and kinds with :func:`register_trace_kind` in a module under ``netllm_gym.trace_kinds``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

from netllm_gym.errors import ConfigError, NetLLMGymError, UnknownNameError
from netllm_gym.plugins import Table, check_table, is_own, toml_tables

Entry = dict[str, Any]
# kind -> builder(name, entry, as_published) returning {split: traces}
Builder = Callable[[str, Entry, bool], dict[str, tuple]]
# fetcher(name, progress) brings a public set onto this machine
Fetcher = Callable[[str, bool], object]
_KINDS: Table[tuple[Builder, Fetcher | None]] = Table("kind of traces", "netllm_gym.trace_kinds")

AS_PUBLISHED = "/as-published"
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)+")
_TEXTS = ("kind", "licence", "citation", "title", "repository", "commit", "sha256", "train_on", "reader", "recording",
          "zip", "folder", "pattern", "root")  # fmt: skip
_KINDS_OF_VALUES: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("seed", "templates", "chunks"), int),
    **dict.fromkeys(("length_s", "chunk_s", "load"), (int, float)),
    **dict.fromkeys(("counts", "seeds", "video_split", "user_split", "video_counts", "user_counts", "motion"), dict),
    "videos": [str],
}
# Traces of one set that are drawn from a seed, and numbers in all of them.
MAX_DRAWN, MAX_SAMPLES = 100_000, 50_000_000


def check_entry(name: str, entry: Any) -> None:
    """Check an entry of a catalog file, as far as all kinds agree on what their keys hold.

    Raises:
        ConfigError: a name that is no ``kind/name``, or a key that is missing or of another kind.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"trace set {name[:80]!r} is not called kind/name")
    check_table(f"trace set {name!r}", entry, _KINDS_OF_VALUES, ("kind",))
    if not re.fullmatch(r"[0-9a-f]{64}", entry.get("sha256", "0" * 64)):
        raise ConfigError(f"trace set {name!r}: sha256 is not 64 hexadecimal digits")


def check_drawn(name: str, count: int, samples: float) -> None:
    """Refuse a synthetic set that is too large to hold.

    Raises:
        ConfigError: more than 100,000 traces, or 50 million numbers in all.
    """
    if not 0 <= count <= MAX_DRAWN or not 0 <= samples <= MAX_SAMPLES:
        raise ConfigError(
            f"{name} would hold {count:,} traces and {samples:,.0f} numbers; "
            f"at most {MAX_DRAWN:,} and {MAX_SAMPLES:,} are drawn"
        )


@cache
def entries() -> dict[str, Entry]:
    """Return every catalog entry by name."""
    found: dict[str, Entry] = {}
    for resource in sorted(files("netllm_gym.traces").joinpath("catalog").iterdir(), key=lambda item: item.name):
        if resource.name.endswith(".toml"):
            found.update(tomllib.loads(resource.read_text(encoding="utf-8")))
    for name, entry in toml_tables("netllm_gym.catalog", check_entry).items():
        found.setdefault(name, {"licence": "unknown", **entry})
    return found


def register_trace_kind(kind: str, fetch: Fetcher | None = None) -> Callable[[Builder], Builder]:
    """Register the builder of the catalog's entries of one ``kind``.

    The builder is called with (name, entry, as_published) and returns the traces of every split,
    ``{"train": (…), "valid": (…), "test": (…)}``; the entry is the table of the catalog's TOML file.

    Args:
        kind: as entries name it.
        fetch: called with (name, progress) to bring a public set here; ``None`` where there is nothing to fetch.
    """

    def add(builder: Builder) -> Builder:
        _KINDS.register(kind, (builder, fetch), builder)
        return builder

    return add


def fetcher(kind: str) -> Fetcher | None:
    """Return what fetches sets of this kind, ``None`` where there is nothing to fetch.

    Raises:
        UnknownNameError: nobody registered this kind.
    """
    return _KINDS[kind][1]


def names(prefix: str = "") -> list[str]:
    """Return the names of the catalog's trace sets and videos that begin with `prefix`."""
    return sorted(name for name in entries() if name.startswith(prefix))


def split_name(name: str) -> tuple[str, bool]:
    """Separate the suffix ``/as-published`` from a catalog name."""
    return (name.removesuffix(AS_PUBLISHED), True) if name.endswith(AS_PUBLISHED) else (name, False)


def describe(name: str) -> Entry:
    """Return the entry of `name`.

    Raises:
        UnknownNameError: no such entry; the message offers the nearest names.
    """
    base, _ = split_name(name)
    try:
        return entries()[base]
    except KeyError:
        raise UnknownNameError("trace set", name, entries()) from None


@contextmanager
def entry_at_fault(name: str, function: Any) -> Iterator[None]:
    """Say in one line that an entry does not fit its kind; what somebody else's `function` raises stays as it is.

    Raises:
        ConfigError: a function of this package stumbled over the entry.
    """
    try:
        yield
    except NetLLMGymError:
        raise
    except Exception as error:
        if not is_own(function):  # its author wants the traceback
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(f"trace set {name} cannot be had from its catalog entry ({reason})") from error


@cache
def build(name: str) -> dict[str, tuple]:
    """Return all splits of `name` (built once per process)."""
    base, as_published = split_name(name)
    entry = describe(base)
    builder = _KINDS[entry["kind"]][0]
    with entry_at_fault(base, builder):
        return builder(base, entry, as_published)
