"""Links as public repositories hold them: operators in one table, pauses, units in camel case, loggers' errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.network.user import NetworkOptions
from netllm_gym.traces.user import ImportOptions, understand


def _read(tmp_path: Path, header: str, row: Callable[[int], str], count: int = 60, **options: Any) -> Any:
    path = tmp_path / "log.csv"
    path.write_text("".join([f"{header}\n"] * bool(header) + [f"{row(i)}\n" for i in range(count)]))
    return understand(path, ImportOptions(network=NetworkOptions(**options)))


def _means(found: Any) -> list[float]:
    return sorted(round(trace.mean_mbps, 3) for trace in found.traces)


# --- one recording apart from another
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("t_s,carrier,dl_mbps", lambda i: f"{10 * i},{'ab'[i % 2]},{1 + i % 2}"),  # in turn
        ("t_s,serving_operator,dl_mbps", lambda i: f"{i // 2},{'ab'[i % 2]},{1 + i % 2}"),  # at once
        ("t_s,run_id,operator,dl_mbps", lambda i: f"{i // 2},7,{'ab'[i % 2]},{1 + i % 2}"),
        ("t_s,iccid,dl_mbps", lambda i: f"{i},894603000000000000{i // 30},{1 + i // 30}"),  # one after the other
    ],
)
def test_operators_and_devices_are_recordings_of_their_own(tmp_path, header, row) -> None:
    found = _read(tmp_path, header, row)
    assert _means(found) == [1.0, 2.0]
    assert any(s.startswith("sessions in one file become traces (by ") for s in found.sentences())


def test_operators_within_runs_are_told_apart(tmp_path) -> None:
    found = _read(
        tmp_path,
        "run_id,timestamp,operator,dl_mbps",
        lambda i: f"{i // 40},{1600000000 + 500 * (i // 40) + i // 2 % 20},{'vt'[i % 2]},{1 + i % 2}",
        120,
    )
    assert _means(found) == [1.0] * 3 + [2.0] * 3
    assert "sessions in one file become traces (by 'run_id', 'operator')" in found.sentences()


def test_a_handover_begins_no_recording(tmp_path) -> None:
    found = _read(tmp_path, "t_s,cell_id,network_type,dl_mbps", lambda i: f"{i},{i // 9},{'45'[i // 20 % 2]}G,{1 + i}")
    assert len(found.traces) == 1


def test_an_operator_with_a_row_or_two_does_not_part_a_log(tmp_path) -> None:
    found = _read(tmp_path, "t_s,operator,dl_mbps", lambda i: f"{i},{'roaming' if i == 30 else 'home'},5")
    assert len(found.traces) == 1


def test_downloads_of_several_nodes_last_as_long_as_their_own(tmp_path) -> None:
    found = _read(tmp_path, "node_id,time_s,bytes,download_time_s", lambda i: f"n{i % 2},{60 * i},250000,{2 + i % 2}")
    durations = sorted(float(trace.duration_s.sum()) for trace in found.traces)
    assert durations == pytest.approx([60.0, 90.0])
    assert _means(found) == pytest.approx([round(2 / 3, 3), 1.0])


@pytest.mark.parametrize("column", ["test", "traffic"])
def test_a_column_of_any_name_may_tell_the_direction(tmp_path, column) -> None:
    words = ("tcp_downlink", "tcp_uplink", "ping")
    found = _read(
        tmp_path, f"t_s,{column},throughput_mbps",
        lambda i: f"{i},{words[i // 10 % 3]},{'' if i // 10 % 3 == 2 else 20 if i // 10 % 3 else 3}",
    )  # fmt: skip
    assert _means(found) == [3.0]
    assert f"rows of the uplink left out, as column {column!r} tells them" in found.sentences()


def test_the_state_of_a_link_is_no_direction(tmp_path) -> None:
    found = _read(
        tmp_path, "t_s,status_text,dl_mbps", lambda i: f"{i},{'up' if i % 20 else 'down'},{5 if i % 20 else 0}"
    )
    assert len(found.traces[0].throughput_mbps) == 59


def test_a_column_of_any_name_that_fills_a_grid_parts_series(tmp_path) -> None:
    found = _read(tmp_path, "t_s,location,rx_mbps", lambda i: f"{i // 3},{('gate', 'hall', 'yard')[i % 3]},{1 + i % 3}")
    assert _means(found) == [1.0, 2.0, 3.0]


def test_a_counter_for_each_pair_of_workers(tmp_path) -> None:
    """One worker below another, the peers of each at the same stamps: together they rise and fall."""
    found = _read(
        tmp_path, "worker,peer,time_s,bytes_received",
        lambda i: f"{i // 40},{i % 2},{i // 2 % 20},{125_000 * (1 + i % 2) * (i // 2 % 20)}", 80,
    )  # fmt: skip
    assert _means(found) == [1.0, 1.0, 2.0, 2.0]
    assert "'bytes_received' counts all that came so far" in found.sentences()


def test_bytes_of_one_stamp_are_summed(tmp_path) -> None:
    found = _read(tmp_path, "time_s,bytes", lambda i: f"{i // 3},{125_000 + i % 2}")
    assert found.traces[0].throughput_mbps == pytest.approx(3.0, rel=1e-4)
    assert "rows of one stamp summed: 40" in found.sentences()


# --- rows that say when they end
# -------------------------------------------------------------------------------------------------


def test_pauses_between_tests_carry_nothing(tmp_path) -> None:
    """Four runs of 15 s every 75 s: held over the pauses, each run would last five times as long."""

    def row(i: int) -> str:
        begin = 75 * (i // 15) + i % 15
        return f"{begin},{begin + 1},{1 + i // 15}"

    found = _read(tmp_path, "timestamp_start,timestamp_end,download_mbps", row)
    assert [float(trace.duration_s.sum()) for trace in found.traces] == [15.0] * 4
    assert _means(found) == [1.0, 2.0, 3.0, 4.0]
    assert len({trace.group for trace in found.traces}) == 1
    assert "sessions in one file become traces (pauses between rows that say their end)" in found.sentences()


def test_tests_now_and_then_are_samples_of_what_follows(tmp_path) -> None:
    found = _read(tmp_path, "start_s,end_s,download_mbps", lambda i: f"{3600 * i},{3600 * i + 20},{i + 1}", 20)
    assert len(found.traces) == 1
    assert found.traces[0].duration_s[0] == 3600.0


# --- clocks
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "steps"),
    [
        (["02/22/19 17:29", "02/22/19 17:38"], [540.0]),
        (["22/02/19 17:29:00", "23/02/19 17:29:00"], [86_400.0]),
        (["03/02/21 10:00", "04/02/21 10:00"], [86_400.0]),  # a month as well: the shorter one
        (["21/02/10 10:00", "21/02/11 10:00"], [86_400.0]),  # the year first
        (["2/9/21 1:05 PM", "2/9/21 1:06 PM"], [60.0]),
    ],
)
def test_years_of_two_digits(cells, steps) -> None:
    moments = seconds_of(cells)
    assert moments is not None
    assert np.diff(moments).tolist() == steps


def test_a_date_and_a_time_of_small_loggers(tmp_path) -> None:
    header = "Date,Time,Ping (ms),Download (Mbit/s),Upload (Mbit/s)"
    found = _read(tmp_path, header, lambda i: f"02/{10 + i // 24}/21,{i % 24:02d}:05,12.1,{20 + i},5.5")
    assert found.traces[0].duration_s.tolist() == [3600.0] * 59
    assert found.traces[0].throughput_mbps[0] == 20.0


def test_a_clock_may_stand_behind_the_throughput(tmp_path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"{20_000 + i % 7};{1692164828 + 0.5 * i}\n" for i in range(60)))
    found = understand(path)
    assert found.traces[0].duration_s.tolist() == [0.5] * 59
    assert "columns without names: the clock stands behind the throughput" in found.sentences()


@pytest.mark.parametrize("row", ["{}Mbps 10ms 0.00", "{}mbit"])
def test_a_delay_and_a_loss_are_no_clock(tmp_path, row) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"{row.format(10 + i)}\n" for i in range(20)))
    with pytest.raises(TraceFormatError, match="--step"):
        understand(path)
    found = understand(path, ImportOptions(network=NetworkOptions(step_s=0.1)))
    assert found.traces[0].throughput_mbps[-1] == 29.0


@pytest.mark.parametrize("names", ["Fecha,Hora", "Time,Date"])
def test_a_date_stands_on_either_side_of_its_time(tmp_path, names) -> None:
    def row(i: int) -> str:
        date, time = f"{i + 1:02d}/02/2024", f"10:{i:02d}:00"
        return f"{date},{time},5" if names.startswith("Fecha") else f"{time},{date},5"

    assert _read(tmp_path, f"{names},dl_mbps", row, 28).traces[0].duration_s.tolist() == [86_460.0] * 27


# --- units and columns
# -------------------------------------------------------------------------------------------------


def test_bits_or_bytes_in_camel_case_are_asked_for(tmp_path) -> None:
    with pytest.raises(TraceFormatError, match=r"Bps \(bits or bytes\)"):
        _read(tmp_path, "timestampMs,throughputBps", lambda i: f"{1000 * i},{20000 + i}")
    found = _read(tmp_path, "timestampMs,throughputBps", lambda i: f"{1000 * i},20000", throughput_unit="B/s")
    assert _means(found) == [0.16]
    assert found.traces[0].duration_s[0] == 1.0


def test_a_dishs_status_is_in_bits_per_second(tmp_path) -> None:
    found = _read(tmp_path, "timestamp,popPingLatencyMs,downlinkThroughputBps", lambda i: f"{1690000000 + i},40,20000")
    assert _means(found) == [0.02]


def test_srsrans_metrics_are_in_bits_per_second(tmp_path) -> None:
    found = _read(tmp_path, "time;dl_mcs;dl_turbo;dl_brate;ul_brate", lambda i: f"{i};20;{1 + i % 2};50000.0;900.0")
    assert _means(found) == [0.05]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("time,rx_gain,dl_turbo", lambda i: f"{i},{30 + i % 9},20"),
        ("time,bitrate,codec,fps", lambda i: f"{i},3000,h264,30"),
        ("time_stamp,bit_rate,buffer_size,rebuf", lambda i: f"{i},2850,12,0"),
        ("time,average_speed,ping", lambda i: f"{i},{30 + i % 9},20"),
        ("time,latitude,longitude,speed,rsrp", lambda i: f"{i},52.1,8.0{i},{30 + i % 9},-{90 + i % 5}"),
        ("time,PDURequestRate,RegistrationRate", lambda i: f"{i},{30 + i % 9},20"),
    ],
)
def test_what_is_no_rate_of_a_link(tmp_path, header, row) -> None:
    with pytest.raises(TraceFormatError, match=r"throughput|no known format"):
        _read(tmp_path, header, row)


@pytest.mark.parametrize(
    "document",
    [
        {"unit": "Mbps", "samples": [{"t": i, "bw": 2000.0} for i in range(20)]},
        {"meta": {"throughput_unit": "Mbit"}, "time": list(range(20)), "throughput": [2000.0] * 20},
        {"interval_ms": 1000, "units": "Mbps", "bandwidth": [2000] * 20},
    ],
)
def test_a_unit_beside_the_samples_of_a_document(tmp_path, document) -> None:
    path = tmp_path / "link.json"
    path.write_text(json.dumps(document))
    assert _means(understand(path)) == [2000.0]


def test_speedtest_cli_without_its_header(tmp_path) -> None:
    found = _read(
        tmp_path, "", lambda i: f'150,"A, Inc",Rome,2020-11-26T{i:02d}:05:01.1Z,17.0,19.9,{2e7 + i},3e6,,192.0.2.1', 24
    )
    assert found.traces[0].throughput_mbps[0] == pytest.approx(20.0)
    assert found.traces[0].duration_s.tolist() == [3600.0] * 23


def test_values_of_another_unit_among_the_others_are_said(tmp_path) -> None:
    pieces = [{"duration": 200, "capacity": 13_000_000 if i == 7 else 9000} for i in range(30)]
    (tmp_path / "link.json").write_text(json.dumps({"uplink": {"trace_pattern": pieces}}))
    said = understand(tmp_path / "link.json").sentences()
    assert said == ("values a thousand times the median beside them, perhaps in another unit: link.json",)


def test_bwm_ng_writes_no_names(tmp_path) -> None:
    def row(i: int) -> str:
        out, came = 100.0 + i % 3, 125_000.0 * (1 + i % 2)
        return f"{1690000000 + i // 2};{('eth0', 'lo')[i % 2]};{out:.2f};{came:.2f};{out + came:.2f};1;2;3;4;5"

    found = _read(tmp_path, "", row)
    assert _means(found) == [1.0, 2.0]
    assert "sessions in one file become traces (by 'column 2')" in found.sentences()


# --- what stands in the way
# -------------------------------------------------------------------------------------------------


def test_a_loggers_errors_are_left_out_and_counted(tmp_path) -> None:
    found = _read(tmp_path, "t_s,dl_mbps,ul_mbps", lambda i: "no route to host" if i in (20, 40) else f"{i},5,1")
    assert len(found.traces[0].duration_s) == 57
    assert "rows of another number of fields left out: 2" in found.sentences()


def test_many_rows_of_another_length_are_refused_by_their_line(tmp_path) -> None:
    with pytest.raises(TraceFormatError, match=r"log\.csv:7: .*expected 3 columns, found 4"):
        _read(tmp_path, "t_s,dl_mbps,ul_mbps", lambda i: f"{i},5,1,9" if i % 5 == 0 and i else f"{i},5,1")


def test_a_file_of_an_empty_line_is_passed_over(tmp_path) -> None:
    (tmp_path / "lost").write_text("\n")
    assert len(_read(tmp_path, "t_s,dl_mbps", lambda i: f"{i},5").traces) == 1
    assert "skipped: lost (empty)" in understand(tmp_path).sentences()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 451594\n", "git lfs pull"),
        ("#!/bin/sh\nsudo tc qdisc add dev eth0 root tbf rate 5mbit burst 32k latency 9ms\nsleep 1\n", "script for tc"),
        ("181801\n155580\n139857\n155432\n163442\n126289\n" * 9, "one column of numbers that fall"),
        ("1.5,9,0,7\n2.5,9,0,7\n0,9,0,7\n", "4 columns without names: write a line of names"),
        (
            "t_s,dl_mbps\n" + "".join(f"{i},{i if i % 10 else ''}\n" for i in range(60)),
            "write 0 where the link was down",
        ),
    ],
)
def test_a_refusal_says_what_to_do(tmp_path, text, why) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(TraceFormatError, match=why):
        understand(tmp_path / "log.csv")


def test_a_web_servers_log_has_its_names_in_a_comment(tmp_path) -> None:
    names = "#Version: 1.0\n#Fields: date time c-ip sc-bytes time-taken\n"
    rows = "".join(f"2024-01-01\t10:{i:02d}:00\t192.0.2.1\t250000\t2.0\n" for i in range(30))
    (tmp_path / "access.log").write_text(names + rows)
    found = understand(tmp_path / "access.log")
    assert _means(found) == [1.0]
    assert float(found.traces[0].duration_s.sum()) == pytest.approx(60.0)
