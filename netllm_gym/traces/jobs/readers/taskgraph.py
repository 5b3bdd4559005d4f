"""Tables with a row per task: ``job_id,task_id,runtime,parents`` in any order and under usual names, with a header.

The Workflow Trace Archive exported as CSV is of this kind. Parents (or children) stand in one cell, between blanks,
semicolons, bars or commas in quotes or brackets; an empty cell, ``-`` or ``[]`` is none. A run time may be given as a
start and an end; a number of equal instances makes a stage of that many tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.wfcommons import LONGEST_S, MAX_EDGES, MAX_NAME, MAX_TASKS, job_of
from netllm_gym.traces.jobs.workload import JobTemplate, Workload
from netllm_gym.traces.moments import calendar_seconds, is_number, seconds_of
from netllm_gym.traces.tables import Table, read_table
from netllm_gym.traces.text import micro

MAX_JOBS = 20_000
MAX_INSTANCES = 100_000
UNITS = {"ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "minutes": 60.0, "h": 3600.0, "hours": 3600.0}
_LISTED = r"(_?(task_?)?(ids?|tasks?|names?|list))?"
_TIMED = r"(_?(in_?)?(s|sec|secs|seconds|ms|us|ns|min|minutes|h|hours))?"
_COLUMNS = {
    "job": r"(job|workflow|dag|application|app|query|flow(_?run)?|pipeline(_?run)?)_?(id|name|no|number)?",
    "task": r"(task_?run|task|stage|node|operator|vertex|step|activity|key|id|name)_?(id|name|no|number|key)?",
    "seconds": r"((avg|mean)_?)?((task|stage)_?)?(run_?time|duration|exec(ution)?_?time|processing_?time|elapsed)"
    + _TIMED,
    "parents": r"(parents?|dependenc(y|ies)|depends_?on|deps?|predecessors?|upstream|needs|requires|prerequisites?"
    r"|waits_?for|blocked_?by)" + _LISTED,
    "children": r"(child(ren)?|successors?|dependents|downstream|precedes|triggers)" + _LISTED,
    "end": r"(ts_)?(end|finish|completion|complete|stop)(e?d)?(_?(at|on|time|ts|timestamp|date))?" + _TIMED,
    "start": r"(ts_)?(start|begin|launch)(ed)?(_?(at|on|time|ts|timestamp|date))?" + _TIMED,
    "arrival": r"(arrival|submit|submission|ts_submit|submitted|release)(_?(time|timestamp|ts|at))?" + _TIMED,
    "program": r"(type|program|task_?type|category|operation|op)",
    "instances": r"(num|n|number_of|no_of)_?(tasks|instances|partitions)|instances?_?(num|count)?|task_?count|inst_num"
    r"|(total_)?tasks|parallelism|partitions",
}
_RUN = re.compile(r"((dag|workflow|job|pipeline)_?)?run(_?(id|no|number|uuid))?|execution_?(id|date)|logical_?date")


@dataclass(frozen=True)
class TaskRow:
    """One task as its file has it; `arrival` and `start` in seconds, NaN where nothing tells."""

    job: str
    task: str
    program: str
    parents: Sequence[str]
    children: Sequence[str]
    seconds: float
    where: str
    instances: int = 1
    arrival: float = float("nan")
    start: float = float("nan")


def plain(name: str) -> str:
    """Return a name in lower case, its words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", micro(name)).lower()).strip("_")


def columns_of(header: Sequence[str]) -> dict[str, int] | None:
    """Return which column holds what, or ``None`` where a header names no task, run time and parents or children."""
    names = [plain(name) for name in header]
    found: dict[str, int] = {}
    for what, pattern in _COLUMNS.items():
        at = next((i for i, n in enumerate(names) if i not in found.values() and re.fullmatch(pattern, n)), -1)
        if at >= 0:
            found[what] = at
    if "task" not in found and "job" in found:  # one graph, whose tasks are called jobs
        found["task"] = found.pop("job")
    timed = "seconds" in found or {"start", "end"} <= set(found)
    return found if "task" in found and timed and {"parents", "children"} & set(found) else None


def scale_of(name: str) -> float:
    """Return the seconds of one unit that a column's name gives; 1 where it gives none."""
    return next((factor for unit, factor in UNITS.items() if re.search(rf"(_|^){unit}$", plain(name))), 1.0)


def is_task_table(text: str) -> bool:
    """Tell whether the first line of a file is such a header, or one that lacks nothing but the parents."""
    first = next((line for line in text.splitlines()[:20] if line.strip() and not line.startswith("#")), "")
    headers = [[c.strip().strip('"') for c in first.split(mark)] for mark in (",", ";", "\t", "|")]
    return any(columns_of(header) is not None or lacks_parents(header) for header in headers)


