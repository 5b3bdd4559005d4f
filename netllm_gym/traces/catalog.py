"""The catalog: what trace sets and videos exist, as data (``catalog/*.toml``), and how an entry becomes traces.

An entry's ``kind`` names its builder. Other packages add entries as a TOML file under the entry-point group
``netllm_gym.catalog``, and kinds with :func:`register_trace_kind` in a module under ``netllm_gym.trace_kinds``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from netllm_gym.errors import UnknownNameError
from netllm_gym.plugins import Table, toml_tables

Entry = dict[str, Any]
# kind -> builder(name, entry, as_published) returning {split: traces}
Builder = Callable[[str, Entry, bool], dict[str, tuple]]
# fetcher(name, progress) brings a public set onto this machine
Fetcher = Callable[[str, bool], object]
_KINDS: Table[tuple[Builder, Fetcher | None]] = Table("kind of traces", "netllm_gym.trace_kinds")

AS_PUBLISHED = "/as-published"


@cache
def entries() -> dict[str, Entry]:
    """Return every catalog entry by name."""
    found: dict[str, Entry] = {}
    for resource in sorted(files("netllm_gym.traces").joinpath("catalog").iterdir(), key=lambda item: item.name):
        if resource.name.endswith(".toml"):
            found.update(tomllib.loads(resource.read_text(encoding="utf-8")))
    for name, entry in toml_tables("netllm_gym.catalog").items():
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


@cache
def build(name: str) -> dict[str, tuple]:
    """Return all splits of `name` (built once per process)."""
    base, as_published = split_name(name)
    entry = describe(base)
    return _KINDS[entry["kind"]][0](base, entry, as_published)
