"""What the words of a header mean: units, directions, counters, angles; what nobody can tell is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from netllm_gym import traces
from netllm_gym.cli.traces import app
from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.head.user import understand_heads
from netllm_gym.traces.jobs.user import understand_jobs
from netllm_gym.traces.network.units import rate_unit
from netllm_gym.traces.network.user import understand_links
from netllm_gym.traces.user import kind_of, understand

RATES = np.array([2.0, 4.0, 3.5, 8.0, 1.25, 6.0])


def links(path, header, *columns, **options):
    rows = ["" if header is None else header, *(",".join(map(str, row)) for row in zip(*columns, strict=True))]
    path.write_text("\n".join(row for row in rows if row) + "\n")
    return understand_links(path, **options)


@pytest.mark.parametrize("name", ["rx_bytes_total", "RxBytes", "download_bytes", "dl_bytes", "bytes_recv", "Bytes"])
@pytest.mark.parametrize("step", [1.0, 5.0])
def test_a_counter_of_bytes_is_one_whatever_stands_beside_it(tmp_path, name, step):
    at = np.arange(7) * step
    total = np.concatenate([[1000.0], 1000.0 + np.cumsum(RATES * 1e6 / 8 * step)])
    (trace,) = links(tmp_path / "a.csv", f"ts,{name}", at, total.round()).traces
    assert trace.throughput_mbps == pytest.approx(RATES, rel=1e-3)


def test_counts_of_bits_and_bytes_a_second_are_two_things(tmp_path):
    at = np.arange(7) * 5
    bits = np.concatenate([[0], RATES * 5e6])
    (trace,) = links(tmp_path / "a.csv", "ts,downlink_bits", at, bits).traces
    assert trace.throughput_mbps == pytest.approx(RATES)
    (trace,) = links(tmp_path / "b.csv", "ts,bytes_out/s,bytes_in/s", at[:6], RATES, RATES * 1e6 / 8).traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5])


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("rate_KBps", 8e-3), ("dl_MBps", 8.0), ("DL MBPS", 1.0), ("tput [MiB/s]", 8.388608), ("throughput_kbit", 1e-3),
        ("DL (Mbit)", 1.0), ("MeanThroughputMbps", 1.0), ("throughputKbps", 1e-3),
    ],
)  # fmt: skip
def test_a_unit_in_a_name_is_read_however_it_is_written(tmp_path, name, factor):
    (trace,) = links(tmp_path / "a.csv", f"ts,{name}", np.arange(6), RATES).traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5] * factor)


@pytest.mark.parametrize(
    "name", ["Throughput (pps)", "Throughput [packets/s]", "dl_mb/s", "rate [Mibps]", "DL rate [kB]"]
)
def test_a_unit_that_is_not_known_is_named_and_no_longer_taken_for_another(tmp_path, name):
    with pytest.raises(TraceFormatError, match=r"the unit '.*' is none that is known; say what it is: --rate-unit"):
        links(tmp_path / "a.csv", f"ts,{name}", np.arange(6), RATES)
    from netllm_gym.traces.network.tables import NetworkOptions

    told = NetworkOptions(throughput_unit="kbps")
    (trace,) = links(tmp_path / "a.csv", f"ts,{name}", np.arange(6), RATES, options=told).traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5] * 1e-3)


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ("out_bps", "in_bps"), ("ThroughputUL", "ThroughputDL"), ("tx_mbps", "rx_mbps"), ("sent_mbps", "received_mbps"),
        ("predicted_throughput", "throughput"), ("throughput_std", "throughput_mean"), ("bandwidth_min", "bandwidth"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_down_goes_before_up_and_measured_before_predicted(tmp_path, other, wanted, first):
    names = [other, wanted] if first else [wanted, other]
    found = links(tmp_path / "a.csv", ",".join(["time_s", *names]), np.arange(6), RATES, RATES)
    assert f"throughput '{wanted}'" in found.sentences()[0]


def test_two_columns_of_one_name_are_said(tmp_path):
    found = links(tmp_path / "a.csv", "time_s,mbps,mbps", np.arange(6), RATES, RATES * 2)
    assert any("several columns are called 'mbps'" in sentence for sentence in found.sentences())
    path = tmp_path / "head" / "v_u.csv"
    path.parent.mkdir()
    path.write_text("time,yaw,yaw,pitch\n" + "".join(f"{i / 10},{i},{-i},1\n" for i in range(40)))
    assert any("several columns are called 'yaw'" in sentence for sentence in understand_heads(path.parent).sentences())


@pytest.mark.parametrize(
    "rows",
    [
        [f"{i} {r:g}mbit" for i, r in enumerate(RATES)],  # tc
        [f"{i}.0s {r:.2f}Mbps" for i, r in enumerate(RATES)],  # ns-3
        [f"{i * 1000}ms {r * 1000:.2f}kbps" for i, r in enumerate(RATES)],
    ],
)
def test_cells_with_units_are_no_names(tmp_path, rows):
    (tmp_path / "rates.txt").write_text("\n".join(rows) + "\n")
    (trace,) = understand(tmp_path / "rates.txt").traces
    assert trace.throughput_mbps == pytest.approx(RATES[1:])
    assert trace.duration_s == pytest.approx(np.ones(5))


@pytest.mark.parametrize(
    ("header", "clock"),
    [
        ("Time", [f"11:59:{56 + i} AM" if i < 4 else f"12:00:0{i - 4} PM" for i in range(6)]),
        ("elapsed_realtime_ns", [i * 10**9 for i in range(6)]),
        ("date,TestTime", [f"2021-01-01,2021-01-01T00:00:0{i}Z" for i in range(6)]),
    ],
)
def test_clocks_of_half_a_day_of_nanoseconds_and_beside_their_date(tmp_path, header, clock):
    (trace,) = links(tmp_path / "a.csv", f"{header},dl_mbps", clock, RATES).traces
    assert trace.duration_s == pytest.approx(np.ones(5))


def test_a_throughput_beyond_all_numbers_is_refused_without_a_warning(tmp_path, recwarn):
    with pytest.raises(TraceFormatError, match="not plausible"):
        links(tmp_path / "a.csv", "ts,mbps", np.arange(6), ["1e308"] * 6)
    assert not recwarn.list


def test_the_names_of_binary_units():
    assert (rate_unit("KiB/s"), rate_unit("MiBps"), rate_unit("Mibps")) == ("KiB/s", "MiB/s", None)


# --- heads
# -------------------------------------------------------------------------------------------------

TIME = np.arange(0.0, 30.0, 0.1)
YAW, PITCH = np.linspace(0, 60, 300), np.linspace(0, 20, 300)


def head(folder, header, *columns):
    folder.mkdir()
    rows = "".join(
        ",".join(map(str, row)) + "\n" for row in zip(*[np.asarray(c).tolist() for c in columns], strict=True)
    )
    (folder / "v_u.csv").write_text(f"{header}\n{rows}")
    return understand(folder)


def looks_right_and_up(found):
    (trace,) = found.traces
    return found.kind == "head" and trace.angles_deg[-1, :2] == pytest.approx((60, 20), abs=1.5)


def threejs():
    """Right and up in three.js's world: y up, the camera looks along -z."""
    return Rotation.from_euler("YX", np.column_stack([-YAW, PITCH]), degrees=True).as_quat()


