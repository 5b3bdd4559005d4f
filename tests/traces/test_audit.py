"""What counts as one measurement, and the certificate of every public split."""

from __future__ import annotations

import os

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, DownloadError
from netllm_gym.traces import NetworkTrace, audit
from netllm_gym.traces.network.sets import unzipped
from netllm_gym.traces.network.similarity import clusters, near_copies, shared_runs
from netllm_gym.traces.splits import by_recording, joined_recordings

LUMOS = {"abr/lumos-4g": (175, 30.13, 40.4), "abr/lumos-5g": (121, 19.72, 522.8)}  # traces, hours, mean Mbit/s
MERINA = {  # where the files of several sources are kept
    "abr/oboe": (427, 20.88, 2.75),
    "abr/puffer-2021-10": (500, 261.86, 1.86),
    "abr/puffer-2022-02": (500, 310.08, 1.75),
}
FAMILIES = (
    "abr/hsdpa", "abr/ghent-4g", "abr/fcc-sd", "abr/fcc-hd", "abr/irish-5g", "abr/mahimahi-cellular", *LUMOS, *MERINA,
)  # fmt: skip


def _walk(seed: int, n: int = 400) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 0.1, n)
    return np.exp(np.clip(np.cumsum(steps), -2, 2))


def _trace(name: str, rates: np.ndarray, group: str = "") -> NetworkTrace:
    return NetworkTrace(name, np.ones(len(rates)), rates, group)


def test_shared_runs_are_found_at_any_offset_and_nowhere_else() -> None:
    source = _walk(0)
    cut = np.concatenate([_walk(1, 90), source[130:200], _walk(2, 50)])
    short = np.concatenate([_walk(3, 90), source[10:60], _walk(4, 50)])
    members = [_trace("source", source), _trace("cut", cut), _trace("short", short), _trace("other", _walk(5))]
    assert shared_runs(members) == {(0, 1)}
    assert shared_runs(members, samples=50) == {(0, 1), (0, 2)}


def test_a_link_at_rest_or_at_its_cap_is_no_evidence() -> None:
    rates = [np.concatenate([_walk(seed, 100), np.full(200, 50.0)]) for seed in (0, 1)]
    assert shared_runs([_trace(str(i), values) for i, values in enumerate(rates)]) == set()


def test_near_copies_survive_shift_and_noise_but_not_another_level() -> None:
    source = _walk(0)
    noisy = source[37:] * (1 + 0.01 * np.random.default_rng(9).standard_normal(363))
    members = [_trace("a", source), _trace("b", noisy), _trace("c", 3 * source), _trace("d", _walk(1))]
    found = near_copies(members)
    assert set(found) == {(0, 1)} and found[0, 1] > 0.99
    # Checked against the definition at the true shift.
    x, y = source[37:], noisy
    expected = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert found[0, 1] == pytest.approx(expected, abs=1e-9)


def test_short_traces_are_never_called_near_copies() -> None:
    step = np.concatenate([np.ones(20), np.full(20, 5.0)])
    assert near_copies([_trace("a", step + 1e-4 * _walk(0, 40)), _trace("b", step)]) == {}


def test_audit_counts_clusters_and_the_effective_sample_size() -> None:
    source = _walk(0)
    splits = {
        "train": (_trace("t0", source), _trace("t1", source[50:]), _trace("t2", _walk(1)), _trace("t3", _walk(2))),
        "test": (_trace("x0", np.concatenate([_walk(3, 30), source[100:170]])), _trace("x1", _walk(4))),
    }
    found = audit(splits)
    assert found.clean and not found.certified
    assert found.overlapping["train", "test"] == ("x0",) and found.exact["train", "test"] == ()
    assert found.clusters == {"train": 3, "test": 2}
    assert found.effective == {"train": pytest.approx(16 / 6), "test": 2.0}
    assert audit({"train": splits["train"], "test": splits["test"][1:]}).certified


def test_clusters_join_what_is_joined_through_others() -> None:
    assert clusters(5, {(3, 1), (1, 4)}) == [0, 1, 2, 1, 1]


def test_cut_by_recording_is_independent_of_order_and_keeps_recordings_whole() -> None:
    members = tuple(_trace(f"t{i}", _walk(i, 80), f"r{i // 3}") for i in range(60))
    cut = by_recording(members)
    assert {split: len({t.group for t in traces_}) for split, traces_ in cut.items()} == {
        "train": 12,
        "valid": 4,
        "test": 4,
    }
    again = by_recording(members[::-1])
    assert {t.name for t in again["test"]} == {t.name for t in cut["test"]}
    copy = _trace("copy", _walk(0, 80), "r0")
    assert sum(map(len, by_recording((*members, copy)).values())) == 60


def test_excerpts_take_the_recording_of_their_source() -> None:
    source = _walk(0)
    joined = joined_recordings((_trace("a", source), _trace("b", _walk(1)), _trace("c", source[100:])))
    assert [trace.group for trace in joined] == ["a", "b", "a"]


