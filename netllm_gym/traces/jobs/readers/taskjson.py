"""Jobs in JSON: wherever a document holds tasks with a run time and their parents or children, that is a job.

| document | jobs |
|---|---|
| ``[{"id": "a", "runtime": 9, "parents": []}, …]`` or ``{"tasks": […]}`` | one |
| ``{"jobs": [{"arrival_time": 0, "tasks": […]}, …]}`` | one an entry, when it came |
| ``{"a": {"duration": 9, "dependencies": []}, …}`` | one; tasks by their keys |

Names are those of :mod:`netllm_gym.traces.jobs.readers.taskgraph`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.taskgraph import TaskRow, columns_of, scale_of
from netllm_gym.traces.jobs.readers.wfcommons import MAX_NAME
from netllm_gym.traces.jsontext import number, read_documents
from netllm_gym.traces.moments import parse_time
from netllm_gym.traces.text import decode

MAX_BYTES = 256 * 2**20
MAX_DEPTH = 12
_LINKS = re.compile(
    r'"(parents?|dependenc(y|ies)|depends_?on|deps|predecessors?|child(ren)?|successors?|(up|down)stream|needs|requires'
    r'|prerequisites?|waits_?for|blocked_?by|precedes|triggers)\w*"\s*:', re.I,
)  # fmt: skip
_TASK = re.compile(r'"(task|node|stage|vertex|process|function)_?(id|name)?s?"\s*:', re.I)
# Argo's nodes that stand for others: they last as long as what is inside them.
_AROUND = ("DAG", "Steps", "StepGroup", "TaskGroup", "Retry")
_CAME = re.compile(r"(arrival|submi(t|ssion|tted))(_?(time|at|ts|timestamp))?(_?(s|ms|sec))?", re.I)
_TIMES = re.compile(r'"\w*(run_?time|duration|exec\w*_?time|processing_?time|elapsed|(end|finish)\w*)\w*"\s*:', re.I)


def is_task_json(text: str) -> bool:
    """Tell whether the beginning of a document speaks of run times and of parents."""
    return text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[") and bool(_LINKS.search(text) and _TIMES.search(text))


def lacks_something(text: str) -> bool:
    """Tell whether the beginning of a document speaks of tasks, but not of run times or not of parents."""
    joined = _LINKS.search(text) or re.search(r'"(ins|outs|inputs?|outputs?)"\s*:', text)
    return bool(_TASK.search(text) and (joined or _TIMES.search(text)))


def rows_of_json(data: bytes, name: str) -> Iterator[TaskRow]:
    """Yield the tasks of a document.

    Raises:
        TraceFormatError: not JSON, no tasks inside, or a task that is none.
    """
    text = decode(data, name)
    document: Any = read_documents(text, name, MAX_BYTES)
    found = False
    for job, came, tasks in _jobs(document, PurePath(name).stem, float("nan"), 0, name):
        for key, task in tasks:
            found = True
            yield _row(job, came, key, task, name)
    if not found:
        raise TraceFormatError(
            name,
            "no tasks with a run time and parents in this JSON: a task needs a run time (runtime_s, duration_ms, or a "
            "start and an end) and what it waits for (parents, dependencies, needs, children)",
        )


def _is_task(item: Any, named: bool) -> bool:
    """Tell whether an object is a task; `named`: its key is its name."""
    return isinstance(item, dict) and columns_of([*item, *(["id"] if named else [])]) is not None


def _jobs(
    node: Any, job: str, came: float, depth: int, name: str
) -> Iterator[tuple[str, float, list[tuple[str, dict[str, Any]]]]]:
    if depth > MAX_DEPTH:
        return
    if isinstance(node, list):
        if any(_is_task(item, False) for item in node[:50]):
            if not all(isinstance(item, dict) for item in node):
                raise TraceFormatError(name, "a task that is no object")
            yield job, came, [("", item) for item in node]
            return
        for place, item in enumerate(node):
            if isinstance(item, dict | list):
                yield from _jobs(item, _name(item, f"{job}#{place + 1}"), _came(item, came, name), depth + 1, name)
    elif isinstance(node, dict):
        if node and any(_is_task(item, True) for item in list(node.values())[:50]):
            if not all(isinstance(item, dict) for item in node.values()):
                raise TraceFormatError(name, "a task that is no object")
            yield job, came, [(str(key)[: MAX_NAME + 1], item) for key, item in node.items()]
            return
        inner = {key: value for key, value in node.items() if isinstance(value, dict | list)}
        for key, value in inner.items():
            label = job if isinstance(value, list) or len(inner) == 1 else f"{job}/{str(key)[:80]}"
            own = value if isinstance(value, dict) else {}
            yield from _jobs(value, _name(own, label), _came(own, came, name), depth + 1, name)


def _name(node: Any, default: str) -> str:
    if not isinstance(node, dict):
        return default
    keys = ("job_id", "jobId", "dag_id", "workflow_id", "id", "name")
    found = next((node[k] for k in keys if node.get(k) is not None), "")
    return str(found)[:MAX_NAME] if isinstance(found, str | int) and found != "" else default


def _came(node: Any, default: float, name: str) -> float:
    if not isinstance(node, dict):
        return default
    key = next((k for k in node if _CAME.fullmatch(k)), None)
    return default if key is None or node[key] is None else _moment(node[key], key, name)


def _moment(value: Any, key: str, name: str) -> float:
    if isinstance(value, str):
        moment = parse_time(value)
        if moment is None:
            raise TraceFormatError(name, f"{key[:40]!r}: {value[:40]!r} is not a time")
        return moment[0]
    seconds, scale = number(value, f"{key[:40]!r}", name), scale_of(key)
    return seconds * (1e-3 if scale == 1.0 and seconds > 1e11 else scale)


def _names(value: Any, name: str) -> list[str]:
    """Return the tasks that a list names, by text, number or an object's id."""
    if value is None or value == "":
        return []
    if isinstance(value, str | int):
        return [str(value)[: MAX_NAME + 1]]
    if isinstance(value, dict):
        return [str(key)[: MAX_NAME + 1] for key in value]
    if not isinstance(value, list):
        raise TraceFormatError(name, "parents and children are lists of names")
    out = []
    for item in value:
        item = (
            next((item[k] for k in ("id", "task_id", "name", "task") if k in item), None)
            if isinstance(item, dict)
            else item
        )
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise TraceFormatError(name, "parents and children are lists of names")
        out.append(str(item)[: MAX_NAME + 1])
    return out