def lacks_parents(header: Sequence[str]) -> bool:
    """Tell whether a header names a task and how long it ran, but nothing of what it waited for."""
    names = [plain(name) for name in header]
    timed = any(re.fullmatch(_COLUMNS["seconds"], n) for n in names) or all(
        any(re.fullmatch(_COLUMNS[what], n) for n in names) for what in ("start", "end")
    )
    task = any(re.fullmatch(r"(task|stage|operator|vertex)_?(id|name|no|number)", n) for n in names)
    return task and timed and columns_of(header) is None


def read_task_table(data: bytes, source: str, repairs: dict[str, int]) -> Workload:
    """Return the jobs of a table, with their arrivals where it tells them (:func:`read_task_tables`)."""
    return read_task_tables([(data, source)], source, repairs)


def read_task_tables(files: Iterable[tuple[bytes, str]], source: str, repairs: dict[str, int]) -> Workload:
    """Return the jobs of tables, with their arrivals where they tell them.

    Raises:
        TraceFormatError: no such table, a run time that is none, a parent that is not there, or a cycle.
    """
    parts = [(PurePath(name).stem, list(_rows(read_table(data, name), PurePath(name).stem))) for data, name in files]
    return workload_of(apart(parts), source, repairs)


def apart(parts: Sequence[tuple[str, Sequence[TaskRow]]]) -> Iterator[TaskRow]:
    """Yield the rows of several files; where two of them name the same task of the same job, a file's jobs are its own.

    Args:
        parts: a file's name and its rows.
    """
    pairs = [{(row.job, row.task) for row in rows} for _, rows in parts]
    own = len(set().union(*pairs)) < sum(map(len, pairs))
    for label, rows in parts:
        for row in rows:
            yield replace(row, job=f"{label}/{row.job}"[: MAX_NAME + 1]) if own else row


def _rows(table: Table, job: str) -> Iterator[TaskRow]:
    header = table.header or []
    at = columns_of(header)
    if at is None and lacks_parents(header):
        raise TraceFormatError(
            table.name, "the tasks of this table name no parents, so nothing tells what waits for what: add a column "
            "parents (a trace of Nextflow records none)", 1
        )  # fmt: skip
    if at is None:
        raise TraceFormatError(table.name, "no header that names a task, its run time and its parents", 1)
    # A graph that ran again and again is a job a run (Airflow).
    run = next((i for i, name in enumerate(header) if i not in at.values() and _RUN.fullmatch(plain(name))), -1)
    archive = {"ts_submit", "runtime", "workflow_id"} <= set(header)  # milliseconds, its documents say
    arrival, start, end = (moments_of(table, at.get(what, -1), archive) for what in ("arrival", "start", "end"))
    if "seconds" in at:
        seconds = spans_of(table, at["seconds"]) * (1e-3 if archive else scale_of(header[at["seconds"]]))
    else:
        seconds = end - start
    # Where names hold blanks, blanks do not part them.
    spaced = any(" " in cell_of(table, at["task"], row) for row in range(len(table)))
    for row in range(len(table)):
        yield TaskRow(
            "/".join(x for x in (cell_of(table, at.get("job", -1), row), cell_of(table, run, row)) if x) or job,
            cell_of(table, at["task"], row),
            cell_of(table, at.get("program", -1), row), _names(cell_of(table, at.get("parents", -1), row), spaced),
            _names(cell_of(table, at.get("children", -1), row), spaced), float(seconds[row]),
            f"{table.name}:{table.lines[row]}", _count(cell_of(table, at.get("instances", -1), row)),
            float(arrival[row]), float(start[row]),
        )  # fmt: skip


def cell_of(table: Table, column: int, row: int) -> str:
    """Return a field as it is written; empty for no column."""
    return table.cell(column, row) if column >= 0 else ""


def _names(cell: str, spaced: bool = False) -> list[str]:
    marks = r"\s*[;|,\[\](){}'\"]+\s*" if spaced else r"[\s;|,\[\](){}'\"]+"
    found = [name for name in re.split(marks, cell.strip()) if name not in ("", "-")]
    return [name for name in dict.fromkeys(found) if name.lower() not in ("nan", "none", "null", "-1")]


def _count(cell: str) -> int:
    return int(float(cell)) if re.fullmatch(r"\d{1,6}(\.0*)?", cell) else 1


def spans_of(table: Table, column: int) -> np.ndarray:
    """Return the numbers of a column, or the seconds of cells such as ``5s`` and ``00:01:30``."""
    if column in table.texts and not np.isfinite(table.values[:, column]).any():
        spans = seconds_of(table.texts[column])
        return table.values[:, column] if spans is None else spans
    return table.values[:, column]


