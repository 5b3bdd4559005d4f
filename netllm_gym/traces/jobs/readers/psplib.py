"""Projects of PSPLIB and of its generator ProGen (``.sm``, ``.mm``): activities with durations and successors.

An activity is a task; of several modes the first one counts. Resources are left out.
"""

from __future__ import annotations

import re

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.wfcommons import LONGEST_S, MAX_TASKS, job_of
from netllm_gym.traces.jobs.workload import JobTemplate
from netllm_gym.traces.text import decode

_SECTION = re.compile(r"(?i)\s*(PRECEDENCE RELATIONS|REQUESTS/DURATIONS)")
_END = re.compile(r"\*{4,}|-{4,}|\s*[A-Za-z]")


def is_psplib(text: str) -> bool:
    """Tell whether the beginning of a file is such a project."""
    return re.search(r"(?im)^\s*PRECEDENCE RELATIONS", text) is not None and "jobnr" in text


def read_psplib(data: bytes, source: str) -> JobTemplate:
    """Return a project as a job, a time unit of it as a second.

    Raises:
        TraceFormatError: not such a file, an activity without a duration, an unknown successor, or a cycle.
    """
    children: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    section = ""
    for number, line in enumerate(decode(data, source).splitlines(), start=1):
        if match := _SECTION.match(line):
            section = match[1].upper()
            continue
        fields = line.split()
        if not fields or _END.match(line) or not section:
            section = "" if line.startswith("*") else section
            continue
        if len(children) > MAX_TASKS or not all(field.isdigit() and len(field) < 10 for field in fields):
            raise TraceFormatError(
                source, f"expected whole numbers of an activity, found {line.strip()[:40]!r}", number
            )
        if section.startswith("PRECEDENCE"):
            if len(fields) < 3 or len(fields) != 3 + int(fields[2]):
                raise TraceFormatError(source, "expected an activity, its modes, how many follow it, and those", number)
            children[fields[0]] = fields[3:]
        elif len(fields) >= 3 and fields[1] == "1" and fields[0] in children:
            seconds[fields[0]] = float(fields[2])
    if missing := [key for key in children if not seconds.get(key, LONGEST_S + 1) <= LONGEST_S]:
        raise TraceFormatError(source, f"activity {missing[0][:40]!r} has no duration")
    if not children:
        raise TraceFormatError(source, "no activity in this project")
    tasks: dict[str, tuple[str, list[str], float]] = {key: (key, [], seconds[key]) for key in children}
    for key, after in children.items():
        for child in after:
            if child not in tasks:
                raise TraceFormatError(source, f"activity {key[:40]!r} leads to {child[:40]!r}, which is not there")
            tasks[child][1].append(key)
    return job_of(tasks, source=source)
