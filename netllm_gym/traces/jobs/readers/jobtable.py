"""Tables with a row a job: when it was submitted, how long it ran, how many processors it held; no tasks, no parents.

Slurm's accounting (``sacct -P``), Helios' ``cluster_log.csv``, Alibaba's lists of pods and the job table of its GPU
trace are of this kind. As in the Standard Workload Format, a job is one stage of as many equal tasks as it held
processors: GPUs where the table counts them, else CPUs, else nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.taskgraph import (
    MAX_JOBS,
    cell_of,
    columns_of,
    moments_of,
    plain,
    scale_of,
    spans_of,
)
from netllm_gym.traces.jobs.readers.wfcommons import LONGEST_S, MAX_NAME
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload
from netllm_gym.traces.jsontext import number, read_json
from netllm_gym.traces.tables import Table, read_table

MAX_WIDTH = 10_000_000
SHARE = 0.01
_T = r"(_?(time|timestamp|ts|at|date))?(_?(s|sec|seconds|ms))?"
_HELD = r"((num|n|alloc|allocation|req|required)_?)?"
_COLUMNS = {
    "job": r"(job|pod|container|application|app|request|instance|vm|func|function|invocation)"
    r"(_?(id|name|no|number|sn|uuid|key))?|id_job|id|name|number",
    "submit": rf"(time_)?(submit|submitted|submission|arrival|arrived|creation|"
    rf"created|create|gmt_create|queued|enqueued?){_T}",
    "start": rf"(time_)?(start|started|begin|scheduled|schedule|launch|launched){_T}",
    "end": rf"(time_)?(end|ended|finish|finished|completion|completed|complete|deletion|deleted|stop|stopped){_T}",
    "seconds": r"((job|actual)_)?(run_?time|duration|elapsed|exec(ution)?_?time)(_raw)?(_?(s|sec|seconds|ms|min|h))?",
    "gpus": rf"{_HELD}gpus?(_?(num|count|number|req|request))?",
    "cpus": rf"{_HELD}(cpus?|cores?|proc(essor)?s?)(_?(num|count|number|req|request))?",
    "nodes": rf"{_HELD}(nodes?|replicas?|parallelism)(_?(num|count|number))?",
}
# Azure's virtual machines: a row each, no names.
VMS = ("job_id", "subscription", "deployment", "start", "end", "max_cpu", "avg_cpu", "p95_cpu", "category", "cores",
       "memory_gb")  # fmt: skip
VM_KINDS = ("Delay-insensitive", "Interactive", "Unknown")
# What a table of measurements names and a table of jobs does not.
_MEASURED = re.compile(
    r"through_?put|band_?width|bit_?rate|[kmg]bps|bytes|download|upload|rtt|latency|rsr[pq]|yaw|pitch"
)
_STEP = re.compile(r"\d+(_\d+)?\.\w+")  # a step of one of Slurm's jobs


def job_columns(header: Sequence[str]) -> dict[str, int] | None:
    """Return which column holds what, or ``None`` where a header names no submission and no run time of jobs."""
    names = [plain(name) for name in header]
    if any(_MEASURED.search(name) for name in names) or columns_of(header) is not None:
        return None
    if any(re.fullmatch(r"(task|stage|operator|vertex)_?(id|name|no|number)", name) for name in names):
        return None  # tasks without parents: nothing tells their order
    found: dict[str, int] = {}
    for what, pattern in _COLUMNS.items():
        at = next((i for i, n in enumerate(names) if i not in found.values() and re.fullmatch(pattern, n)), -1)
        if at >= 0:
            found[what] = at
    timed = "seconds" in found or {"start", "end"} <= set(found)
    named = "job" in found and names[found["job"]].startswith("job")
    # A call that ended and how long it took also tell when it came (Azure's functions).
    called = {"job", "end", "seconds"} <= set(found) and bool(calls_of(header))
    return found if timed and ("submit" in found or ("start" in found and named) or called) else None


def calls_of(header: Sequence[str]) -> list[str]:
    """Return the columns that say which function a row is a call of: it is called again and again."""
    return [name for name in header if re.fullmatch(r"(hash_?)?(func|function|invocation)(_?(id|name))?", plain(name))]


def _layout(first: str) -> list[str] | None:
    """Return the names of a table without any whose first row is known: Azure's ``vmtable.csv`` of 2017 and 2019."""
    cells = [cell.strip() for cell in first.split(",")]
    return list(VMS) if len(cells) == len(VMS) and cells[8] in VM_KINDS and cells[3].isdigit() else None


