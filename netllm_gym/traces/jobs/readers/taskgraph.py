"""Tables with a row per task and its parents: ``job_id,task_id,runtime,parents`` in any order, with a header.

The Workflow Trace Archive exported as CSV is of this kind. Parents stand in one cell, between blanks, semicolons, bars
or commas in quotes or brackets; an empty cell, ``-`` or ``[]`` is none.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.wfcommons import LONGEST_S, MAX_EDGES, MAX_NAME, job_of
from netllm_gym.traces.jobs.workload import JobTemplate, Workload
from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.tables import Table, read_table

MAX_JOBS = 20_000
_COLUMNS = {
    "job": r"(job|workflow|dag|application|app|query)_?(id|name|no|number)?",
    "task": r"(task|stage|node|operator|vertex|id)_?(id|name|no|number)?",
    "seconds": r"(run_?time|duration|exec(ution)?_?time|processing_?time|elapsed)(_?(in_?)?(s|sec|seconds|ms|us))?",
    "parents": r"(parents?|dependenc(y|ies)|depends_?on|deps?|predecessors?|upstream|parent_?ids?|parent_?tasks?)",
    "arrival": r"(arrival|submit|submission|ts_submit|start)(_?(time|timestamp|ts))?(_?(s|sec|seconds|ms|us))?",
    "program": r"(type|program|task_?type|category|operation|op)",
}


def columns_of(header: list[str]) -> dict[str, int] | None:
    """Return which column holds what, or ``None`` where a header names no task, run time and parents."""
    plain = [re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", n).lower()).strip("_") for n in header]
    found: dict[str, int] = {}
    for what, pattern in _COLUMNS.items():
        at = next((i for i, n in enumerate(plain) if i not in found.values() and re.fullmatch(pattern, n)), -1)
        if at >= 0:
            found[what] = at
    return found if {"task", "seconds", "parents"} <= set(found) else None


def is_task_table(text: str) -> bool:
    """Tell whether the first line of a file is such a header."""
    first = next((line for line in text.splitlines()[:20] if line.strip() and not line.startswith("#")), "")
    return any(columns_of([c.strip().strip('"') for c in first.split(mark)]) is not None for mark in (",", ";", "\t"))


def _cell(table: Table, column: int, row: int) -> str:
    if column < 0:
        return ""
    return table.texts[column][row].strip() if column in table.texts else f"{table.values[row, column]:.15g}"


def read_task_table(data: bytes, source: str, repairs: dict[str, int]) -> Workload:
    """Return the jobs of a table, with their arrivals where it tells them.

    Raises:
        TraceFormatError: no such table, a run time that is none, a parent that is not there, or a cycle.
    """
    table = read_table(data, source)
    at = columns_of(table.header or [])
    if at is None:
        raise TraceFormatError(source, "no header that names a task, its run time and its parents", 1)
    name = (table.header or [])[at["seconds"]].lower()
    archive = {"ts_submit", "runtime", "workflow_id"} <= set(table.header or [])  # milliseconds, its documents say
    scale = 1e-3 if name.endswith("ms") or archive else 1e-6 if name.endswith("us") else 1.0
    seconds = table.values[:, at["seconds"]] * scale
    bad = ~((seconds >= 0) & (seconds <= LONGEST_S))
    if bad.any():
        row = int(np.argmax(bad))
        raise TraceFormatError(
            source, f"a run time of {_cell(table, at['seconds'], row)[:40]!r}", int(table.lines[row])
        )
    jobs: dict[str, dict[str, tuple[str, list[str], float]]] = {}
    when: dict[str, float] = {}
    moments, tick = _moments(table, at.get("arrival", -1))
    tick = 1e-3 if archive else tick
    edges = 0
    for row in range(len(table)):
        job, task = _cell(table, at.get("job", -1), row) or source, _cell(table, at["task"], row)
        if not 0 < len(task) <= MAX_NAME or len(job) > MAX_NAME:
            raise TraceFormatError(source, f"a task's name has 1 to {MAX_NAME} characters", int(table.lines[row]))
        parents = [p for p in re.split(r"[\s;|,\[\](){}'\"]+", _cell(table, at["parents"], row)) if p not in ("", "-")]
        parents = [p for p in dict.fromkeys(parents) if p.lower() not in ("nan", "none", "null", "-1")]
        edges += len(parents)
        if edges > MAX_EDGES:
            raise TraceFormatError(source, f"more than {MAX_EDGES} dependencies", int(table.lines[row]))
        members = jobs.setdefault(job, {})
        if task in members:
            raise TraceFormatError(
                source, f"two tasks of job {job[:40]!r} are called {task[:40]!r}", int(table.lines[row])
            )
        program = _cell(table, at.get("program", -1), row) or task.rstrip("0123456789").rstrip("_") or "task"
        members[task] = (program, parents, float(seconds[row]))
        if moments is not None and np.isfinite(moments[row]):
            when[job] = min(float(moments[row]) * tick, when.get(job, np.inf))
    names = list(jobs)
    if len(when) == len(jobs):
        names.sort(key=lambda job: (when[job], job))
    if len(names) > MAX_JOBS:
        repairs[f"jobs after the first {MAX_JOBS} left out"] = len(names) - MAX_JOBS
        names = names[:MAX_JOBS]
    templates: tuple[JobTemplate, ...] = tuple(job_of(jobs[job], job) for job in names)
    arrivals: Any = tuple(when[job] - when[names[0]] for job in names) if len(when) == len(jobs) else None
    return Workload(source, templates, arrivals_s=arrivals)


def _moments(table: Table, column: int) -> tuple[np.ndarray | None, float]:
    if column < 0:
        return None, 1.0
    if column in table.texts:
        return seconds_of(table.texts[column]), 1.0
    name = (table.header or [])[column].lower()
    values = table.values[:, column]
    since_1970 = float(np.nanmax(values)) > 1e11 if np.isfinite(values).any() else False
    return values, 1e-6 if name.endswith("us") else 1e-3 if name.endswith("ms") or since_1970 else 1.0
