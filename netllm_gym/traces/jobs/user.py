"""Workload files by their path: WfCommons instances (a file or a folder of them) and Alibaba's batch tasks."""

from __future__ import annotations

from pathlib import Path

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.alibaba import COLUMNS, read_alibaba
from netllm_gym.traces.jobs.readers.wfcommons import read_wfcommons
from netllm_gym.traces.jobs.trace import JobTrace, job_traces
from netllm_gym.traces.jobs.workload import Workload
from netllm_gym.traces.traceset import TraceSet

STATES = {"Terminated", "Failed", "Waiting", "Running", "Cancelled", "Interrupted"}
SEQUENCES = 100  # that are drawn from jobs without arrivals


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix == ".json")
    return [path]


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(4096).decode("utf-8", errors="replace").strip()


def _is_alibaba(path: Path) -> bool:
    fields = _first_line(path).split(",")
    return len(fields) >= len(COLUMNS) and (fields[0] == COLUMNS[0] or fields[4] in STATES)


def holds_workload(path: str | Path) -> bool:
    """Whether a file, or a folder's JSON files, look like jobs: a JSON object, or rows of Alibaba's batch tasks."""
    files = [file for file in _files(Path(path)) if file.is_file()]
    if not files:
        return False
    if files[0].suffix == ".json":
        return _first_line(files[0]).startswith("{")
    return _is_alibaba(files[0])


def read_workload(path: str | Path) -> Workload:
    """Read a workload: each WfCommons instance is a job (one arrives every 25 s); Alibaba's come with their arrivals.

    Raises:
        TraceFormatError: a file that cannot be read, or holds no job.
    """
    files = _files(Path(path))
    try:
        contents = [(file.name, file.read_bytes()) for file in files]
    except OSError as error:
        raise TraceFormatError(path, f"cannot be read ({error.strerror})") from None
    if files and files[0].suffix != ".json":
        return read_alibaba(contents[0][1], contents[0][0])
    return Workload(Path(path).name, tuple(read_wfcommons(data, name) for name, data in contents))


def workload_set(path: str | Path) -> TraceSet[JobTrace]:
    """Return the job sequences of a workload file: 100 drawn from its jobs, or the one that was recorded."""
    return job_traces(read_workload(path), range(SEQUENCES))
