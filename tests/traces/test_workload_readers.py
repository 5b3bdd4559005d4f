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
        (b"M1,1e300,j,1,Terminated,1,2\n", "instances"),
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


def batch(rows: int) -> bytes:
    first = "M1,1,j_{0},1,Terminated,{0},{1},1,1\n"
    second = "R2_1,2,j_{0},1,Terminated,{1},{2},1,1\n"
    return "".join((first + second).format(i, i + 5, i + 9) for i in range(rows)).encode()


def test_a_bad_row_among_many_is_dropped_with_its_job_and_counted():
    repairs: dict[str, int] = {}
    data = batch(500).replace(b"R2_1,2,j_7,1,Terminated,12,16", b"R2_1,2,j_7,1,Terminated,12,2")
    workload = read_alibaba(data, "f.csv", repairs)
    assert len(workload.templates) == 499 and "j_7" not in {t.name for t in workload.templates}
    assert list(repairs.values()) == [1] and all("dropped" in key for key in repairs)


def test_the_earliest_jobs_of_a_long_table_are_kept(monkeypatch):
    monkeypatch.setattr("netllm_gym.traces.jobs.readers.alibaba.MAX_JOBS", 10)
    monkeypatch.setattr("netllm_gym.traces.jobs.readers.alibaba._CHUNK", 64)
    shuffled = batch(300).splitlines(keepends=True)
    random.Random(0).shuffle(shuffled)
    repairs: dict[str, int] = {}
    workload = read_alibaba(b"".join(shuffled), "f.csv", repairs)
    assert [t.name for t in workload.templates] == [f"j_{i}" for i in range(10)]
    assert [len(t.stages) for t in workload.templates] == [2] * 10
    assert repairs == {"jobs after the first 10 left out": 290}


def test_the_table_of_2017_has_jobs_of_independent_tasks():
    data = b"41562,41618,120,686,1,Terminated,50,0.0078\n41561,41619,120,687,3,Terminated,50,0.007\n"
    data += b"41600,,121,1,2,Failed,,\n"
    (job,) = read_alibaba(data, "batch_task.csv").templates
    assert job.name == "120" and sorted(s.tasks for s in job.stages) == [1, 3] and not job.edges


def spark_log(jobs=2):
    events = [{"Event": "SparkListenerLogStart", "Spark Version": "3.5.0"},
              {"Event": "SparkListenerApplicationStart", "App Name": "etl", "App ID": "app-1"}]  # fmt: skip
    for j in range(jobs):
        first = 3 * j
        infos = [
            {"Stage ID": first, "Parent IDs": [], "Number of Tasks": 2},
            {"Stage ID": first + 1, "Parent IDs": [first] + ([1] if j else []), "Number of Tasks": 1},
            {"Stage ID": first + 2, "Parent IDs": [first + 1], "Number of Tasks": 1},
        ]
        events.append({"Event": "SparkListenerJobStart", "Job ID": j, "Submission Time": 1000 + 5000 * j,
                       "Stage Infos": infos, "Stage IDs": [i["Stage ID"] for i in infos]})  # fmt: skip
        for stage, seconds in ((first, 1.5), (first, 2.5), (first + 2, 4)):  # the middle stage is skipped
            info = {"Launch Time": 1000, "Finish Time": int(1000 + seconds * 1000), "Failed": False, "Killed": False}
            events.append({"Event": "SparkListenerTaskEnd", "Stage ID": stage, "Task Info": info,
                           "Task End Reason": {"Reason": "Success"}})  # fmt: skip
    return "\n".join(json.dumps(event) for event in events) + "\n"


def test_spark_event_logs(tmp_path):
    (tmp_path / "application_1_0001").write_text(spark_log() + '{"Event":"SparkListenerTa')
    found = traces.load(tmp_path)
    workload = found[0].workload
    assert [t.name for t in workload.templates] == ["app-1-job0", "app-1-job1"]
    assert workload.arrivals_s == (0.0, 5.0)
    first = workload.templates[0]
    assert [s.tasks for s in first.stages] == [2, 1] and first.edges == ((0, 1),)
    assert first.stages[0].first[5] == [1.5, 2.5]
    (tmp_path / "application_1_0001").write_text(spark_log()[:400] + "x\n" * 50)
    with pytest.raises(TraceFormatError, match="no events of Spark"):
        traces.load(tmp_path)


def test_standard_workload_format(tmp_path):
    rows = ["; Version: 2", *(f"{i} {i * 10} 5 {100 + i} 4 -1 -1 4 -1 -1 1 1 1 1 1 1 -1 -1" for i in range(1, 6)),
            "6 60 5 -1 4 -1 -1 4 -1 -1 0 1 1 1 1 1 -1 -1"]  # fmt: skip
    (tmp_path / "log.swf").write_text("\n".join(rows))
    found = traces.load(tmp_path / "log.swf")
    assert len(found[0].workload.templates) == 5 and found[0].workload.arrivals_s == (0.0, 10.0, 20.0, 30.0, 40.0)
    assert found[0].workload.templates[0].stages[0].tasks == 4 and any("did not run" in n for n in found.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["execution"]["tasks"][0].__setitem__("runtimeInSeconds", "HUGE"), "too large|Overflow|digits"),
        (lambda d: d["execution"]["tasks"][0].__setitem__("runtimeInSeconds", 1e300), "runs for"),
        (lambda d: d["specification"]["tasks"][0].__setitem__("id", "9" * 5000), "at most 300"),
        (lambda d: d["specification"]["tasks"][0].__setitem__("parents", [{}]), "must be text"),
    ],
)
def test_absurd_numbers_and_names_are_refused(change, message):
    document = json.loads(json.dumps(NEW))
    change(document["workflow"])
    for huge in ("1" + "0" * 350, "1" + "0" * 5000):
        with pytest.raises(TraceFormatError, match=message):
            read_wfcommons(json.dumps(document).replace('"HUGE"', huge).encode(), "x.json")


@pytest.mark.realdata
def test_workflows_of_a_public_archive_are_cut_by_application(fcc_hsdpa):
    traces.fetch("cluster/wfcommons")
    names = {
        s: {t.name for t in traces.load("cluster/wfcommons", s)[0].workload.templates}
        for s in ("train", "valid", "test")
    }
    assert sum(len(n) for n in names.values()) == 103
    apps = {s: {n.rsplit("/", 1)[-1].split("-")[0] for n in members} for s, members in names.items()}
    assert not apps["train"] & apps["test"] and not apps["valid"] & apps["test"] and not apps["train"] & apps["valid"]
