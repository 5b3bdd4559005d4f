"""Lists of jobs in JSON: an object a job, as Slurm's ``sacct --json``, the Philly trace and builders write them.

What stands in an object inside (``"time": {"submission": …}``) or in a list of attempts counts as the job's own: it ran
for as long as all its attempts together, on as many GPUs as the last one lists. Names are those of tables with a row a
job (:mod:`netllm_gym.traces.jobs.readers.jobtable`).
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.jobtable import job_columns
from netllm_gym.traces.jsontext import read_documents
from netllm_gym.traces.moments import parse_time
from netllm_gym.traces.tables import Table
from netllm_gym.traces.text import decode

MAX_BYTES = 256 * 2**20
MAX_DEPTH, MAX_KEYS = 6, 200
_TRIED = re.compile(r"attempts?|runs?|executions?|tries", re.I)
_TIMES = re.compile(r"times?|time_?stamps?|timing|metadata|spec|status", re.I)
_CAME = re.compile(r'"(submi|creat|queue|arriv|time_?stamp)\w*"\s*:', re.I)
_LASTED = re.compile(r'"(\w*duration|run_?time|elapsed|(end|finish|complet|stop)\w*)"\s*:', re.I)
_MEASURED = re.compile(
    r'"[^"]*(through_?put|band_?width|bit_?rate|bps|bytes|download|latency|yaw|pitch)[^"]*"\s*:', re.I
)


def is_job_json(text: str) -> bool:
    """Tell whether the beginning of a document speaks of jobs that were submitted and ended, and of no measurements."""
    start = text[:20_000]
    named = re.search(r'"(job|build|pod|metadata|workflow|pipeline|run|number)\w*"\s*:', start, re.I)
    return bool(named and _CAME.search(start) and _LASTED.search(start)) and not _MEASURED.search(start)


def job_rows(data: bytes, name: str) -> Table:
    """Return the jobs of a document as a table with a row a job.

    Raises:
        TraceFormatError: not JSON, or no list of jobs inside.
    """
    found = _longest(read_documents(decode(data, name), name, MAX_BYTES), 0)
    if not found:
        raise TraceFormatError(name, "no list of jobs with a submission and a run time (or a start and an end) in it")
    header = list(dict.fromkeys(key for row in found for key in row))[:MAX_KEYS]
    values = np.full((len(found), len(header)), np.nan)
    texts: dict[int, list[str]] = {}
    for c, key in enumerate(header):
        column = [row.get(key) for row in found]
        if any(isinstance(cell, str) for cell in column):
            texts[c] = ["" if cell is None else str(cell) for cell in column]
        for i, cell in enumerate(column):
            if isinstance(cell, int | float) and abs(cell) < 1e300:
                values[i, c] = float(cell)
    return Table(name, header, values, texts, np.arange(1, len(found) + 1, dtype=np.int64))


def _longest(node: Any, depth: int) -> list[dict[str, Any]]:
    """Return the longest list of jobs in a document, flat."""
    if depth > MAX_DEPTH:
        return []
    if isinstance(node, list):
        rows = [_flat(item) for item in node if isinstance(item, dict)]
        names = list(dict.fromkeys(key for row in islice(rows, 50) for key in row))
        if rows and job_columns(names) is not None:
            return rows
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return max((_longest(item, depth + 1) for item in islice(inner, MAX_KEYS)), key=len, default=[])


def _flat(job: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in islice(job.items(), MAX_KEYS):
        if isinstance(value, dict):
            own = "" if _TIMES.fullmatch(key) else f"{key}_"
            out |= {f"{own}{k}": v for k, v in value.items() if isinstance(v, str | int | float)}
        elif isinstance(value, list) and _TRIED.fullmatch(key):
            out |= _tried([item for item in value if isinstance(item, dict)])
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            out[key] = value
    return out


def _tried(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how long attempts ran together and how many GPUs the last one held; nothing where none ended."""
    spans = []
    for attempt in attempts:
        moments = [_moment(next((v for k, v in attempt.items() if re.match(word, k, re.I)), None))
                   for word in ("start|begin", "end|finish|complet")]  # fmt: skip
        spans.append(moments[1] - moments[0] if None not in moments else float("nan"))  # type: ignore[operator]
    ended = [span for span in spans if span >= 0]
    held = _listed(attempts[-1], 0) if attempts else 0
    return {"duration": sum(ended) if ended else None} | ({"num_gpus": held} if held else {})


def _moment(value: Any) -> float | None:
    if isinstance(value, str):
        return found[0] if (found := parse_time(value)) else None
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None


def _listed(node: Any, depth: int) -> int:
    """Return how many GPUs stand in lists of that name, at any depth."""
    if depth > MAX_DEPTH:
        return 0
    if isinstance(node, list):
        return sum(_listed(item, depth + 1) for item in node)
    if not isinstance(node, dict):
        return 0
    return sum(
        len(v) if k.lower() == "gpus" and isinstance(v, list) else _listed(v, depth + 1) for k, v in node.items()
    )
