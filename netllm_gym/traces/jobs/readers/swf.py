"""Standard Workload Format (Parallel Workloads Archive): one job a line, eighteen numbers, comments after ``;``.

The Grid Workloads Archive's files (``.gwf``) have the same fields in front, 29 in all, and comments after ``#``.

A job becomes one stage of as many equal tasks as it held processors. Jobs that did not run are left out and counted.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import LATEST_S, JobTemplate, StageProfile, Workload
from netllm_gym.traces.moments import is_number
from netllm_gym.traces.packed import BROKEN, opened

FIELDS = (18, 29)
NUMBERS = 8  # that are read; behind them users and sites may have names
MAX_JOBS = 20_000
MAX_PROCESSORS = 10_000_000
SHARE = 0.01


def is_swf(text: str) -> bool:
    """Tell whether the beginning of a file is such a log."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith((";", "#"))]
    return bool(lines) and all(_is_job(f) for f in lines[:5])


def _is_job(fields: list[str]) -> bool:
    return len(fields) in FIELDS and all(is_number(x) for x in (fields[:NUMBERS] if len(fields) > 18 else fields))


def read_swf(path: Path, source: str, repairs: dict[str, int]) -> Workload:
    """Return the first 20,000 jobs that ran, with their submit times; the first comes at 0 s.

    Raises:
        TraceFormatError: more than 1 % of the lines are no jobs, or none ran.
    """
    jobs: list[tuple[float, str, int, float]] = []
    bad = total = idle = 0
    first: tuple[int, str] | None = None
    try:
        with opened(path) as file:
            lines = enumerate(iter(lambda: file.readline(16_384), b""), start=1)
            for number, raw in islice(lines, 50_000_000):
                fields = raw.decode("utf-8", errors="replace").split()
                if not fields or fields[0].startswith((";", "#")):
                    continue
                total += 1
                if not _is_job(fields):
                    bad, first = bad + 1, first or (number, "expected 18 numbers, or the 29 fields of a grid's log")
                    continue
                submit, run, held = float(fields[1]), float(fields[3]), float(fields[4])
                held = held if held > 0 else float(fields[7])
                if run <= 0 or held < 1:
                    idle += 1
                elif submit < 0 or max(submit, run) > LATEST_S or held > MAX_PROCESSORS or held != int(held):
                    bad, first = bad + 1, first or (number, "a time or a number of processors out of range")
                else:
                    jobs.append((submit, fields[0], int(held), run))
                    if len(jobs) >= 2 * MAX_JOBS:
                        break
    except BROKEN as error:
        raise TraceFormatError(path, f"cannot be read ({' '.join(str(error).split())[:100]})") from None
    if first and bad > SHARE * total:
        raise TraceFormatError(path, f"{first[1]} ({bad} of {total} lines)", first[0])
    if not jobs:
        raise TraceFormatError(path, "no job that ran")
    if bad:
        repairs["lines that are no jobs dropped"] = bad
    if idle:
        repairs["jobs that did not run left out"] = idle
    jobs = sorted(jobs)[:MAX_JOBS]
    templates = tuple(
        JobTemplate(f"job-{n}", (StageProfile(held, {}, {5: [run]}, {}),), ()) for _, n, held, run in jobs
    )
    return Workload(source, templates, arrivals_s=tuple(at - jobs[0][0] for at, _, _, _ in jobs))
