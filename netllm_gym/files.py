"""Files that appear whole or not at all, seals that show damage, locks, the cache folder, and content digests.

Everything this package keeps goes through here. A file is written beside its name and renamed over it; a *sealed* file
also ends in the digest of what stands before, written last, so that a file cut off or with a flipped bit is known as
such before anything in it is believed. :func:`watch` lets a test stop the process at every write boundary.
"""

from __future__ import annotations

import errno
import functools
import glob
import hashlib
import inspect
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import platformdirs

from netllm_gym.errors import ConfigError, DamagedError, StorageError

P = ParamSpec("P")
R = TypeVar("R")

SEAL = b"\nnetllm_gym seal sha256:"  # followed by 64 hexadecimal digits
_SEAL_BYTES = len(SEAL) + 64
# Leftovers of writers on other machines are swept when they are older: whether those live cannot be seen from here.
STALE_S = 24 * 3600.0
_TEMPORARY = ".nlg-"

_watcher: Callable[[str, Path], None] | None = None


def watch(watcher: Callable[[str, Path], None] | None) -> None:
    """Call `watcher` with ``(moment, path)`` at every write boundary: before, between and after renames (for tests)."""
    global _watcher
    _watcher = watcher


def boundary(moment: str, path: Path) -> None:
    """Mark a write boundary; whoever writes without :func:`atomic_path` calls it himself."""
    if _watcher is not None:
        _watcher(moment, path)


@contextmanager
def storage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a full disk, a read-only folder and the like into one line.

    Raises:
        StorageError: with the path and the reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "errno = 28" in str(error):  # so HDF5 says it
            raise StorageError(f"{path}: the disk is full; make room and run the same command again") from None
        if error.errno == errno.EFBIG:
            raise StorageError(f"{path}: files may not grow so large here (ulimit -f); choose another folder") from None
        if error.errno in (
            errno.EACCES,
            errno.EROFS,
            errno.EPERM,
            errno.ENOTDIR,
            errno.EISDIR,
            errno.EEXIST,
            errno.ENAMETOOLONG,
        ):
            raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another folder") from None
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        StorageError: whatever stands in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise StorageError(f"{folder}: cannot be written ({reason}); choose another folder") from None


def on_disk(path: str | os.PathLike[str]) -> bool:
    """Tell whether something lies at a path; what can be no path (a name too long, a NUL) has nothing."""
    try:
        return os.path.exists(path)
    except (OSError, ValueError):
        return False


