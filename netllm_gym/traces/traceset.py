"""A set of traces with its provenance: where it comes from, under which licence, and what it contains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, TypeVar, overload

from netllm_gym.errors import ConfigError
from netllm_gym.files import digest


class Trace(Protocol):
    """What every kind of trace has: a name, its source recording and a digest of its content."""

    @property
    def name(self) -> str:
        """Unique within its set."""
        ...

    @property
    def group(self) -> str:
        """The source recording."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        ...


T = TypeVar("T", bound=Trace)


@dataclass(frozen=True)
class TraceSet(Sequence[T], Generic[T]):
    """A named, immutable sequence of traces of one kind.

    Attributes:
        name: catalog name, e.g. ``abr/fcc-hsdpa``, or the path it was read from.
        split: ``train``, ``valid``, ``test`` or ``all``.
        traces: the traces, in a fixed order.
        licence, citation, source: what a user must respect and cite, and where the data come from.
        notes: what was guessed, converted, repaired or skipped while a user's files were read.
    """

    name: str
    split: str
    traces: tuple[T, ...]
    licence: str = "unknown"
    citation: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.traces:
            raise ConfigError(f"trace set {self.name} has no traces in split {self.split!r}")

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> TraceSet[T]: ...
    def __getitem__(self, index: int | slice) -> T | TraceSet[T]:
        if isinstance(index, slice):
            return replace(self, traces=self.traces[index])
        return self.traces[index]

    def __len__(self) -> int:
        return len(self.traces)

    def __iter__(self) -> Iterator[T]:
        return iter(self.traces)

    def filter(self, keep: Callable[[T], bool]) -> TraceSet[T]:
        """Return the set of those traces for which `keep` is true."""
        return replace(self, traces=tuple(trace for trace in self.traces if keep(trace)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and contents in order."""
        return digest(part.encode() for trace in self.traces for part in (trace.name, trace.digest))