def unity():
    """Right and up in Unity's left-handed world, whose quaternions are written with these numbers."""
    return Rotation.from_euler("YX", np.column_stack([YAW, -PITCH]), degrees=True).as_quat()


def test_the_private_names_of_threejs_tell_its_world(tmp_path):
    q = threejs()
    names = ",".join(f"quaternion._{c}" for c in "xyzw")
    found = head(tmp_path / "csv", f"time,{names}", TIME, *q.T)
    assert looks_right_and_up(found)
    assert any("three.js" in sentence for sentence in found.sentences())
    samples = [
        {"time": t, "rotation": {"_x": np.radians(p), "_y": -np.radians(y), "_z": 0.0, "_order": "YXZ"}}
        for t, y, p in zip(TIME, YAW, PITCH, strict=True)
    ]
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "v_u.json").write_text(json.dumps(samples))
    assert looks_right_and_up(understand(tmp_path / "json"))


def test_a_quaternion_of_one_of_several_devices(tmp_path):
    q = unity()
    still = np.tile([0.0, 0.0, 0.0, 1.0], (300, 1))
    names = ",".join(f"{device}_q{c}" for device in ("left", "hmd") for c in "xyzw")
    assert looks_right_and_up(head(tmp_path / "a", f"time,{names}", TIME, *still.T, *q.T))


