"""Every reader of files from outside, as a function of bytes, with whole files to start from."""

# ruff: noqa: E501 (whole files as they are)

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from netllm_gym.arrays import read_array, read_arrays
from netllm_gym.traces.head.fields import EXPLICIT
from netllm_gym.traces.head.readers import read_head_csv, read_viewer_rows
from netllm_gym.traces.head.viewerjson import read_viewer_json
from netllm_gym.traces.jobs.readers.alibaba import read_alibaba
from netllm_gym.traces.jobs.readers.graphs import read_graphs
from netllm_gym.traces.jobs.readers.taskgraph import read_task_table, workload_of
from netllm_gym.traces.jobs.readers.taskjson import rows_of_json
from netllm_gym.traces.jobs.readers.tpch import read_profile
from netllm_gym.traces.jobs.readers.wfcommons import read_wfcommons
from netllm_gym.traces.network.user import FORMATS, guess_format
from netllm_gym.traces.user import ImportOptions, understand
from netllm_gym.traces.video.mpd import read_mpd, read_sidx
from netllm_gym.traces.video.readers import read_manifest, read_video_json
from netllm_gym.traces.video.tiles import read_tile_table
from tests.fuzz.files import scratch_folder, through_a_file
from tests.fuzz.kept import KEPT

Target = Callable[[bytes], object]
_FOLDER = scratch_folder("fuzz-")


def _npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _npy(value: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(value, dtype=object) if isinstance(value, dict) else np.asarray(value), allow_pickle=True)
    return out.getvalue()


def _rows(header: str, *rows: str) -> bytes:
    return "\n".join([header, *rows]).strip().encode() + b"\n"


