"""What the readers of network traces make of a file, and what they refuse in one line."""

from __future__ import annotations

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.traces.network.readers import cooked, read_columns, read_cooked
from netllm_gym.traces.network.user import FORMATS, guess_format

NS = 1_600_000_000_000_000_000
GNET = "Timestamp,DL_bitrate,State\n2019.12.31_23.59.59,1000,D\n"
PUFFER = f"time (ns GMT),session_id,index,delivery_rate\n{NS},s,1,250000\n"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("csv", "time_s,throughput_mbps\n0,1\n", "f: needs at least two samples"),
        ("csv", "time_s,throughput_mbps\n0,1\n1,nan\n", "f:3: 'nan' is not finite"),
        ("csv", "time_s,throughput_mbps\n0,1\n1,-1\n", "f:3: negative throughput"),
        ("csv", "time_s,throughput_mbps\n1,1\n0,1\n", "f:3: time 0 does not come after"),
        ("csv", "time_s,throughput_mbps\n0,1\n1\n", "f:3: expected 2 fields, found 1"),
        ("csv", "time,throughput\n0,1\n1,1\n", "f:1: no pair of columns like"),
        ("csv", 'time_s,throughput_mbps\n0,"1\n1,1\n', "f:3: not CSV"),
        ("gnettrack", GNET, "needs at least two seconds"),
        ("gnettrack", GNET + "2019.12.31_23.59.58,1,D\n", "f:3: time .* comes before"),
        ("gnettrack", GNET + "2019.13.31_23.59.58,1,D\n", "f:3: .* is not a time"),
        ("gnettrack", GNET + "2020.01.01_00.00.00,-,D\n", "f:3: '-' is not a number"),
        ("gnettrack", GNET + "2020.01.01_00.00.00,-3,D\n", "f:3: negative throughput"),
        ("gnettrack", "Timestamp,UL_bitrate\n", "f:1: no column 'DL_bitrate'"),
        ("puffer", PUFFER, "no stream of at least two chunks"),
        ("puffer", PUFFER + f"{NS - 1},s,1,9\n", "f:3: time .* does not come after"),
        ("puffer", PUFFER + f"{NS // 10**6},s,1,9\n", "f:3: .* is not a time in nanoseconds"),
        ("puffer", PUFFER + f"{NS + 1},s,1,-9\n", "f:3: negative delivery rate"),
        ("puffer", PUFFER + f"{NS + 1},s,1,nan\n", "f:3: 'nan' is not finite"),
    ],
)
def test_malformed_tables_name_line_and_reason(name: str, data: str, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        FORMATS[name](data.encode(), "f")
    with pytest.raises(TraceFormatError, match="not UTF-8"):
        FORMATS[name](b"\xff\xfe" + data.encode(), "f")


def test_mahimahi_conserves_its_packets() -> None:
    trace = FORMATS["mahimahi"](b"0\n0\n200\n201\n500\n", "m")
    np.testing.assert_allclose(trace.duration_s, [0.2, 0.2, 0.1])
    np.testing.assert_allclose(trace.throughput_mbps * trace.duration_s, np.array([3, 1, 1]) * 1504 * 8e-6)


def test_sabre_is_durations_in_ms_and_kbps() -> None:
    trace = FORMATS["sabre"](b'[{"duration_ms": 1500, "bandwidth_kbps": 800, "latency_ms": 20}]', "s")
    assert trace.duration_s.tolist() == [1.5]
    assert trace.throughput_mbps.tolist() == [0.8]


def test_gnettrack_averages_a_second_and_holds_backwards_over_the_year() -> None:
    rows = (
        GNET + "2019.12.31_23.59.59,3000,D\n2020.01.01_00.00.01,1000,D\n"
        "2020.01.01_00.00.01,2000,D\n2020.01.01_00.00.02,0,D\n"
    )
    trace = FORMATS["gnettrack"](rows.encode(), "g")
    assert trace.duration_s.tolist() == [2.0, 1.0]
    assert trace.throughput_mbps.tolist() == [1.5, 0.0]


def test_puffer_separates_streams_and_knows_bytes() -> None:
    rows = PUFFER + f"{NS + 1},t,1,9\n{NS + 2_000_000_000},s,1,0\n{NS + 2_000_000_001},t,1,9\n"
    first, second = FORMATS["puffer"](rows.encode(), "p")
    assert first.duration_s.tolist() == [2.0] and first.throughput_mbps.tolist() == [2.0]
    assert (first.group, second.group) == ("s", "t") and first.name != second.name


@pytest.mark.parametrize(
    ("unit", "factor"), [("bps", 1e-6), ("kbps", 1e-3), ("Mbps", 1.0), ("MB/s", 8.0), ("kB/s", 8e-3)]
)
def test_csv_units(unit: str, factor: float) -> None:
    data = b"stamp,note,rate\n1000,a,4\n1500,b,9\n"
    trace = read_columns(data, "c", time="stamp", throughput="rate", time_unit="ms", throughput_unit=unit)
    assert trace.duration_s.tolist() == [0.5]
    assert trace.throughput_mbps[0] == pytest.approx(4 * factor)


def test_csv_columns_are_asked_for_when_their_unit_is_a_guess() -> None:
    assert read_columns(b"time_ms,bandwidth_kbps\n0,8\n500,1\n", "c").throughput_mbps.tolist() == [0.008]
    assert read_columns(b"time (s),rate [MB/s]\n0,1\n1,1\n", "c").throughput_mbps.tolist() == [8.0]
    with pytest.raises(TraceFormatError, match="name them"):
        read_columns(b"time_s,rate_mb/s\n0,1\n1,1\n", "c")
    with pytest.raises(UnknownNameError, match="did you mean"):
        read_columns(b"a,b\n0,1\n1,1\n", "c", time="a", throughput="b", throughput_unit="mbps")
    with pytest.raises(ConfigError):
        read_columns(b"a,b\n0,1\n1,1\n", "c", time="a")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"0 1\n1 2", "cooked"),
        (b"\n3\n4", "mahimahi"),
        (b' [{"duration_ms":1,"bandwidth_kbps":2}]', "sabre"),
        (GNET.encode(), "gnettrack"),
        (PUFFER.encode(), "puffer"),
        (b"time_s,throughput_mbps\n", "csv"),
    ],
)
def test_guess(data: bytes, name: str) -> None:
    assert guess_format(data, "f") == name