@pytest.mark.parametrize("mark", [";", ","])
@pytest.mark.parametrize("quote", ["", '"'])
def test_tuples_as_unity_prints_them(tmp_path, mark, quote):
    (tmp_path / "a").mkdir()
    cells = [f"{quote}({', '.join(f'{x:.5f}' for x in q)}){quote}" for q in unity()]
    rows = [
        mark.join([f"{t:.1f}", cell, f"{quote}(0.1, 1.6, 0.2){quote}"]) for t, cell in zip(TIME, cells, strict=True)
    ]
    (tmp_path / "a" / "v_u.csv").write_text("\n".join([mark.join(["Time", "HeadRotation", "HeadPosition"]), *rows]))
    assert looks_right_and_up(understand(tmp_path / "a"))


def test_theta_and_phi_either_way_round(tmp_path):
    around = np.linspace(-170, 60, 300)
    found = head(tmp_path / "physics", "time,phi,theta", TIME, np.radians(around), np.radians(90 - PITCH))
    assert looks_right_and_up(found)
    found = head(tmp_path / "track", "time,theta,phi", TIME, np.radians(YAW + 180), np.radians(90 - PITCH))
    assert looks_right_and_up(found)
    assert any("top left corner" in sentence for sentence in found.sentences())
    with pytest.raises(TraceFormatError, match="theta may be the angle from the pole"):
        head(tmp_path / "open", "time,phi,theta", TIME, np.radians(YAW), np.radians(90 - PITCH))


def test_angles_between_0_and_1_are_not_taken_for_radians(tmp_path):
    with pytest.raises(TraceFormatError, match="may be radians or shares of the frame"):
        head(tmp_path / "a", "time,yaw,pitch", TIME, YAW / 360 + 0.5, PITCH / 180 + 0.5)


# --- jobs and sets
# -------------------------------------------------------------------------------------------------


def profiles(folder):
    folder.mkdir(parents=True)
    waves = {name: {2: [1000, 2000]} for name in ("fresh_durations", "first_wave", "rest_wave")}
    for query in (1, 2):
        np.save(folder / f"adj_mat_{query}.npy", np.array([[0, 1], [0, 0]]))
        np.save(folder / f"task_duration_{query}.npy", dict.fromkeys(range(2), waves))


def test_a_folder_of_decimas_profiles(tmp_path):
    profiles(tmp_path / "tpch" / "2g")
    assert kind_of(tmp_path / "tpch") == "workload"
    found = understand_jobs(tmp_path / "tpch")
    (workload,) = {id(trace.workload): trace.workload for trace in found.traces}.values()
    assert [(job.name, job.edges) for job in workload.templates] == [("2g-q1", ((0, 1),)), ("2g-q2", ((0, 1),))]
    (tmp_path / "tpch" / "2g" / "task_duration_2.npy").unlink()
    with pytest.raises(TraceFormatError, match=r"task_duration_2.npy: cannot be read"):
        understand_jobs(tmp_path / "tpch")


def test_jobs_that_all_come_at_once_have_an_infinite_load_and_valid_json(tmp_path):
    path = tmp_path / "batch_task.csv"
    path.write_text("".join(f"41562,{41618 + j},{j},686,1,Terminated,50,0.0078\n" for j in range(20)))
    assert len(understand(path).traces) == 1
    printed = CliRunner().invoke(app, ["info", str(path), "--json"])
    assert json.loads(printed.stdout, parse_constant=pytest.fail)[0]["load"] is None


def test_an_impossible_name_or_split_is_refused_before_anything_is_read(tmp_path):
    for name, split, message in (("a b", "test", "a set's name"), ("a", "tets", "split must be one of")):
        with pytest.raises(ConfigError, match=message):
            traces.import_set(tmp_path / "not there", name, split)


def test_an_empty_name_is_not_the_folder_one_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="empty name of traces"):
        traces.load("")
