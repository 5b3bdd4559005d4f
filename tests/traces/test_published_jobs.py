"""Workloads in the shapes that clusters, builders and workflow engines publish: jobs in JSON, nodes, known layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.user import understand


def _read(tmp_path: Path, content: Any, name: str = "log.json") -> Any:
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    found = understand(tmp_path / name)
    assert found.kind == "workload"
    return found.traces[0].workload


def _jobs(workload: Any) -> list[tuple[float, int, float]]:
    """Return when each job came, how many processors it held and for how long, of jobs of one stage."""
    assert all(len(job.stages) == 1 for job in workload.templates)
    spans = [(job.stages[0].tasks, job.mean_s[0]) for job in workload.templates]
    return [(came, *span) for came, span in zip(workload.arrivals_s, spans, strict=True)]


def test_jobs_with_attempts_on_listed_gpus(tmp_path) -> None:
    attempt = {"start_time": "2020-01-01 00:00:10", "end_time": "2020-01-01 00:01:10"}
    held = {"detail": [{"ip": "a", "gpus": ["gpu0", "gpu1"]}, {"ip": "b", "gpus": ["gpu7"]}]}
    jobs = [
        {"jobid": "j1", "submitted_time": "2020-01-01 00:00:00", "attempts": [attempt | held], "status": "Pass"},
        {"jobid": "j2", "submitted_time": "2020-01-01 00:00:30", "attempts": [], "status": "Killed"},
        {"jobid": "j3", "submitted_time": "2020-01-01 00:00:40", "attempts": [attempt, attempt | held]},
        {"jobid": "j4", "submitted_time": "2020-01-01 00:00:50", "attempts": [attempt | {"end_time": None}]},
    ]
    assert _jobs(_read(tmp_path, jobs)) == [(0.0, 3, 60.0), (40.0, 3, 120.0)]


@pytest.mark.parametrize("where", ["time", ""])
def test_jobs_whose_times_stand_together(tmp_path, where) -> None:
    jobs = []
    for i in range(5):
        times = {"submission": 1_700_000_000 + i, "start": 1_700_000_050, "end": 1_700_000_100 + i, "elapsed": 50 + i}
        jobs.append({"job_id": i, "required": {"CPUs": 2 + i}, **({where: times} if where else times)})
    found = _jobs(_read(tmp_path, {"meta": {"version": 1}, "jobs": jobs}))
    assert found == [(float(i), 2 + i, 50.0 + i) for i in range(5)]


def test_jobs_of_a_builder(tmp_path) -> None:
    jobs = [
        {"id": i, "created_at": f"2024-01-01T00:00:0{i}Z", "started_at": f"2024-01-01T00:01:0{i}Z",
         "completed_at": f"2024-01-01T00:01:1{i}Z", "steps": [{"name": "make", "number": 1}]} for i in range(4)
    ]  # fmt: skip
    assert _jobs(_read(tmp_path, {"total_count": 4, "jobs": jobs})) == [(float(i), 1, 10.0) for i in range(4)]


def test_virtual_machines_without_names_of_columns(tmp_path) -> None:
    kinds = ("Interactive", "Delay-insensitive", "Unknown")
    rows = [f"v{i},s,d,{300 * i},{300 * i + 900},9.5,1.2,8.1,{kinds[i % 3]},{('2', '4', '>24')[i % 3]},>64\n"
            for i in range(6)]  # fmt: skip
    found = _jobs(_read(tmp_path, "".join(rows), "vmtable.csv"))
    assert found == [(300.0 * i, (2, 4, 24)[i % 3], 900.0) for i in range(6)]


def test_nodes_of_argo_last_as_long_as_their_pods(tmp_path) -> None:
    def node(name: str, kind: str, start: int, end: int, *children: str) -> dict[str, Any]:
        times = {"startedAt": f"2024-01-01T00:0{start}:00Z", "finishedAt": f"2024-01-01T00:0{end}:00Z"}
        more = {"children": list(children)} if children else {}
        return {"id": name, "displayName": name, "type": kind, "phase": "Succeeded", **times, **more}

    nodes = {n["id"]: n for n in (node("all", "DAG", 0, 3, "a"), node("a", "Pod", 0, 1, "b", "c"),
                                  node("b", "Pod", 1, 3), node("c", "Pod", 1, 2))}  # fmt: skip
    workload = _read(tmp_path, {"kind": "Workflow", "status": {"nodes": nodes}})
    (job,) = workload.templates
    assert sorted(job.mean_s) == [0.0, 60.0, 60.0, 120.0]
    assert len(job.edges) == 3


def test_jobs_that_need_others(tmp_path) -> None:
    jobs = {"build": {"duration": 60}, "test": {"duration": 30, "needs": ["build"]},
            "ship": {"duration": 5, "needs": "test"}}  # fmt: skip
    (job,) = _read(tmp_path, {"jobs": jobs}).templates
    assert (job.mean_s, job.edges) == ((60.0, 30.0, 5.0), ((0, 1), (1, 2)))


def test_a_number_of_tasks_makes_a_stage_of_as_many(tmp_path) -> None:
    rows = "Vertex,Tasks,Duration(ms),Parents\nMap 1,10,4000,\nReducer 2,3,2000,Map 1\n"
    (job,) = _read(tmp_path, rows, "tez.csv").templates
    assert [stage.tasks for stage in job.stages] == [10, 3]
    assert job.mean_s == (4.0, 2.0)


@pytest.mark.parametrize(
    ("word", "told"), [("Weight", True), ("cost", True), ("runtime", False), ("duration_s", False)]
)
def test_run_times_under_a_name_that_may_mean_anything_are_said(tmp_path, word, told) -> None:
    (tmp_path / "g.dot").write_text(f"digraph g {{ a [{word}=3]; b [{word}=4]; a -> b; }}")
    said = understand(tmp_path / "g.dot").sentences()
    assert told == any("nothing tells its unit" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("name", "text", "remedy"), [
        ("a.csv", ",timestamp,traceid,rpcid,um,rpctype,dm,interface,rt\n" + "0,1,t,0,a,rpc,b,i,4\n" * 5, "parents"),
        ("a.csv", "HashOwner,HashApp,HashFunction,Trigger,1,2,3,4\n" + "o,a,f,http,0,1,0,2\n" * 5, "row a job"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "2023-11-16 18:17:03,374,44\n" * 5, "row a job"),
        ("a.log", "# ninja log v5\n" + "0\t80\t160000\ta.o\tbeef\n" * 5, "parents"),
        ("a.csv", f"1000000,,34,0,{'u' * 44},2,{'j' * 44},{'l' * 44}\n" * 5, "task_events"),
        ("a.txt", "   JOBID PARTITION NAME USER ST TIME NODES\n  1000 debug job1 bob R 5:01 1\n", "sacct -P"),
        ("a.yaml", "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata:\n  name: x\n", "run times"),
        ("a.json", {"task_instances": [{"dag_id": "d", "task_id": "t", "duration": 3.0}] * 3}, "waits for"),
        ("a.json", {"workflows": [{"tasks": [{"id": 0, "length": 46, "child_ids": [1]}, {"id": 1}]}]}, "runtime_s"),
        ("a.json", {"processes": [{"name": "p", "function": "f", "ins": [0], "outs": [1]}]}, "runtime_s"),
        ("a.dot", "digraph snakemake_dag { 0[label = all]; 1[label = sort]; 1 -> 0 }", "give every task one"),
    ],
)  # fmt: skip
def test_what_lacks_something_is_told_what(tmp_path, name, text, remedy) -> None:
    (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(TraceFormatError, match=remedy):
        understand(tmp_path / name)


PROJECT = """************************
projects : 1
jobs (incl. supersource/sink ): 4
************************
PRECEDENCE RELATIONS:
jobnr.    #modes  #successors   successors
   1        1          2           2   3
   2        2          1           4
   3        1          1           4
   4        1          0