def test_imported_without_a_format_it_is_guessed(tmp_path) -> None:
    (tmp_path / "m.csv").write_text("time_s,throughput_mbps\n0,1\n1,2\n")
    assert traces.import_traces(tmp_path / "m.csv", "guessed")[0].throughput_mbps.tolist() == [1.0]
    named = {"time": "time_s", "throughput": "throughput_mbps", "throughput_unit": "kbps"}
    assert traces.import_traces(tmp_path / "m.csv", "named", columns=named)[0].mean_mbps == pytest.approx(1e-3)
    with pytest.raises(ConfigError, match="belong to the format csv"):
        traces.import_traces(tmp_path / "m.csv", "named", "cooked", columns=named)


def test_mahimahi_that_goes_back_names_the_line() -> None:
    with pytest.raises(TraceFormatError, match=":2"):
        FORMATS["mahimahi"](b"5\n4\n", "m")


def test_large_cooked_files_take_the_fast_path_and_keep_exact_lines(monkeypatch) -> None:
    lines = [f"{i * 0.1:.6f} {i % 97 / 7:.12f}" for i in range(20_000)]
    good = "\n".join(lines)
    expected = cooked._slow(good, "t")
    with monkeypatch.context() as patch:
        patch.setattr(cooked, "_slow", lambda *_: pytest.fail("slow path"))
        trace = read_cooked(good.encode(), "t")
    assert trace.throughput_mbps.tolist() == expected[1][1:]
    assert trace.duration_s.tolist() == np.diff(expected[0]).tolist()
    for wrong, message in (
        ("1e9 1 2", "two columns"),
        ("1e9 x", "not a number"),
        ("0 1", "come after"),
        ("1e9", "two"),
    ):
        with pytest.raises(TraceFormatError, match=f"t:20001: .*{message}"):
            read_cooked(f"{good}\n{wrong}\n".encode(), "t")