def read_job_table(data: bytes, name: str) -> Table:
    """Return a table, under the names that its documents give where it has none itself.

    Raises:
        TraceFormatError: no table.
    """
    names = _layout(data[:4096].decode("utf-8", "replace").partition("\n")[0])
    if names is None:
        return read_table(data, name)
    # Sizes are buckets there, the last one open: ">24".
    return replace(read_table(data.replace(b",>", b","), name), header=names)


def is_job_table(text: str) -> bool:
    """Tell whether the first line of a file is the header of such a table, or a row of one that is known without."""
    if _layout(text.partition("\n")[0]) is not None:
        return True
    first = next((line for line in text.splitlines()[:20] if line.strip() and not line.startswith("#")), "")
    return any(
        job_columns([c.strip().strip('"') for c in first.split(mark)]) is not None for mark in (",", ";", "\t", "|")
    )


def read_job_tables(tables: Iterable[Table], source: str, repairs: dict[str, int]) -> Workload:
    """Return the earliest 20,000 jobs of tables that ran; the first comes at 0 s.

    A file that names jobs of an earlier one is another selection of the same jobs: it is left out and counted.

    Raises:
        TraceFormatError: no such table, a job in two rows, more than 1 % of the rows are no jobs, or none ran.
    """
    jobs: list[tuple[float, str, int, float]] = []
    taken: set[str] = set()
    for table in tables:
        own = _jobs(table, repairs)
        if taken & {job for _, job, _, _ in own}:
            repairs["files left out whose jobs stand in another file"] = (
                repairs.get("files left out whose jobs stand in another file", 0) + 1
            )
            continue
        taken.update(job for _, job, _, _ in own)
        jobs += own
    return _workload(jobs, source, repairs)


def _jobs(table: Table, repairs: dict[str, int]) -> list[tuple[float, str, int, float]]:
    header = table.header or []
    at = job_columns(header)
    if at is None:
        raise TraceFormatError(table.name, "no header that names when a job was submitted and how long it ran", 1)
    submit, start, end = (moments_of(table, at.get(what, -1), False) for what in ("submit", "start", "end"))
    seconds = end - start
    if "seconds" in at:
        own = spans_of(table, at["seconds"]) * scale_of(header[at["seconds"]])
        seconds = np.where(np.isfinite(own), own, seconds)
    came = submit if "submit" in at else start if "start" in at else end - seconds
    width = _width(table, at)
    named = "job" in at and not calls_of(header)
    jobs, taken, steps = [], set(), 0
    idle = bad = 0
    first = 0
    for row in range(len(table)):
        name = (cell_of(table, at["job"], row) if named else "")[:MAX_NAME] or f"{PurePath(table.name).stem}-{row + 1}"[
            :MAX_NAME
        ]
        if _STEP.fullmatch(name):
            steps += 1
        elif not (np.isfinite(came[row]) and np.isfinite(seconds[row])) or seconds[row] == 0 or width[row] < 0:
            idle += 1
        elif not 0 < seconds[row] <= LONGEST_S or not 0 <= width[row] <= MAX_WIDTH:
            bad, first = bad + 1, first or int(table.lines[row])
        elif name in taken:
            raise TraceFormatError(
                table.name, f"job {name[:40]!r} stands in two rows, nothing tells what waits for what",
                int(table.lines[row]),
            )  # fmt: skip
        else:
            taken.add(name)
            jobs.append((float(came[row]), name, max(int(width[row]), 1), float(seconds[row])))
    if bad > SHARE * len(table):
        raise TraceFormatError(table.name, f"a run time or a number of processors out of range ({bad} rows)", first)
    for what, count in (("steps of jobs left out", steps), ("jobs that did not run left out", idle),
                        ("rows that are no jobs dropped", bad)):  # fmt: skip
        if count:
            repairs[what] = repairs.get(what, 0) + count
    return jobs