************************
REQUESTS/DURATIONS:
jobnr. mode duration  R 1  R 2
------------------------
  1      1     0       0    0
  2      1     8       4    0
         2     9       2    0
  3      1     4      10    0
  4      1     0       0    0
************************
RESOURCEAVAILABILITIES:
  R 1  R 2
   12   13
"""


def test_projects_with_activities(tmp_path) -> None:
    (job,) = _read(tmp_path, PROJECT, "j4.sm").templates
    assert (job.mean_s, job.edges) == ((0.0, 8.0, 4.0, 0.0), ((0, 1), (0, 2), (1, 3), (2, 3)))


@pytest.mark.parametrize(
    ("old", "new", "reason"), [
        ("  3      1     4      10    0\n", "", "activity '3' has no duration"),
        ("1          2           2   3", "1          3           2   3", "how many follow"),
        ("   3        1          1           4", "   3        1          1           9", "leads to '9'"),
        ("   4        1          0", "   4        1          1           1", "cycle"),
        ("  2      1     8 ", "  2      1     x ", "expected whole numbers"),
    ],
)  # fmt: skip
def test_projects_that_cannot_be_are_refused(tmp_path, old, new, reason) -> None:
    (tmp_path / "j4.sm").write_text(PROJECT.replace(old, new))
    with pytest.raises(TraceFormatError, match=reason):
        understand(tmp_path / "j4.sm")


def test_tables_of_machines_and_users_beside_jobs_are_skipped(tmp_path) -> None:
    (tmp_path / "machines.csv").write_text("machine_id,cores\nm1,4\nm2,8\n")
    (tmp_path / "trace.csv").write_text("job_id,submit_time,duration,num_gpus\n1,0,10,2\n2,5,20,1\n")
    (tmp_path / "users.csv").write_text("user,age\nu1,30\n")
    found = understand(tmp_path)
    assert found.kind == "workload"
    assert _jobs(found.traces[0].workload) == [(0.0, 2, 10.0), (5.0, 1, 20.0)]
    assert any("machines.csv, users.csv" in said for said in found.sentences())


def test_instances_of_alibabas_gpu_trace(tmp_path) -> None:
    rows = ["j1,worker,i1,w1,a,Terminated,100,160,m1\n", "j1,worker,i2,w2,b,Terminated,100,180,m1\n",
            "j2,ps,i3,w3,c,Terminated,150,250,m2\n"]  # fmt: skip
    workload = _read(tmp_path, "".join(rows), "pai_instance_table.csv")
    assert [job.stages[0].tasks for job in workload.templates] == [2, 1]
    assert [list(job.stages[0].all_samples()) for job in workload.templates] == [[60.0, 80.0], [100.0]]
    assert workload.arrivals_s == (0.0, 50.0)


def test_jobs_of_kubernetes_and_of_slurms_database(tmp_path) -> None:
    items = [
        {"metadata": {"name": f"j{i}", "creationTimestamp": f"2024-01-01T00:00:0{i}Z"}, "spec": {"parallelism": 2},
         "status": {"startTime": f"2024-01-01T00:00:1{i}Z", "completionTime": f"2024-01-01T00:01:1{i}Z"}}
        for i in range(3)
    ]  # fmt: skip
    assert _jobs(_read(tmp_path, {"kind": "List", "items": items})) == [(float(i), 2, 60.0) for i in range(3)]
    rows = "".join(f"{i},{100 + i},{150},{160 + i},4,3\n" for i in range(3))
    found = _jobs(_read(tmp_path, "id_job,time_submit,time_start,time_end,cpus_req,state\n" + rows, "slurm.csv"))
    assert found == [(float(i), 4, 10.0 + i) for i in range(3)]


def test_runs_of_flows(tmp_path) -> None:
    rows = "f1,a,2024-01-01 00:00:00,2024-01-01 00:01:00,\nf1,b,2024-01-01 00:01:00,2024-01-01 00:03:00,a\n"
    header = "flow_run_id,task_run_id,start_time,end_time,upstream_task_ids\n"
    (job,) = _read(tmp_path, header + rows, "flows.csv").templates
    assert (job.mean_s, job.edges) == ((60.0, 120.0), ((0, 1),))