def packed(kind: str, data: bytes) -> bytes:
    """Return an archive of one file."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("v/u.csv", data)
    else:
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            member = tarfile.TarInfo("v/u.csv")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


T = range(12)
NETWORK = [
    _rows("", *(f"{i} {1.5 + i % 3}" for i in T)),
    _rows("time_s,throughput_mbps", *(f"{i},{1.5 + i % 3}" for i in T)),
    _rows("Timestamp;DL Throughput [Mbit/s];session_id", *(f"2023-05-01T10:00:{i:02};{i % 3};{i // 6}" for i in T)),
    _rows("", *(f"{1.68e12 + i * 1000:.0f},{1500 + i}" for i in T)),
    _rows("", *(f"{i},1.87 Mbits/sec" for i in T)),
    _rows("Device: X\n\ntime,direction,ue_id,rate", "[ms],,,[kB/s]", *(f'{i // 2},dl,{i % 2},"{i},5"' for i in T)),
    _rows(
        "sep=;\nDate;rx_bytes;interface", *(f'"01/0{1 + i // 4}/2021, 4:0{i // 2} PM";{i * 999};eth{i % 2}' for i in T)
    ),
    _rows("No.,Time,Source,Protocol,Length", *(f'{i},{i * 0.1:.1f},"10.0.0.{i % 2}",TCP,1500' for i in T)),
    _rows("time,throughput_mbps", *(f"23:59:{i + 50},{i}" for i in range(10))).decode().encode("utf-16"),
    _rows("", *(f"{1600000000 + i} {i * 1000} 59.9 10.7 {125000 * (i % 3)} 1000" for i in T)),
    _rows("", *(str(i * 3) for i in range(40))),
    _rows("Timestamp,DL_bitrate", *(f"2019.12.16_13.40.{i:02},{i * 100}" for i in T)),
    _rows("time (ns GMT),session_id,index,delivery_rate", *(f"16{i:017},s,1,{i * 1000}" for i in T)),
    _rows(
        "[ ID] Interval Transfer Bitrate",
        *(f"[  5]  {i}.00-{i + 1}.00 sec 1.2 MBytes  {10 + i}.5 Mbits/sec" for i in T),
    ),
    json.dumps(
        {"start": {}, "intervals": [{"sum": {"start": i, "end": i + 1, "bits_per_second": 1e6}} for i in T]}
    ).encode(),
    json.dumps([{"duration_ms": 1000, "bandwidth_kbps": 300 + i, "latency_ms": 80} for i in T]).encode(),
    json.dumps({"timestamps": list(T), "bandwidths": [1.5] * 12}).encode(),
    json.dumps({"uplink": {"trace_pattern": [{"duration": 1000, "capacity": 300}] * 3}}).encode(),
    b"\n".join(
        json.dumps({"Key": "measurement", "Value": {"AppInfo": {"ElapsedTime": 1000 + i, "NumBytes": i}}}).encode()
        for i in T
    ),
]
NETWORK += [
    b"# mahimahi mm-link\n" + b"".join(b"%d # 1504\n%d - 1504 3\n" % (i * 100, i * 100) for i in T),
    _rows("duration_ms,bandwidth_kbps", *(f"1000,{300 + i}" for i in T)),
    json.dumps({"bandwidth_mbps": [8.0] * 12, "interval_ms": 1000}).encode(),
    b"\n".join(
        json.dumps({"event": "interval", "data": {"sum": {"start": i, "end": i + 1, "bits_per_second": 8e6}}}).encode()
        for i in T
    ),
]
HEAD = [
    b"@relation g\n@attribute time INTEGER\n@attribute x_head NUMERIC\n@attribute y_head NUMERIC\n@data\n"
    + _rows("", *(f"{i * 100000},{900 + i},480" for i in T)),
    _rows("Time;Yaw;Pitch", *(f"{i},5;{i},0;1,5" for i in T)),
    _rows("timestamp frame q0 q1 q2 q3", *(f"{i / 10} {i} 1 0 0 0" for i in T)),
    _rows("timestamp HeadRX HeadRY HeadRZ", *(f"{i / 10} 1 {i} 0" for i in T)),
    _rows("time,yaw,pitch,roll", *(f"{i / 5},{i * 3},{i},0" for i in T)),
    _rows("", *(f"{i / 5},{i * 3},{i},0" for i in T)),
    _rows(
        "Timestamp,PlaybackTime,UnitQuaternion.x,UnitQuaternion.y,UnitQuaternion.z,UnitQuaternion.w",
        *(f"2016-12-27 08:22:2{i % 10}.1,{i / 9},0,{i / 99},0,{(1 - (i / 99) ** 2) ** 0.5}" for i in T),
    ),
    _rows("", *(f"{i / 5},0,0.1,0,0.995,0,0,1" for i in T)),
    _rows("Idx, longitude, latitude, start timestamp", *(f"{i},0.{i + 10},0.5,{i * 200}" for i in T)),
    _rows("ms,x,y", *(f"{i * 100},{1900 + i},{900 + i}" for i in T)),
    _rows("user,video,t,theta,phi", *(f"{i // 6},lake,{i / 5},3.1,1.5" for i in T)),
    _rows("", *(f"frame,{i},forward,0.5,0.4,eye,0.5,0.5" for i in T)),
    _rows("", " ".join(str(i / 10) for i in range(30)), " ".join(["0.1"] * 30), " ".join(["1.0"] * 30)),
]
VIEWERS = _rows(
    "", " ".join(str(i / 10) for i in range(30)), *(" ".join([x] * 20) for x in ("0.1", "1.0", "-0.2", "3.0"))
)
SACCT = _rows(
    "JobID|Submit|Start|End|Elapsed|NCPUS|State",
    *(f"{i}|2024-01-01T00:0{i % 10}:00|2024-01-01T01:00:00|2024-01-01T02:00:00|01:00:00|{i}|COMPLETED" for i in T),
)
BATSIM = json.dumps(
    {
        "jobs": [{"id": i, "subtime": i, "res": 2, "profile": "p"} for i in T],
        "profiles": {"p": {"type": "delay", "delay": 5}},
    }
).encode()
HEAD_JSON = [
    json.dumps(
        {
            "data": [
                {
                    "filename": "6.mp4",
                    "pitch_yaw_roll_data_hmd": [{"pitch": 1, "roll": 0, "sec": i / 10, "yaw": i} for i in T],
                }
            ]
        }
    ).encode(),
    json.dumps(
        {
            "u1": {"time": list(T), "yaw": list(T), "pitch": [0] * 12},
            "u2": {"time": [0, 1], "yaw": [0, 1], "pitch": [0, 1]},
        }
    ).encode(),
    b"\n".join(json.dumps({"t": i / 10, "q": {"x": 0, "y": 0, "z": 0, "w": 1}}).encode() for i in T),
]
FLOW = {
    "workflow": {
        "specification": {
            "tasks": [{"name": "a_1", "id": "a", "parents": []}, {"name": "b_1", "id": "b", "parents": ["a"]}]
        },
        "execution": {"tasks": [{"id": "a", "runtimeInSeconds": 1}, {"id": "b", "runtimeInSeconds": 2.5}]},
    }
}
SPARK = b"\n".join(
    json.dumps(event).encode()
    for event in (
        {
            "Event": "SparkListenerJobStart",
            "Job ID": 0,
            "Submission Time": 1,
            "Stage IDs": [0],
            "Stage Infos": [{"Stage ID": 0, "Parent IDs": []}],
        },
        {
            "Event": "SparkListenerTaskEnd",
            "Stage ID": 0,
            "Task Info": {"Launch Time": 1, "Finish Time": 900},
            "Task End Reason": {"Reason": "Success"},
        },
    )
)
GRAPHS = [
    b'<adag><job id="a" name="m_1" runtime="1.5"/><job id="b" name="r_1" runtime="2"/>'
    b'<child ref="b"><parent ref="a"/></child></adag>',
    b'<graphml><key id="d0" for="node" attr.name="runtime"/><graph><node id="a"><data key="d0">1.5</data></node>'
    b'<node id="b"><data key="d0">2</data></node><edge source="a" target="b"/></graph></graphml>',
    b'digraph G { rankdir=LR; node [shape=box, runtime=1]; a [runtime="2.5"]; subgraph c { b } a -> {b c} -> "d" [x=1]; }',
    b"3\n0 13 0\n1 13 0\n2 3 2 0 1\n",
    b'{"nodes": [{"id": "a", "runtime": 1}, {"id": "b", "duration_ms": 2}], "links": [{"source": "a", "target": "b"}]}',
]
TASKS = b"workflow_id,task_id,runtime_s,parents,submit_time\nw,1,13.5,,5\nw,2,13.8,[],6\nw,3,3.5,1;2,7\n"
TASK_JSON = [
    b'{"jobs": [{"id": 1, "arrival_time": 5, "tasks": [{"id": "a", "duration": "5s", "children": ["b"]},'
    b' {"id": "b", "start_time": 1, "end_time": "2020-01-01T00:00:09Z", "children": [], "num_tasks": 3}]}]}',
    b'{"a": {"duration_ms": 9, "dependencies": []}, "b": {"duration_ms": 8, "dependencies": [{"id": "a"}]}}',
]
BORG = [
    b"\n".join(
        json.dumps({"time": str(t), "type": str(k), "collection_id": "9", "instance_index": "0"}).encode()
        for t, k in ((0, 0), (10, 3), (500, 6))
    ),
    b"time,type,collection_id,instance_index\n1000000,SCHEDULE,9,0\n5000000,FINISH,9,0\n",
    b"0,,1,0,,0,u,0,1,0.1,0.1,0,0\n10,,1,0,5,1,u,0,1,0.1,0.1,0,0\n900,,1,0,5,4,u,0,1,0.1,0.1,0,0\n",
]
BATCH = b"M1,2,j_2,1,Terminated,100,110,100,0.5\nR2_1,3,j_2,1,Terminated,110,110,100,0.5\ntask_x,1,j_1,1,Terminated,90,95,1,1\n"
SWF = _rows("; Version: 2", *(f"{i} {i * 10} 5 {100 + i} 4 -1 -1 4 -1 -1 1 1 1 1 1 1 -1 -1" for i in T))
_MPD = (
    b'<MPD mediaPresentationDuration="PT8S"><Period><AdaptationSet mimeType="video/mp4">%s<Representation bandwidth="9"/>'
    b'<Representation bandwidth="99"/></AdaptationSet></Period></MPD>'
)
MPD = [
    _MPD
    % b'<SegmentTemplate timescale="2"><SegmentTimeline><S d="4" r="1"/><S d="4" r="-1"/></SegmentTimeline></SegmentTemplate>',
    _MPD % b'<SegmentList duration="4"><SegmentURL mediaRange="0-9"/><SegmentURL mediaRange="10-29"/></SegmentList>',
    _MPD % b'<SegmentTemplate duration="2" timescale="1"/>',
    _MPD % b'<SegmentBase indexRange="0-99"/>',
]
SIDX = struct.pack(">I4sIII", 44, b"sidx", 0, 1, 2) + struct.pack(">II", 0, 0) + struct.pack(">HHIII", 0, 1, 9, 4, 0)
VIDEO = json.dumps({"bitrates_kbps": [300, 750], "chunk_s": 4, "chunk_bytes": [[10, 20], [11, 21]]}).encode()
DURATIONS = {0: {"fresh_durations": {2: [5.0]}, "first_wave": {2: [5.0, 7.0]}, "rest_wave": {2: [np.float64(3.0)]}}}
TILES = _npz(grid=np.array([2, 2]), chunk_s=np.array(1.0), ladder_mbps=np.array([1, 5]), v1=np.ones((2, 2, 4)))
GGUF_FILE = (
    b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 32)
    + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 2) + struct.pack("<II", 1, 2)
    + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 8, 0, 0) + bytes(96)
)  # fmt: skip


def _gguf(path: Path) -> object:
    from netllm_gym.agents.llm.gguf import GGUF

    found = GGUF(path)
    return [found.tensor(name) for name in list(found.tensors)[:3]]


def _network(data: bytes) -> object:
    return FORMATS[guess_format(data, "f")](data, "f")


def _each(name: str) -> Target:
    return lambda data: FORMATS[name](data, "f")


def _columns(columns: str) -> Target:
    return lambda data: read_head_csv(data, "u", "v", columns)


def _graph(kind: str) -> Target:
    return lambda data: read_graphs(data, "f", kind)


_ADJACENCY = _npy(np.zeros((1, 1)))
# name -> (reader, whole files); of what the package writes itself, the files are made when first asked for
TARGETS: dict[str, tuple[Target, list[bytes] | Callable[[], list[bytes]]]] = {
    **KEPT,
    "network": (_network, NETWORK),
    **{f"network-{name}": (_each(name), NETWORK) for name in FORMATS},
    **{f"head-{name}": (_columns(name), HEAD) for name in EXPLICIT},
    "any-csv": (through_a_file(_FOLDER / "a/b.csv", lambda p: understand(p)), NETWORK + HEAD + [BATCH, SWF]),
    "any-json": (through_a_file(_FOLDER / "b/c.json", lambda p: understand(p)), NETWORK[9:] + HEAD_JSON + [json.dumps(FLOW).encode()]),
    "any-nested": (through_a_file(_FOLDER / "c/v/u.csv", lambda p: understand(p.parent.parent)), HEAD),
    "any-head": (through_a_file(_FOLDER / "d/u.txt", lambda p: understand(p, ImportOptions("head"))), HEAD + HEAD_JSON),
    "head-json": (lambda data: read_viewer_json(data, "f"), HEAD_JSON),
    "wfcommons": (lambda data: read_wfcommons(data, "f"), [json.dumps(FLOW).encode()]),
    "alibaba": (lambda data: read_alibaba(data, "f"), [BATCH]),
    "spark": (through_a_file(_FOLDER / "application_1", lambda p: understand(p, ImportOptions("workload", "spark"))), [SPARK]),
    **{
        f"graph-{name}": (_graph(name), [GRAPHS[at]])
        for at, name in enumerate(("dax", "graphml", "dot", "stg", "node-link"))
    },
    "any-job": (through_a_file(_FOLDER / "e/j.csv", lambda p: understand(p)), [*GRAPHS, TASKS, *BORG, BATCH]),
    "task-table": (lambda data: read_task_table(data, "f", {}), [TASKS]),
    "task-json": (lambda data: workload_of(rows_of_json(data, "f"), "f", {}), TASK_JSON),
    "borg": (through_a_file(_FOLDER / "f/j.json", lambda p: understand(p, ImportOptions("workload", "borg"))), BORG),
    "packed": (through_a_file(_FOLDER / "g/v_u.csv.gz", lambda p: understand(p)), [gzip.compress(x, mtime=0) for x in (HEAD[0], NETWORK[0])]),
    "job-table": (through_a_file(_FOLDER / "m.csv", lambda p: understand(p, ImportOptions("workload", "job-table"))), [SACCT]),
    "batsim": (through_a_file(_FOLDER / "n.json", lambda p: understand(p, ImportOptions("workload", "batsim"))), [BATSIM]),
    "rows-of-viewers": (lambda data: read_viewer_rows(data, "f"), [VIEWERS]),
    "archives": (through_a_file(_FOLDER / "h/a.zip", lambda p: understand(p)), [packed(kind, HEAD[0]) for kind in ("zip", "tar")]),
    "swf": (through_a_file(_FOLDER / "l.swf", lambda p: understand(p, ImportOptions("workload", "swf"))), [SWF]),
    "tpch": (lambda data: read_profile(_ADJACENCY, data, "q", "f"), [_npy(DURATIONS)]),
    "mpd": (lambda data: read_mpd(data, "f", _FOLDER), MPD),
    "sidx": (lambda data: read_sidx(data, "f"), [SIDX]),
    "video-json": (lambda data: read_video_json(data, "f"), [VIDEO]),
    "sizes": (through_a_file(_FOLDER / "sizes/size_0", lambda p: read_manifest(p.parent, chunk_s=4.0)), [b"100\n200\n300\n"]),
    "tiles": (through_a_file(_FOLDER / "t.npz", read_tile_table), [TILES]),
    "npy": (lambda data: read_array(data, "f", 2**20), [_npy(np.arange(6.0).reshape(2, 3)), _npy(np.array(["a", "bc"]))]),
    "npz": (lambda data: read_arrays(io.BytesIO(data), "f", 2**22), [TILES]),
    "gguf": (through_a_file(_FOLDER / "m.gguf", _gguf), [GGUF_FILE]),
}  # fmt: skip


@cache
def whole(name: str) -> list[bytes]:
    """Return the whole files of a reader; what the package writes is written once, before mutated files lie in its place."""
    files = TARGETS[name][1]
    return files() if callable(files) else files