def _width(table: Table, at: dict[str, int]) -> np.ndarray:
    """Return how many processors each job held: GPUs where any job held one, else CPUs, else nodes, else one."""
    for what in ("gpus", "cpus", "nodes"):
        if what in at and np.nanmax(np.nan_to_num(table.values[:, at[what]])) > 0:
            return np.ceil(np.nan_to_num(table.values[:, at[what]], nan=1.0))
    return np.ones(len(table))


def _workload(jobs: list[tuple[float, str, int, float]], source: str, repairs: dict[str, int]) -> Workload:
    if not jobs:
        raise TraceFormatError(source, "no job that ran")
    jobs.sort()
    if len(jobs) > MAX_JOBS:
        repairs[f"jobs after the first {MAX_JOBS} left out"] = len(jobs) - MAX_JOBS
        del jobs[MAX_JOBS:]
    templates = tuple(JobTemplate(name, (StageProfile(held, {}, {5: [run]}, {}),), ()) for _, name, held, run in jobs)
    return Workload(source, templates, arrivals_s=tuple(came - jobs[0][0] for came, _, _, _ in jobs))


# --- Batsim
# -------------------------------------------------------------------------------------------------


def is_batsim(text: str) -> bool:
    """Tell whether the beginning of a document is a workload of the simulator Batsim."""
    return '"subtime"' in text and '"profile"' in text and '"jobs"' in text


def read_batsim(data: bytes, name: str, source: str, repairs: dict[str, int]) -> Workload:
    """Return the jobs of a Batsim workload whose profiles say how long they last (``delay``, ``DelayProfile``).

    Raises:
        TraceFormatError: no such document, or profiles that give work instead of a time.
    """
    document: Any = read_json(data.decode("utf-8", "replace"), name, 256 * 2**20)
    given, profiles = (document.get(k) if isinstance(document, dict) else None for k in ("jobs", "profiles"))
    if not isinstance(given, list) or not isinstance(profiles, dict):
        raise TraceFormatError(name, "a workload of Batsim has a list of jobs and an object of profiles")
    jobs: list[tuple[float, str, int, float]] = []
    for job in given:
        where = f"{name}: job {str(job.get('id', ''))[:40]!r}" if isinstance(job, dict) else name
        profile = profiles.get(str(job.get("profile"))) if isinstance(job, dict) else None
        if not isinstance(profile, dict):
            raise TraceFormatError(where, "a job without a profile")
        if profile.get("type") not in ("delay", "DelayProfile"):
            raise TraceFormatError(
                where, f"its profile is of the type {str(profile.get('type'))[:40]!r}, and how long that lasts "
                "depends on a platform; only 'delay' tells it"
            )  # fmt: skip
        came, run, held = (
            number(value, what, where)
            for value, what in ((job.get("subtime"), "its subtime"), (profile.get("delay"), "its delay"),
                                (job.get("res", 1), "its resources"))
        )  # fmt: skip
        if came < 0 or not 0 <= run <= LONGEST_S or not 1 <= held <= MAX_WIDTH:
            raise TraceFormatError(where, "a time or a number of resources out of range")
        jobs.append((came, str(job.get("id", len(jobs)))[:MAX_NAME], int(held), run))
    return _workload(jobs, source, repairs)
