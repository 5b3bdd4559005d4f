"""Tables of names that other packages extend: by a decorator, or by an entry point that is loaded on first use.

| entry-point group | value |
|---|---|
| ``netllm_gym.envs`` | a module that registers environments with Gymnasium |
| ``netllm_gym.agents`` | a module that calls :func:`netllm_gym.register_agent` |
| ``netllm_gym.recipes`` | a module that calls :func:`netllm_gym.register_recipe` |
| ``netllm_gym.trace_kinds`` | a module that calls :func:`netllm_gym.register_trace_kind` |
| ``netllm_gym.catalog`` | ``package:file.toml``: entries of trace sets |
| ``netllm_gym.settings`` | ``package:file.toml``: what a task is tested on |
| ``netllm_gym.headline`` | ``package:file.toml``: the task's part of the headline table |
| ``netllm_gym.llm`` | a module that registers encoders, heads or objectives of the LLM agent |
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import tomllib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from typing import Any, Generic, TypeVar

from netllm_gym.errors import ConfigError, UnknownNameError

T = TypeVar("T")
OWN = "netllm_gym."


def is_own(thing: Any) -> bool:
    """Whether this package defines `thing`."""
    return str(getattr(thing, "__module__", "")).startswith(OWN)


def call(function: Callable[..., Any], subject: str, *arguments: Any, **keywords: Any) -> Any:
    """Call `function`; keywords that it does not take are the caller's mistake, everything else raises as it is.

    Raises:
        ConfigError: a keyword that `function` does not take, or one it lacks.
    """
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except ValueError:  # no signature to be had (a builtin)
        pass
    except TypeError as error:
        raise ConfigError(f"{subject}: {error}") from None
    return function(*arguments, **keywords)


def plain_id(env: str) -> str:
    """Return an id without the module that is imported for it: ``module:id`` names the same environment as ``id``."""
    return env.rpartition(":")[2]


def look_here() -> None:
    """Let modules of the working directory be imported too, last: the console script does not look there."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _failure(point: EntryPoint, error: BaseException) -> str:
    return (
        f"entry point {point.name} = {point.value} of {point.group} failed and is left out: "
        f"{type(error).__name__}: {error}"
    )


def _load_group(group: str) -> list[str]:
    """Import what other packages offer under an entry-point group; return why each of those that failed did."""
    failures = []
    for point in entry_points(group=group):
        try:
            point.load()
        except Exception as error:  # another package's fault must not hide everybody else's names
            failures.append(_failure(point, error))
    return failures


def load_group(group: str) -> None:
    """Import what other packages offer under an entry-point group; one that fails is named in a warning each time."""
    for failure in _load_group(group):
        warnings.warn(failure, stacklevel=3)


def check_table(what: str, table: Any, kinds: Mapping[str, Any], required: Collection[str] = ()) -> None:
    """Check a table of a TOML file.

    Args:
        what: the table in words, for messages.
        table: as read.
        kinds: key -> type of its value, several types, or a list of one type for a list of such values; keys that are
            not named here may hold anything.
        required: keys that must be there.

    Raises:
        ConfigError: no table, a key that is missing, or a value of another kind.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{what} is not a table")
    if missing := [key for key in required if key not in table]:
        raise ConfigError(f"{what} has no {missing[0]}")
    for key, kind in kinds.items():
        if key not in table:
            continue
        value = table[key]
        values, wanted = (value, kind[0]) if isinstance(kind, list) else ([value], kind)
        if not isinstance(values, list) or not all(
            isinstance(part, wanted) and not isinstance(part, bool) for part in values
        ):
            names = " or ".join(one.__name__ for one in (wanted if isinstance(wanted, tuple) else (wanted,)))
            raise ConfigError(f"{what}: {key} is not {'a list of ' if isinstance(kind, list) else ''}{names}")


@cache
def toml_tables(group: str, check: Callable[[str, Any], object]) -> Mapping[str, Any]:
    """Return the top-level tables of the TOML files that other packages offer under `group`, joined.

    A file that cannot be read is left out with a warning, and so is a table that `check` refuses, called with its name
    and content; a name that stands twice belongs to the first.
    """
    joined: dict[str, Any] = {}
    for point in entry_points(group=group):
        try:
            text = files(point.module).joinpath(point.attr).read_text(encoding="utf-8")
            tables = tomllib.loads(text)
        except Exception as error:  # see _load_group
            warnings.warn(_failure(point, error), stacklevel=3)
            continue
        for name, table in tables.items():
            try:
                check(name, table)
            except ConfigError as error:
                warnings.warn(_failure(point, error), stacklevel=3)
                continue
            if name in joined:
                warnings.warn(f"{point.value}: {name!r} of {group} exists already and is left out", stacklevel=3)
            else:
                joined[name] = table
    return joined


class Table(Generic[T]):
    """Names and what stands behind them; a mapping that is filled on first look-up.

    Args:
        what: one entry in words, for messages, e.g. ``recipe``.
        group: entry-point group of other packages' modules that register entries.
        modules: this package's modules that register entries when they are imported.
    """

    def __init__(self, what: str, group: str = "", modules: tuple[str, ...] = ()) -> None:
        self.what, self.group, self.modules = what, group, modules
        self._entries: dict[str, T] = {}
        self._own: set[str] = set()  # names whose entry is this package's
        self._failures: list[str] = []  # why other packages' modules could not be loaded
        self._loaded = False

    def register(self, name: str, entry: T, source: Any = None) -> None:
        """Add an entry; a second of the same name replaces the first with a warning, but never a user's by our own.

        Args:
            name: what it is called.
            entry: what stands behind the name.
            source: function or class whose module says who registers; by default `entry`.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"the name of a {self.what} is a text, got {name!r}")
        own = is_own(entry if source is None else source)
        if name in self._entries:
            if own and name not in self._own:
                warnings.warn(f"{self.what} {name} is your own: the one of this package is not available", stacklevel=3)
                return
            warnings.warn(f"{self.what} {name} was registered before; the new one replaces it", stacklevel=3)
        self._entries[name] = entry
        (self._own.add if own else self._own.discard)(name)

    def adder(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates."""

        def add(entry: T) -> T:
            self.register(name, entry)
            return entry

        return add

    def load(self) -> None:
        """Import everything that registers entries, once."""
        if self._loaded:
            return
        for module in self.modules:
            importlib.import_module(module)
        self._loaded = True
        if self.group:
            self._failures = _load_group(self.group)

    def warn_of_failures(self) -> None:
        """Warn of every package whose entries are missing because its module could not be imported."""
        for failure in self._failures:
            warnings.warn(failure, stacklevel=4)

    def names(self) -> list[str]:
        """Return all names in alphabetical order; a package whose entries are missing is named in a warning."""
        self.load()
        self.warn_of_failures()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        self.load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __getitem__(self, name: str) -> T:
        """Return the entry.

        Raises:
            UnknownNameError: no such name; the message offers the nearest ones.
        """
        self.load()
        if name not in self._entries:
            self.warn_of_failures()  # it may be theirs
            raise UnknownNameError(self.what, str(name), self._entries)
        return self._entries[name]
