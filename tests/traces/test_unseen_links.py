"""Folders and tables of links as testers bring them: files of different units, notes beside, names with blanks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import parse_time
from netllm_gym.traces.user import understand

NOTES = (
    "These traces were measured on a bus in spring.\nThroughput is in Mbit/s, time in s.\n\nContact: a@example.org\n"
)


def _rows(row, header: str = "", count: int = 30) -> str:
    return "".join([f"{header}\n"] * bool(header) + [f"{row(i)}\n" for i in range(count)])


def _read(tmp_path: Path, **files: str) -> Any:
    for name, text in files.items():
        path = tmp_path / name.replace("__", ".")
        path.write_text(text, encoding="utf-8")
    return understand(path if len(files) == 1 else tmp_path)


# --- units by the header
# -------------------------------------------------------------------------------------------------


def test_files_of_other_names_have_units_of_their_own(tmp_path) -> None:
    found = _read(
        tmp_path,
        a__csv=_rows(lambda i: f"{i},{2000 + i}", "time,bandwidth"),
        b__csv=_rows(lambda i: f"{i},{2 + i / 10:.1f}", "t,bw", 10),
        c__csv=_rows(lambda i: f"{i},{500 + i}", "time,rate_kbps", 10),
    )
    assert [trace.throughput_mbps[0] for trace in found.traces] == pytest.approx([2.0, 2.0, 0.5])
    said = found.sentences()
    assert any(s.startswith("a.csv: throughput: kbit/s") for s in said)
    assert any(s.startswith("b.csv: throughput: Mbit/s") for s in said)
    assert "time: seconds (assumed: steps of 1; --time-unit says otherwise)" in said  # of all: said once


def test_files_of_one_header_share_a_unit_and_a_stray_one_is_said(tmp_path) -> None:
    levels = {"a": 2000.0, "b": 2100.0, "c": 90.0, "d": 2.5, "e": 2200.0}  # c is a slow drive, d may be in Mbit/s
    for name, level in levels.items():
        (tmp_path / f"{name}.csv").write_text(_rows(lambda i, level=level: f"{i},{level + i / 100}", "time,bandwidth"))
    found = understand(tmp_path)
    assert [round(trace.throughput_mbps[0], 4) for trace in found.traces] == [2.0, 2.1, 0.09, 0.0025, 2.2]
    assert "read in the unit of the others, though far from them: d.csv" in found.sentences()


# --- notes beside
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prose", [NOTES, NOTES * 90, "Gemessen auf dem Weg nach Köln im Frühling.\n"])
def test_notes_beside_traces_are_passed_over(tmp_path, prose) -> None:
    (tmp_path / "about.txt").write_bytes(prose.encode("cp1252"))
    found = _read(tmp_path, b__txt=_rows(lambda i: f"{i} {2 + i / 10:.1f}"), c__txt=_rows(lambda i: f"{i} 3.5"))
    assert [trace.name for trace in found.traces] == ["b.txt", "c.txt"]
    assert "skipped: about.txt (notes)" in found.sentences()


def test_notes_alone_are_refused(tmp_path) -> None:
    with pytest.raises(TraceFormatError):
        _read(tmp_path, notes__txt=NOTES)
    with pytest.raises(TraceFormatError):
        understand(tmp_path)


@pytest.mark.parametrize("broken", ["0 1.5\n1 1.6 7 8\n2 1.7\n3 x\n4 2\n", "0 1.5\n1 oops\n2 oops\n3 oops\n"])
def test_a_broken_trace_is_no_note(tmp_path, broken) -> None:
    with pytest.raises(TraceFormatError):
        _read(tmp_path, a__txt=_rows(lambda i: f"{i} 2.5"), b__txt=broken)


# --- tables
# -------------------------------------------------------------------------------------------------


def test_names_with_blanks_between_wide_gaps(tmp_path) -> None:
    found = _read(tmp_path, a__txt=_rows(lambda i: f"{i}   {500 + i}", "time stamp   down rate kbps"))
    assert found.traces[0].throughput_mbps[0] == pytest.approx(0.5)


def test_names_above_numbers_are_never_dropped(tmp_path) -> None:
    with pytest.raises(TraceFormatError):  # ifstat: no clock; the columns are both rates
        _read(tmp_path, a__txt="      eth0      \n KB/s in  KB/s out\n" + _rows(lambda i: f"  {120 + i}   5.25"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("01.02.2023 10:00:00,500", 0.5), ("2023-02-01 10:00:00,25", 0.25), ("10:00:00,125", 0.125)]
)
def test_a_comma_before_the_fraction_of_a_second(text, seconds) -> None:
    found = parse_time(text)
    assert found is not None and found[0] % 1.0 == pytest.approx(seconds)


def test_dstat(tmp_path) -> None:
    head = '"Dstat 0.7.3 CSV output"\n"Author:","X",,,,"URL:","x"\n"Host:","n",,,,"User:","r"\n'
    head += '"Cmdline:","dstat",,,,"Date:","x"\n\n"system","net/total",\n"time","recv","send"'
    found = _read(tmp_path, a__csv=_rows(lambda i: f"28-02 23:59:{i + 30},{1e6 + i},5.0", head))
    assert found.traces[0].throughput_mbps[0] == pytest.approx(8.0)
    assert found.traces[0].total_s == pytest.approx(29.0)


def test_speedtests_that_only_grow_faster(tmp_path) -> None:
    header = "Server ID,Sponsor,Server Name,Timestamp,Distance,Ping,Download,Upload,Share,IP Address"
    row = "1,X,Y,2021-03-{:02d}T10:00:00Z,1,18,{}e6,2e7,,1.2.3.4"
    found = _read(tmp_path, a__csv=_rows(lambda i: row.format(i + 1, 90 + i), header, 6))
    assert found.traces[0].throughput_mbps[0] == pytest.approx(90.0)


def test_columns_of_the_same_kind_that_are_not_read_are_said(tmp_path) -> None:
    found = _read(tmp_path, a__csv=_rows(lambda i: f"{i},5,8,2", "time_s,telia_dl_mbps,ice_dl_mbps,telia_ul_mbps"))
    assert "read 'telia_dl_mbps', not 'ice_dl_mbps': --throughput names another" in found.sentences()


def test_downloads_of_several_nodes_below_each_other(tmp_path) -> None:
    text = "NodeId,Operator,Timestamp,Bytes,TotalTime\n" + "".join(
        f"{node},Telia,{1490000000 + 600 * i + node}.25,3145728,{took}\n"
        for node, took in ((4, 2), (9, 4))
        for i in range(9)
    )
    found = _read(tmp_path, a__csv=text)
    assert [trace.group for trace in found.traces] == ["a.csv#4", "a.csv#9"]
    assert [trace.throughput_mbps[0] for trace in found.traces] == pytest.approx([12.582912, 6.291456])


def test_counters_that_stand_still_are_refused(tmp_path) -> None:
    text = _rows(lambda i: f"{i // 15},{i % 15},1000", "run_id,time,rx_bytes_total")
    with pytest.raises(TraceFormatError):
        _read(tmp_path, a__csv=text)


def test_a_ride_whose_bytes_rise_is_no_head_log(tmp_path) -> None:
    row = "{} {} {:.6f} {:.6f} {} 1000"
    text = _rows(lambda i: row.format(1284365025 + i, i * 1000, 59.85 + i * 1e-4, 10.78 + i * 2e-4, 100000 + i * 1000))
    found = _read(tmp_path, a__log=text)
    assert found.kind == "network"
    assert found.traces[0].throughput_mbps[0] == pytest.approx(0.808)


# --- JSON
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"columns": ["t", "kbps"], "index": [*range(9)], "data": [[i, 500 + i] for i in range(9)]},  # pandas, split
        {"t": {str(i): i for i in range(9)}, "kbps": {str(i): 500 + i for i in range(9)}},  # pandas, columns
        {"results": [{"series": [{"name": "net", "columns": ["time", "rate_kbps"],
                                  "values": [[f"2021-01-01T00:00:0{i}Z", 500 + i] for i in range(9)]}]}]},  # InfluxDB
    ],
)  # fmt: skip
def test_tables_in_json_keep_their_names(tmp_path, document) -> None:
    trace = _read(tmp_path, a__json=json.dumps(document)).traces[0]
    assert trace.throughput_mbps[0] == pytest.approx(0.5)
    assert trace.total_s == pytest.approx(8.0)


def _series(metric: dict[str, str], values: list[Any]) -> dict[str, Any]:
    return {"metric": metric, "values": [[1_700_000_000 + 15 * i, str(v)] for i, v in enumerate(values)]}


@pytest.mark.parametrize("name", ["node_network_receive_bytes_total", "download_mbps"])
def test_prometheus_ranges(tmp_path, name) -> None:
    rates = [1 + i % 3 for i in range(9)]
    values = np.cumsum([0, *rates]) * 15 * 125_000 if "bytes" in name else rates
    found = [_series({"__name__": name, "device": device}, list(values)) for device in ("eth0", "eth1")]
    document = {"status": "success", "data": {"resultType": "matrix", "result": found}}
    (tmp_path / "range.json").write_text(json.dumps(document))
    traces = understand(tmp_path / "range.json").traces
    assert len(traces) == 2
    for trace in traces:
        assert trace.throughput_mbps[:8].tolist() == pytest.approx(rates[:8])
        assert trace.duration_s[:8].tolist() == pytest.approx([15.0] * 8)
