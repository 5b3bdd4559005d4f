"""WfCommons instances (JSON, schema 1.3 to 1.5): executed scientific workflows as jobs."""

from __future__ import annotations

import json
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile
from netllm_gym.traces.text import decode

MAX_BYTES = 64 * 2**20


def _tasks(document: Any, source: str) -> dict[str, tuple[str, list[str], float]]:
    """Return id → (program, parents, seconds), whichever schema the document follows."""
    flow = document["workflow"]
    if "specification" in flow:
        seconds = {str(t["id"]): t.get("runtimeInSeconds") for t in flow["execution"]["tasks"]}
        listed = flow["specification"]["tasks"]
    else:
        listed = flow.get("tasks", flow.get("jobs"))
        seconds = {str(t.get("id", t["name"])): t.get("runtimeInSeconds", t.get("runtime")) for t in listed}
    found = {}
    for task in listed:
        key = str(task.get("id", task["name"]))
        if isinstance(seconds.get(key), bool) or not isinstance(seconds.get(key), int | float):
            raise TraceFormatError(source, f"task {key!r} has no run time")
        parents = [str(p) for p in task.get("parents", [])]
        program = str(task["name"]).rstrip("0123456789").rstrip("_")
        if key in found:
            raise TraceFormatError(source, f"two tasks are called {key!r}")
        found[key] = (program, parents, float(seconds[key]))
    # Old instances name parents, not their ids.
    names = {str(t["name"]): str(t.get("id", t["name"])) for t in listed}
    for key, (_, parents, _) in found.items():
        parents[:] = [p if p in found else names.get(p, p) for p in parents]
        if missing := [p for p in parents if p not in found]:
            raise TraceFormatError(source, f"task {key!r} waits for {missing[0]!r}, which is not there")
    return found


def read_wfcommons(data: bytes, source: str) -> JobTemplate:
    """Return the workflow as a job; tasks of one program with the same parents and children make one stage.

    Raises:
        TraceFormatError: not such an instance, a task without a run time, an unknown parent, or a cycle.
    """
    if len(data) > MAX_BYTES:
        raise TraceFormatError(source, f"larger than {MAX_BYTES} bytes")
    try:
        tasks = _tasks(json.loads(decode(data, source)), source)
    except TraceFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TraceFormatError(source, f"not a WfCommons instance ({type(error).__name__}: {error})") from None
    children: dict[str, set[str]] = {key: set() for key in tasks}
    for key, (_, parents, _) in tasks.items():
        for parent in parents:
            children[parent].add(key)
    groups: dict[tuple[str, frozenset[str], frozenset[str]], list[str]] = {}
    for key, (program, parents, _) in tasks.items():
        groups.setdefault((program, frozenset(parents), frozenset(children[key])), []).append(key)
    stage_of = {key: i for i, members in enumerate(groups.values()) for key in members}
    stages = tuple(
        StageProfile(len(members), {}, {5: [tasks[key][2] for key in members]}, {}) for members in groups.values()
    )
    edges = {(stage_of[parent], stage_of[key]) for key, (_, parents, _) in tasks.items() for parent in parents}
    return JobTemplate(source, stages, tuple(sorted(edges)))
