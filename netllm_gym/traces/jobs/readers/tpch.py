"""Decima's TPC-H profiles (``tpch/<size>/adj_mat_<q>.npy`` and ``task_duration_<q>.npy``), read without trust.

The second file is a pickled dict in an object array. It is taken apart by the standard library's unpickler written in
Python, which here knows no class of anyone's: numpy's arrays and scalars become records of this module, so that nothing
in the file can run, and no C code sees its bytes. What it builds is bounded by the file's size; what is read from that
is counted.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.arrays import read_array
from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload

SIZES = ("2g", "5g", "10g", "20g", "50g", "80g", "100g")
QUERIES = range(1, 23)
MAX_BYTES = 16 * 2**20
MAX_SAMPLES = 2_000_000  # of one file
MAX_STAGES = 10_000
LONGEST_MS = 1e11
_MAGIC = b"\x93NUMPY"
# Letter and width of numpy's type names -> struct's.
_SCALARS = {
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f4": "f",
    "f8": "d",
}


class _Record:
    """What a numpy object of the file was made of: its arguments and its state."""

    def __init__(self, kind: str, arguments: tuple[Any, ...]) -> None:
        self.kind, self.arguments, self.state = kind, arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _maker(kind: str) -> Any:
    def make(*arguments: Any) -> _Record:
        return _Record(kind, arguments)

    return make


_KNOWN = {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _Parser(pickle._Unpickler):
    """The unpickler in Python; every class and function is a maker of records."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return _maker(name)

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError("extensions are not allowed")


def _load_dict(data: bytes, source: str) -> dict[Any, Any]:
    if len(data) > MAX_BYTES:
        raise TraceFormatError(source, f"larger than {MAX_BYTES} bytes")
    if data[:6] != _MAGIC or len(data) < 12:
        raise TraceFormatError(source, "not a task-duration file (no array)")
    width, form = (2, "<H") if data[6] == 1 else (4, "<I")
    length = struct.unpack_from(form, data, 8)[0]
    header = data[8 + width : 8 + width + length]
    if length > 4096 or b"'descr': '|O'" not in header or b"'shape': ()" not in header:
        raise TraceFormatError(source, "not a task-duration file (not a single object)")
    try:
        found = _Parser(io.BytesIO(data[8 + width + length :])).load()
    except Exception as error:  # the stream is a program for a small machine: it may fail in any way
        raise TraceFormatError(
            source, f"not a task-duration file ({type(error).__name__}: {str(error)[:80]})"
        ) from None
    if isinstance(found, _Record):  # an object array of shape (): its state ends in the list of its elements
        state = found.state
        found = state[-1] if isinstance(state, tuple) and state else None
        found = found[0] if isinstance(found, list) and len(found) == 1 else None
    if not isinstance(found, dict):
        raise TraceFormatError(source, "not a task-duration file (no dict inside)")
    return found


def _number(value: Any) -> float:
    if isinstance(value, _Record) and value.kind == "scalar" and len(value.arguments) == 2:
        dtype, raw = value.arguments
        kind = dtype.arguments[0] if isinstance(dtype, _Record) and dtype.arguments else ""
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        value = struct.unpack(f"<{_SCALARS[kind]}", raw)[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    number = float(value)
    if not 0 <= number <= LONGEST_MS:
        raise ValueError(f"{number:g} ms")
    return number


def _seconds(wave: Mapping[Any, list[Any]], left: list[int]) -> dict[int, list[float]]:
    out: dict[int, list[float]] = {}
    for level, samples in wave.items():
        if not isinstance(samples, list):
            raise ValueError("samples that are no list")
        left[0] -= len(samples) + 1
        if left[0] < 0:
            raise ValueError(f"more than {MAX_SAMPLES} samples")
        out[int(_number(level))] = [_number(x) / 1000.0 for x in samples]
    return out


def _stage(raw: Mapping[str, Mapping[int, list[Any]]], left: list[int]) -> StageProfile:
    fresh, first, rest = (_seconds(raw[n], left) for n in ("fresh_durations", "first_wave", "rest_wave"))
    level = next(iter(first))
    tasks = len(first[level]) + len(rest[level])
    # Decima's cleaning: a fresh sample also stands in `first`; an emptied list takes the next lower level's.
    below: list[float] = []
    for level in sorted(first):
        spent = Counter(fresh.get(level, ()))
        kept: list[float] = []
        for x in first[level]:
            if spent[x]:
                spent[x] -= 1
            else:
                kept.append(x)
        below = first[level] = kept or below
    return StageProfile(tasks, fresh, first, rest)


def read_profile(adjacency: bytes, durations: bytes, name: str, source: str) -> JobTemplate:
    """Return one job of its two files; durations in seconds.

    Raises:
        TraceFormatError: they are oversized, hold anything but numbers, or describe a broken DAG.
    """
    matrix = read_array(adjacency, source, MAX_BYTES)
    raw = _load_dict(durations, source)
    try:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not 0 < len(matrix) <= MAX_STAGES:
            raise ValueError(f"an adjacency of shape {matrix.shape}")
        left = [MAX_SAMPLES]
        stages = tuple(_stage(raw[i], left) for i in range(len(matrix)))
        edges = tuple((int(a), int(b)) for a, b in np.argwhere(matrix))
        return JobTemplate(name, stages, edges)
    except TraceFormatError:
        raise
    except Exception as error:  # what was built may be of any shape, and contain itself
        raise TraceFormatError(source, f"broken profile ({str(error)[:80]!r})") from None


def read_tpch(files: Mapping[str, bytes], root: str) -> Workload:
    """Return the 154 jobs of the files under `root` (path in the archive → content); durations in seconds.

    Raises:
        TraceFormatError: a file is missing, or :func:`read_profile` refuses it.
    """
    templates = []
    for size in SIZES:
        for q in QUERIES:
            pair = [f"{root}/{size}/{kind}_{q}.npy" for kind in ("adj_mat", "task_duration")]
            if missing := [path for path in pair if path not in files]:
                raise TraceFormatError(missing[0], "not there")
            templates.append(read_profile(files[pair[0]], files[pair[1]], f"tpch-{size}-q{q}", pair[1]))
    return Workload("cluster/tpch", tuple(templates), blocks=len(SIZES))


def is_profile(path: Path) -> bool:
    """Tell whether a file is one of a pair of Decima's profiles, by its name."""
    return re.fullmatch(r"(adj_mat|task_duration)_\w{1,40}\.npy", path.name) is not None


def read_profile_folder(files: Sequence[Path], name: str) -> Workload:
    """Return a job for each pair ``adj_mat_<query>.npy`` and ``task_duration_<query>.npy`` among `files`.

    Jobs are called by their folder and query.

    Raises:
        TraceFormatError: a file without its other half, or :func:`read_profile` refuses it.
    """
    templates = []
    for adjacency in sorted({path.with_name(re.sub("^task_duration", "adj_mat", path.name)) for path in files}):
        pair = adjacency, adjacency.with_name(adjacency.name.replace("adj_mat", "task_duration", 1))
        data = []
        for path in pair:
            try:
                if path.stat().st_size > MAX_BYTES:
                    raise TraceFormatError(path, f"larger than {MAX_BYTES // 2**20} MiB")
                data.append(path.read_bytes())
            except OSError as error:
                raise TraceFormatError(path, f"cannot be read ({error.strerror})") from None
        query = adjacency.stem.removeprefix("adj_mat_")
        templates.append(read_profile(data[0], data[1], f"{adjacency.parent.name}-q{query}", str(pair[1])))
    return Workload(name, tuple(templates))
