"""Workloads as testers bring them: several graphs in a file, calls of functions, notes that stand first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.user import understand

GRAPHML = (
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="d0" for="node" attr.name="runtime"/>{}</graphml>'
)


def _read(tmp_path: Path, text: str, name: str) -> Any:
    (tmp_path / name).write_text(text)
    return understand(tmp_path / name).traces[0].workload


def _chains(workload: Any) -> list[list[float]]:
    """Return the run times of each job, all of which must be chains of two."""
    assert all(job.edges == ((0, 1),) for job in workload.templates)
    return [[stage.all_samples()[0] for stage in job.stages] for job in workload.templates]


def _node_link(first: float, second: float) -> dict[str, Any]:
    return {"nodes": [{"id": "a", "runtime": first}, {"id": "b", "runtime": second}], "links": [["a", "b"]]}


def _graphml(first: float, second: float) -> str:
    nodes = "".join(f'<node id="{n}"><data key="d0">{x}</data></node>' for n, x in (("a", first), ("b", second)))
    return f'<graph edgedefault="directed">{nodes}<edge source="a" target="b"/></graph>'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.dot", "// two\ndigraph G { a [runtime=3]; b [runtime=4]; a -> b }\nstrict digraph { a [runtime=5]; "
                  "subgraph s { b [runtime=6, label=\"}\"] } a -> b; }\n"),
        ("a.graphml", GRAPHML.format(_graphml(3, 4) + _graphml(5, 6))),
        ("a.json", json.dumps([_node_link(3, 4), _node_link(5, 6)])),
        ("b.json", json.dumps({"version": 1, "dags": [_node_link(3, 4), _node_link(5, 6)]})),
    ],
)  # fmt: skip
def test_each_graph_of_a_file_is_a_job(tmp_path, name, text) -> None:
    workload = _read(tmp_path, text, name)
    assert _chains(workload) == [[3.0, 4.0], [5.0, 6.0]]
    assert len({job.name for job in workload.templates}) == 2


@pytest.mark.parametrize("text", ["digraph { a [runtime=1] }\ndigraph {", "digraph { a [runtime=1] }\ndigraph { }"])
def test_a_file_that_ends_within_its_second_graph_is_refused(tmp_path, text) -> None:
    with pytest.raises(TraceFormatError):
        _read(tmp_path, text, "a.dot")


def test_calls_of_functions_come_when_they_began(tmp_path) -> None:
    rows = "".join(f"app,f{i % 2},{100 + i},{0.5 + i}\n" for i in range(4))
    workload = _read(tmp_path, "app,func,end_timestamp,duration\n" + rows, "calls.csv")
    assert [job.stages[0].all_samples()[0] for job in workload.templates] == [0.5, 1.5, 2.5, 3.5]
    assert workload.arrivals_s == pytest.approx((0.0, 0.0, 0.0, 0.0))


def test_tasks_by_their_keys(tmp_path) -> None:
    text = "key;worker;start;stop;duration;dependencies\nload-1;w;10;12;2.0;\nsum-2;w;12;15;3.0;load-1\n"
    assert _chains(_read(tmp_path, text, "dask.csv")) == [[2.0, 3.0]]


def test_notes_before_the_first_workload_do_not_decide_what_it_is(tmp_path) -> None:
    (tmp_path / "about.txt").write_text("These workflows were recorded on a cloud.\nPlease cite the paper.\n")
    (tmp_path / "b.csv").write_text("job_id,task_id,runtime_s,parents\n1,a,3,\n1,b,4,a\n")
    found = understand(tmp_path)
    assert _chains(found.traces[0].workload) == [[3.0, 4.0]]
    assert "skipped: about.txt (notes)" in found.sentences()


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("@TASK_GRAPH 0 {\n\tPERIOD 300\n\tTASK t0_0\tTYPE 2\n\tTASK t0_1\tTYPE 3\n}\n", "TGFF"),
        ("# made by tgff\n@HYPERPERIOD 300\n\n@TASK_GRAPH 0 {\n}\n", "TGFF"),
        (
            "       JobID              Submit\n------------ -------------------\n123          2021-05-01T10:00:00\n",
            "sacct -P",
        ),
    ],
)
def test_files_of_other_tools_are_refused_with_their_remedy(tmp_path, text, remedy) -> None:
    with pytest.raises(TraceFormatError, match=remedy):
        _read(tmp_path, text, "a.txt")