def test_zip_members_are_read_within_caps(monkeypatch) -> None:
    import io
    import zipfile

    from netllm_gym.traces.network import sets as network_sets

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.csv", b"0" * 5000)
    assert unzipped({"x.zip": buffer.getvalue()}) == {"x.zip/a/b.csv": b"0" * 5000}
    for broken in (b"", b"PK\x03\x04", buffer.getvalue()[:40]):
        with pytest.raises(DownloadError, match="not a readable zip"):
            unzipped({"x.zip": broken})
    monkeypatch.setattr(network_sets, "MAX_MEMBER_BYTES", 4999)
    with pytest.raises(DownloadError, match="larger than"):
        unzipped({"x.zip": buffer.getvalue()})


def _fetched(name: str) -> dict[str, tuple]:
    if not os.environ.get("NETLLM_GYM_MIRROR", "").startswith("file://"):
        pytest.skip("no local mirror of the public traces (set NETLLM_GYM_MIRROR=file://…)")
    try:
        traces.fetch(name)
    except DownloadError as error:
        pytest.skip(str(error))
    return {split: traces.load(name, split).traces for split in ("train", "valid", "test")}


@pytest.mark.realdata
@pytest.mark.parametrize("name", FAMILIES)
def test_public_families_are_certified(name: str) -> None:
    splits = _fetched(name)
    found = audit(splits)
    assert found.certified
    assert all(found.counts.values())
    with pytest.raises(ConfigError, match="no as-published split"):
        traces.load(f"{name}/as-published", "test")


@pytest.mark.parametrize("name", traces.names("abr/synthetic"))
def test_embedded_sets_are_certified(name: str) -> None:
    # Independent draws: near copies, whose search grows with the square of a set, are left to one of them.
    splits = {split: traces.load(name, split).traces for split in ("train", "valid", "test")}
    assert audit(splits, near=name == "abr/synthetic-fcc-sd").certified


def test_every_set_of_links_is_named_in_some_certificate() -> None:
    published = {"abr/fcc-hsdpa", "abr/pensieve-classic"}
    assert set(traces.names("abr/")) == {*FAMILIES, *traces.names("abr/synthetic"), *published}


@pytest.mark.realdata
def test_public_families_hold_what_their_sources_say() -> None:
    # Counts, hours and means were also computed by an independent conversion of the same files.
    expected = {
        "abr/hsdpa": (86, 31.2, 1.00),
        "abr/ghent-4g": (40, 5.0, 30.2),
        "abr/irish-5g": (21, 12.7, 44.3),
        "abr/mahimahi-cellular": (7, 1.0, 4.4),
    }
    for name, (count, hours, mean) in expected.items():
        members = [trace for split in _fetched(name).values() for trace in split]
        assert len(members) == count
        assert sum(trace.total_s for trace in members) / 3600 == pytest.approx(hours, abs=0.06)
        seconds = [trace.total_s for trace in members]
        assert np.average([t.mean_mbps for t in members], weights=seconds) == pytest.approx(mean, rel=0.02)


@pytest.mark.realdata
@pytest.mark.parametrize("name", (*LUMOS, *MERINA))
def test_other_families_hold_what_they_held_when_they_were_pinned(name: str) -> None:
    count, hours, mean = (LUMOS | MERINA)[name]
    members = [trace for split in _fetched(name).values() for trace in split]
    seconds = [trace.total_s for trace in members]
    assert (len(members), sum(seconds) / 3600) == (count, pytest.approx(hours, abs=0.01))
    assert np.average([t.mean_mbps for t in members], weights=seconds) == pytest.approx(mean, rel=0.02)


@pytest.mark.realdata
def test_excerpts_hidden_in_the_public_files_are_found() -> None:
    groups = {t.name: t.group for split in _fetched("abr/hsdpa").values() for t in split}
    pairs = (("2010-09-29_1622CEST", "2010-09-29_1628CEST"), ("2010-09-29_1823CEST", "2010-09-29_1827CEST"))
    for first, second in pairs:
        assert groups[f"report.{first}.json"] == groups[f"report.{second}.json"]


@pytest.mark.realdata
def test_published_selections_are_cut_free_of_overlaps(fcc_hsdpa: str) -> None:
    """As published most test traces overlap with train; the default cut leaves none that overlaps."""
    splits = {split: traces.load(f"{fcc_hsdpa}/as-published", split).traces for split in ("train", "valid", "test")}
    assert len(audit(splits, near=False).overlapping["train", "test"]) == 81
    splits = {split: traces.load(fcc_hsdpa, split).traces for split in ("train", "valid", "test")}
    found = audit(splits)
    assert found.certified
    # A recording cut into many pieces trains: in `valid` it would outvote the others.
    assert found.counts == {"train": 190, "valid": 16, "test": 58} and found.effective["valid"] == 16
    classic = audit(_fetched("abr/pensieve-classic"), near=False)
    assert classic.clean
    assert [len(names) for names in classic.overlapping.values()] == [1, 0, 0]
