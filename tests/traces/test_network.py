from __future__ import annotations

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, NetLLMGymError, TraceFormatError, UnknownNameError
from netllm_gym.traces.network.readers import read_cooked
from netllm_gym.traces.network.trace import NetworkTrace, statistics
from netllm_gym.traces.splits import audit, leak_free


def test_cooked_values_hold_until_their_line() -> None:
    trace = read_cooked(b"0 9\n1.5\t2\n2 4\n", "t")
    assert trace.duration_s.tolist() == [1.5, 0.5]
    assert trace.throughput_mbps.tolist() == [2.0, 4.0]
    assert trace.total_s == 2.0
    assert trace.mean_mbps == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"0 1\n", "at least two samples"),
        (b"0 1\n1\n", "t:2: expected two columns"),
        (b"0 1\n1 x\n", "t:2: 'x' is not a number"),
        (b"0 1\n1 nan\n", "t:2: 'nan' is not finite"),
        (b"0 1\n1 -2\n", "t:2: negative throughput"),
        (b"0 1\n2 1\n1 1\n", "t:3: time 1 s does not come after 2 s"),
        (b"0 0\n1 0\n2 0\n", "zero throughout"),
        (b"0 1\n\xff\xfe 1\n", "t:2: not UTF-8 text"),
        (b"0 1\n1 1\0\n", "binary"),
    ],
)
def test_malformed_cooked_files_name_line_and_reason(data: bytes, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read_cooked(data, "t")


def test_resampling_conserves_what_is_carried() -> None:
    trace = NetworkTrace("t", [0.3, 1.2, 2.5], [1.0, 5.0, 2.0])
    assert trace.resampled(1.0).sum() == pytest.approx(0.3 + 1.2 * 5 + 2.5 * 2)


def test_synthetic_set_matches_the_statistics_it_claims() -> None:
    members = traces.load("abr/synthetic", "all")
    for family, mean, cv, lag1 in (("broadband", 1.34, 0.21, 0.84), ("3g", 1.23, 0.54, 0.89)):
        found = [statistics(trace) for trace in members if trace.name.startswith(family)]
        assert np.mean([s["mean_mbps"] for s in found]) == pytest.approx(mean, rel=0.08)
        assert np.median([s["cv"] for s in found]) == pytest.approx(cv, rel=0.12)
        assert np.median([s["lag1"] for s in found]) == pytest.approx(lag1, abs=0.05)


def test_synthetic_set_is_the_same_every_time_and_split() -> None:
    from netllm_gym.traces import catalog

    first = traces.load("abr/synthetic", "valid").digest
    catalog.build.cache_clear()
    assert traces.load("abr/synthetic", "valid").digest == first
    assert audit({s: traces.load("abr/synthetic", s).traces for s in ("train", "valid", "test")}).clean


def _trace(name: str, rate: float, group: str = "") -> NetworkTrace:
    return NetworkTrace(name, [1.0, 1.0], [rate, rate + 1], group)


def test_leak_free_split_drops_what_stands_in_train_and_keeps_recordings_together() -> None:
    published = {
        "train": tuple(_trace(f"a{i}", i, f"r{i // 3}") for i in range(60)),
        "valid": (_trace("copy-of-a1", 1.0, "r0"),),
        "test": (_trace("again-a5", 5.0), _trace("new", 500.0)),
    }
    clean = leak_free(published)
    assert [trace.name for trace in clean["test"]] == ["new"]
    assert len(clean["train"]) + len(clean["valid"]) == 60
    assert not {t.group for t in clean["train"]} & {t.group for t in clean["valid"]}
    assert audit(clean).clean and not audit(published).clean


@pytest.mark.realdata
def test_public_split_is_certified(fcc_hsdpa: str) -> None:
    published = {s: traces.load(f"{fcc_hsdpa}/as-published", s).traces for s in ("train", "valid", "test")}
    found = audit(published, near=False)
    assert found.counts == {"train": 235, "valid": 150, "test": 100}
    assert len(found.exact["train", "test"]) == 42
    clean = audit({s: traces.load(fcc_hsdpa, s).traces for s in ("train", "valid", "test")}, near=False)
    assert clean.clean and clean.counts["test"] == 58


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean abr/synthetic"):
        traces.load("abr/syntetic")
    with pytest.raises(ConfigError, match="no split 'dev'"):
        traces.load("abr/synthetic", "dev")


def test_own_traces_from_a_folder_and_by_name(tmp_path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "b").write_text("0 1\n1 2\n")
    (folder / "a").write_text("0 1\n1 3\n")
    assert [trace.throughput_mbps[0] for trace in traces.load(folder)] == [3.0, 2.0]
    traces.import_traces(folder, "mine", split="train")
    assert len(traces.load("user/mine", "train")) == 2
    with pytest.raises(ConfigError, match="splits may not share traces"):
        traces.import_traces(folder, "mine", split="test")
    (folder / "c").write_text("0 1\nbroken")
    with pytest.raises(TraceFormatError, match="c:2"):
        traces.import_traces(folder, "other")
    with pytest.raises(UnknownNameError):
        traces.load("user/other")


def test_every_catalog_entry_says_where_it_comes_from() -> None:
    for name in traces.names():
        entry = traces.catalog.describe(name)
        assert entry["licence"] and entry["title"]
        if "repository" in entry:
            assert len(entry["commit"]) == 40 and len(entry["sha256"]) == 64


def test_errors_share_one_base() -> None:
    assert issubclass(TraceFormatError, NetLLMGymError)
