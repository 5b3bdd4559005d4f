"""What further tools write: each sample is a few lines of a file that was misread, or refused without need."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.user import read_workload
from netllm_gym.traces.moments import calendar_seconds, parse_time
from netllm_gym.traces.user import understand

YAW = np.array([40.0 * math.sin(i / 10) for i in range(60)])
PITCH = np.array([10.0 + 5.0 * math.sin(i / 15) for i in range(60)])
DIAMOND = [("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["b", "c"])]
PAIRS = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


def _read(tmp_path: Path, text: str, name: str = "log.csv") -> Any:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return understand(tmp_path / name)


def _unity(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    return Rotation.from_euler("YXZ", np.column_stack([yaw, -pitch, 0 * yaw]), degrees=True).as_quat()


# --- clocks
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [
        (20210131235930, 20210201000030, 60.0),
        (202101312359, 202102010000, 60.0),
        (20210131235930250, 20210131235930750, 0.5),
        (637450704000000000, 637450704010000000, 1.0),  # .NET
        (132539328000000000, 132539328010000000, 1.0),  # Windows
    ],
)
def test_numbers_that_write_a_calendar_are_no_count(first, second, seconds) -> None:
    found = calendar_seconds(np.array([first, second, np.nan]))
    assert found is not None
    assert found[1] - found[0] == pytest.approx(seconds, abs=5e-3)
    assert np.isnan(found[2])
    assert 1.6e9 < found[0] < 1.62e9


@pytest.mark.parametrize("values", [[20211331000000.0, 20211331000001.0], [1.6e12, 1.6e12 + 20], [0.0, 1.0], [2e13]])
def test_counts_are_no_calendar(values) -> None:
    assert calendar_seconds(np.array(values)) is None


@pytest.mark.parametrize(
    "cell",
    ["20210101T100000Z", "Fri, 01 Jan 2021 10:00:00 +0000", "01/Jan/2021:10:00:00 +0000",
     "Jan  1, 2021 10:00:00.000000000 UTC"],
)  # fmt: skip
def test_moments_of_servers_and_captures(cell: str) -> None:
    moment = parse_time(cell)
    assert moment is not None
    assert moment[0] == 1609495200.0


def test_the_micro_sign_names_a_unit(tmp_path: Path) -> None:
    rows = "".join(f"{1000 * i},{yaw},{pitch},0\n" for i, (yaw, pitch) in enumerate(zip(YAW, PITCH, strict=True)))
    for sign in "\u00b5\u03bc":
        head = _read(tmp_path, f"time ({sign}s),yaw,pitch,roll\n" + rows).traces[0]
        assert head.duration_s < 0.5
        link = _read(tmp_path, f"time ({sign}s),Mbit/s\n" + "".join(f"{20_000 * i},5\n" for i in range(9))).traces[0]
        assert float(link.duration_s.sum()) == pytest.approx(0.16)


# --- network
# -------------------------------------------------------------------------------------------------


def test_what_iperf_sent_is_not_added_to_what_it_received(tmp_path: Path) -> None:
    lines = "".join(
        f"[  5][TX-C]   {i}.00-{i + 1}.00   sec  1.00 MBytes  8.39 Mbits/sec    0   100 KBytes\n"
        f"[  7][RX-C]   {i}.00-{i + 1}.00   sec  10.0 MBytes  83.9 Mbits/sec\n" for i in range(4)
    )  # fmt: skip
    assert _read(tmp_path, lines, "bidir.txt").traces[0].throughput_mbps == pytest.approx([83.9] * 4)


def test_iperf_counts_bytes_by_1024(tmp_path: Path) -> None:
    lines = "".join(f"[  5]   {i}.00-{i + 1}.00   sec  1.25 MBytes  1.25 MBytes/sec\n" for i in range(4))
    assert _read(tmp_path, lines, "log.txt").traces[0].mean_mbps == pytest.approx(1.25 * 8 * 1.048576)


def test_gnettrack_between_tabs_has_its_unit(tmp_path: Path) -> None:
    rows = "".join(f"2021.01.18_12.00.{i:02d}\t51.8\t{60 + i % 3}\t9\n" for i in range(12))
    found = _read(tmp_path, "Timestamp\tLatitude\tDL_bitrate\tUL_bitrate\n" + rows)
    assert found.traces[0].mean_mbps == pytest.approx(0.061, abs=1e-3)


@pytest.mark.parametrize(
    "header", ["time,lat,lng,DL[Mbit/s],UL[Mbit/s]", "time_utc,lat,long,download_mbit,upload_mbit"]
)
def test_places_of_a_drive_are_no_directions_of_view(tmp_path: Path, header: str) -> None:
    rows = "".join(f"2021-01-01 10:00:{i:02d},48.1,16.2,{50 + i},9\n" for i in range(12))
    found = _read(tmp_path, f"{header}\n{rows}")
    assert found.kind == "network"
    assert found.traces[0].throughput_mbps[:2] == pytest.approx([50.0, 51.0])


def test_a_frame_rate_beside_a_yaw_is_still_a_head_log(tmp_path: Path) -> None:
    rows = "".join(f"{i / 10},{yaw},{pitch},72\n" for i, (yaw, pitch) in enumerate(zip(YAW, PITCH, strict=True)))
    assert _read(tmp_path, "time,yaw,pitch,refresh_hz_rate\n" + rows).kind == "head"


def test_the_servers_side_of_ndt7(tmp_path: Path) -> None:
    samples = [
        {"BBRInfo": {"BW": 9_000_000, "ElapsedTime": 250_000 * i},
         "TCPInfo": {"BytesAcked": 1_000_000 * i, "ElapsedTime": 250_000 * i}} for i in range(1, 9)
    ]  # fmt: skip
    found = _read(tmp_path, json.dumps({"Download": {"ServerMeasurements": samples}}), "ndt7.json")
    assert found.traces[0].throughput_mbps == pytest.approx([32.0] * 8)


def test_an_uplink_beside_its_downlink_is_left_out(tmp_path: Path) -> None:
    for way, gap in (("up", 12), ("down", 6)):
        (tmp_path / f"drive.{way}").write_text("\n".join(str(i * gap) for i in range(200)))
    found = understand(tmp_path)
    assert [trace.name for trace in found.traces] == ["drive.down"]
    assert any("uplink" in sentence for sentence in found.sentences())
    (tmp_path / "drive.down").unlink()
    assert [trace.name for trace in understand(tmp_path).traces] == ["drive.up"]


# --- head motion
# -------------------------------------------------------------------------------------------------


def _close(found: Any) -> None:
    angles = found.traces[0].angles_deg
    assert angles[0] == pytest.approx([YAW[0], PITCH[0], 0], abs=0.3)
    assert angles[10] == pytest.approx([YAW[20], PITCH[20], 0], abs=0.6)


@pytest.mark.parametrize("key", ["quat", "quat_wxyz", "rotation (w, x, y, z)"])
def test_four_numbers_under_one_name_may_begin_with_w(tmp_path: Path, key: str) -> None:
    turns = _unity(YAW, PITCH)[:, [3, 0, 1, 2]].tolist()
    _close(_read(tmp_path, json.dumps([{"t": i / 10, key: q} for i, q in enumerate(turns)]), "u.json"))
    cells = "".join(f"{i / 10};({', '.join(f'{x:.5f}' for x in q)})\n" for i, q in enumerate(turns))
    _close(_read(tmp_path, f"t;{key.replace(', ', '')}\n{cells}"))


def test_a_gaze_inside_the_head_does_not_stand_for_it(tmp_path: Path) -> None:
    names = "time,rot_x,rot_y,rot_z,rot_w,gaze_x,gaze_y,gaze_z"
    rows = "".join(f"{i / 10},{','.join(map(str, q))},0,0,1\n" for i, q in enumerate(_unity(YAW, PITCH)))
    _close(_read(tmp_path, f"{names}\n{rows}"))


def test_unreals_text_tells_its_axes(tmp_path: Path) -> None:
    rows = "".join(
        f'{i / 10},"P={p:.4f} Y={y:.4f} R=0.0000"\n' for i, (y, p) in enumerate(zip(YAW, PITCH, strict=True))
    )
    _close(_read(tmp_path, "Time,Rotation\n" + rows))
    turns = Rotation.from_euler("ZYX", np.column_stack([YAW, -PITCH, 0 * YAW]), degrees=True).as_quat()
    rows = "".join(
        f"{i / 10};X=10.0 Y=-3.0 Z=160.5;" + " ".join(f"{c}={x:.6f}" for c, x in zip("XYZW", q, strict=True)) + "\n"
        for i, q in enumerate(turns)
    )
    _close(_read(tmp_path, "Time;Location;Rotation\n" + rows))


# --- workloads
# -------------------------------------------------------------------------------------------------


def _is_diamond(path: Path) -> None:
    job = read_workload(path).templates[0]
    assert len(job.stages) == 4
    assert job.edges == ((0, 1), (0, 2), (1, 3), (2, 3))


def test_edges_that_stand_at_their_parents_alone(tmp_path: Path) -> None:
    children = {key: [child for parent, child in PAIRS if parent == key] for key, _ in DIAMOND}
    tasks = [{"name": key, "id": key, "children": children[key], "runtimeInSeconds": 1} for key, _ in DIAMOND]
    path = tmp_path / "w.json"
    path.write_text(json.dumps({"name": "w", "schemaVersion": "1.4", "workflow": {"tasks": tasks}}))
    _is_diamond(path)
    tasks[0]["children"] = ["nobody"]
    path.write_text(json.dumps({"name": "w", "schemaVersion": "1.4", "workflow": {"tasks": tasks}}))
    with pytest.raises(TraceFormatError, match="nobody"):
        read_workload(path)


@pytest.mark.parametrize("shape", ["pairs", "adjacency", "elements", "from"])
def test_graphs_in_json(tmp_path: Path, shape: str) -> None:
    nodes = [{"id": key, "runtime": at + 1} for at, (key, _) in enumerate(DIAMOND)]
    inside: Any = {
        "pairs": {"tasks": nodes, "edges": PAIRS},
        "adjacency": {"directed": True, "nodes": nodes,
                      "adjacency": [[{"id": c} for p, c in PAIRS if p == key] for key, _ in DIAMOND]},
        "elements": {"elements": {"nodes": [{"data": node} for node in nodes],
                                  "edges": [{"data": {"source": p, "target": c}} for p, c in PAIRS]}},
        "from": {"nodes": nodes, "links": [{"from": p, "to": c} for p, c in PAIRS]},
    }[shape]  # fmt: skip
    (tmp_path / "g.json").write_text(json.dumps(inside))
    _is_diamond(tmp_path / "g.json")


def test_undirected_graphs_say_nothing_of_order(tmp_path: Path) -> None:
    nodes = [{"id": 0, "runtime": 1}, {"id": 1, "runtime": 2}]
    (tmp_path / "g.json").write_text(
        json.dumps({"directed": False, "nodes": nodes, "links": [{"source": 0, "target": 1}]})
    )
    (tmp_path / "g.graphml").write_text(
        '<graphml><key id="d" for="node" attr.name="runtime"/><graph edgedefault="undirected"><node id="a">'
        '<data key="d">1</data></node></graph></graphml>'
    )
    for name in ("g.json", "g.graphml"):
        with pytest.raises(TraceFormatError, match="undirected"):
            read_workload(tmp_path / name)


def test_a_graphml_key_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "g.graphml").write_text(
        '<graphml><key id="d" for="node" attr.name="runtime"><default>5</default></key><graph edgedefault="directed">'
        '<node id="a"><data key="d">1</data></node><node id="b"/><edge source="a" target="b"/></graph></graphml>'
    )
    assert [stage.all_samples() for stage in read_workload(tmp_path / "g.graphml").templates[0].stages] == [
        [1.0],
        [5.0],
    ]


def test_a_graph_that_ran_twice_is_two_jobs(tmp_path: Path) -> None:
    rows = "".join(f'd,{run},{key},"{parents}",1\n' for run in ("r1", "r2") for key, parents in DIAMOND)
    (tmp_path / "runs.csv").write_text("dag_id,run_id,task_id,upstream_task_ids,duration\n" + rows)
    _is_diamond(tmp_path / "runs.csv")
    assert [job.name for job in read_workload(tmp_path / "runs.csv").templates] == ["d/r1", "d/r2"]


def test_a_grids_log_has_the_fields_of_a_cluster_in_front(tmp_path: Path) -> None:
    rows = "".join(
        f"{i}\t{1000 + 10 * i}\t5\t{100 + i}\t2" + "\t-1" * 6 + "\tuser1" + "\t-1" * 17 + "\n" for i in range(8)
    )
    (tmp_path / "grid.gwf").write_text("# JobID SubmitTime WaitTime RunTime NProcs\n" + rows)
    found = read_workload(tmp_path / "grid.gwf")
    assert found.arrivals_s is not None
    assert found.arrivals_s[:2] == (0.0, 10.0)
    assert (found.templates[1].stages[0].tasks, found.templates[1].stages[0].all_samples()) == (2, [101.0])


def test_jobs_of_hadoop_one_after_the_other(tmp_path: Path) -> None:
    def task(begin: int, end: int, status: str = "SUCCESS") -> dict[str, Any]:
        return {"taskStatus": status, "startTime": begin - 900, "finishTime": end,
                "attempts": [{"result": status, "startTime": begin, "finishTime": end}]}  # fmt: skip

    jobs = [
        {"jobID": f"job_{k}", "submitTime": 1_240_335_960_000 + 10_000 * k, "reduceTasks": [task(40_000, 56_000)],
         "mapTasks": [task(10_000, 30_000), task(10_000, 31_000), task(10_000, 12_000, "FAILED")]} for k in range(2)
    ]  # fmt: skip
    (tmp_path / "rumen.json").write_text("\n".join(json.dumps(job, indent=1) for job in jobs))
    found = understand(tmp_path / "rumen.json")
    workload = found.traces[0].workload
    assert workload.arrivals_s == (0.0, 10.0)
    assert [stage.all_samples() for stage in workload.templates[0].stages] == [[20.0, 21.0], [16.0]]
    assert workload.templates[0].edges == ((0, 1),)
    assert found.repairs == {"tasks that did not succeed left out": 2}
    (tmp_path / "rumen.json").write_text(json.dumps({**jobs[0], "mapTasks": 3}))
    with pytest.raises(TraceFormatError, match="no list"):
        understand(tmp_path / "rumen.json")


# --- more of networks
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("start_ms,end_ms,bytes", "{ms},{ms500},250000"),
        ("request_time,duration_ms,size_bytes", "{s},500,250000"),
        ("time,download_time_ms,chunk_size_bytes,type", "{s},500,250000,video"),
    ],
)
def test_the_bytes_of_a_download_came_while_it_ran(tmp_path: Path, header: str, row: str) -> None:
    rows = [row.format(ms=2000 * i, ms500=2000 * i + 500, s=2 * i) for i in range(8)]
    found = _read(tmp_path, "\n".join([header, *rows]))
    assert found.traces[0].throughput_mbps == pytest.approx([4.0] * 8)
    assert found.traces[0].duration_s == pytest.approx([0.5] * 8)
    assert any("a download a row" in sentence for sentence in found.sentences())


def test_downloads_side_by_side_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i + 3},250000\n" for i in range(8))
    with pytest.raises(TraceFormatError, match="side by side"):
        _read(tmp_path, "start_s,end_s,bytes\n" + rows)


def test_how_long_a_download_took_is_no_rate(tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError):
        _read(tmp_path, "time,download_time_ms\n" + "".join(f"{i},{1850 + i % 3}\n" for i in range(9)))


def test_the_newest_row_may_stand_first(tmp_path: Path) -> None:
    found = _read(tmp_path, "Date,Mbps\n" + "".join(f"2021-01-01 10:00:{50 - i},{i}\n" for i in range(9)))
    assert found.traces[0].throughput_mbps == pytest.approx([8, 7, 6, 5, 4, 3, 2, 1])
    assert any("newest" in sentence for sentence in found.sentences())


@pytest.mark.parametrize(
    "text",
    [
        "| time_s | mbps |\n|---:|:---|\n| 0 | 5 |\n| 1 | 6 |\n| 2 | 7 |\n",
        " time_s | mbps \n--------+------\n      0 |    5\n      1 |    6\n      2 |    7\n(3 rows)\n",
        "+--------+------+\n| time_s | mbps |\n+--------+------+\n| 0 | 5 |\n| 1 | 6 |\n| 2 | 7 |\n+--------+------+\n",
    ],
)
def test_tables_drawn_with_bars(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path, text).traces[0].throughput_mbps == pytest.approx([5.0, 6.0])


def test_a_drive_in_json_is_no_head_log(tmp_path: Path) -> None:
    samples = [{"timestamp": 1.6e9 + i, "latitude": 48.1, "longitude": 16.2, "download_mbps": 20 + i} for i in range(9)]
    assert _read(tmp_path, json.dumps(samples), "drive.json").kind == "network"


def test_a_head_that_was_lost_at_first_is_still_one(tmp_path: Path) -> None:
    samples = [{"t": i / 10, "yaw": float(y) if i else None, "pitch": 0.0} for i, y in enumerate(np.resize(YAW, 200))]
    found = _read(tmp_path, "\n".join(map(json.dumps, samples)), "u.jsonl")
    assert found.kind == "head"
    assert found.repairs == {"rows without a whole sample left out": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10:00:00.123456 IP 1.2.3.4.443 > 5.6.7.8.5: Flags [.], length 1448\n" * 9, "tcpdump's text.*tshark"),
        ("version 2\nrun General-0\nvector 0 Net.sink throughput:vector ETV\n0\t1\t0.1\t1e6\n", "OMNeT"),
        ("Linux 5.4 (host) \t01/01/21 \t_x86_64_\n\n12:00:01 IFACE rxkB/s\n12:00:02 eth0 1250.00\n", "sadf -d"),
        ("x-pegasus: {apiLang: python}\nname: diamond\njobs:\n- type: job\n", "without run times"),
        ("# a comment\nJOB A a.sub\nJOB B b.sub\nPARENT A CHILD B\n", "DAGMan"),
        ("graph [\n directed 1\n node [ id 0 runtime 1.0 ]\n]\n", "GML.*GraphML"),
        ('{"traceEvents": [{"name": "a", "ph": "X", "ts": 0, "dur": 1000}]}', "timeline"),
        ("# " * 9000 + "x", "known|rows"),  # no time is lost on it
    ],
)
def test_what_other_tools_write_is_named_with_its_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        _read(tmp_path, text, "file.txt")


def test_sysstats_table_is_read(tmp_path: Path) -> None:
    rows = "".join(f"h;1;2021-01-01 00:00:0{i} UTC;eth0;9.0;9.0;1250.00;12.00\n" for i in range(6))
    found = _read(tmp_path, "# hostname;interval;timestamp;IFACE;rxpck/s;txpck/s;rxkB/s;txkB/s\n" + rows)
    assert found.traces[0].mean_mbps == pytest.approx(10.24)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["9'999", "10'500"], [9.999, 10.5]),
        (["9\u202f999,0", "10\u202f500,0"], [9.999, 10.5]),
        (["9\u2019999.5", "8000"], [9.9995, 8.0]),
        (["999,9", "1.050,5"], [0.9999, 1.0505]),
    ],
)
def test_marks_between_thousands(tmp_path: Path, cells: list[str], expected: list[float]) -> None:
    found = _read(tmp_path, "time_s;kbit/s\n" + "".join(f"{i};{cells[i % 2]}\n" for i in range(9)))
    assert found.traces[0].throughput_mbps[:2] == pytest.approx(expected)


# --- ids, names and packed files
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1_234_567, 1_234_567_890_123_456_789])
@pytest.mark.parametrize("rows", [9, 600])  # few rows and many take different ways
def test_long_ids_tell_sessions_and_viewers_apart(tmp_path: Path, first: int, rows: int) -> None:
    text = "".join(f"{first + k},{i},{10 * (k + 1)}\n" for i in range(rows) for k in range(2))
    links = _read(tmp_path, "session_id,time_s,mbps\n" + text).traces
    assert [trace.mean_mbps for trace in links] == pytest.approx([10.0, 20.0])
    assert [trace.name.partition("#")[2] for trace in links] == [str(first), str(first + 1)]
    heads = _read(tmp_path, "user_id,time_s,yaw,pitch,roll\n" + text.replace("\n", ",0,0\n")).traces
    assert {trace.user: round(float(trace.angles_deg[0, 0])) for trace in heads} == {str(first): 10, str(first + 1): 20}


@pytest.mark.parametrize(
    "rows",
    [
        "1,5,\n2,6,1.0\n3,7,2.0\n",
        "001,5,\n002,6,001\n003,7,002\n",
        "9007199254740993,5,\n9007199254740995,6,9007199254740993\n9007199254740997,7,9007199254740995\n",
        "load data,5,\nclean data,6,load data\nfit,7,clean data\n",
    ],
)
def test_tasks_and_parents_as_tables_write_them(tmp_path: Path, rows: str) -> None:
    (tmp_path / "t.csv").write_text("task,runtime_s,parents\n" + rows)
    assert read_workload(tmp_path / "t.csv").templates[0].edges == ((0, 1), (1, 2))


def test_archives_of_workloads_come_packed(tmp_path: Path) -> None:
    swf = "; Version: 2.2\n" + "".join(f"{i + 1} {i * 10} 5 {100 + i}{' 2' * 14}\n" for i in range(8))
    (tmp_path / "log.swf.gz").write_bytes(gzip.compress(swf.encode()))
    assert len(read_workload(tmp_path / "log.swf.gz").templates) == 8
    rows = "M1,2,j_1,1,Terminated,100,110,100,0.5\nR2_1,1,j_1,1,Terminated,110,130,100,0.5\n"
    (tmp_path / "batch_task.csv.gz").write_bytes(gzip.compress(rows.encode()))
    assert read_workload(tmp_path / "batch_task.csv.gz").templates[0].edges == ((0, 1),)
    for name in ("log.swf.gz", "batch_task.csv.gz"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-12])
        with pytest.raises(TraceFormatError):
            read_workload(tmp_path / name)


def test_a_clock_of_the_video_is_no_name_of_one(tmp_path: Path) -> None:
    rows = "".join(f"2021-01-01 10:00:{i / 10:06.3f},{100 * i + 5000},{YAW[i]},{PITCH[i]}\n" for i in range(60))
    found = _read(tmp_path, "wall_clock,video_ms,yaw,pitch\n" + rows)
    assert len(found.traces) == 1
    assert found.traces[0].start_s == pytest.approx(5.0)
    _close(found)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log.csv", "yaw,pitch,roll\n1,2,0\n3,2,0\n4,3,0\n", "no column names a time"),
        ("log.json", json.dumps({"hz": 10, "yaw": [1, 2, 3], "pitch": [0, 1, 2]}), "a time and an orientation"),
        ("turns.csv", "t,rx,ry,rz\n0,1,2,3\n1,2,3,4\n2,3,4,5\n", "no known format"),
    ],
)
def test_a_head_log_that_lacks_something_is_refused_as_one(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        _read(tmp_path, text, name)


# --- files that were written on, and counters
# -------------------------------------------------------------------------------------------------


def _run_of_iperf(rate: float) -> str:
    lines = "".join(f"[  5]   {i}.00-{i + 1}.00   sec  1.25 MBytes  {rate} Mbits/sec\n" for i in range(3))
    ends = "".join(
        f"[  5]   0.00-3.00   sec  5 MBytes  {rate} Mbits/sec  0   {who}\n" for who in ("sender", "receiver")
    )
    return f"[ ID] Interval           Transfer     Bitrate\n{lines}- - -\n{ends}"


@pytest.mark.parametrize("between", ["", "Connecting to host 10.0.0.1, port 5201\n"])
def test_runs_of_iperf_in_one_file_are_traces(tmp_path: Path, between: str) -> None:
    text = between.join(["", *(_run_of_iperf(rate) for rate in (94.1, 94.1, 9.0))])
    found = _read(tmp_path, text, "cron.txt").traces
    assert [trace.throughput_mbps.tolist() for trace in found] == [[94.1] * 3, [94.1] * 3, [9.0] * 3]
    assert {trace.group for trace in found} == {"cron.txt"}
    runs = [
        {"intervals": [{"sum": {"start": i, "end": i + 1, "bits_per_second": rate * 1e6}} for i in range(3)], "start": {
            "accepted_connection": {}}} for rate in (5, 9)
    ]  # fmt: skip
    found = _read(tmp_path, "\n".join(json.dumps(run, indent=1) for run in runs), "cron.json").traces
    assert [trace.mean_mbps for trace in found] == pytest.approx([5.0, 9.0])


@pytest.mark.parametrize(
    "ends",
    [
        ["0.0-10.0 sec  12.5 MBytes  10.0 Mbits/sec", "0.0-10.0 sec  12.5 MBytes  10.0 Mbits/sec"],
        [
            "0.0-10.0 sec  12.5 MBytes  10.0 Mbits/sec  0  64 KBytes",
            "0.0-10.0 sec  12.5 MBytes  10.2 Mbits/sec  0  sender",
        ],
        ["0.0-10.0 sec  12.5 MBytes  10.2 Mbits/sec  0  sender", "0.0-10.0 sec  12.5 MBytes  10.0 Mbits/sec  receiver"],
    ],
)
def test_the_sums_of_a_run_are_not_added_to_it(tmp_path: Path, ends: list[str]) -> None:
    trace = _read(tmp_path, "".join(f"[  3]  {line}\n" for line in ends), "run.txt").traces[0]
    assert (trace.duration_s.tolist(), trace.throughput_mbps.tolist()) == ([10.0], [10.0])


@pytest.mark.parametrize("counter", [lambda i: (4_294_000_000 + i * 125_000) % 2**32, lambda i: i % 11 * 125_000])
def test_a_counter_that_begins_anew_is_still_one(tmp_path: Path, counter: Any) -> None:
    found = _read(tmp_path, "time_s,rx_bytes\n" + "".join(f"{i},{counter(i)}\n" for i in range(20)))
    rates = found.traces[0].throughput_mbps
    assert rates.max() == pytest.approx(1.0)
    assert (rates == pytest.approx(1.0)) or (rates < 0.5).sum() == 1
    assert found.repairs == {"rows at which a byte counter began anew": 1}


def test_bytes_by_interval_that_rise_and_fall_are_no_counter(tmp_path: Path) -> None:
    values = [125_000, 125_000, 125_000, 0] * 6
    found = _read(tmp_path, "time_s,bytes\n" + "".join(f"{i},{x}\n" for i, x in enumerate(values)))
    assert found.traces[0].throughput_mbps[:4] == pytest.approx([1.0, 1.0, 0.0, 1.0])


def test_a_header_amid_the_rows_is_where_files_were_joined(tmp_path: Path) -> None:
    part = "time_s,mbps\n" + "".join(f"{i},{5 + i % 2}\n" for i in range(9))
    found = _read(tmp_path, part + part)
    assert len(found.traces) == 2
    assert not found.repairs


def test_a_clock_in_six_digits_is_no_count(tmp_path: Path) -> None:
    rows = "".join(f"9{(58 * 60 + i) // 60:02d}{i % 60:02d},{5 + i % 2}\n" for i in range(150) if 58 * 60 + i < 3600)
    assert float(_read(tmp_path, "time,mbps\n" + rows).traces[0].duration_s.sum()) == pytest.approx(119.0)
    assert calendar_seconds(np.arange(0.0, 5000.0)) is None


def test_ids_of_json_tell_apart(tmp_path: Path) -> None:
    ids = [1_234_567_890_123_456_789 + k for k in range(2)]
    links = [{"session_id": x, "time_s": i, "mbps": 10 * (k + 1)} for i in range(9) for k, x in enumerate(ids)]
    assert [t.mean_mbps for t in _read(tmp_path, json.dumps(links), "l.json").traces] == pytest.approx([10.0, 20.0])
    heads = [{"user_id": x, "t": i / 10, "yaw": 10 * k, "pitch": 1} for k, x in enumerate(ids) for i in range(19)]
    assert {t.user for t in _read(tmp_path, json.dumps(heads), "h.json").traces} == set(map(str, ids))


@pytest.mark.parametrize("mark", ["", "# "])
def test_a_unit_apart_from_its_name_is_its_unit(tmp_path: Path, mark: str) -> None:
    rows = "".join(f"{i} {800 + i}\n" for i in range(9))
    assert _read(tmp_path, f"{mark}time (s) bandwidth (kbps)\n{rows}", "t.txt").traces[0].mean_mbps < 1.0


def test_minus_one_now_and_then_is_no_value(tmp_path: Path) -> None:
    found = _read(tmp_path, "time_s,mbps\n" + "".join(f"{i},{-1 if i == 30 else 5}\n" for i in range(99)))
    assert found.traces[0].mean_mbps == 5.0
    assert list(found.repairs.values()) == [1]
    with pytest.raises(TraceFormatError, match="negative"):
        _read(tmp_path, "time_s,mbps\n" + "".join(f"{i},{-2 if i == 30 else 5}\n" for i in range(99)))


def test_columns_that_a_number_tells_apart_are_said(tmp_path: Path) -> None:
    found = _read(tmp_path, "time_s,ue1_mbps,ue2_mbps\n" + "".join(f"{i},5,9\n" for i in range(9)))
    assert any("not 'ue2_mbps'" in sentence for sentence in found.sentences())


# --- what stands beside data
# -------------------------------------------------------------------------------------------------


def test_tables_beside_logs_are_skipped_and_said(tmp_path: Path) -> None:
    heads, links = tmp_path / "heads", tmp_path / "links"
    (heads / "v1").mkdir(parents=True)
    links.mkdir()
    rows = "".join(f"{i / 10},{yaw},{pitch},0\n" for i, (yaw, pitch) in enumerate(zip(YAW, PITCH, strict=True)))
    for user in (1, 2):
        (heads / "v1" / f"u{user}.csv").write_text("t,yaw,pitch,roll\n" + rows)
    (heads / "about.json").write_text('{"version": 1}')
    (heads / "ages.csv").write_text("user,age\n1,20\n2,30\n")
    (links / "stations.csv").write_text("station,lat,lon\nA,48,16\nB,48,17\n")
    (links / "tram.csv").write_text("time_s,mbps\n0,5\n1,6\n2,7\n")
    for folder, kind, count, skipped in ((heads, "head", 2, "ages.csv"), (links, "network", 1, "stations.csv")):
        found = understand(folder)
        assert (found.kind, len(found.traces)) == (kind, count)
        assert any(skipped in sentence for sentence in found.sentences())
    (links / "lines.csv").write_text("line,stop\n1,A\n2,B\n")
    with pytest.raises(TraceFormatError, match=r"lines\.csv"):  # most of a folder is not what stands beside it
        understand(links)
    (links / "lines.csv").write_text("time_s,mbps\n0,5\n1,six\n2,7\n")
    with pytest.raises(TraceFormatError, match=r"lines\.csv:3"):
        understand(links)


def test_a_viewer_whose_clock_starts_anew_watched_again(tmp_path: Path) -> None:
    rows = "".join(
        f"{user},{trial},{i / 10},{10 * trial},0,0\n" for user in "ab" for trial in (1, 2) for i in range(30)
    )
    found = _read(tmp_path, "participant,trial,time,yaw,pitch,roll\n" + rows)
    assert [(t.user, round(float(t.angles_deg[0, 0]))) for t in found.traces] == [
        ("a", 10), ("a", 20), ("b", 10), ("b", 20),
    ]  # fmt: skip


def test_run_times_that_may_be_milliseconds_are_said(tmp_path: Path) -> None:
    assert any("runtime_ms" in s for s in _read(tmp_path, "task,duration,parents\n1,15000,\n2,25000,1\n").sentences())


def test_a_clock_whose_name_has_a_unit_is_no_calendar(tmp_path: Path) -> None:
    found = _read(tmp_path, "elapsed_ns,mbps\n" + "".join(f"{201_001_010_000 + 10 * i},5\n" for i in range(6)))
    assert float(found.traces[0].duration_s.sum()) == pytest.approx(5e-8)
