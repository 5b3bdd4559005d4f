"""Hadoop's job history as Rumen writes it: a JSON object a job, one after the other, with its map and reduce tasks.

The maps of a job are one stage, its reduces a second one that waits for the first; a job comes when it was submitted.
A task lasts as long as its attempt that succeeded. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.wfcommons import LONGEST_S, MAX_NAME, MAX_TASKS
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload
from netllm_gym.traces.jsontext import number, read_documents
from netllm_gym.traces.text import decode

MAX_JOBS = 20_000
_GOOD = ("SUCCESS", "SUCCEEDED")


def is_rumen(text: str) -> bool:
    """Tell whether the beginning of a document is such a job."""
    return '"mapTasks"' in text and '"submitTime"' in text


def read_rumen(files: Iterable[tuple[bytes, str]], source: str, repairs: dict[str, int]) -> Workload:
    """Return the earliest 20,000 jobs of which a task succeeded; the first comes at 0 s.

    Raises:
        TraceFormatError: no such file, times that are none, or no job that ran.
    """
    jobs: list[tuple[float, JobTemplate]] = []
    for data, name in files:
        found = read_documents(decode(data, name), name)
        for job in found if isinstance(found, list) else [found]:
            if not isinstance(job, dict) or job.get("submitTime") is None:
                raise TraceFormatError(name, "a job of Rumen is an object with a submitTime")
            label = str(job.get("jobID", len(jobs)))[:MAX_NAME]
            where = f"{name}: job {label[:40]!r}"
            lasted = [_seconds(job.get(kind), where, repairs) for kind in ("mapTasks", "reduceTasks")]
            stages = tuple(StageProfile(len(s), {}, {5: s}, {}) for s in lasted if s)
            if not stages:
                repairs["jobs of which no task succeeded left out"] = (
                    repairs.get("jobs of which no task succeeded left out", 0) + 1
                )
                continue
            edges = ((0, 1),) if len(stages) == 2 else ()
            jobs.append((number(job["submitTime"], "its submitTime", where) * 1e-3, JobTemplate(label, stages, edges)))
    if not jobs:
        raise TraceFormatError(source, "no job that ran")
    jobs.sort(key=lambda item: item[0])
    if len(jobs) > MAX_JOBS:
        repairs[f"jobs after the first {MAX_JOBS} left out"] = len(jobs) - MAX_JOBS
        del jobs[MAX_JOBS:]
    return Workload(source, tuple(job for _, job in jobs), arrivals_s=tuple(came - jobs[0][0] for came, _ in jobs))


def _seconds(tasks: Any, where: str, repairs: dict[str, int]) -> list[float]:
    tasks = [] if tasks is None else tasks
    if not isinstance(tasks, list) or len(tasks) > MAX_TASKS or not all(isinstance(t, dict) for t in tasks):
        raise TraceFormatError(where, f"its tasks are no list of at most {MAX_TASKS} objects")
    out = []
    for task in tasks:
        attempts = task.get("attempts")
        tried = [a for a in attempts if isinstance(a, dict)] if isinstance(attempts, list) else []
        span = next((a for a in tried if a.get("result") in _GOOD), task)
        begin, end = (number(span.get(k, -1), f"a task's {k}", where) for k in ("startTime", "finishTime"))
        if begin < 0 or end < begin or task.get("taskStatus") not in (*_GOOD, None):
            repairs["tasks that did not succeed left out"] = repairs.get("tasks that did not succeed left out", 0) + 1
        elif end - begin > LONGEST_S * 1e3:
            raise TraceFormatError(where, f"a task runs for {(end - begin) * 1e-3:g} s")
        else:
            out.append((end - begin) * 1e-3)
    return out
