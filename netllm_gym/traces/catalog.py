"""The catalog: what trace sets and videos exist, as data (``catalog/*.toml``), and how an entry becomes traces.

An entry's ``kind`` names its builder. Packages that add a kind register it with :func:`register_kind`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from netllm_gym.errors import UnknownNameError

Entry = dict[str, Any]
# kind -> builder(name, entry, as_published) returning {split: traces}
Builder = Callable[[str, Entry, bool], dict[str, tuple]]
_BUILDERS: dict[str, Builder] = {}

AS_PUBLISHED = "/as-published"


@cache
def entries() -> dict[str, Entry]:
    """Return every catalog entry by name."""
    found: dict[str, Entry] = {}
    for resource in sorted(files("netllm_gym.traces").joinpath("catalog").iterdir(), key=lambda item: item.name):
        if resource.name.endswith(".toml"):
            found.update(tomllib.loads(resource.read_text(encoding="utf-8")))
    return found


def register_kind(kind: str) -> Callable[[Builder], Builder]:
    """Register the builder of entries of one ``kind``."""

    def add(builder: Builder) -> Builder:
        _BUILDERS[kind] = builder
        return builder

    return add


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
    return _BUILDERS[entry["kind"]](base, entry, as_published)
