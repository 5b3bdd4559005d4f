"""Every reader returns a trace or a TraceFormatError, whatever the bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces import NetworkTrace
from netllm_gym.traces.user import FORMATS, guess_format

NUMBERS = st.sampled_from(["0", "1", "2.5", "-1", "nan", "inf", "1e400", "9" * 5000, "x", "", "200", "1000"])
LINES = st.lists(st.lists(NUMBERS, max_size=3).map(" ".join), max_size=8).map(lambda rows: "\n".join(rows).encode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["duration_ms", "bandwidth_kbps"]), inner, max_size=2)
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60) | LINES | JSON)
def test_a_trace_or_a_clear_error(name: str, data: bytes) -> None:
    try:
        assert isinstance(FORMATS[name](data, "fuzz"), NetworkTrace)
    except TraceFormatError as error:
        assert "\n" not in str(error)


def test_mahimahi_conserves_its_packets() -> None:
    trace = FORMATS["mahimahi"](b"0\n0\n200\n201\n500\n", "m")
    np.testing.assert_allclose(trace.duration_s, [0.2, 0.2, 0.1])
    np.testing.assert_allclose(trace.throughput_mbps * trace.duration_s, np.array([3, 1, 1]) * 1504 * 8e-6)


def test_sabre_is_durations_in_ms_and_kbps() -> None:
    trace = FORMATS["sabre"](b'[{"duration_ms": 1500, "bandwidth_kbps": 800, "latency_ms": 20}]', "s")
    assert trace.duration_s.tolist() == [1.5]
    assert trace.throughput_mbps.tolist() == [0.8]


@pytest.mark.parametrize(("data", "name"), [(b"0 1\n1 2", "cooked"), (b"\n3\n4", "mahimahi"), (b' [{"a":1}]', "sabre")])
def test_guess(data: bytes, name: str) -> None:
    assert guess_format(data, "f") == name


def test_mahimahi_that_goes_back_names_the_line() -> None:
    with pytest.raises(TraceFormatError, match=":2"):
        FORMATS["mahimahi"](b"5\n4\n", "m")
