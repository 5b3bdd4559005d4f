"""Errors a user can cause. Each carries one clear line; the command line prints it and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NetLLMGymError(Exception):
    """Base class of every error caused by an input, a name, a file or a missing extra; its message is one line."""

    def __str__(self) -> str:
        # What a message quotes may hold line breaks and worse.
        return "".join(c if c.isprintable() else " " for c in Exception.__str__(self))


class UnknownNameError(NetLLMGymError, KeyError):
    """A name that no registry knows; the message offers the nearest known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        names = sorted(known)
        name = name if isinstance(name, str) else str(name)  # a number where a name belongs
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
        self.message = f"unknown {kind} {name!r}; {hint}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class TraceFormatError(NetLLMGymError, ValueError):
    """A trace or manifest that cannot be read; the message says `file:line: reason`."""

    def __init__(self, source: object, reason: str, line: int | None = None):
        where = f"{source}:{line}" if line is not None else str(source)
        super().__init__(f"{where}: {reason}")


class DownloadError(NetLLMGymError):
    """A public trace set that could not be fetched or whose content does not match its digest."""


class MissingExtraError(NetLLMGymError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, extra: str, what: str):
        super().__init__(f"{what} needs an optional extra: pip install 'netllm-gym[{extra}]'")


class CheckpointError(NetLLMGymError, ValueError):
    """A checkpoint folder that is incomplete, corrupt, or made for another environment."""


class DatasetError(NetLLMGymError, ValueError):
    """An offline dataset that is missing, incomplete, or lacks what an objective needs."""


class ConfigError(NetLLMGymError, ValueError):
    """An argument out of range or in conflict with another."""


class DamagedError(TraceFormatError):
    """A file this package wrote whose content does not fit its digest, or that was cut off."""

    def __init__(self, message: str):
        ValueError.__init__(self, message)


class StorageError(NetLLMGymError):
    """A disk that is full or a folder that cannot be written."""


class NotResetError(NetLLMGymError, AttributeError):
    """An agent asked to act before the episode was begun with ``reset``."""


class UnknownOptionError(UnknownNameError, ConfigError):
    """An option of ``reset`` that an environment does not know; the message offers the nearest."""
