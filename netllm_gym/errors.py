"""Errors a user can cause. Each carries one clear line; the command line prints it and exits with 2."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


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

    line: int | None = None

    def __init__(self, source: object, reason: str, line: int | None = None):
        self.line = line
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


class ObservationError(NetLLMGymError, ValueError):
    """An environment whose answer cannot be used: an observation that is not finite (the message names the key), a
    reward that is no number, a mask that does not fit, another form than Gymnasium's.
    """


class IllegalActionError(NetLLMGymError, ValueError):
    """An action that is not in the space, or that the mask forbids."""


_HERE = str(Path(__file__).parent)
# Whose lines say nothing of who called them.
_MIDDLE = re.compile(r"[/\\\\](gymnasium|numpy)[/\\\\]|^<|[/\\\\]lib[/\\\\]python3\.\d+[/\\\\](?!site-packages)")


@contextmanager
def theirs(where: str) -> Iterator[None]:
    """Note under what somebody else's code raises in the block where that was; our own errors pass as they are.

    From Python it is their traceback, with the note below it; the command line says :func:`their_fault` in one line.
    """
    try:
        yield
    except NetLLMGymError:
        raise
    except (SystemExit, StopIteration) as error:  # neither may pass: the one ends us in silence, the other a loop
        told = RuntimeError(f"{type(error).__name__}({error})")
        told.add_note(f"(in {where})")
        raise told.with_traceback(error.__traceback__) from None
    except Exception as error:
        error.add_note(f"(in {where})")
        raise


def their_fault(error: BaseException) -> str | None:
    """Return in one line what somebody else's code raised, where and in which line; ``None`` for anything else."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("(in ")]
    if not notes:
        return None
    place = ""
    if error.__cause__ is None:  # what a worker process raised comes without its frames
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not _MIDDLE.search(one.filename)]
        if not frames or frames[-1].filename.startswith(_HERE):  # a fault of this package shows its whole traceback
            return None
        place = f" ({frames[-1].filename}:{frames[-1].lineno})"
    reason = f"{type(error).__name__}: {printable(error)}".removesuffix(": ")
    return f"{notes[0][4:-1]}: {reason}{place}"


def printable(value: object) -> str:
    """Return `value` as one line that any terminal and file takes, whatever its owner made of its text."""
    try:
        text = str(value)
    except Exception as error:  # its own __str__ fails
        text = f"a {type(value).__name__} without a text ({type(error).__name__})"
    return " ".join(text.encode("utf-8", "backslashreplace").decode("utf-8").split())
