"""Public layouts that other tools and data sets write, each by a few rows of its kind: read right, or refused in one
line that says what to do."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network.tables import NetworkOptions
from netllm_gym.traces.user import ImportOptions, understand

N = range(60)


def table(row, header="", separator=","):
    return "\n".join([header] * bool(header) + [separator.join(map(str, row(i))) for i in N]) + "\n"


def turned(deg):
    """The quaternion x, y, z, w of a headset of Unity's that looks `deg` to the right."""
    return 0, math.sin(math.radians(deg) / 2), 0, math.cos(math.radians(deg) / 2)


def z_up(deg):
    """The same with x forward and z up, as w, x, y, z."""
    return math.cos(math.radians(-deg) / 2), 0, 0, math.sin(math.radians(-deg) / 2)


def read(path, text, options=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return understand(path, options)


# Each viewer turns by a degree a row; his first longitude is the last of these.
HEADS = {
    "scalar first, numbered (Corbillon 2017)":
        (table(lambda i: (i / 10, i, *z_up(i)), "timestamp frame q0 q1 q2 q3", " "), 0.0),
    "z up by its numbers": (table(lambda i: (i / 10, *z_up(i)), "t,q.w,q.x,q.y,q.z"), 0.0),
    "six degrees of freedom": (table(lambda i: (i / 10, 0.1, 1.6, 0.2, *turned(i)), "time,x,y,z,qx,qy,qz,qw"), 0.0),
    "volumetric video": (table(lambda i: (1.6e12 + i * 100, 1, 2, 3, 0, i, 0),
                               "timestamp HeadX HeadY HeadZ HeadRX HeadRY HeadRZ", " "), 0.0),
    "time of day with ms after a colon":
        (table(lambda i: (f"08:22:{i // 10:02}:{i % 10}00", *turned(i)), "Time,QuatX,QuatY,QuatZ,QuatW"), 0.0),
    "decimal commas": (table(lambda i: (f"{i // 10},{i % 10}", f"{i},0", "1,5"), "Time;Yaw;Pitch", ";"), 0.0),
    "turns from 0 to 360": (table(lambda i: (i / 10, (350 + i) % 360, 10), "t,longitude,latitude"), -10.0),
    "pixels that stay near the middle":
        (table(lambda i: (i / 10, 960 + (i - 29.5) * 1920 / 360, 480), "time,x,y"), -29.5),
    "ARFF": ("@relation gaze_360\n%@METADATA width_px 1920\n@attribute time INTEGER\n@attribute x_head NUMERIC\n"
             "@attribute y_head NUMERIC\n@data\n"
             + table(lambda i: (i * 100_000, 960 + (i - 29.5) * 1920 / 360, 480)), -29.5),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_head_motion(tmp_path, kind) -> None:
    text, first = HEADS[kind]
    (trace,) = read(tmp_path / "log.csv", text).traces
    assert trace.angles_deg[0, 0] == pytest.approx(first, abs=1e-3)
    assert trace.angles_deg[-1, 0] - first == pytest.approx(58, abs=1.01) and trace.duration_s == pytest.approx(
        6, abs=0.2
    )
    assert np.ptp(trace.angles_deg[:, 1]) < 0.01


def test_head_motion_in_json(tmp_path) -> None:
    users = {"video1": {f"user{u}": [{"time": i / 10, "yaw": i, "pitch": u} for i in N] for u in (1, 2)}}
    found = read(tmp_path / "all.json", json.dumps(users))
    assert {(t.user, t.video) for t in found.traces} == {("user1", "video1"), ("user2", "video1")}
    scene = {"user": "7", "video": "lake", "samples": [{"t": i / 10, "rotation": {"x": 5, "y": -i, "z": 0}} for i in N]}
    options = ImportOptions("head")
    (trace,) = read(tmp_path / "scene.json", json.dumps(scene), options).traces
    assert (trace.user, trace.video) == ("7", "lake") and trace.angles_deg[-1, 0] < -50  # Unity: y turns to the right
    rows = {"u1": [[i / 10, i, 5, 0] for i in N], "u2": [[i / 10, -i, 5, 0] for i in N]}
    assert len(read(tmp_path / "rows.json", json.dumps(rows), options).traces) == 2


def test_files_packed_by_gzip_are_read(tmp_path) -> None:
    found = read(tmp_path / "lake_u1.csv.gz", gzip.compress(table(lambda i: (i / 10, i, 5), "t,yaw,pitch").encode()))
    assert found.kind == "head" and found.traces[0].user == "u1"
    found = read(tmp_path / "net" / "a.csv.gz", gzip.compress(table(lambda i: (i, 2.5)).encode()))
    assert found.kind == "network" and found.traces[0].mean_mbps == 2.5


FLAT = 8.0
LINKS = {
    "drives over Starlink and cellular":
        table(lambda i: (f"2023-05-01 10:00:{i:02}", 8, 30, 40, -70), "time,throughput,speed,latitude,longtitu"),
    "iperf3 --json-stream": "\n".join(
        [json.dumps({"event": "start", "data": {}})]
        + [json.dumps({"event": "interval", "data": {"streams": [], "sum": {"start": i, "end": i + 1,
                       "bytes": 1, "bits_per_second": 8e6, "omitted": False}}}) for i in N]
        + [json.dumps({"event": "end", "data": {}})]),
    "Ookla's JSON, a line a test": "\n".join(
        json.dumps({"type": "result", "timestamp": f"2023-05-01T10:{i:02}:00Z", "ping": {"latency": 20},
                    "download": {"bandwidth": 1_000_000, "bytes": 5, "elapsed": 9}}) for i in N),
    "download times beside bytes": table(lambda i: (1.5e9 + i, 12, 1_000_000, 1.0), "Timestamp,Iccid,Bytes,DownTime"),
    "mm-link": "# mahimahi mm-link (downlink)\n# base timestamp: 0\n"
               + "".join(f"{i} # 1000\n{i} + 1504\n" for i in range(6000)) + "6000 + 1504\n",
    "durations": table(lambda i: (1000, 8000), "duration_ms,bandwidth_kbps"),
    "rates a fixed step apart": json.dumps({"bandwidth_mbps": [8.0] * 60, "interval_ms": 1000}),
    "nested samples": json.dumps({"meta": {"op": "x"}, "samples": [{"ts": 1.6e12 + i * 1000, "dl": {"tput_kbps": 8000}}
                                                                    for i in N]}),
    "decimal commas": table(lambda i: (f"{i},0", "8,0"), "Zeit s;Throughput Mbit/s", ";").replace("Zeit", "Time"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LINKS)
def test_links(tmp_path, kind) -> None:
    (trace,) = read(tmp_path / "a.log", LINKS[kind]).traces
    assert trace.mean_mbps == pytest.approx(FLAT, rel=0.002), kind


def test_the_last_piece_of_a_table_of_durations_counts(tmp_path) -> None:
    (trace,) = read(tmp_path / "a.csv", "duration_s,throughput_mbps\n1,2\n3,4\n2,1\n").traces
    assert trace.duration_s.tolist() == [1, 3, 2] and trace.throughput_mbps.tolist() == [2, 4, 1]


def test_a_column_without_a_clock_needs_the_step(tmp_path) -> None:
    text = "1.5\n2.5\n3.5\n"
    with pytest.raises(TraceFormatError, match="--step"):
        read(tmp_path / "a.txt", text)
    (trace,) = read(tmp_path / "a.txt", text, ImportOptions("network", network=NetworkOptions(step_s=0.5))).traces
    assert set(trace.duration_s.tolist()) == {0.5}


DAX = """<?xml version="1.0" encoding="UTF-8"?>
<adag xmlns="http://pegasus.isi.edu/schema/DAX" name="t"><job id="ID0" name="map" runtime="13.5"/>
<job id="ID1" name="map" runtime="13.8"/><job id="ID2" name="add" runtime="3.5"/>
<child ref="ID2"><parent ref="ID0"/><parent ref="ID1"/></child></adag>"""
GRAPHML = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="d0" for="node" attr.name="runtime"/><graph>
<node id="map_1"><data key="d0">13.5</data></node><node id="map_2"><data key="d0">13.8</data></node>
<node id="add"><data key="d0">3.5</data></node><edge source="map_1" target="add"/><edge source="map_2" target="add"/>
</graph></graphml>"""
DOT = """/* a workflow */ digraph G { rankdir=LR; node [shape=box, runtime=13.5];
  map_1; "map_2" [runtime="13.8"]; subgraph c { add [runtime=3.5] } {map_1}; map_1 -> add [w=2]; map_2 -> add; }"""
STG = "3\n0 13 0\n1 13 0\n2 3 2 0 1\n# made by hand\n"
LINKED = {"nodes": [{"id": "map_1", "runtime": 13.5}, {"id": "map_2", "runtime": 13.8}, {"id": "add", "runtime": 3.5}],
          "links": [{"source": "map_1", "target": "add"}, {"source": "map_2", "target": "add"}]}  # fmt: skip
TABLE = "workflow_id,task_id,runtime_s,parents\nw,map_1,13.5,\nw,map_2,13.8,[]\nw,add,3.5,map_1;map_2\n"
GRAPHS = {
    "dax.xml": DAX,
    "g.graphml": GRAPHML,
    "g.dot": DOT,
    "p.stg": STG,
    "g.json": json.dumps(LINKED),
    "t.csv": TABLE,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_workflow_graphs(tmp_path, name) -> None:
    found = read(tmp_path / name, GRAPHS[name])
    (job,) = found.traces[0].workload.templates
    assert found.kind == "workload" and [s.tasks for s in job.stages] == [2, 1] and job.edges == ((0, 1),)
    assert sum(sum(s.first[5]) for s in job.stages) == pytest.approx(29 if name == "p.stg" else 30.8)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.dot", "digraph { a -> b }", "has no run time"),
        ("a.dot", "graph { a -- b }", "no known format"),
        ("a.dot", "digraph { a [runtime=1]; b [runtime=1]; a -> b; b -> a }", "cycle"),
        ("a.dot", "digraph { a [runtime=1] a -> ? }", "no DOT"),
        ("a.xml", DAX.replace('ref="ID0"', 'ref="ID9"'), "ID9"),
        ("a.xml", DAX.replace("13.5", "-1"), "cannot run for"),
        ("a.xml", DAX[:-20], "not XML"),
        ("a.xml", DAX.replace("<adag", "<!DOCTYPE x><adag"), "document type"),
        ("a.graphml", GRAPHML.replace("runtime", "colour"), "is a run time"),
        ("a.csv", TABLE.replace("map_1;map_2", "map_7"), "map_7"),
        ("a.csv", TABLE.replace("13.8", "nan"), "a run time of"),
        ("a.json", json.dumps({"workflow": {"specification": {"tasks": []}}}), "no run times"),
    ],
)  # fmt: skip
def test_graphs_that_cannot_be_are_one_line(tmp_path, name, text, message) -> None:
    with pytest.raises(TraceFormatError, match=message) as error:
        read(tmp_path / name, text)
    assert "\n" not in str(error.value)


def test_a_workflow_archives_milliseconds(tmp_path) -> None:
    text = "id,ts_submit,runtime,parents,workflow_id\n1,9000,5000,[],7\n2,9000,700,[1],7\n3,1000,10,[],8\n"
    workload = read(tmp_path / "t.csv", text).traces[0].workload
    assert [t.name for t in workload.templates] == ["8", "7"] and workload.arrivals_s == (0.0, 8.0)
    assert workload.templates[1].mean_s == pytest.approx((5.0, 0.7))


def borg(events):
    return [
        {"time": str(int(t * 1e6)), "type": str(k), "collection_id": c, "instance_index": "0"} for t, k, c in events
    ]


def test_instance_events_of_2019_and_task_events_of_2011(tmp_path) -> None:
    events = [(1, 0, "9"), (2, 3, "9"), (5, 6, "9"), (3, 0, "8"), (4, 3, "8"), (5, 7, "8"), (6, 3, "8"), (9, 6, "8")]
    lines = "\n".join(map(json.dumps, borg(events)))
    header = "time,type,collection_id,instance_index\n"
    rows = header + "\n".join(",".join(e.values()) for e in borg(events))
    for name, text in (("a.json", lines), ("a.csv", rows)):
        found = read(tmp_path / name, text)
        workload = found.traces[0].workload
        assert [(t.name, t.mean_s) for t in workload.templates] == [("9", (3.0,)), ("8", (3.0,))], name
        assert workload.arrivals_s == (0.0, 2.0) and found.repairs
    old = "0,,1,0,,0,u,0,1,0.1,0.1,0,0\n1000000,,1,0,5,1,u,0,1,0.1,0.1,0,0\n9000000,,1,0,5,4,u,0,1,0.1,0.1,0,0\n"
    assert read(tmp_path / "part-00000.csv", old).traces[0].workload.templates[0].mean_s == (8.0,)
    with pytest.raises(TraceFormatError, match="finished"):
        read(tmp_path / "b.json", "\n".join(map(json.dumps, borg(events[:2]))))


def test_alibaba_gpu_tasks_and_instances(tmp_path) -> None:
    text = "job_name,task_name,inst_num,status,start_time,end_time,plan_cpu,plan_mem,plan_gpu,gpu_type\n"
    text += "j1,worker,2.0,Terminated,100.0,200.0,600,29,50,MISC\nj1,ps,1.0,Terminated,100.0,220.0,600,29,,MISC\n"
    (job,) = read(tmp_path / "pai_task_table.csv", text).traces[0].workload.templates
    assert [s.tasks for s in job.stages] == [2, 1] and job.mean_s == (100.0, 120.0)
    rows = [("ins_1", "M1", 100, 110), ("ins_2", "M1", 100, 120), ("ins_3", "R2_1", 120, 125)]
    text = "".join(f"{i},{t},j_1,1,Terminated,{a},{b},m_1,1,1,50,60,0.1,0.2\n" for i, t, a, b in rows)
    (job,) = read(tmp_path / "batch_instance.csv", text).traces[0].workload.templates
    assert [s.first[5] for s in job.stages] == [[10.0, 20.0], [5.0]] and job.edges == ((0, 1),)


def test_rolling_event_logs_of_spark_are_one_application(tmp_path) -> None:
    infos = [{"Stage ID": 0, "Parent IDs": []}, {"Stage ID": 1, "Parent IDs": [0]}]
    start = {
        "Event": "SparkListenerJobStart",
        "Job ID": 0,
        "Submission Time": 1,
        "Stage Infos": infos,
        "Stage IDs": [0, 1],
    }
    tasks = [
        {"Event": "SparkListenerTaskEnd", "Stage ID": s, "Task Info": {"Launch Time": 0, "Finish Time": ms},
         "Task End Reason": {"Reason": "Success"}} for s, ms in ((0, 1500), (0, 2500), (1, 4000))
    ]  # fmt: skip
    folder = tmp_path / "eventlog_v2_app-1"
    folder.mkdir()
    for number, events in ((2, tasks[:1]), (10, tasks[1:]), (1, [start])):  # events_10 comes after events_2
        (folder / f"events_{number}_app-1").write_text("\n".join(map(json.dumps, events)) + "\n")
    (folder / "appstatus_app-1").write_text("")
    (job,) = understand(folder).traces[0].workload.templates
    assert [s.first[5] for s in job.stages] == [[1.5, 2.5], [4.0]] and job.edges == ((0, 1),)


@pytest.mark.parametrize(
    ("name", "start", "message"),
    [
        ("a.mat", b"MATLAB 5.0 MAT-file\0", "MATLAB"),
        ("a.pkl", b"\x80\x04\x95", "pickle"),
        ("a.parquet", b"PAR1\0", "Parquet"),
        ("a.xlsx", b"PK\x03\x04", "spreadsheet"),
        ("a.h5", b"\x89HDF\r\n", "HDF5"),
        ("a.npy", b"\x93NUMPY", "numpy"),
        ("a.pcap", b"\xd4\xc3\xb2\xa1", "packet capture"),
        ("app.lz4", b"LZ4Block", "lz4"),
        ("app.zstd", b"\x28\xb5\x2f\xfd", "zstd"),
        ("a.csv", b"time,yaw\xb0\n", "UTF-8"),
    ],
)  # fmt: skip
def test_files_that_are_no_text_are_named_and_refused(tmp_path, name, start, message) -> None:
    for kind in ("", "head", "network", "workload"):
        with pytest.raises(TraceFormatError, match=message) as error:
            read(tmp_path / name, start + bytes(range(100)), ImportOptions(kind))
        assert "\n" not in str(error.value)


def test_a_gzip_bomb_is_refused_by_its_size(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("netllm_gym.traces.reading.MAX_TEXT_BYTES", 2**20)
    with pytest.raises(TraceFormatError, match="larger than 1 MiB unpacked"):
        read(tmp_path / "a.csv.gz", gzip.compress(b"0 1\n" * 2**19), ImportOptions("network"))
