import contextlib
import json
import random

import pytest
from typer.testing import CliRunner

from netllm_gym import traces
from netllm_gym.cli.traces import app
from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.alibaba import read_alibaba
from netllm_gym.traces.jobs.readers.wfcommons import read_wfcommons
from netllm_gym.traces.jobs.sets import load_stored, save_workload
from netllm_gym.traces.jobs.statistics import summary
from netllm_gym.traces.jobs.user import holds_workload
from netllm_gym.traces.jobs.workload import Workload, synthetic_workload

NEW = {
    "workflow": {
        "specification": {
            "tasks": [
                {"name": "split_1", "id": "a", "parents": []},
                {"name": "map_1", "id": "b", "parents": ["a"]},
                {"name": "map_2", "id": "c", "parents": ["a"]},
                {"name": "join_1", "id": "d", "parents": ["b", "c"]},
            ]
        },
        "execution": {
            "tasks": [{"id": i, "runtimeInSeconds": s} for i, s in (("a", 1), ("b", 2.5), ("c", 3), ("d", 4))]
        },
    }
}
OLD = {
    "workflow": {
        "tasks": [
            {"name": "split_1", "runtime": 1, "parents": []},
            {"name": "map_1", "runtime": 2.5, "parents": ["split_1"]},
        ]
    }
}
CSV = b"""M1,2,j_2,1,Terminated,100,110,100,0.5
R2_1,3,j_2,1,Terminated,110,110,100,0.5
task_x,1,j_1,1,Terminated,90,95,100,0.5
M1,1,j_3,1,Failed,95,99,100,0.5
J3_1_9,1,j_2,1,Terminated,111,113,100,0.5
"""

BAD = [b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b",", b'"', b"\x00", b"\n"]


def encoded(document):
    return json.dumps(document).encode()


def test_wfcommons_groups_equal_siblings_into_a_stage():
    job = read_wfcommons(encoded(NEW), "x.json")
    assert [s.tasks for s in job.stages] == [1, 2, 1]
    assert job.edges == ((0, 1), (1, 2))
    assert sorted(job.stages[1].first[5]) == [2.5, 3.0]
    assert len(read_wfcommons(encoded(OLD), "x.json").edges) == 1


def test_wfcommons_names_what_is_wrong():
    lost = json.loads(json.dumps(NEW))
    lost["workflow"]["specification"]["tasks"][1]["parents"] = ["z"]
    with pytest.raises(TraceFormatError, match="waits for 'z'"):
        read_wfcommons(encoded(lost), "x.json")
    lost["workflow"]["specification"]["tasks"][1]["parents"] = ["d"]
    with pytest.raises(TraceFormatError, match="cycle"):
        read_wfcommons(encoded(lost), "x.json")
    del lost["workflow"]["execution"]["tasks"][0]
    with pytest.raises(TraceFormatError, match="no run time"):
        read_wfcommons(encoded(lost), "x.json")


def test_alibaba_jobs_in_order_of_arrival():
    workload = read_alibaba(CSV, "batch_task.csv")
    assert [t.name for t in workload.templates] == ["j_1", "j_2"]
    assert workload.arrivals_s == (0.0, 10.0)
    job = workload.templates[1]
    assert [s.tasks for s in job.stages] == [2, 3, 1]
    assert job.edges == ((0, 1), (0, 2))
    assert [s.first[5][0] for s in job.stages] == [10.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"M1,0,j,1,Terminated,1,2\n", "instances"),
        (b"M1,1,j,1,Terminated,5,2\n", "end after"),
        (b"M1,x,j,1,Terminated,1,2\n", ":1: instance_num"),
        (b"M1,1,j\n", "columns"),
        (b"M1,1,j,1,Failed,1,2\n", "no job"),
        (b"M1_2,1,j,1,Terminated,1,2\nR2_1,1,j,1,Terminated,1,2\n", "cycle"),
    ],
)
def test_alibaba_names_what_is_wrong(row, reason):
    with pytest.raises(TraceFormatError, match=reason):
        read_alibaba(row, "f.csv")


@pytest.mark.parametrize(("read", "seed"), [(read_wfcommons, encoded(NEW)), (read_alibaba, CSV)])
def test_damaged_files_are_format_errors_and_nothing_else(read, seed):
    rng = random.Random(0)
    for _ in range(1500):
        data = bytearray(seed)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            match rng.randrange(3):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at : at + rng.randint(1, 30)]
                case _:
                    data[at:at] = rng.choice(BAD)
            data = data or bytearray(b" ")
        with contextlib.suppress(TraceFormatError):
            read(bytes(data), "fuzz")


def test_stored_workload_comes_back(tmp_path):
    workload = synthetic_workload(templates=6)
    save_workload(tmp_path / "w.npz", workload)
    back = load_stored(tmp_path / "w.npz", workload.name)
    assert [t.edges for t in back.templates] == [t.edges for t in workload.templates]
    for a, b in zip(workload.templates, back.templates, strict=True):
        assert a.name == b.name
        for x, y in zip(a.stages, b.stages, strict=True):
            assert x.tasks == y.tasks
            assert list(y.rest[20]) == pytest.approx(list(x.rest[20]), abs=1e-6)
    (tmp_path / "w.npz").write_bytes(b"PK no archive")
    with pytest.raises(TraceFormatError):
        load_stored(tmp_path / "w.npz", "w")


def test_files_of_jobs_are_known_by_what_is_in_them(tmp_path):
    (tmp_path / "batch_task.csv").write_bytes(CSV)
    (tmp_path / "flows").mkdir()
    for name in ("a", "b"):
        (tmp_path / "flows" / f"{name}.json").write_bytes(encoded(NEW))
    recorded = traces.load(tmp_path / "batch_task.csv")
    assert len(recorded) == 1 and [at for at, _ in recorded[0].jobs(2)] == [0.0, 10.0]
    drawn = traces.load(tmp_path / "flows")
    assert len(drawn) == 100 and len(drawn[0].workload.templates) == 2
    (tmp_path / "flows" / "c.json").write_text("{}")
    with pytest.raises(TraceFormatError, match=r"c\.json: not a WfCommons instance"):
        traces.load(tmp_path / "flows")
    assert not holds_workload(tmp_path / "nothing")


def test_statistics_by_hand():
    job = read_wfcommons(encoded(NEW), "x.json")
    workload = Workload("w", (job,), mean_interarrival_s=2.0)
    found = summary(workload)
    # 1 + 2 tasks of 2.75 + 4 executor-seconds; 1 + 2.75 + 4 along the path; 10.5 / 2 s a second over 50 executors
    assert (found["jobs"], found["stages"], found["tasks"]) == (1, 3.0, 4.0)
    assert found["work_s"] == 10.5 and found["path_s"] == 7.8
    assert found["load"] == pytest.approx(10.5 / 2 / 50)


def test_commands_describe_and_draw_a_workload(tmp_path):
    run = CliRunner().invoke
    rows = json.loads(run(app, ["info", "cluster/synthetic", "--json"], catch_exceptions=False).output)
    assert [row["jobs"] for row in rows] == [64, 64, 64] and all(row["parallelism"] > 1 for row in rows)
    out = tmp_path / "jobs.png"
    run(app, ["plot", "cluster/synthetic-chain", "--out", str(out)], catch_exceptions=False)
    assert out.stat().st_size > 10_000
