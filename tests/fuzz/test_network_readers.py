"""Every reader of network traces returns traces or one line that says what is wrong, whatever the bytes."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces import NetworkTrace
from netllm_gym.traces.network.readers import cooked, read_cooked
from netllm_gym.traces.network.user import FORMATS, guess_format

HEADERS = {
    "csv": "time_s,throughput_mbps",
    "gnettrack": "Timestamp,DL_bitrate",
    "puffer": "time (ns GMT),session_id,delivery_rate",
}
NUMBERS = st.sampled_from(
    [
        "0",
        "1",
        "2.5",
        "-1",
        "nan",
        "inf",
        "1e400",
        "9" * 5000,
        "x",
        "",
        "200",
        '"',
        "2019.12.16_13.40.04",
        "1" + "0" * 18,
    ]
)


def _lines(separator: str):
    return st.lists(st.lists(NUMBERS, max_size=3).map(separator.join), max_size=8).map("\n".join)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["duration_ms", "bandwidth_kbps"]), inner, max_size=2)
    ),
    max_leaves=8,
).map(json.dumps)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60) | (_lines(" ") | _lines(",") | JSON).map(str.encode))
def test_a_trace_or_a_clear_error(name: str, data: bytes) -> None:
    header = HEADERS.get(name)
    for content in (data, f"{header}\n".encode() + data) if header else (data,):
        try:
            found = FORMATS[name](content, "fuzz")
            assert all(isinstance(t, NetworkTrace) for t in (found if isinstance(found, tuple) else (found,)))
        except TraceFormatError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
        with contextlib.suppress(TraceFormatError):
            assert guess_format(content, "fuzz") in FORMATS


# What a file of each format looks like, from times (s) and rates (Mbit/s) as text.
def _cooked(times: list[str], rates: list[str]) -> bytes:
    return "".join(f"{t} {r}\n" for t, r in zip(times, rates, strict=True)).encode()


def _csv(times: list[str], rates: list[str]) -> bytes:
    return b"time_s,throughput_mbps\n" + _cooked(times, rates).replace(b" ", b",")


def _mahimahi(times: list[str], rates: list[str]) -> bytes:
    return "".join(f"{t}\n" for t in times).encode()


def _sabre(times: list[str], rates: list[str]) -> bytes:
    pieces = [f'{{"duration_ms": {t}, "bandwidth_kbps": {r}}}' for t, r in zip(times, rates, strict=True)]
    return f"[{', '.join(pieces)}]".replace("nan", "NaN").encode()


def _gnettrack(times: list[str], rates: list[str]) -> bytes:
    stamps = [f"2020.01.01_00.00.{t:0>2}" for t in times]
    return b"Timestamp,DL_bitrate\n" + _cooked(stamps, rates).replace(b" ", b",")


def _puffer(times: list[str], rates: list[str]) -> bytes:
    stamps = [f"16{t:0>17}" for t in times]
    return b"time (ns GMT),session_id,delivery_rate\n" + _cooked(stamps, rates).replace(b" ", b",s,")


def _iperf(times: list[str], rates: list[str]) -> bytes:
    pairs = zip(["0", *times], times, rates, strict=False)
    sums = [f'{{"sum": {{"start": {a}, "end": {b}, "bits_per_second": {r}}}}}' for a, b, r in pairs]
    return f'{{"intervals": [{", ".join(sums)}]}}'.replace("nan", "NaN").encode()


def _json(times: list[str], rates: list[str]) -> bytes:
    samples = [f'{{"time_s": {t}, "throughput_mbps": {r}}}' for t, r in zip(times, rates, strict=True)]
    return f"[{', '.join(samples)}]".replace("nan", "NaN").encode()


def _table(times: list[str], rates: list[str]) -> bytes:
    return b"Time [s];DL Throughput (Mbit/s)\n" + _cooked(times, rates).replace(b" ", b";")


def _link_log(times: list[str], rates: list[str]) -> bytes:
    return "".join(f"{t}000 # {r}\n" for t, r in zip(times, rates, strict=True)).encode()


FILES = {
    "mm-link": _link_log,
    "cooked": _cooked, "csv": _csv, "gnettrack": _gnettrack, "iperf": _iperf, "json": _json, "mahimahi": _mahimahi,
    "puffer": _puffer, "sabre": _sabre, "table": _table,
}  # fmt: skip
# What is wrong -> times and rates of a file that has it.
DEFECTS = {
    "NaN rate": (["1", "2", "3"], ["1", "nan", "1"]),
    "NaN time": (["1", "nan", "3"], ["1", "1", "1"]),
    "negative rate": (["1", "2", "3"], ["1", "-1", "1"]),
    "time that goes back": (["1", "3", "2"], ["1", "1", "1"]),
    "negative time": (["1", "-2", "3"], ["1", "1", "1"]),
    "one line": (["1"], ["1"]),
    "nothing": ([], []),
}
# Formats that have no such thing: mahimahi has no rates and lives with one opportunity; pieces have no clock.
FINE = {
    *(("mahimahi", defect) for defect in ("NaN rate", "negative rate", "one line")),
    *(("sabre", defect) for defect in ("time that goes back", "one line")),
    *(("iperf", defect) for defect in ("one line",)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_read(name: str) -> None:
    assert FORMATS[name](FILES[name](["1", "2", "3"], ["1", "2", "3"]), "f")


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("name", FORMATS)
def test_each_defect_is_refused_in_one_line_by_each_reader(name: str, defect: str) -> None:
    data = FILES[name](*DEFECTS[defect])
    if (name, defect) in FINE:
        assert FORMATS[name](data, "f")
        return
    with pytest.raises(TraceFormatError) as caught:
        FORMATS[name](data, "f")
    assert str(caught.value).startswith("f:") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_other_encodings_are_refused_by_each_reader(name: str) -> None:
    data = FILES[name](["1", "2", "3"], ["1", "2", "3"])
    for other in (data.decode().encode("utf-16"), b"\xe9" + data, data + b"\0"):
        with pytest.raises(TraceFormatError, match=r"not UTF-8|binary"):
            FORMATS[name](other, "f")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "gnettrack"])
def test_long_files_are_read_whole(name: str) -> None:
    times = [str(i) for i in range(1, 100_001)]
    assert FORMATS[name](FILES[name](times, ["1"] * len(times)), "f")


@pytest.mark.parametrize("count", [10**6, pytest.param(10**7, marks=pytest.mark.slow)])
def test_millions_of_lines(count: int) -> None:
    lines = np.full((count, 11), ord(" "), np.uint8)
    lines[:, 9:] = ord("1"), ord("\n")
    rest = np.arange(len(lines))
    for digit in range(8):
        lines[:, 7 - digit] = ord("0") + rest % 10
        rest //= 10
    trace = read_cooked(lines.tobytes(), "f")
    assert len(trace) == count - 1 and trace.total_s == count - 1


@given(st.binary(max_size=300) | st.text("0123456789.e-+ \t\nxnaif", max_size=200).map(str.encode))
def test_cooked_reader_reads_or_explains(data: bytes) -> None:
    try:
        trace = read_cooked(data, "fuzz")
    except TraceFormatError as error:
        assert str(error).startswith("fuzz")
    else:
        assert np.isfinite(trace.mean_mbps) and trace.mean_mbps > 0


FIELD = st.sampled_from(["1", "2.25", "-1", "1e3", "3", ".5", "1.", "e", "-", "+4", "0.1234567890123456789", ""])
BLANK = st.sampled_from([" ", "\t", "  "])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(FIELD, BLANK, FIELD, st.sampled_from(["", " ", " 7"])).map("".join), max_size=5).map("\n".join)
)
def test_fast_path_reads_as_the_slow_one_or_leaves_it_to_it(text: str) -> None:
    found = cooked._fast(text)
    if found is not None:
        times, rates = cooked._slow(text, "t")
        assert found[0].tolist() == times and found[1].tolist() == rates
