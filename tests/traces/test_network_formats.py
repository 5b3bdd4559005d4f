"""Public layouts of network measurements: recognised, in the right units, sessions and groups kept apart; what could be
two things is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.network.tables import NetworkOptions
from netllm_gym.traces.network.units import rate_unit
from netllm_gym.traces.network.user import understand_links

RATES = [2.0, 4.0, 3.5, 8.0, 1.25]


def read(path, text, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return understand_links(path, None, NetworkOptions(**options))


def iso(seconds, format="%Y-%m-%dT%H:%M:%SZ"):
    return (datetime(2023, 5, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime(format)


HEADED = [
    ("Timestamp,DL bitrate (kbps)", [f"{iso(i)},{r * 1000}" for i, r in enumerate(RATES)]),
    (
        "time_ms\tdownlink_throughput_bps\tuplink_throughput_bps",
        [f"{i * 1000}\t{r * 1e6}\t7" for i, r in enumerate(RATES)],
    ),
    ("timestamp;Throughput (Mbit/s);ping_ms", [f"{1.68e9 + i:.0f};{r};30" for i, r in enumerate(RATES)]),
    (
        "Date,Time,Latitude,Longitude,Speed,DL_Throughput_Mbps",
        [f"2023-05-01,10:00:0{i},52.1,8.0,60,{r}" for i, r in enumerate(RATES)],
    ),
    ("datetime,rx_bytes_per_s", [f"{iso(i, '%d/%m/%Y %H:%M:%S')},{r * 125000}" for i, r in enumerate(RATES)]),
    ("elapsed_s,bandwidth,unit", [f"{i},{r},Mbits/sec" for i, r in enumerate(RATES)]),
    ("seconds,rate", [f"{i},{r} Mbits/sec" for i, r in enumerate(RATES)]),
    (
        "unit_id,dtime,target,address,fetch_time,bytes_total,bytes_sec",
        [f"7,{iso(i, '%Y-%m-%d %H:%M:%S')},t,a,9,9,{r * 125000}" for i, r in enumerate(RATES)],
    ),
    (
        "run_num,seq_num,latitude,longitude,movingSpeed,nrStatus,lte_rssi,Throughput",
        [f"1,{i},44.9,-93.2,3.2,CONNECTED,-60,{r}" for i, r in enumerate(RATES)],
    ),
    ("# time s,throughput mbps", [f"{i},{r}" for i, r in enumerate(RATES)]),
    ("Timestamp,bytes", ["0,1"] + [f"{i + 1},{r * 125000}" for i, r in enumerate(RATES)]),
]


@pytest.mark.parametrize(("header", "rows"), HEADED, ids=[h[:24] for h, _ in HEADED])
def test_tables_with_a_header(tmp_path, header, rows) -> None:
    (trace,) = read(tmp_path / "a.csv", "\n".join([header, *rows]) + "\n").traces
    wanted = RATES if header.endswith("bytes") else RATES[:-1]
    assert trace.throughput_mbps == pytest.approx(wanted)
    assert trace.duration_s == pytest.approx([1.0] * len(wanted))


BARE = [
    [f"{i} {r}" for i, r in enumerate(RATES)],
    [f"{i},{r}" for i, r in enumerate(RATES)],
    [f"{i},{r},Mbits/sec" for i, r in enumerate(RATES)],
    [f"{i}\t{r}\t35.5" for i, r in enumerate(RATES)],
    [f"{i * 1000} {r * 1000:.0f}" for i, r in enumerate(RATES)],
    [f"{1.68e12 + i * 1000:.0f},{r * 1000}" for i, r in enumerate(RATES)],
    [f"{i},{r * 1e6}" for i, r in enumerate(RATES)],
    [f"{iso(i)},{r}" for i, r in enumerate(RATES)],
    [f"{1.68e9 + i:.0f} {i * 1000} 59.9 10.7 {r * 125000:.0f} 1000" for i, r in enumerate(RATES)],
]


@pytest.mark.parametrize("rows", BARE, ids=[rows[0] for rows in BARE])
def test_tables_without_a_header(tmp_path, rows) -> None:
    found = read(tmp_path / "a.txt", "\n".join(rows) + "\n")
    assert found.traces[0].throughput_mbps == pytest.approx(RATES[1:])
    assert found.traces[0].duration_s == pytest.approx([1.0] * 4)


def test_units_that_are_not_plausible_are_converted_and_said(tmp_path) -> None:
    rows = [f"{i * 1000} {r * 1000}" for i, r in enumerate([2.5, 2.8, 2.9, 2.7] * 25)]
    found = read(tmp_path / "k.txt", "\n".join(rows))
    assert found.traces[0].mean_mbps == pytest.approx(2.72, abs=0.05)
    assert any("kbit/s" in note for note in found.notes) and any("time: ms" in note for note in found.notes)
    assert found.traces[0].total_s == pytest.approx(99.0)
    # Nothing shows MB/s; the table says what was taken, and the option changes it.
    rows = [f"{i} {r}" for i, r in enumerate([0.4, 1.5, 2.5, 3.5] * 25)]
    assert any("assumed" in note for note in read(tmp_path / "m.txt", "\n".join(rows)).notes)
    assert read(tmp_path / "m.txt", "\n".join(rows), throughput_unit="MB/s").traces[0].mean_mbps > 10


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([f"{i} {500 + i}" for i in range(9)], "Mbit/s or kbit/s; say which: --rate-unit"),
        ([f"{i},{500_000 + i}" for i in range(9)], "bit/s or kbit/s"),
        ([f"{i * 50},3.5" for i in range(9)], "s or ms; say which: --time-unit"),
        (["time_s,throughput_mbps", *[f"{i * 1000},{2746000 + i}" for i in range(9)]], "not plausible"),
        (["a,b", "1,2", "3,4"], "no known format"),
        (["time_s,throughput_mbps", "0,1", "1,-2", "2,3"], r":3: negative"),
        (["time_s,throughput_mbps", "0,1", "9,2", "6,3", "12,3"], r":4: time 6 s does not come after"),
        (["time_s,throughput_mbps", "0,1", "1,x", "2,3"], r":3: no number"),
    ],
)
def test_what_could_be_two_things_is_refused(tmp_path, rows, message) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read(tmp_path / "a.csv", "\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("where", "unit"),
    [("Lumous5G/5G/5g_trace_1_walking", "Mbit/s"), ("mmWave/run1.txt", "Mbit/s"), ("logs/3G/tram.txt", "kbit/s"),
     ("norway-hsdpa/bus_1", "kbit/s"), ("5g/hsdpa_1.txt", ""), ("35g/bus45gb.txt", ""), ("5G/a/b/c/run1.txt", "")],
)  # fmt: skip
def test_the_radio_in_a_name_tells_a_rate_s_unit_where_its_numbers_do_not(tmp_path, where, unit) -> None:
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    rows = "\n".join(f"{i}\t{500 + i}" for i in range(9))
    if not unit:
        with pytest.raises(TraceFormatError, match="Mbit/s or kbit/s; say which"):
            read(path, rows)
        return
    found = read(path, rows)
    assert any(f"throughput: {unit}" in note and "in the name" in note for note in found.notes)
    assert found.traces[0].mean_mbps == pytest.approx(504 if unit == "Mbit/s" else 0.504, rel=0.01)
    assert read(path, rows, throughput_unit="MB/s").traces[0].mean_mbps == pytest.approx(504 * 8, rel=0.01)


def test_sessions_in_one_file_become_traces(tmp_path) -> None:
    rows = [f"{s},{i},{r}" for s in ("x", "y") for i, r in enumerate(RATES)]
    found = read(tmp_path / "s.csv", "\n".join(["session_id,time_s,throughput_mbps", *rows]))
    assert [t.name for t in found.traces] == ["s.csv#x", "s.csv#y"]
    assert len({t.group for t in found.traces}) == 2
    rows = [f"{i} {r}" for _ in range(3) for i, r in enumerate(RATES)]
    found = read(tmp_path / "r.txt", "\n".join(rows))
    assert len(found.traces) == 3 and any("starts anew" in note for note in found.notes)
    rows = [f"{i},{r}" for i, r in enumerate(RATES)] + [f"{i + 9000},{r}" for i, r in enumerate(RATES)]
    found = read(tmp_path / "p.csv", "\n".join(["time_s,throughput_mbps", *rows]))
    assert len(found.traces) == 2 and len({t.group for t in found.traces}) == 1


def test_windows_of_one_ride_are_one_recording(tmp_path) -> None:
    for ride in ("a", "b"):
        for window in range(3):
            (tmp_path / f"ride_{ride}_{window}.txt").write_text(
                "".join(f"{i} {r + window}\n" for i, r in enumerate(RATES))
            )
    found = understand_links(tmp_path, None, NetworkOptions(group=r"(ride_\w)_"))
    assert len(found.traces) == 6 and {t.group for t in found.traces} == {"ride_a", "ride_b"}
    text = "time_s,throughput_mbps,ride\n" + "".join(f"{i},{r},north\n" for i, r in enumerate(RATES))
    assert read(tmp_path / "c.csv", text, group="ride").traces[0].group == "north"
    with pytest.raises(ConfigError, match="no expression"):
        NetworkOptions(group="(")


def test_what_is_no_data_is_skipped_with_a_note(tmp_path) -> None:
    (tmp_path / "README").write_text("what this is")
    (tmp_path / "notes.md").write_text("more")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.log").write_text("".join(f"{i} {r}\n" for i, r in enumerate(RATES)))
    found = traces.load(tmp_path)
    assert [t.name for t in found] == ["deep/er/a.log"]
    assert any("README" in note and "empty.csv (empty)" in note for note in found.notes)


def test_iperf_json_and_text(tmp_path) -> None:
    intervals = [
        {"streams": [{}], "sum": {"start": i, "end": i + 1, "bits_per_second": r * 1e6, "omitted": i == 0}}
        for i, r in enumerate(RATES)
    ]
    (trace,) = read(tmp_path / "a.json", json.dumps({"start": {}, "intervals": intervals, "end": {}})).traces
    assert trace.throughput_mbps == pytest.approx(RATES[1:])
    lines = [
        f"[  {s}]  {i}.00-{i + 1}.00  sec  0.5 MBytes  {r / 2:.3f} Mbits/sec    0   1.2 MBytes"
        for i, r in enumerate(RATES)
        for s in (5, 7)
    ]
    lines += ["[  5]   0.00-5.00   sec  9 MBytes  1.0 Mbits/sec  receiver"]
    (trace,) = read(
        tmp_path / "a.txt", "\n".join(["Connecting to host x", "[ ID] Interval Transfer Bitrate", *lines])
    ).traces
    assert trace.throughput_mbps == pytest.approx(RATES, abs=0.01)
    with pytest.raises(TraceFormatError, match="unable to connect"):
        read(
            tmp_path / "a.json",
            json.dumps({"start": {}, "intervals": None, "error": "unable to connect"}).replace("null", '""'),
        )


def test_speed_tests(tmp_path) -> None:
    head = "Server ID,Sponsor,Server Name,Timestamp,Distance,Ping,Download,Upload,Share,IP Address"
    rows = [f"1,a,b,{iso(i * 3600, '%Y-%m-%dT%H:%M:%S.%fZ')},9,20,{r * 1e7},1e6,," for i, r in enumerate(RATES)]
    (trace,) = read(tmp_path / "cli.csv", "\n".join([head, *rows])).traces
    assert trace.throughput_mbps == pytest.approx(np.array(RATES[:-1]) * 10) and trace.duration_s[0] == 3600
    total = np.cumsum(RATES) * 125000
    lines = [
        json.dumps(
            {
                "Key": "measurement",
                "Value": {
                    "AppInfo": {"ElapsedTime": (i + 1) * 10**6, "NumBytes": int(n)},
                    "Test": "download",
                    "Origin": "client",
                },
            }
        )
        for i, n in enumerate(total)
    ]
    (trace,) = read(tmp_path / "ndt7.jsonl", "\n".join(lines)).traces
    assert trace.throughput_mbps == pytest.approx(RATES)


def test_json_of_other_simulators(tmp_path) -> None:
    columns = {"timestamps": list(range(5)), "bandwidths": RATES, "link_rtt": 80}
    assert read(tmp_path / "g.json", json.dumps(columns)).traces[0].mean_mbps > 1
    pieces = [{"duration": 1000, "capacity": r * 1000, "loss": 0} for r in RATES]
    (trace,) = read(tmp_path / "w.json", json.dumps({"type": "x", "uplink": {"trace_pattern": pieces}})).traces
    assert trace.throughput_mbps == pytest.approx(RATES)


def test_corners_of_steps_are_kept_and_repeated_seconds_averaged(tmp_path) -> None:
    corners = ["0 2000", "1000 2000", "1000 3000", "2000 3000", "2000 4000", "3000 4000"]
    assert read(tmp_path / "o.txt", "\n".join(corners)).traces[0].throughput_mbps == pytest.approx([2, 3, 4])
    found = read(tmp_path / "l.csv", "time_s,throughput_mbps\n0,1\n1,2\n1,4\n2,5\n3,5\n4,5\n")
    assert found.traces[0].throughput_mbps == pytest.approx([1, 3, 5, 5]) and sum(found.repairs.values()) == 1


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Mbits/sec", "Mbps"), ("kbps", "kbps"), ("bits_per_second", "bps"), ("MB/s", "MB/s"), ("mb/s", None),
        ("KB/s", "kB/s"), ("bytes_sec", "B/s"), ("Gbit/s", "Gbps"), ("mbps", "Mbps"), ("m", None), ("s", None),
        ("B", None), ("bytes", None),
    ],
)  # fmt: skip
def test_names_of_units(text, unit) -> None:
    assert rate_unit(text) == unit


def test_large_files_are_read_in_pieces_as_small_ones_are_read(tmp_path, monkeypatch) -> None:
    path = tmp_path / "big.txt"
    path.write_text("".join(f"{i * 1000} {1500 + i % 700}\n" for i in range(3000)))
    whole = understand_links(path)
    monkeypatch.setattr("netllm_gym.traces.network.readers.large.FROM_BYTES", 1)
    monkeypatch.setattr("netllm_gym.traces.network.readers.large.ROWS", 256)
    pieces = understand_links(path)
    assert pieces.traces[0].digest == whole.traces[0].digest and pieces.traces[0].group == whole.traces[0].group
    assert len(pieces.notes) == len(whole.notes) == 2
    for damage in ("1 2 3\n", "x y\n", "1\n", "nan 1\n"):
        path.write_text(
            "".join(f"{i} 1.5\n" for i in range(900)) + damage + "".join(f"{i} 1.5\n" for i in range(901, 999))
        )
        with pytest.raises(TraceFormatError):
            understand_links(path)
    path.write_text("".join(f"{i if i != 700 else 1} 1.5\n" for i in range(900)))
    with pytest.raises(TraceFormatError, match=":701: time 1 does not come after"):
        understand_links(path)