def cache_dir() -> Path:
    """Folder for downloads and derived files: ``$NETLLM_GYM_CACHE`` or the user's cache folder.

    Raises:
        StorageError: it cannot be made.
    """
    root = os.environ.get("NETLLM_GYM_CACHE") or platformdirs.user_cache_dir("netllm_gym")
    path = Path(root)
    make_folder(path)
    return path


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target` (same suffix) that replaces it when the block succeeds.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    target = Path(target)
    make_folder(target.parent)
    with storage(target):
        boundary("begin", target)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{_own()}{target.stem[:80]}-", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _share(temporary)
            boundary("written", target)
            os.replace(temporary, target)
            boundary("replaced", target)
        finally:
            temporary.unlink(missing_ok=True)


def _share(*paths: Path) -> None:
    """Give paths the rights that any new ones get: what mkstemp and safetensors make is private."""
    mask = os.umask(0)  # the only way to read it
    os.umask(mask)
    for path in paths:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that takes its place when the block succeeds.

    An earlier folder of that name is moved aside first and removed last; :func:`sweep` puts it back if the process died
    in between.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    target = Path(target)
    make_folder(target.parent)
    with storage(target):
        sweep_folder(target)
        boundary("begin", target)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{_own()}{target.name[:80]}-"))
        old = target.parent / f"{_TEMPORARY}{target.name}.old"
        try:
            yield temporary
            _share(temporary, *temporary.rglob("*"))
            boundary("written", target)
            if target.exists():
                os.replace(target, old)
                boundary("moved aside", target)
            os.replace(temporary, target)
            boundary("replaced", target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def sweep_folder(target: Path) -> None:
    """Finish what an interrupted :func:`atomic_folder` left: put the earlier folder back if none took its place."""
    for rest in target.parent.glob(f"{_TEMPORARY}*-*-{glob.escape(target.name)}-*"):
        if rest.is_dir() and _abandoned(rest):
            shutil.rmtree(rest, ignore_errors=True)
    old = target.parent / f"{_TEMPORARY}{target.name}.old"
    if old.is_dir():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, target)


def _own() -> str:
    """Return how temporary names of this process begin: they tell the machine and the process."""
    return f"{_TEMPORARY}{hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:6]}-{os.getpid()}-"


def _abandoned(path: Path) -> bool:
    """Whether the writer of a temporary file died; on another machine, whether the file is a day old."""
    host, _, rest = path.name.removeprefix(_TEMPORARY).partition("-")
    pid = rest.partition("-")[0]
    if _own().startswith(f"{_TEMPORARY}{host}-") and pid.isdigit():
        if int(pid) == os.getpid():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False
    return time.time() - path.stat().st_mtime > STALE_S


def sweep(folder: Path) -> int:
    """Remove temporary files and folders that writers who died left in `folder` (not below it); return how many."""
    count = 0
    if not folder.is_dir():
        return count
    for member in folder.glob(f"{_TEMPORARY}*"):
        try:
            if member.name.endswith(".old") or not _abandoned(member):
                continue
            shutil.rmtree(member) if member.is_dir() else member.unlink()
            count += 1
        except OSError:
            continue  # another process was faster, or it is not ours
    return count


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 by atomic rename."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a folder's name need not be text


def finite(value: Any) -> Any:
    """Return `value` as JSON knows it: numbers that are not finite are null, down to the last list and object."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON by atomic rename, for readers of any kind: what is not finite is null."""
    write_text(target, json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


def exact_json(value: Any, **how: Any) -> str:
    """Return `value` as JSON that :func:`exact_value` reads again as it was; `how` is for ``json.dumps``.

    JSON has no infinity and no NaN: such a number is written as an object, ``{"number": "inf"}``.
    """
    return json.dumps(_exact(value), allow_nan=False, **how)


def write_exact_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON by atomic rename, for :func:`exact_value`."""
    write_text(target, exact_json(value, indent=2) + "\n")


def _exact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _exact(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(one) for one in value]
    return {"number": str(float(value))} if isinstance(value, float) and not math.isfinite(value) else value


def exact_value(text: str | bytes) -> Any:
    """Return what :func:`exact_json` wrote, or any other JSON; earlier versions wrote a bare ``Infinity``."""

    def number(found: dict[str, Any]) -> Any:
        single = found.get("number") if len(found) == 1 else None
        return float(single) if single in ("inf", "-inf", "nan") else found

    return json.loads(text, object_hook=number)


# --- seals
# -------------------------------------------------------------------------------------------------


@contextmanager
def sealed_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Like :func:`atomic_path`; the digest of the content is appended to it before it is renamed."""
    with atomic_path(target) as temporary:
        yield temporary
        sha = hashlib.sha256()
        with temporary.open("rb") as file:
            while piece := file.read(2**20):
                sha.update(piece)
        with temporary.open("ab") as file:
            file.write(SEAL + sha.hexdigest().encode())


def write_sealed(target: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` and its seal by atomic rename."""
    with sealed_path(target) as path:
        path.write_bytes(data)


def read_sealed(path: str | os.PathLike[str], remedy: str = "delete it and run the same command again") -> bytes:
    """Return the content of a sealed file without its seal.

    Args:
        path: of the file.
        remedy: the way out, for the message.

    Raises:
        DamagedError: no seal (an earlier version, or cut off), or one that does not fit the content.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    content, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if not seal.startswith(SEAL):
        raise DamagedError(f"{path}: damaged, or of an earlier version (no seal at its end); {remedy}")
    if seal[len(SEAL) :] != hashlib.sha256(content).hexdigest().encode():
        raise DamagedError(f"{path}: damaged (its content does not fit its digest); {remedy}")
    return content


# --- one writer at a time
# -------------------------------------------------------------------------------------------------


@contextmanager
def lock(folder: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Hold the lock of a dataset or output folder; it goes with the process, however that ends.

    Args:
        folder: what is locked; the lock is a file beside it.
        what: for the message.

    The lock's file goes with the lock; what a killed process leaves of it bars nobody.

    Raises:
        ConfigError: another process holds it.
        StorageError: the lock cannot be made.
    """
    folder = Path(os.path.abspath(folder))  # "." has no name to put the lock beside
    path = folder.parent / f".{folder.name}.lock"
    made = [parent for parent in path.parents if not parent.exists()]
    tries = 0
    while True:
        make_folder(path.parent)
        try:
            with storage(path):
                handle = path.open("a+")
        except FileNotFoundError as error:  # its last holder removed the folder meanwhile; or files cannot be made here
            tries += 1
            if tries > 50:
                raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another folder") from None
            continue
        with handle:
            if not _try_lock(handle.fileno()):
                raise ConfigError(f"{what} is being written by another process; wait for it, or choose another name")
            if not _same(handle.fileno(), path):
                continue  # its last holder removed it meanwhile
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with suppress(OSError):  # what was made for the lock alone goes with it
                    for parent in made:
                        parent.rmdir()
            return


def one_writer(argument: str, what: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function hold the lock of the folder that one of its arguments names, if it names any.

    Only the first process of a distributed training locks: the others write for it.

    Args:
        argument: name of the argument.
        what: for the message, before the folder.
    """

    def around(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def alone(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            folder = bound.arguments[argument]
            if folder is None or not str(folder) or os.environ.get("RANK", "0") != "0":
                return function(*args, **kwargs)
            with lock(folder, f"{what} {folder}"):
                return function(*args, **kwargs)

        return alone

    return around


def _same(descriptor: int, path: Path) -> bool:
    """Whether an open file still lies at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: writers still appear whole or not at all
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# --- digests
# -------------------------------------------------------------------------------------------------


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the content of a file, as ``sha256sum`` prints it; the file is read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below `folder`."""
    members = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest(
        part for path in members for part in (path.relative_to(folder).as_posix().encode(), path.read_bytes())
    )


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over length-prefixed parts, so that moving a boundary changes the digest."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.hexdigest()
