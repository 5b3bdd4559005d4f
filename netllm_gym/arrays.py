"""Named arrays on disk (``.npz`` without pickles), measured before they are unpacked; our own files are sealed."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import DamagedError, TraceFormatError
from netllm_gym.files import read_sealed, sealed_path

# No table of this package comes near it.
MAX_BYTES = 2**30
MAX_ARRAYS = 10_000
MAX_HEADER = 4_096
# What numpy writes for bools, integers, floats and text of fixed width; its own parser evaluates and tokenizes.
_DESCRIBED = re.compile(
    r"\{'descr': '([<>|=]?(?:b1|[iuf][1248]|U\d{1,6}))', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \}\s*"
)


def save_arrays(path: Path, compress: bool = True, **arrays: Any) -> None:
    """Write arrays to a sealed ``.npz`` by atomic rename."""
    with sealed_path(path) as temporary, temporary.open("wb") as handle:
        (np.savez_compressed if compress else np.savez)(handle, **arrays)


def load_arrays(path: Path, remedy: str) -> dict[str, NDArray[Any]]:
    """Read what :func:`save_arrays` wrote.

    Raises:
        DamagedError: it is damaged; the message ends in `remedy`, the way out.
    """
    try:
        return read_arrays(io.BytesIO(read_sealed(path, remedy)), str(path))
    except DamagedError:
        raise
    except TraceFormatError as error:
        raise DamagedError(f"{error}; {remedy}") from None


def _header(member: BinaryIO, name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Return shape, type, order and header length of an array, without reading it."""
    magic = member.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:8] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise TraceFormatError(name, "not an array file")
    size_format = "<H" if magic[6] == 1 else "<I"
    (length,) = struct.unpack(size_format, member.read(struct.calcsize(size_format)))
    if length > MAX_HEADER:
        raise TraceFormatError(name, f"a header of {length} bytes")
    match = _DESCRIBED.fullmatch(member.read(length).decode("latin-1"))
    if match is None:
        raise TraceFormatError(name, "a header that describes no array of numbers or text")
    shape = tuple(int(n) for n in match[3].replace(",", " ").split())
    return shape, np.dtype(match[1]), match[2] == "True", 8 + struct.calcsize(size_format) + length


def read_array(data: bytes, name: str, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Parse one ``.npy``: numbers or text of fixed width only.

    Raises:
        TraceFormatError: another type (objects are never unpickled), larger than `max_bytes`, or not whole.
    """
    try:
        shape, dtype, fortran, offset = _header(io.BytesIO(data[: MAX_HEADER + 32]), name)
        return _array(memoryview(data)[offset:], shape, dtype, fortran, name, max_bytes)
    except TraceFormatError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        struct.error,
        SyntaxError,
        RecursionError,
        MemoryError,
    ) as error:
        raise TraceFormatError(name, f"not an array file ({type(error).__name__})") from None


def _array(
    content: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool, name: str, max_bytes: int
) -> NDArray[Any]:
    count = math.prod(shape)
    if any(n < 0 for n in shape) or count * dtype.itemsize > max_bytes:
        raise TraceFormatError(name, f"an array of shape {shape} is larger than {max_bytes // 2**20} MiB")
    if count * dtype.itemsize != len(content):
        raise TraceFormatError(name, f"{len(content)} bytes for an array of shape {shape}")
    flat = np.frombuffer(content, dtype=dtype, count=count) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def read_arrays(file: str | Path | BinaryIO, name: str, max_bytes: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """Read the arrays of a ``.npz``, after measuring what they unpack to.

    Args:
        file: path or open file.
        name: for messages.
        max_bytes: refuse what unpacks to more.

    Raises:
        TraceFormatError: no such archive, too many or too large arrays, values that are no numbers, or damage.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > MAX_ARRAYS or total > max_bytes:
                raise TraceFormatError(name, f"unpacks to {total / 2**20:.0f} MiB in {len(members)} arrays: too large")
            found: dict[str, NDArray[Any]] = {}
            for member in members:
                key = member.filename.removesuffix(".npy")
                with archive.open(member) as handle:
                    shape, dtype, fortran, offset = _header(handle, name)  # type: ignore[arg-type]
                    size = math.prod(shape) * dtype.itemsize
                    if offset + size != member.file_size:
                        raise TraceFormatError(name, f"{key}: {member.file_size} bytes for an array of shape {shape}")
                    body = handle.read(size + 1)
                found[key] = _array(memoryview(body), shape, dtype, fortran, f"{name}: {key[:40]}", max_bytes)
            return found
    except TraceFormatError:
        raise
    except OSError as error:
        raise TraceFormatError(name, f"cannot be read ({error.strerror or error})") from None
    except (
        ValueError, TypeError, KeyError, EOFError, OverflowError, RuntimeError, MemoryError, SyntaxError,
        RecursionError,
        struct.error, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile,
    ) as error:  # fmt: skip
        raise TraceFormatError(
            name, f"not a readable archive of arrays ({type(error).__name__}: {str(error)[:80]})"
        ) from None
