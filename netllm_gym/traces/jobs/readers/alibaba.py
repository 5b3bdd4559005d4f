"""Alibaba's cluster traces, ``batch_task.csv``: production jobs with their arrival times, of 2018 (DAGs) and 2017.

The table of 2018 has 14 million rows. It is read twice, line by line: once for when each job came, once for the tasks
of the earliest :data:`MAX_JOBS`; memory holds those and 16 bytes a job.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import LATEST_S, JobTemplate, StageProfile, Workload
from netllm_gym.traces.packed import BROKEN, opened

# A task of a DAG is called <letters><own number>[_<number of a parent> ...], an independent one task_<anything>.
_DAG = re.compile(r"[A-Za-z]+(\d{1,9})((?:_\d{1,9})*)(?:_Stg\d+)?$")
COLUMNS = ("task_name", "instance_num", "job_name", "task_type", "status", "start_time", "end_time")
COLUMNS_2020 = ("job_name", "task_name", "inst_num", "status", "start_time", "end_time")
COLUMNS_2017 = ("create_timestamp", "modify_timestamp", "job_id", "task_id", "instance_num", "status")
STATES = {"Terminated", "Failed", "Waiting", "Running", "Cancelled", "Interrupted", "Ready"}
MAX_JOBS = 20_000
MAX_INSTANCES = 10_000_000
# Rows that cannot be (an end before the start, no number) are dropped up to this share; their jobs with them.
SHARE = 0.01
_LINE = 16_384
_CHUNK = 500_000


def is_alibaba(text: str) -> bool:
    """Tell whether the beginning of a file is a table of batch tasks."""
    for line in text.splitlines()[:3]:
        fields = [field.strip().strip('"') for field in line.split(",")]
        if fields[0].lstrip("\ufeff") in (COLUMNS[0], COLUMNS_2017[0]) or fields[:4] == list(COLUMNS_2020[:4]):
            return True
        if _place(fields) is not None:
            return True
    return False


def _place(fields: list[str]) -> tuple[int, int, int, int, int, int] | None:
    """Return the columns of job, task, instances, status, start and end, by the layout of either year."""
    if len(fields) >= 7 and fields[4] in STATES:
        if len(fields) >= 10 and not fields[1].isdigit():
            return 2, 1, -1, 4, 5, 6  # 2018: batch_instance.csv, a row an instance
        return 2, 0, 1, 4, 5, 6
    if len(fields) >= 6 and fields[3] in STATES and fields[2].replace(".", "", 1).isdigit():
        return 0, 1, 2, 3, 4, 5  # 2020: pai_task_table.csv
    if len(fields) < 6 or fields[5] not in STATES:
        return None
    if fields[0].replace(".", "", 1).isdigit():
        return 2, 3, 4, 5, 0, 1  # 2017
    return (0, 1, -1, 5, 6, 7) if len(fields) >= 8 else None  # 2020: pai_instance_table.csv, a row an instance


def read_alibaba(data: bytes, source: str, repairs: dict[str, int] | None = None) -> Workload:
    """Return the jobs of a ``batch_task.csv`` in order of arrival; every instance of a task lasts as long as the task.

    Jobs with a task that has not terminated are left out; the first arrival is at 0 s.

    Raises:
        TraceFormatError: more than 1 % of the rows are no tasks, no complete job, or a job whose tasks wait in a cycle.
    """
    return _read(lambda: io.BytesIO(data), source, repairs if repairs is not None else {})


def read_alibaba_file(path: Path, source: str, repairs: dict[str, int]) -> Workload:
    """Read a table from disk, line by line (see :func:`read_alibaba`).

    Raises:
        TraceFormatError: as for :func:`read_alibaba`, or it cannot be read.
    """
    try:
        return _read(lambda: opened(path), source, repairs)
    except BROKEN as error:
        raise TraceFormatError(path, f"cannot be read ({' '.join(str(error).split())[:100]})") from None


class _Rows:
    """The tasks of a table, row by row; bad rows are counted and the first is remembered."""

    def __init__(self, source: str) -> None:
        self.source, self.bad, self.total = source, 0, 0
        self.first: tuple[int, str] | None = None
        self.bad_jobs: set[int] = set()

    def __call__(self, file: IO[bytes]) -> Iterator[tuple[int, str, str, int, float, float]]:
        """Yield (job key, job, task, instances or 0 when it did not terminate, start, end)."""
        self.bad = self.total = 0
        for number, raw in enumerate(iter(lambda: file.readline(_LINE), b""), start=1):
            if not raw.strip():
                continue
            try:
                fields = [field.strip().strip('"') for field in raw.decode("utf-8").rstrip("\r\n").split(",")]
            except UnicodeDecodeError:
                self._refuse(number, "not UTF-8 text", "")
                continue
            if number == 1 and fields[0].lstrip("\ufeff") in (COLUMNS[0], COLUMNS_2017[0], COLUMNS_2020[0]):
                continue
            self.total += 1
            place = _place(fields)
            if place is None:
                few = len(fields) < len(COLUMNS_2017)
                why = f"expected at least {len(COLUMNS)} columns, found {len(fields)}" if few else "no known status"
                self._refuse(number, why, fields[2] if len(fields) > 2 else "")
                continue
            job, task, instances, status, begin, finish = (fields[c] if c >= 0 else "1" for c in place)
            if status != "Terminated":
                yield key_of(job), job, task, 0, 0.0, 0.0
                continue
            try:
                count = _number(instances, "instance_num")
                start, end = _number(begin, "start_time"), _number(finish, "end_time")
            except ValueError as error:
                self._refuse(number, str(error), job)
                continue
            if not 1 <= count <= MAX_INSTANCES or count != int(count) or not start <= end <= LATEST_S:
                self._refuse(number, "a terminated task needs instances and an end after its start", job)
                continue
            yield key_of(job), job, task, int(count), start, end

    def _refuse(self, line: int, why: str, job: str) -> None:
        self.bad += 1
        self.first = self.first or (line, why)
        if len(self.bad_jobs) < 10 * MAX_JOBS:
            self.bad_jobs.add(key_of(job))

    def check(self) -> None:
        """Raise when too many rows are bad."""
        if self.bad > SHARE * max(self.total, 1) and self.first:
            line, why = self.first
            raise TraceFormatError(self.source, f"{why} ({self.bad} of {self.total} rows are no tasks)", line)


def _number(text: str, column: str) -> float:
    try:
        value = float(text) if len(text) < 40 else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{column} is not a number of at least 0: {text[:40]!r}")
    return value


def key_of(job: str) -> int:
    """Return a number of 63 bits for a job's name."""
    return int.from_bytes(hashlib.blake2b(job.encode(), digest_size=8).digest(), "little") >> 1


