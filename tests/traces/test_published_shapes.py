"""Layouts as published sets have them: each sample is written here in the shape of a public file that was misread."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.jobtable import job_columns
from netllm_gym.traces.network.user import NetworkOptions
from netllm_gym.traces.user import ImportOptions, understand


def _said(reading: object, word: str) -> bool:
    return any(word in sentence for sentence in reading.sentences())  # type: ignore[attr-defined]


# --- network
# -------------------------------------------------------------------------------------------------


def test_a_calendar_that_goes_back_begins_another_recording(tmp_path: Path) -> None:
    rows = [f"2023-04-{day:02d} 10:00:{s:02d} CDT,{day}.0" for day in (4, 26, 18) for s in range(20)]
    (tmp_path / "drives.csv").write_text("time,throughput,speed,latitude\n" + "".join(f"{r},3,44.9\n" for r in rows))
    found = understand(tmp_path)
    assert sorted({round(trace.mean_mbps) for trace in found.traces}) == [4, 18, 26]
    assert {trace.group for trace in found.traces} == {"drives.csv"}


def test_a_few_rows_of_an_earlier_day_are_still_refused(tmp_path: Path) -> None:
    days = ((4, 20), (26, 20), (18, 5))
    rows = [f"2023-04-{day:02d} 10:00:{s:02d},3\n" for day, count in days for s in range(count)]
    (tmp_path / "a.csv").write_text("time,throughput_mbps\n" + "".join(rows))
    with pytest.raises(TraceFormatError, match="does not come after"):
        understand(tmp_path)


def test_a_row_a_chunk_lasts_as_long_as_its_download(tmp_path: Path) -> None:
    rows = "".join(
        f"50M,4g,{300 + i % 2},{600 + i},{7000 + i},{0.5 if i % 2 else 0.25},steady,{i}\n" for i in range(30)
    )
    names = "downstream_bandwidth,connection_type,bitrate,chunk_size,app_throughput,delivery_time,player_state,index\n"
    (tmp_path / "session.csv").write_text(names + rows)
    found = understand(tmp_path)
    trace = found.traces[0]
    assert trace.duration_s[:2] == pytest.approx([0.25, 0.5])
    assert trace.throughput_mbps[:2] == pytest.approx([7.0, 7.001])
    assert float(trace.duration_s.sum()) == pytest.approx(15 * 0.75)
    assert _said(found, "delivery_time")


def test_drives_without_a_header_ask_for_their_unit(tmp_path: Path) -> None:
    rows = "".join(f"{1186549400 + 10 * i} -33.9{i} 151.22 {466.9 + i}\n" for i in range(20))
    (tmp_path / "1.cap").write_text(rows)
    with pytest.raises(TraceFormatError, match="--rate-unit"):
        understand(tmp_path)
    found = understand(tmp_path, ImportOptions(network=NetworkOptions(throughput_unit="kbps")))
    assert found.traces[0].throughput_mbps[:2] == pytest.approx([0.4679, 0.4689])
    assert found.traces[0].duration_s[0] == 10


def test_a_counter_that_began_before_the_log_is_no_rate(tmp_path: Path) -> None:
    rows = "".join(f"{i / 10},{439_977.0 if i == 1 else 5.0}\n" for i in range(200))
    (tmp_path / "a.csv").write_text("timestamp,rx_diff_Mbps\n" + rows)
    found = understand(tmp_path)
    assert found.traces[0].throughput_mbps.max() == 5.0
    assert _said(found, "beyond 20,000 Mbit/s left out: 1")


def test_a_dishs_history_is_a_ring(tmp_path: Path) -> None:
    history = {"current": "6", "popPingDropRate": [0, 0, 0, 0], "downlinkThroughputBps": [5e6, 6e6, 3e6, 4e6]}
    (tmp_path / "h.json").write_text(json.dumps({"apiVersion": "9", "dishGetHistory": history}))
    trace = understand(tmp_path).traces[0]
    assert trace.throughput_mbps.tolist() == [3.0, 4.0, 5.0, 6.0]
    assert trace.duration_s.tolist() == [1.0] * 4


# --- head motion
# -------------------------------------------------------------------------------------------------


def _turns(n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = np.arange(n) * 0.1
    return t, np.mod(0.9 * np.sin(0.3 * t), 2 * np.pi), np.mod(0.4 * np.sin(0.5 * t), 2 * np.pi)


def test_radians_that_count_a_whole_turn_are_no_degrees(tmp_path: Path) -> None:
    t, yaw, pitch = _turns()
    rows = "".join(f"{a} 0 {b} {c} 6.2\n" for a, b, c in zip(t, yaw, pitch, strict=True))
    (tmp_path / "user1_euler.txt").write_text("timestamp viewpoint yaw pitch roll\n" + rows)
    angles = understand(tmp_path).traces[0].angles_deg
    assert np.ptp(angles[:, 0]) == pytest.approx(np.degrees(1.8), abs=2)
    assert np.ptp(angles[:, 1]) == pytest.approx(np.degrees(0.8), abs=2)
    assert np.abs(angles[:, 2]).max() < 10


def test_columns_whose_names_are_swapped_are_named(tmp_path: Path) -> None:
    t = np.arange(400) * 0.1
    around, nods = np.mod(0.4 * t, 2 * np.pi), np.mod(0.3 * np.sin(t), 2 * np.pi)
    rows = "".join(f"{a} 0 {b} {c} 0.1\n" for a, b, c in zip(t, nods, around, strict=True))
    (tmp_path / "user1_euler.txt").write_text("timestamp viewpoint yaw pitch roll\n" + rows)
    with pytest.raises(TraceFormatError, match="the other way round"):
        understand(tmp_path)


@pytest.mark.parametrize(("names", "why"), [("x,y,z", "places"), ("x,y,z,alpha,beta,gamma", "alpha, beta and gamma")])
def test_places_are_no_directions(tmp_path: Path, names: str, why: str) -> None:
    rows = "".join(f"{i / 10},6.4,1.6,{0.1 * i - 17}{',346,20,0' if ',' in names[5:] else ''}\n" for i in range(200))
    (tmp_path / "a.csv").write_text(f"time,{names}\n{rows}")
    with pytest.raises(TraceFormatError, match=why):
        understand(tmp_path)


def test_the_turn_of_a_helmet_goes_before_the_gaze_inside_it(tmp_path: Path) -> None:
    names = "time_stamp(ms);helmet_rot_x;helmet_rot_y;helmet_rot_z;gaze_direct_L.x;gaze_direct_L.y;gaze_direct_L.z\n"
    rows = "".join(f"{33 * i};{350 if i % 2 else 10};{i % 90};0;0.1;0.1;0.99\n" for i in range(200))
    (tmp_path / "u1.csv").write_text(names + rows)
    angles = understand(tmp_path).traces[0].angles_deg
    assert angles[:, 0].max() > 80 and angles[:, 1].max() > 5


def test_rows_of_viewers_end_when_they_stopped(tmp_path: Path) -> None:
    clock = np.arange(2500) / 10
    lines = [" ".join(f"{x:.1f}" for x in clock)]
    for length in (1500, 2500):
        lines += [" ".join(f"{x:.3f}" for x in 0.3 * np.sin(clock[:length])),
                  " ".join(f"{x:.3f}" for x in np.sin(0.1 * clock[:length]))]  # fmt: skip
    (tmp_path / "7.txt").write_text("\n".join(lines) + "\n")
    found = understand(tmp_path)
    assert found.kind == "head"
    assert [trace.user for trace in found.traces] == ["1", "2"]
    assert [round(trace.duration_s) for trace in found.traces] == [150, 250]
    assert found.traces[0].angles_deg[:, 1].max() == pytest.approx(np.degrees(0.3), abs=1)


def test_a_folder_names_video_and_viewer(tmp_path: Path) -> None:
    for video, user in ((1, 2), (1, 3)):
        folder = tmp_path / f"video_0{video}_user_0{user}"
        folder.mkdir()
        rows = "".join(f"{i / 10},{i % 50},{i % 20},0\n" for i in range(100))
        (folder / "processed_data.csv").write_text("time,yaw,pitch,roll\n" + rows)
    assert {(trace.video, trace.user) for trace in understand(tmp_path).traces} == {("01", "02"), ("01", "03")}


# --- workloads
# -------------------------------------------------------------------------------------------------


def test_slurms_accounting_is_a_row_a_job(tmp_path: Path) -> None:
    (tmp_path / "jobs.txt").write_text(
        "JobID|JobName|Submit|Start|End|Elapsed|NCPUS|State\n"
        "101|a|2024-01-01T00:00:00|2024-01-01T00:00:05|2024-01-01T01:00:05|01:00:00|4|COMPLETED\n"
        "101.batch|batch|2024-01-01T00:00:05|2024-01-01T00:00:05|2024-01-01T01:00:05|01:00:00|4|COMPLETED\n"
        "102|b|2024-01-01T00:01:00|2024-01-01T02:00:05|2024-01-02T03:00:05|1-01:00:00|8|COMPLETED\n"
        "103|c|2024-01-01T00:01:00|Unknown|Unknown|00:00:00|8|CANCELLED\n"
    )
    found = understand(tmp_path)
    workload = found.traces[0].workload
    assert [job.name for job in workload.templates] == ["101", "102"]
    assert [job.stages[0].tasks for job in workload.templates] == [4, 8]
    assert [job.mean_s[0] for job in workload.templates] == [3600.0, 25 * 3600.0]
    assert workload.arrivals_s == (0.0, 60.0)
    assert _said(found, "steps of jobs left out: 1") and _said(found, "did not run left out: 1")


def test_pods_and_gpu_jobs_are_jobs(tmp_path: Path) -> None:
    (tmp_path / "pods.csv").write_text(
        "name,cpu_milli,num_gpu,qos,creation_time,deletion_time,scheduled_time\n"
        "pod-0,12000,2,LS,100,400,110\npod-1,6000,0,LS,50,90,50\npod-2,6000,1,BE,60,70,\n"
    )
    workload = understand(tmp_path).traces[0].workload
    assert [(j.name, j.stages[0].tasks, j.mean_s[0]) for j in workload.templates] == [
        ("pod-1", 1, 40),
        ("pod-0", 2, 290),
    ]
    assert workload.arrivals_s == (0.0, 50.0)


@pytest.mark.parametrize(
    "header",
    [
        "task_id,hash,name,status,submit,duration,realtime",  # tasks without parents
        "id,start_time,end_time,download_mbps",  # measurements
        "timestamp,duration,bytes",
        "job_id,runtime",  # nothing tells when they came
    ],
)
def test_no_table_of_jobs(header: str) -> None:
    assert job_columns(header.split(",")) is None


def test_tasks_without_parents_say_so(tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text(
        "task_id\thash\tname\tstatus\tsubmit\tduration\trealtime\n"
        "1\t7f/24\tsort (a)\tCOMPLETED\t2018-11-06 10:57:27.327\t276ms\t55ms\n"
    )
    with pytest.raises(TraceFormatError, match="name no parents"):
        understand(tmp_path)


def test_a_job_in_two_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("job_id,submit_time,duration\n1,0,5\n1,0,7\n2,3,4\n")
    with pytest.raises(TraceFormatError, match="stands in two rows"):
        understand(tmp_path)


def test_batsim_reads_delays_and_names_what_depends_on_a_platform(tmp_path: Path) -> None:
    def write(kind: str) -> Path:
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps({
            "nb_res": 8, "jobs": [{"id": 1, "subtime": 5.5, "res": 4, "profile": "p", "walltime": 20}] * 2,
            "profiles": {"p": {"type": kind, "delay": 12, "cpu": 1e9}},
        }))  # fmt: skip
        return path

    workload = understand(write("delay")).traces[0].workload
    assert [(j.stages[0].tasks, j.mean_s[0]) for j in workload.templates] == [(4, 12.0)] * 2
    with pytest.raises(TraceFormatError, match="platform"):
        understand(write("parallel_homogeneous"))


def test_saga_has_a_network_beside_its_tasks(tmp_path: Path) -> None:
    tasks = {"tasks": [{"name": "a", "cost": 3.0}, {"name": "b", "cost": 4.0}],
             "dependencies": [{"source": "a", "target": "b", "size": 9}]}  # fmt: skip
    network = {"nodes": [{"name": "E", "speed": 1}], "edges": [{"source": "E", "target": "E", "speed": 1}]}
    (tmp_path / "graph.json").write_text(json.dumps({"name": "x", "task_graph": tasks, "network": network}))
    job = understand(tmp_path, ImportOptions()).traces[0].workload.templates[0]
    assert job.edges == ((0, 1),) and job.mean_s == (3.0, 4.0)