def moments_of(table: Table, column: int, archive: bool) -> np.ndarray:
    """Return a column of moments in seconds, NaN where there is none; `archive`: numbers are milliseconds."""
    if column < 0:
        return np.full(len(table), np.nan)
    if column in table.texts and not np.isfinite(table.values[:, column]).any():
        moments = seconds_of(table.texts[column])
        return np.full(len(table), np.nan) if moments is None else moments
    values = table.values[:, column]
    if (written := calendar_seconds(values)) is not None:
        return written
    scale = 1e-3 if archive else scale_of((table.header or [])[column])
    largest = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    return values * (1e-3 if scale == 1.0 and largest > 1e11 else scale)  # since 1970


def workload_of(rows: Iterable[TaskRow], source: str, repairs: dict[str, int]) -> Workload:
    """Return rows of tasks as jobs, in the order of their arrivals where every job tells one.

    A job comes when its first task was submitted, else, where all rows tell it, when its first task started.

    Raises:
        TraceFormatError: a run time that is none, two tasks of one name, an unknown parent, or a cycle.
    """
    jobs: dict[str, dict[str, TaskRow]] = {}
    when: dict[str, list[float]] = {}
    edges = tasks = 0
    for row in rows:
        if not 0 < len(row.task) <= MAX_NAME or len(row.job) > MAX_NAME:
            raise TraceFormatError(row.where, f"a task's name has 1 to {MAX_NAME} characters")
        if not 0 <= row.seconds <= LONGEST_S:
            raise TraceFormatError(row.where, f"a run time of '{row.seconds:g}' s")
        if not 1 <= row.instances <= MAX_INSTANCES:
            raise TraceFormatError(row.where, f"{row.instances} instances of a task")
        edges, tasks = edges + len(row.parents) + len(row.children), tasks + 1
        if edges > MAX_EDGES or tasks > 10 * MAX_TASKS:
            raise TraceFormatError(row.where, f"more than {MAX_EDGES} dependencies or {10 * MAX_TASKS} tasks")
        members = jobs.setdefault(row.job, {})
        if row.task in members:
            raise TraceFormatError(row.where, f"two tasks of job {row.job[:40]!r} are called {row.task[:40]!r}")
        members[row.task] = row
        came = when.setdefault(row.job, [np.inf, np.inf])
        came[:] = float(np.fmin(came[0], row.arrival)), float(np.fmin(came[1], row.start))
    if not jobs:
        raise TraceFormatError(source, "holds no task")
    names = list(jobs)
    which = next((k for k in (0, 1) if all(np.isfinite(came[k]) for came in when.values())), -1)
    if which >= 0:
        names.sort(key=lambda job: (when[job][which], job))
    if len(names) > MAX_JOBS:
        repairs[f"jobs after the first {MAX_JOBS} left out"] = len(names) - MAX_JOBS
        names = names[:MAX_JOBS]
    templates = tuple(_template(jobs[job], source, job) for job in names)
    first = when[names[0]][which]
    return Workload(
        source, templates, arrivals_s=None if which < 0 else tuple(when[job][which] - first for job in names)
    )


def _template(members: dict[str, TaskRow], source: str, job: str) -> JobTemplate:
    linked = _linked(members, source)
    try:
        return job_of(*linked, job)
    except TraceFormatError as error:
        raise TraceFormatError(source, f"job {job[:40]!r}: {str(error).removeprefix(f'{job}: ')}") from None


def _same(name: str, members: dict[str, TaskRow]) -> str:
    """Return the task that a name means: ``1.0``, as pandas writes it beside empty cells, and ``01`` are task 1."""
    if name in members or not is_number(name):
        return name
    short = f"{float(name):.15g}"
    return short if short in members else name


def _linked(members: dict[str, TaskRow], source: str) -> tuple[dict[str, tuple[str, list[str], float]], dict[str, int]]:
    """Return the tasks of a job with all their parents, and how many instances each has."""
    tasks: dict[str, tuple[str, list[str], float]] = {}
    for key, row in members.items():
        program = row.program or key.rstrip("0123456789").rstrip("_") or "task"
        tasks[key] = (program[:MAX_NAME], list(dict.fromkeys(_same(p, members) for p in row.parents)), row.seconds)
    for key, row in members.items():
        for child in (_same(c, members) for c in row.children):
            if child not in tasks:
                raise TraceFormatError(row.where, f"task {key[:40]!r} leads to {child[:40]!r}, which is not there")
            if key not in tasks[child][1]:
                tasks[child][1].append(key)
    return tasks, {key: row.instances for key, row in members.items()}
