"""Alibaba cluster trace 2018, ``batch_task.csv``: production DAG jobs with their arrival times."""

from __future__ import annotations

import csv
import io
import math
import re

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload
from netllm_gym.traces.text import decode

# A task of a DAG is called <letters><own number>[_<number of a parent> ...], an independent one task_<anything>.
_DAG = re.compile(r"[A-Za-z]+(\d+)((?:_\d+)*)(?:_Stg\d+)?$")
COLUMNS = ("task_name", "instance_num", "job_name", "task_type", "status", "start_time", "end_time")


def _number(row: list[str], column: int, source: str, line: int) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise TraceFormatError(source, f"{COLUMNS[column]} is not a number of at least 0: {row[column][:40]!r}", line)
    return value


def _job(name: str, rows: list[tuple[str, int, float]]) -> JobTemplate:
    place: dict[int, int] = {}
    waits: list[tuple[int, int]] = []
    for stage, (task, _, _) in enumerate(rows):
        if match := _DAG.match(task):
            place[int(match[1])] = stage
            waits += [(int(parent), stage) for parent in match[2].split("_")[1:]]
    # The trace leaves out some parents: what is not there cannot be waited for.
    edges = tuple(sorted({(place[p], stage) for p, stage in waits if p in place}))
    # Times are whole seconds: a task that ends in the second it starts in took up to one.
    stages = tuple(StageProfile(count, {}, {5: [max(seconds, 1.0)]}, {}) for _, count, seconds in rows)
    return JobTemplate(name, stages, edges)


def read_alibaba(data: bytes, source: str) -> Workload:
    """Return the jobs of a ``batch_task.csv`` in order of arrival; every instance of a task lasts as long as the task.

    Jobs with a task that has not terminated are left out; the first arrival is at 0 s.

    Raises:
        TraceFormatError: a row that is no task, no complete job, or a job whose tasks wait in a cycle.
    """
    jobs: dict[str, list[tuple[str, int, float]]] = {}
    arrival: dict[str, float] = {}
    broken: set[str] = set()
    try:
        for line, row in enumerate(csv.reader(io.StringIO(decode(data, source))), start=1):
            if not row or (line == 1 and row[0] == COLUMNS[0]):
                continue
            if len(row) < len(COLUMNS):
                raise TraceFormatError(source, f"expected at least {len(COLUMNS)} columns, found {len(row)}", line)
            job = row[2]
            if row[4] != "Terminated":
                broken.add(job)
                continue
            count, start, end = (_number(row, column, source, line) for column in (1, 5, 6))
            if count < 1 or count != int(count) or end < start:
                raise TraceFormatError(source, "a terminated task needs instances and an end after its start", line)
            jobs.setdefault(job, []).append((row[0], int(count), end - start))
            arrival[job] = min(start, arrival.get(job, math.inf))
    except csv.Error as error:
        raise TraceFormatError(source, f"not a CSV file ({error})") from None
    order = sorted((arrival[name], name) for name in jobs if name not in broken)
    if not order:
        raise TraceFormatError(source, "no job all of whose tasks terminated")
    templates = tuple(_job(name, jobs[name]) for _, name in order)
    return Workload(source, templates, arrivals_s=tuple(at - order[0][0] for at, _ in order))
