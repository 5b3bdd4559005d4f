"""Spark event logs (``application_*``, one JSON event a line): stages, their parents, and how long each task took.

A Spark *job* (an action) becomes a job with its stages; stages that were skipped, because their output was there, are
left out, and their children wait for what ran. Jobs arrive when they were submitted. Logs are read line by line, plain
or packed with gzip, bzip2 or xz; other compressions are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload
from netllm_gym.traces.packed import BROKEN, opened

MAX_LINE = 64 * 2**20
MAX_BYTES = 8 * 2**30  # unpacked, over all files
MAX_TASKS = 5_000_000
MAX_STAGES = 100_000
MAX_JOBS = 20_000
LONGEST_S = 1e8
SHARE = 0.01
_ROLLED = re.compile(r"events_(\d{1,9})_(.+?)(?:\.inprogress|\.(?:gz|bz2|xz))?")
_WANTED = (
    b"SparkListenerJobStart",
    b"SparkListenerTaskEnd",
    b"SparkListenerStageCompleted",
    b"SparkListenerApplicationStart",
)


def is_spark(text: str) -> bool:
    """Tell whether the beginning of a file is such a log."""
    return '"Event":"SparkListener' in text.replace(" ", "")[:20_000]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.suffix in (".lz4", ".zstd", ".snappy", ".lzf"):
        raise TraceFormatError(path, "packed: write event logs with spark.eventLog.compress=false, or unpack it")
    with opened(path) as file:
        yield from enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1)


class _Application:
    def __init__(self, name: str, last: Path) -> None:
        self.name, self.last = name, last
        self.jobs: dict[int, tuple[float, list[int]]] = {}
        self.parents: dict[int, list[int]] = {}
        self.tasks: dict[int, list[float]] = {}


def _parts(files: list[Path]) -> Iterator[tuple[_Application, Path]]:
    """Yield each file with its application: rolling logs (``eventlog_v2_*/events_1_*``) are parts of one, in order."""
    groups: dict[str, list[tuple[int, Path]]] = {}
    for path in files:
        part = _ROLLED.fullmatch(path.name)
        if path.name.startswith("appstatus"):
            continue
        groups.setdefault(f"{path.parent}/{part[2]}" if part else str(path), []).append(
            (int(part[1]) if part else 0, path)
        )
    for members in groups.values():
        members.sort()
        application = _Application(members[0][1].name, members[-1][1])
        for _, path in members:
            yield application, path


def read_spark(files: list[Path], source: str, repairs: dict[str, int]) -> Workload:
    """Return the jobs of one application or several, with their submit times; the first comes at 0 s.

    Raises:
        TraceFormatError: not such a log, more than 1 % of its lines broken, too large, or no job that ran a task.
    """
    templates: list[tuple[float, JobTemplate]] = []
    bad = total = size = tasks = 0
    for application, path in _parts(files):
        try:
            for number, line in _lines(path):
                size += len(line)
                if size > MAX_BYTES:
                    raise TraceFormatError(path, f"more than {MAX_BYTES // 2**30} GiB of events", number)
                total += 1
                if not any(word in line[:200] for word in _WANTED):
                    bad += not line.lstrip().startswith(b"{") and bool(line.strip())
                    continue
                try:
                    tasks += _event(json.loads(line), application)
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                    bad += 1
                if tasks > MAX_TASKS or len(application.parents) > MAX_STAGES:
                    raise TraceFormatError(path, f"more than {MAX_TASKS} tasks or {MAX_STAGES} stages", number)
        except BROKEN as error:
            raise TraceFormatError(path, f"cannot be read ({error})") from None
        if bad > max(1, SHARE * total):  # the last line of a log may be cut off
            raise TraceFormatError(path, f"{bad} of {total} lines are no events of Spark")
        if path == application.last:
            templates += _templates(application)
    if not templates:
        raise TraceFormatError(source, "no Spark job that ran a task")
    if bad:
        repairs["lines that are no events left out"] = bad
    templates.sort(key=lambda item: (item[0], item[1].name))
    if len(templates) > MAX_JOBS:
        repairs[f"jobs after the first {MAX_JOBS} left out"] = len(templates) - MAX_JOBS
        templates = templates[:MAX_JOBS]
    begin = templates[0][0]
    return Workload(source, tuple(t for _, t in templates), arrivals_s=tuple(at - begin for at, _ in templates))


def _event(event: dict[str, Any], application: _Application) -> int:
    """Take in one event; return the tasks it adds."""
    kind = event["Event"]
    if kind == "SparkListenerApplicationStart":
        application.name = str(event.get("App ID") or event.get("App Name") or application.name)[:80]
    elif kind == "SparkListenerJobStart":
        infos = event.get("Stage Infos") or []
        for info in infos:
            _stage(info, application)
        stages = [int(s) for s in event.get("Stage IDs") or [info["Stage ID"] for info in infos]]
        application.jobs[int(event["Job ID"])] = (_milliseconds(event["Submission Time"]), stages)
    elif kind == "SparkListenerStageCompleted":
        _stage(event["Stage Info"], application)
    elif kind == "SparkListenerTaskEnd":
        info = event["Task Info"]
        if (
            info.get("Failed")
            or info.get("Killed")
            or (event.get("Task End Reason") or {}).get("Reason", "Success") != "Success"
        ):
            return 0
        seconds = _milliseconds(info["Finish Time"]) - _milliseconds(info["Launch Time"])
        if not 0 <= seconds <= LONGEST_S:
            raise ValueError("a task that ends before it starts")
        application.tasks.setdefault(int(event["Stage ID"]), []).append(max(seconds, 1e-3))
        return 1
    return 0


def _milliseconds(value: Any) -> float:
    seconds = float(value) / 1000.0
    if isinstance(value, bool) or not math.isfinite(seconds) or seconds < 0:
        raise ValueError("not a time")
    return seconds


def _stage(info: dict[str, Any], application: _Application) -> None:
    application.parents.setdefault(int(info["Stage ID"]), [int(p) for p in info.get("Parent IDs") or []])


def _templates(application: _Application) -> list[tuple[float, JobTemplate]]:
    out = []
    before: set[int] = set()
    for number, (at, listed) in sorted(application.jobs.items()):
        # A stage belongs to the first job that ran it; later jobs skip it.
        ran = [stage for stage in dict.fromkeys(listed) if application.tasks.get(stage) and stage not in before]
        before.update(listed)
        if not ran:
            continue
        place = {stage: i for i, stage in enumerate(ran)}
        edges = {(place[p], place[s]) for s in ran for p in _run_parents(s, application, place)}
        stages = tuple(StageProfile(len(t), {}, {5: t}, {}) for t in (application.tasks[s] for s in ran))
        out.append((at, JobTemplate(f"{application.name}-job{number}", stages, tuple(sorted(edges)))))
    return out


def _run_parents(stage: int, application: _Application, place: dict[int, int]) -> set[int]:
    """Return the nearest ancestors that ran in this job."""
    found: set[int] = set()
    waiting, seen = list(application.parents.get(stage, [])), {stage}
    while waiting:
        parent = waiting.pop()
        if parent in seen:
            continue
        seen.add(parent)
        if parent in place:
            found.add(parent)
        else:
            waiting += application.parents.get(parent, [])
    return found