def _arrivals(rows: Iterator[tuple[int, str, str, int, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of all jobs, sorted, and when each came; -1 s for those with a task that did not terminate."""
    keys, starts = np.empty(0, np.int64), np.empty(0, np.float64)
    chunk: list[tuple[int, float]] = []

    def merged() -> tuple[np.ndarray, np.ndarray]:
        if not chunk:
            return keys, starts
        new_keys = np.array([k for k, _ in chunk], np.int64)
        new_starts = np.array([s for _, s in chunk])
        joined, index = np.unique(np.concatenate([keys, new_keys]), return_inverse=True)
        lowest = np.full(len(joined), np.inf)
        np.minimum.at(lowest, index, np.concatenate([starts, new_starts]))
        return joined, lowest

    for key, _, _, count, start, _ in rows:
        chunk.append((key, start if count else -1.0))
        if len(chunk) >= _CHUNK:
            keys, starts = merged()
            chunk.clear()
    return merged()


def _read(open_file: Callable[[], IO[bytes]], source: str, repairs: dict[str, int]) -> Workload:
    rows = _Rows(source)
    with open_file() as file:
        keys, starts = _arrivals(rows(file))
    if not rows.total:
        raise TraceFormatError(source, "no job in this table")
    rows.check()
    good = starts >= 0
    if rows.bad_jobs:
        good &= ~np.isin(keys, np.fromiter(rows.bad_jobs, np.int64, len(rows.bad_jobs)))
    if not good.any():
        raise TraceFormatError(source, "no job all of whose tasks terminated")
    order = np.lexsort((keys[good], starts[good]))[:MAX_JOBS]
    wanted = set(keys[good][order].tolist())
    jobs: dict[str, list[tuple[str, int, float]]] = {}
    arrival: dict[str, float] = {}
    with open_file() as file:
        for key, job, task, count, start, end in rows(file):
            if key in wanted and count:
                jobs.setdefault(job, []).append((task, count, end - start))
                arrival[job] = min(start, arrival.get(job, math.inf))
    if rows.bad:
        repairs["rows that are no tasks dropped, with their jobs"] = rows.bad
    if int((starts < 0).sum()):
        repairs["jobs with a task that did not terminate left out"] = int((starts < 0).sum())
    if int(good.sum()) > MAX_JOBS:
        repairs[f"jobs after the first {MAX_JOBS} left out"] = int(good.sum()) - MAX_JOBS
    ranked = sorted((arrival[name], name) for name in jobs)
    templates = tuple(_job(name, jobs[name]) for _, name in ranked)
    return Workload(source, templates, arrivals_s=tuple(at - ranked[0][0] for at, _ in ranked))


def _job(name: str, rows: list[tuple[str, int, float]]) -> JobTemplate:
    place: dict[int, int] = {}
    waits: list[tuple[int, int]] = []
    tasks: dict[str, list[tuple[int, float]]] = {}
    for task, count, seconds in rows:
        tasks.setdefault(task, []).append((count, seconds))
    for stage, task in enumerate(tasks):
        if match := _DAG.match(task):
            place[int(match[1])] = stage
            waits += [(int(parent), stage) for parent in match[2].split("_")[1:]]
    # The trace leaves out some parents: what is not there cannot be waited for.
    edges = tuple(sorted({(place[p], stage) for p, stage in waits if p in place}))
    # Times are whole seconds: a task that ends in the second it starts in took up to one.
    stages = tuple(
        StageProfile(sum(count for count, _ in found), {}, {5: [max(seconds, 1.0) for _, seconds in found]}, {})
        for found in tasks.values()
    )
    return JobTemplate(name, stages, edges)
