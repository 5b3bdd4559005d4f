"""Workload files by their path: WfCommons instances, Alibaba's batch tasks, Spark event logs and others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError, UnknownNameError
from netllm_gym.traces.foreign import refuse_foreign
from netllm_gym.traces.jobs.readers.alibaba import is_alibaba, read_alibaba_file
from netllm_gym.traces.jobs.readers.borg import guess_borg, read_borg
from netllm_gym.traces.jobs.readers.graphs import guess_graph, read_graphs
from netllm_gym.traces.jobs.readers.jobjson import is_job_json, job_rows
from netllm_gym.traces.jobs.readers.jobtable import (
    is_batsim,
    is_job_table,
    read_batsim,
    read_job_table,
    read_job_tables,
)
from netllm_gym.traces.jobs.readers.psplib import is_psplib, read_psplib
from netllm_gym.traces.jobs.readers.rumen import is_rumen, read_rumen
from netllm_gym.traces.jobs.readers.spark import is_spark, read_spark
from netllm_gym.traces.jobs.readers.swf import is_swf, read_swf
from netllm_gym.traces.jobs.readers.taskgraph import apart, is_task_table, read_task_tables, workload_of
from netllm_gym.traces.jobs.readers.taskjson import is_task_json, lacks_something, rows_of_json
from netllm_gym.traces.jobs.readers.tpch import is_profile, read_profile_folder
from netllm_gym.traces.jobs.readers.wfcommons import is_wfcommons, read_wfcommons
from netllm_gym.traces.jobs.statistics import summary
from netllm_gym.traces.jobs.trace import JobTrace, job_traces
from netllm_gym.traces.jobs.workload import JobTemplate, Workload
from netllm_gym.traces.reading import Reading, beginning, content, data_files, overflowing
from netllm_gym.traces.tables import Table
from netllm_gym.traces.text import decode
from netllm_gym.traces.traceset import TraceSet

LONG_S = 3600.0  # beyond it run times without a unit may be milliseconds
# What names a run time; a weight, a cost or a size of tasks may be anything.
_SURE = re.compile(r"run|dur|exec|process|.*(_s|_ms|sec|seconds|inseconds)$", re.I)
LOOKED_AT = 40  # files of a folder, for what it holds
SEQUENCES = 100  # that are drawn from jobs without arrivals
GRAPHS = ("dax", "dot", "graphml", "node-link", "stg")
FORMATS = (
    "alibaba", "batsim", "borg", "decima", *GRAPHS, "job-table", "json", "psplib", "rumen", "spark", "swf", "table",
    "wfcommons",
)  # fmt: skip


def guess_workload(path: Path) -> str | None:
    """Return the format of a workload file, or ``None`` when it looks like none."""
    if is_profile(path):
        return "decima"
    try:
        start = beginning(path)
    except TraceFormatError:
        return None
    text = start.decode("utf-8", errors="replace")
    if is_spark(text):
        return "spark"
    if guess_borg(text) is not None:
        return "borg"
    if text.lstrip()[:1] in ("{", "["):
        if is_rumen(text):
            return "rumen"
        if text.lstrip().startswith("{") and is_wfcommons(path, text):
            return "wfcommons"
        if (graph := guess_graph(text)) is not None:
            return graph
        if is_batsim(text):
            return "batsim"
        if is_task_json(text):
            return "json"
        if is_job_json(text):
            return "job-table"
        return "json" if lacks_something(text[:20_000]) else None  # to be refused as what it is
    if is_alibaba(text):
        return "alibaba"
    if (graph := guess_graph(text)) is not None:
        return graph
    if is_psplib(text):
        return "psplib"
    if is_task_table(text):
        return "table"
    if is_job_table(text):
        return "job-table"
    return "swf" if is_swf(text) else None


def holds_workload(path: str | Path, deep: bool = False) -> bool:
    """Whether the first data file of a path looks like jobs; `deep`: one of the first."""
    try:
        files = data_files(Path(path), [])
    except TraceFormatError:
        return False
    return any(guess_workload(file) is not None for file in files[: LOOKED_AT if deep else 1])


def _of_a_kind(files: list[Path], notes: list[str]) -> tuple[str | None, list[Path]]:
    """Return the kind of the first file that holds jobs, and the files with it in front; what holds none is noted."""
    kinds = {file: guess_workload(file) for file in files[:LOOKED_AT]}
    first = next((file for file, kind in kinds.items() if kind is not None), files[0])
    kind = kinds[first]
    if kind is None or kind in ("decima", "spark", "borg", "wfcommons") or len(files) == 1:
        return kind, files
    tables = kind in ("table", "job-table", "alibaba", "swf")  # a document that is broken is to be refused as one

    def beside(file: Path) -> bool:
        own = kinds[file] if file in kinds else guess_workload(file)
        return own != kind and (own is not None or tables or file.suffix != first.suffix)

    others = [file for file in files if beside(file)]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        notes.append(f"skipped: {', '.join(file.name for file in others[:5])}{more}, which hold no such jobs")
    return kind, [first, *(file for file in files if file is not first and file not in set(others))]


@overflowing
def understand_jobs(path: str | Path, format: str | None = None) -> Reading:
    """Read a workload.

    WfCommons instances and Spark applications are a job each (one arrives every 25 s where nothing tells when they
    came); tables come with their arrivals. Rows that cannot be are dropped and counted.

    Raises:
        TraceFormatError: a file that cannot be read, or holds no job.
        UnknownNameError: no such format.
    """
    if format is not None and format not in FORMATS:
        raise UnknownNameError("workload format", format, FORMATS)
    try:
        return _understood(path, format)
    except TraceFormatError as error:  # of one job among many the name alone says nothing of its file
        if Path(path).name in str(error):
            raise
        raise TraceFormatError(path, str(error)) from None


def _understood(path: str | Path, format: str | None) -> Reading:
    notes: list[str] = []
    files = data_files(Path(path), notes)
    kind, files = (format, files) if format is not None else _of_a_kind(files, notes)
    if kind is None:
        # What is no text, or another tool's, is named as what it is.
        refuse_foreign(decode(beginning(files[0]), str(files[0])), str(files[0]))
        raise TraceFormatError(files[0], f"looks like no workload ({', '.join(FORMATS)})", 1)
    repairs: dict[str, int] = {}
    name = Path(path).name
    if kind in ("alibaba", "batsim", "swf") and len(files) > 1:
        notes.append(f"read {files[0].name}; skipped: {', '.join(file.name for file in files[1:6])}")
    if kind == "alibaba":
        workload = read_alibaba_file(files[0], name, repairs)
    elif kind == "swf":
        workload = read_swf(files[0], name, repairs)
    elif kind == "spark":
        workload = read_spark(files, name, repairs)
    elif kind == "borg":
        year = guess_borg(beginning(files[0]).decode("utf-8", errors="replace"))
        if year is None:
            raise TraceFormatError(files[0], "neither instance events of 2019 nor task events of 2011", 1)
        workload = read_borg(files, year, name, repairs)
    elif kind == "decima":
        pairs = [file for file in files if is_profile(file)]
        if len(pairs) < len(files):
            notes.append(f"skipped: {len(files) - len(pairs)} files that are no profiles")
        if not pairs:
            raise TraceFormatError(files[0], "no adj_mat_<query>.npy beside its task_duration_<query>.npy")
        workload = read_profile_folder(pairs, name)
    elif kind == "table":
        workload = read_task_tables(((content(file), str(file)) for file in files), name, repairs)
    elif kind == "job-table":
        workload = read_job_tables((_job_table(file) for file in files), name, repairs)
        notes.append("a job is a stage of as many tasks as it held processors")
    elif kind == "batsim":
        workload = read_batsim(content(files[0]), str(files[0]), name, repairs)
    elif kind == "rumen":
        workload = read_rumen(((content(file), str(file)) for file in files), name, repairs)
    elif kind == "json":
        parts = [(file.stem, list(rows_of_json(content(file), str(file)))) for file in files]
        workload = workload_of(apart(parts), name, repairs)
    elif kind == "psplib":
        workload = Workload(name, tuple(read_psplib(content(file), file.name) for file in files))
        notes.append("a time unit of the project is a second")
    elif kind in GRAPHS:
        used: set[str] = set()
        read = [job for file in files for job in read_graphs(content(file), file.name, kind, used)]
        workload = Workload(name, tuple(read))
        if words := sorted(word for word in used if not _SURE.match(word)):
            notes.append(f"tasks run for as many seconds as their {', '.join(words[:5])} says: nothing tells its unit")
    else:
        templates: list[JobTemplate] = []
        for file in files:
            if file.suffix.lower() != ".json":
                notes.append(f"skipped: {file.name}")
                continue
            templates.append(read_wfcommons(content(file), file.name))
        workload = Workload(name, tuple(templates))
    if kind in ("json", "table", *GRAPHS):
        middle = float(np.median([x for job in workload.templates for s in job.stages for x in s.all_samples()]))
        if middle > LONG_S:
            notes.append(f"half of the tasks run for {middle:g} s and more: where these are ms, say so (runtime_ms)")
    if workload.arrivals_s is None:
        notes.append(f"nothing tells when jobs came: one every {workload.mean_interarrival_s:g} s (Poisson)")
    traces = job_traces(workload, range(SEQUENCES)).traces
    return Reading("workload", kind, traces, notes, repairs, [_row(workload), *map(_job, workload.templates[:4])])


def _job_table(path: Path) -> Table:
    data = content(path)
    return job_rows(data, str(path)) if data.lstrip()[:1] in (b"{", b"[") else read_job_table(data, str(path))


def _row(workload: Workload) -> dict[str, Any]:
    found = summary(workload)
    return {"job": f"all {found['jobs']}", "stages": found["stages"], "tasks": found["tasks"],
            "work s": found["work_s"], "path s": found["path_s"]}  # fmt: skip


def _job(job: JobTemplate) -> dict[str, Any]:
    from netllm_gym.traces.jobs.statistics import table

    found = table([job])
    return {"job": job.name, "stages": found["stages"][0], "tasks": found["tasks"][0],
            "work s": round(float(found["work_s"][0]), 1), "path s": round(float(found["path_s"][0]), 1)}  # fmt: skip


def read_workload(path: str | Path, format: str | None = None) -> Workload:
    """Return the workload of a path (:func:`understand_jobs`).

    Raises:
        TraceFormatError: a file that cannot be read, or holds no job.
    """
    first: JobTrace = understand_jobs(path, format).traces[0]
    return first.workload


def workload_set(path: str | Path) -> TraceSet[JobTrace]:
    """Return the job sequences of a workload file: 100 drawn from its jobs, or the one that was recorded."""
    found = understand_jobs(path)
    return TraceSet(str(path), "all", found.traces, "user's own", source=str(path), notes=found.sentences())
