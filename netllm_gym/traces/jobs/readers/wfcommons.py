"""WfCommons instances (JSON, schema 1.0 to 1.5): executed scientific workflows as jobs.

| schema | tasks | run time | parents |
|---|---|---|---|
| 1.0 to 1.2 | ``workflow.jobs`` | ``runtime`` | names |
| 1.3 | ``workflow.tasks`` | ``runtime`` | names |
| 1.4 | ``workflow.tasks`` | ``runtimeInSeconds`` | names or ids |
| 1.5 | ``workflow.specification.tasks`` | ``workflow.execution.tasks``: ``runtimeInSeconds`` | ids |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile
from netllm_gym.traces.jsontext import number, read_json

MAX_BYTES = 64 * 2**20
MAX_TASKS = 200_000
MAX_EDGES = 5_000_000
MAX_NAME = 300
LONGEST_S = 1e8


def is_wfcommons(path: Path, text: str) -> bool:
    """Tell whether the beginning of a JSON object is such an instance."""
    return '"workflow"' in text or (path.suffix.lower() == ".json" and '"schemaVersion"' in text)


def _label(value: Any, source: str) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not 0 < len(text) <= MAX_NAME:
        raise TraceFormatError(source, f"a task's name must be text of at most {MAX_NAME} characters")
    return text


def _tasks(document: Any, source: str) -> dict[str, tuple[str, list[str], float]]:
    """Return id → (program, parents, seconds), whichever schema the document follows."""
    flow = document["workflow"]
    if "specification" in flow and "execution" not in flow:
        raise TraceFormatError(source, "a specification without an execution has no run times")
    if "specification" in flow:
        runs = {_label(t["id"], source): t.get("runtimeInSeconds") for t in flow["execution"]["tasks"]}
        listed = flow["specification"]["tasks"]
    else:
        listed = flow.get("tasks", flow.get("jobs"))
        runs = {_label(t.get("id", t["name"]), source): t.get("runtimeInSeconds", t.get("runtime")) for t in listed}
    if len(listed) > MAX_TASKS:
        raise TraceFormatError(source, f"more than {MAX_TASKS} tasks")
    found: dict[str, tuple[str, list[str], float]] = {}
    edges = 0
    for task in listed:
        key = _label(task.get("id", task["name"]), source)
        if runs.get(key) is None:
            raise TraceFormatError(source, f"task {key[:40]!r} has no run time")
        seconds = number(runs[key], f"the run time of task {key[:40]!r}", source)
        if not 0 <= seconds <= LONGEST_S:
            raise TraceFormatError(source, f"task {key[:40]!r} runs for {seconds:g} s")
        parents = [_label(p, source) for p in task.get("parents", [])]
        edges += len(parents)
        if edges > MAX_EDGES:
            raise TraceFormatError(source, f"more than {MAX_EDGES} dependencies")
        program = _label(task["name"], source).rstrip("0123456789").rstrip("_")
        if key in found:
            raise TraceFormatError(source, f"two tasks are called {key[:40]!r}")
        found[key] = (program, parents, seconds)
    # Old instances name parents, not their ids.
    names = {_label(t["name"], source): _label(t.get("id", t["name"]), source) for t in listed}

    def known(label: str) -> str:
        return label if label in found else names.get(label, label)

    for key, task in zip(found, listed, strict=True):  # an edge may stand at its parent alone
        for child in (known(_label(c, source)) for c in task.get("children") or []):
            if child not in found:
                raise TraceFormatError(source, f"task {key[:40]!r} leads to {child[:40]!r}, which is not there")
            edges += 1
            if edges > 2 * MAX_EDGES:
                raise TraceFormatError(source, f"more than {MAX_EDGES} dependencies")
            found[child][1].append(key)
    for key, (_, parents, _) in found.items():
        parents[:] = dict.fromkeys(map(known, parents))
        if missing := [p for p in parents if p not in found]:
            raise TraceFormatError(source, f"task {key[:40]!r} waits for {missing[0][:40]!r}, which is not there")
    return found


def read_wfcommons(data: bytes, source: str) -> JobTemplate:
    """Return the workflow as a job; tasks of one program with the same parents and children make one stage.

    Raises:
        TraceFormatError: not such an instance, a task without a run time, an unknown parent, or a cycle.
    """
    document = read_json(data, source, MAX_BYTES)
    try:
        tasks = _tasks(document, source)
    except TraceFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TraceFormatError(
            source, f"not a WfCommons instance ({type(error).__name__}: {str(error)[:80]})"
        ) from None
    return job_of(tasks, source=source)


def job_of(
    tasks: dict[str, tuple[str, list[str], float]], instances: dict[str, int] | None = None, source: str = ""
) -> JobTemplate:
    """Return tasks as a job: those of one program with the same parents and children make one stage.

    Args:
        tasks: id → (program, ids of the parents, seconds).
        instances: id → how many equal instances a task has; one where it is not given.
        source: name of the job.

    Raises:
        TraceFormatError: an unknown parent, or a cycle.
    """
    for key, (_, parents, _) in tasks.items():
        if missing := [p for p in parents if p not in tasks]:
            raise TraceFormatError(source, f"task {key[:40]!r} waits for {missing[0][:40]!r}, which is not there")
    children: dict[str, set[str]] = {key: set() for key in tasks}
    for key, (_, parents, _) in tasks.items():
        for parent in parents:
            children[parent].add(key)
    groups: dict[tuple[str, frozenset[str], frozenset[str]], list[str]] = {}
    for key, (program, parents, _) in tasks.items():
        groups.setdefault((program, frozenset(parents), frozenset(children[key])), []).append(key)
    stage_of = {key: i for i, members in enumerate(groups.values()) for key in members}
    counts = instances or {}
    stages = tuple(
        StageProfile(sum(counts.get(key, 1) for key in members), {}, {5: [tasks[key][2] for key in members]}, {})
        for members in groups.values()
    )
    edges = {(stage_of[parent], stage_of[key]) for key, (_, parents, _) in tasks.items() for parent in parents}
    return JobTemplate(source, stages, tuple(sorted(edges)))
