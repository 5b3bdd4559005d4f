"""Tables as spreadsheets, loggers and other tools export them: encodings, rows above the names, commas, clocks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.head.user import understand_heads
from netllm_gym.traces.moments import parse_time, seconds_of
from netllm_gym.traces.network.tables import NetworkOptions
from netllm_gym.traces.network.user import understand_links
from netllm_gym.traces.user import kind_of

RATES = np.array([2.0, 4.0, 3.5, 8.0, 1.25, 6.0])
AT = range(6)


def rows(header, *columns, mark=","):
    return "\n".join([header, *(mark.join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n"


def read(path, text, **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return understand_links(path, **options)


PLAIN = rows("time,throughput (Mbit/s)", AT, RATES)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-be").replace(b"\0t", b"\xfe\xff\0t", 1),
        rows("time,throughput (Mbit/s),Straße", AT, RATES, [1] * 6).encode("cp1252"),
        "sep=;\n" + PLAIN.replace(",", ";"),
        "Device: Pixel 5\nOperator: X\n\n" + PLAIN,
        rows("time,throughput", ["[s]", *AT], ["[Mbit/s]", *RATES]),
        rows("time,throughput", ["ms", *(1000 * i for i in AT)], ["MB/s", *(RATES / 8)]),
        rows("time|throughput_mbps", AT, RATES, mark="|"),
        rows("time,throughput_mbps", AT, (f'"{str(x).replace(".", ",")}"' for x in RATES)),
        rows("time,throughput_bps", AT, (f'"{int(x * 1e6):,}"' for x in RATES)),
        rows("Zeit [s];Download [Mbit/s]", AT, (str(x).replace(".", ",") for x in RATES), mark=";"),
        rows("time;throughput", AT, (f"{str(x).replace('.', ',')} Mbit/s" for x in RATES), mark=";"),
        rows("时间,下行速率(Mbps)", AT, RATES),
        rows("ts_gps,datarate_bps", (f"2021-01-01 00:00:0{i}+00:00" for i in AT), RATES * 1e6),
        rows("Time,eth0 in", (f"2021-01-01 00:00:0{i}" for i in AT), (f"{x} Mb/s" for x in RATES)),
        rows("time (min),throughput_mbps", (i / 60 for i in AT), RATES),
        rows("Date,throughput_mbps", (44197.5 + i / 86400 for i in AT), RATES),
    ],
)
def test_exports_are_read_as_what_they_say(tmp_path, text):
    (trace,) = read(tmp_path / "a.csv", text).traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5], rel=1e-6)
    assert trace.duration_s == pytest.approx(np.ones(5), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,rate_bps\n" + "".join(f'{i},"2,35{i}"\n' for i in AT), "no known format"),  # 2.35 or 2350
        (rows("time,throughput_mbps", (i * 1e-6 for i in AT), RATES), "not plausible; say the unit: --time-unit"),
        (PLAIN.encode("utf-16")[:-1], "UTF-8|binary"),
        (rows("ts,rx", AT, np.cumsum(RATES * 1e6)), "'rx' never falls; where it counts bytes"),
    ],
)
def test_what_nothing_tells_is_asked_for(tmp_path, text, message):
    with pytest.raises(TraceFormatError, match=message):
        read(tmp_path / "a.csv", text)


def test_a_column_that_never_falls_may_be_named_a_rate(tmp_path):
    text = rows("ts,rx", AT, np.arange(1, 7))
    (trace,) = read(tmp_path / "a.csv", text, options=NetworkOptions(throughput_unit="Mbps")).traces
    assert trace.throughput_mbps == pytest.approx(np.arange(1, 6))


def test_series_side_by_side_are_traces_of_their_own(tmp_path):
    stamps = np.repeat(np.arange(6), 2)
    text = rows("time,ue_id,throughput_mbps", stamps, [1, 2] * 6, np.column_stack([RATES, np.full(6, 20.0)]).ravel())
    one, two = read(tmp_path / "a.csv", text).traces
    assert one.throughput_mbps == pytest.approx(RATES[:5]) and two.throughput_mbps == pytest.approx(np.full(5, 20.0))
    counter = np.concatenate([[0], np.cumsum(RATES[:5] * 125_000)]) + 1000
    both = np.column_stack([counter, np.full(6, 100.0)]).ravel()
    found = read(tmp_path / "b.csv", rows("timestamp,interface,rx_bytes", stamps, ["eth0", "lo"] * 6, both))
    (trace,) = found.traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5]) and any("stands still" in note for note in found.notes)


def test_rows_of_one_stamp_are_corners_only_where_values_hold(tmp_path):
    stamps, two = np.repeat(np.arange(6), 2), np.column_stack([RATES, RATES + 2]).ravel()
    (trace,) = read(tmp_path / "a.csv", rows("time,throughput_mbps", stamps, two)).traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5] + 1)


def test_rows_of_the_uplink_are_no_capacity(tmp_path):
    text = rows("time,direction,mbps", np.repeat(np.arange(6), 2), ["downlink", "uplink"] * 6,
                np.column_stack([RATES, np.ones(6)]).ravel())  # fmt: skip
    found = read(tmp_path / "a.csv", text)
    assert found.traces[0].throughput_mbps == pytest.approx(RATES[:5])
    assert any("uplink left out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ("linkDownKbps", "mobileRx_diff_Mbps"),
        ("rx_brate uplink [Mbps]", "tx_brate downlink [Mbps]"),
        ("pacing_rate_mbps", "delivery_rate_mbps"),
    ],
)
def test_the_link_that_is_named_and_what_was_measured_go_first(tmp_path, other, wanted):
    (trace,) = read(tmp_path / "a.csv", rows(f"time,{other},{wanted}", AT, RATES / 7, RATES)).traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5])


def test_when_a_measurement_began_is_no_clock(tmp_path):
    began = ["2021-01-15 21:51:44 CST"] * 6
    text = rows("timestamp,time,throughput_mbps", began, (f"21:51:4{i}" for i in AT), RATES)
    (trace,) = read(tmp_path / "a.csv", text).traces
    assert trace.throughput_mbps == pytest.approx(RATES[:5])


def test_three_columns_of_numbers_may_still_be_a_link(tmp_path):
    text = rows("", np.arange(60) * 1.0, np.resize(RATES, 60), np.linspace(20, 200, 60), mark=" ").lstrip()
    (trace,) = understand_both(tmp_path / "a.txt", text)
    assert trace.throughput_mbps == pytest.approx(np.resize(RATES, 60)[1:])


def understand_both(path, text):
    path.write_text(text)
    assert kind_of(path) == "network"
    return understand_links(path).traces


def test_packets_are_summed_of_the_sender_of_most_bytes(tmp_path):
    lines = ['"No.","Time","Source","Destination","Protocol","Length","Info"']
    for k in range(500):
        lines.append(f'"{2 * k}","{k * 0.012:.6f}","10.0.0.1","10.0.0.2","TCP","1500","data, more"')
        lines.append(f'"{2 * k + 1}","{k * 0.012 + 0.001:.6f}","10.0.0.2","10.0.0.1","TCP","60","ack"')
    found = read(tmp_path / "a.csv", "\n".join(lines) + "\n")
    assert found.traces[0].mean_mbps == pytest.approx(1.0, rel=0.02)
    assert any("packets summed" in note and "10.0.0.1" in note for note in found.notes)


def test_the_csv_of_iperf_2(tmp_path):
    lines = [
        f"2021010100000{i},10.0.0.1,5001,10.0.0.2,432,3,{i}.0-{i + 1}.0,9,{int(x * 1e6)}" for i, x in enumerate(RATES)
    ]
    whole = "20210101000007,10.0.0.1,5001,10.0.0.2,432,3,0.0-6.0,9,4000000"
    (trace,) = read(tmp_path / "a.txt", "\n".join([*lines, whole]) + "\n").traces
    assert trace.throughput_mbps == pytest.approx(RATES)


def test_every_trace_of_a_json_document_is_read(tmp_path):
    document = {name: {"time": list(AT), "mbps": list(RATES * k)} for k, name in ((1, "bus"), (2, "train"))}
    one, two = read(tmp_path / "a.json", json.dumps(document)).traces
    assert one.throughput_mbps == pytest.approx(RATES[:5]) and two.throughput_mbps == pytest.approx(RATES[:5] * 2)


def test_comments_above_packets_of_mahimahi(tmp_path):
    (trace,) = read(tmp_path / "a.pps", "# downlink\n" + "".join(f"{i}\n" for i in range(1, 1001))).traces
    assert trace.mean_mbps == pytest.approx(12.032)


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        (["2021-01-25 03:48:06.5 CDT", "2021-01-25 03:48:08.5 CDT"], [0, 2]),
        (["Fri Jan 15 21:51:44 CST 2021", "Fri Jan 15 21:51:45 CST 2021"], [0, 1]),
        (["01/16/2021, 4:04 PM", "01/16/2021, 4:06 PM"], [0, 120]),
        (["Fri, 01 Jan 2021 00:00:00 GMT", "Fri, 01 Jan 2021 00:00:03 GMT"], [0, 3]),
        (["0 days 00:00:01.5", "1 days 00:00:01.5"], [0, 86400]),
        (["23:59:58", "23:59:59", "00:00:01"], [0, 1, 3]),
        (["12/01/2021 23:59:59", "13/01/2021 00:00:01"], [0, 2]),
        (["01/12/2021 23:59:59", "01/13/2021 00:00:01"], [0, 2]),
        (["02/03/2021 23:59:59", "02/04/2021 00:00:01"], [0, 2]),  # both orders fit: the shorter log
    ],
)
def test_moments_as_tools_write_them(cells, seconds):
    moments = seconds_of(cells)
    assert moments is not None and moments - moments[0] == pytest.approx(seconds)


def test_no_moment_is_read_into_words():
    assert parse_time("abc DEF") is None and parse_time("x days 00:00:01") is None


def head(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


YAW, PITCH, TIME = np.linspace(-100, 100, 60), np.linspace(-30, 20, 60), np.arange(60) / 5


@pytest.mark.parametrize(
    "text",
    [
        rows("Time [ms];Yaw [°];Pitch [°]", (TIME * 1000).astype(int), YAW, PITCH, mark=";").encode("cp1252"),
        rows("time,yaw,pitch", ["s", *TIME], ["rad", *np.radians(YAW)], ["rad", *np.radians(PITCH)]),
        rows("Timer,HeadYaw,HeadPitch", TIME, YAW, PITCH),
        rows("time (min),yaw,pitch", TIME / 60, YAW, PITCH),
        rows("t,phi,theta", TIME, np.radians(YAW), np.radians(PITCH)),
        rows("t,theta,phi", TIME, np.radians(YAW), np.radians(PITCH)),
        rows("time_ms,x_px,y_px", TIME * 1000, (YAW / 360 + 0.5) * 3840, (0.5 - PITCH / 180) * 1920),
    ],
)
def test_head_logs_as_tools_export_them(tmp_path, text):
    head(tmp_path / "v" / "u.csv", text)
    (trace,) = understand_heads(tmp_path).traces
    assert trace.angles_deg[:, 0] == pytest.approx(YAW, abs=0.1) and trace.angles_deg[:, 1] == pytest.approx(
        PITCH, abs=0.1
    )
    assert trace.duration_s == pytest.approx(TIME[-1], abs=0.3)


def test_a_yaw_that_hardly_moves_beside_a_pitch_that_does_is_refused(tmp_path):
    head(tmp_path / "v" / "u.csv", rows("", TIME, PITCH, YAW * 0.8, PITCH * 0).lstrip())
    with pytest.raises(TraceFormatError, match="second angle turns further"):
        understand_heads(tmp_path)


def test_theta_and_phi_that_both_could_turn_are_refused(tmp_path):
    head(tmp_path / "v" / "u.csv", rows("t,theta,phi", TIME, np.radians(PITCH), np.radians(PITCH)))
    with pytest.raises(TraceFormatError, match="either of theta and phi may turn"):
        understand_heads(tmp_path)


def test_a_folder_that_is_a_person_names_the_viewer(tmp_path):
    for who in ("user01", "p002"):
        head(tmp_path / "set" / who / "1-Conan.csv", rows("time,yaw,pitch", TIME, YAW, PITCH))
    found = {(trace.user, trace.video) for trace in understand_heads(tmp_path / "set").traces}
    assert found == {("01", "1-Conan"), ("p002", "1-Conan")}


def test_a_second_viewer_in_the_same_rows_is_read(tmp_path):
    text = rows("time,user1_yaw,user1_pitch,user2_yaw,user2_pitch", TIME, YAW, PITCH, -YAW, -PITCH)
    head(tmp_path / "v" / "u.csv", text)
    first, second = understand_heads(tmp_path).traces
    assert [(trace.user, trace.video) for trace in (first, second)] == [("user1", "v"), ("user2", "v")]
    assert first.angles_deg[:, :2] == pytest.approx(-second.angles_deg[:, :2], abs=1e-6)


def test_orientations_deep_inside_a_sample(tmp_path):
    sample = {"orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}, "position": {"x": 0, "y": 1.6, "z": 0}}
    head(tmp_path / "v" / "u.json", json.dumps([{"t": float(t), "pose": sample} for t in TIME]))
    (trace,) = understand_heads(tmp_path).traces
    assert trace.angles_deg == pytest.approx(np.zeros((60, 3)), abs=1e-6)