def _row(job: str, came: float, key: str, task: dict[str, Any], name: str) -> TaskRow:
    keys = [*task, *(["id"] if key and not {"id", "name", "task_id", "task"} & set(task) else [])]
    at = columns_of(keys)
    if at is None:  # the first tasks and the last wait for none, or none waits for them, and may not say so
        at = columns_of([*keys, "parents"])
        keys.append("parents")
    if at is None:
        label = key or str(task.get("id", task.get("name", "")))
        raise TraceFormatError(name, f"task {label[:40]!r} lacks a run time or parents")
    cell = {what: task.get(keys[column]) for what, column in at.items()}
    label = key or str(cell["task"])[: MAX_NAME + 1]
    where = f"{name}: task {label[:40]!r}"
    start = _moment(cell["start"], keys[at["start"]], where) if cell.get("start") is not None else float("nan")
    if cell.get("seconds") is not None:
        span = cell["seconds"]
        said = parse_time(span) if isinstance(span, str) else None
        seconds = said[0] if said else number(span, "its run time", where) * scale_of(keys[at["seconds"]])
    elif cell.get("end") is not None:
        seconds = _moment(cell["end"], keys[at["end"]], where) - start
    else:
        raise TraceFormatError(where, "no run time")
    program = cell.get("program")
    if "phase" in task and "type" in task:  # Argo
        program = task.get("templateName") or task.get("displayName")
        seconds = 0.0 if task["type"] in _AROUND else seconds
    count = cell.get("instances", 1)
    if isinstance(count, bool) or not isinstance(count, int):
        raise TraceFormatError(where, "a number of instances that is none")
    own = cell.get("job")
    arrival = _moment(cell["arrival"], keys[at["arrival"]], where) if cell.get("arrival") is not None else came
    return TaskRow(
        str(own)[: MAX_NAME + 1] if isinstance(own, str | int) and not isinstance(own, bool) else job, label,
        program if isinstance(program, str) else "", _names(cell.get("parents"), where),
        _names(cell.get("children"), where), seconds, where, count, arrival, start,
    )  # fmt: skip
