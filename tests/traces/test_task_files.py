"""Jobs in tables and JSON documents with a task a row, as schedulers and simulators write them."""

from __future__ import annotations

import json

import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.user import understand_jobs
from netllm_gym.traces.user import kind_of

# A diamond: A before B and C, both before D.
DIAMOND = (("A", 10, []), ("B", 20, ["A"]), ("C", 30, ["A"]), ("D", 40, ["B", "C"]))
CHILDREN = {"A": ["B", "C"], "B": ["D"], "C": ["D"], "D": []}
EDGES = ((0, 1), (0, 2), (1, 3), (2, 3))


def document(runtime="runtime", parents="parents", name="id", scale=1):
    return [{name: task, runtime: seconds * scale, parents: before} for task, seconds, before in DIAMOND]


@pytest.mark.parametrize(
    "content",
    [
        document(),
        {"tasks": document("duration", "dependencies", "name")},
        {"dag": {"nodes": document("execution_time", "predecessors", "node_id")}},
        document("duration_ms", "depends_on", "task_id", 1000),
        {task: {"duration": seconds, "dependencies": before} for task, seconds, before in DIAMOND},
        [{"task_id": t, "downstream_task_ids": CHILDREN[t], "runtime_s": s} for t, s, _ in DIAMOND],
        [{"id": t, "parents": [{"id": p} for p in b], "start_time": 5, "end_time": 5 + s} for t, s, b in DIAMOND],
        [{"id": t, "parents": b, "startTime": "2020-01-01T00:00:00Z", "endTime": f"2020-01-01T00:00:{s}Z"}
         for t, s, b in DIAMOND],
        [{"id": t, "parents": b, "duration": f"{s}s"} for t, s, b in DIAMOND],
        {"nodes": [{"id": t, "duration_ms": s * 1000} for t, s, _ in DIAMOND],
         "edges": [{"from": p, "to": t} for t, _, b in DIAMOND for p in b]},
    ],
)  # fmt: skip
def test_a_diamond_in_json(tmp_path, content):
    (tmp_path / "w.json").write_text(json.dumps(content))
    assert kind_of(tmp_path) == "workload"
    (job,) = understand_jobs(tmp_path).traces[0].workload.templates
    assert job.mean_s == pytest.approx((10, 20, 30, 40)) and job.edges == EDGES


def test_parents_by_number_in_quotes_are_a_list_and_no_decimal(tmp_path):
    (tmp_path / "w.csv").write_text('job,task,runtime,parents\nj,1,10,""\nj,2,20,"1"\nj,3,30,"1,2"\n')
    (job,) = understand_jobs(tmp_path).traces[0].workload.templates
    assert job.edges == ((0, 1), (0, 2), (1, 2))


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("job,task,start_time,end_time,parents", lambda t, s, b: ("j", t, 100, 100 + s, " ".join(b))),
        ("job,task,runtime (min),parents", lambda t, s, b: ("j", t, s / 60, " ".join(b))),
        ("JobID;Duration(s);Successors", lambda t, s, b: (t, s, ",".join(CHILDREN[t]))),
        ("job,task,runtime,children", lambda t, s, b: ("j", t, s, " ".join(CHILDREN[t]))),
        ("JobID|TaskID|Elapsed|Dependency", lambda t, s, b: ("j", t, f"00:00:{s}", ",".join(b))),
    ],
)
def test_a_diamond_in_a_table(tmp_path, header, cells):
    mark = next(mark for mark in "|;," if mark in header)
    rows = [header, *(mark.join(map(str, cells(*task))) for task in DIAMOND)]
    (tmp_path / "w.csv").write_text("\n".join(rows) + "\n")
    (job,) = understand_jobs(tmp_path).traces[0].workload.templates
    assert job.mean_s == pytest.approx((10, 20, 30, 40)) and job.edges == EDGES


def test_jobs_keep_their_arrivals_and_stages_their_instances(tmp_path):
    stages = [{"id": t, "task_duration": s, "num_tasks": 3, "children": CHILDREN[t]} for t, s, _ in DIAMOND]
    jobs = {"jobs": [{"id": k, "arrival_time": 100 - 50 * k, "stages": stages} for k in range(2)]}
    (tmp_path / "w.json").write_text(json.dumps(jobs))
    workload = understand_jobs(tmp_path).traces[0].workload
    assert workload.arrivals_s == (0.0, 50.0) and [job.name for job in workload.templates] == ["1", "0"]
    assert [stage.tasks for stage in workload.templates[0].stages] == [3, 3, 3, 3]


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_every_file_of_a_folder_is_read(tmp_path, suffix):
    rows = ["job,task,runtime,parents", *(f"1,{t},{s},{' '.join(b)}" for t, s, b in DIAMOND)]
    text = json.dumps(document()) if suffix == "json" else "\n".join(rows) + "\n"
    for name in "abc":
        (tmp_path / f"{name}.{suffix}").write_text(text)
    workload = understand_jobs(tmp_path).traces[0].workload
    assert len(workload.templates) == 3 and all(job.edges == EDGES for job in workload.templates)


def test_parts_of_one_table_are_one(tmp_path):
    (tmp_path / "0.csv").write_text("job,task,runtime,parents\n1,A,10,\n1,B,20,A\n")
    (tmp_path / "1.csv").write_text("job,task,runtime,parents\n1,C,30,A\n1,D,40,B C\n")
    (job,) = understand_jobs(tmp_path).traces[0].workload.templates
    assert job.edges == EDGES


def test_percents_of_a_processor_are_no_run_time(tmp_path):
    tasks = [{"name": "a", "avgCPU": 93.5, "parents": []}]
    (tmp_path / "w.json").write_text(json.dumps({"name": "w", "workflow": {"jobs": tasks}}))
    with pytest.raises(TraceFormatError, match="has no run time"):
        understand_jobs(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (document(scale=-1), "a run time of"),
        ([{"id": "a", "runtime": 1, "parents": [["b"]]}], "lists of names"),
        ([{"id": "a", "runtime": 1, "parents": ["b"]}], "waits for 'b', which is not there"),
        ([{"id": "a", "runtime": 1, "children": ["b"]}], "leads to 'b', which is not there"),
        ([{"id": "a", "runtime": "soon", "parents": []}], "not a number"),
        ([{"id": "a", "runtime": None, "parents": []}], "no run time"),
        ([{"id": "a", "runtime": 1, "parents": []}, 5], "no object"),
        (document() + document(), "two tasks"),
    ],
)
def test_tasks_that_are_none_are_one_sentence(tmp_path, content, message):
    (tmp_path / "w.json").write_text(json.dumps(content))
    with pytest.raises(TraceFormatError, match=message):
        understand_jobs(tmp_path)
