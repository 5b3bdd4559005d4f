"""Decima's TPC-H profiles (``tpch/<size>/adj_mat_<q>.npy`` and ``task_duration_<q>.npy``), read without trust.

The second file is a pickled dict in an object array. It is opened by an unpickler that can build numpy arrays and
plain containers and nothing else, so a hostile file fails instead of running.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload

SIZES = ("2g", "5g", "10g", "20g", "50g", "80g", "100g")
QUERIES = range(1, 23)
MAX_BYTES = 16 * 2**20
_ALLOWED = {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _load_dict(data: bytes, source: str) -> dict:
    if len(data) > MAX_BYTES:
        raise TraceFormatError(source, f"larger than {MAX_BYTES} bytes")
    try:
        stream = io.BytesIO(data)
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if shape != () or dtype != np.dtype(object):
            raise ValueError("not a single object")
        found = _ArraysOnly(stream).load()
        found = found.item() if isinstance(found, np.ndarray) and found.size == 1 else found
    except Exception as error:  # a hostile stream may raise anything
        raise TraceFormatError(source, f"not a task-duration file ({error})") from None
    if not isinstance(found, dict):
        raise TraceFormatError(source, "not a task-duration file (no dict inside)")
    return found


def _seconds(wave: Mapping[int, list]) -> dict[int, list[float]]:
    return {int(level): [float(x) / 1000.0 for x in xs] for level, xs in wave.items()}


def _stage(raw: Mapping[str, Mapping[int, list]]) -> StageProfile:
    key = next(iter(raw["first_wave"]))
    tasks = len(raw["first_wave"][key]) + len(raw["rest_wave"][key])
    fresh, first, rest = (_seconds(raw[n]) for n in ("fresh_durations", "first_wave", "rest_wave"))
    # Decima's cleaning: a fresh sample also stands in `first`; an emptied list takes the next lower level's.
    below: list[float] = []
    for level in sorted(first):
        kept = list(first[level])
        for x in fresh.get(level, ()):
            if x in kept:
                kept.remove(x)
        below = first[level] = kept or below
    return StageProfile(tasks, fresh, first, rest)


def read_tpch(files: Mapping[str, bytes], root: str) -> Workload:
    """Return the 154 jobs of the files under `root` (path in the archive → content); durations in seconds.

    Raises:
        TraceFormatError: a file is missing, oversized, holds anything but numbers, or describes a broken DAG.
    """
    templates = []
    for size in SIZES:
        for q in QUERIES:
            pair = [f"{root}/{size}/{kind}_{q}.npy" for kind in ("adj_mat", "task_duration")]
            try:
                adjacency = np.load(io.BytesIO(files[pair[0]]), allow_pickle=False)
                raw = _load_dict(files[pair[1]], pair[1])
                stages = tuple(_stage(raw[i]) for i in range(len(adjacency)))
            except TraceFormatError:
                raise
            except (KeyError, ValueError, TypeError, AttributeError, StopIteration) as error:
                raise TraceFormatError(pair[1], f"broken profile ({error!r})") from None
            edges = tuple((int(a), int(b)) for a, b in np.argwhere(adjacency))
            templates.append(JobTemplate(f"tpch-{size}-q{q}", stages, edges))
    return Workload("cluster/tpch", tuple(templates), blocks=len(SIZES))
