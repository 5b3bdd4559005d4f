"""Head traces: geometry, readers of good and bad files, splits, synthesis and storage."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netllm_gym import traces
from netllm_gym.errors import ConfigError, DownloadError, TraceFormatError, UnknownNameError
from netllm_gym.traces.head import geometry
from netllm_gym.traces.head.readers import read_head_csv, read_netllm
from netllm_gym.traces.head.sets import load_heads, save_heads, split_heads
from netllm_gym.traces.head.synthetic import motion_statistics
from netllm_gym.traces.head.trace import HeadTrace

ANGLE = st.tuples(st.floats(-179.9, 179.9), st.floats(-88, 88), st.floats(-80, 80))


@given(ANGLE)
def test_quaternions_and_canonical_angles_invert_each_other(angles) -> None:
    back = geometry.quaternion_to_canonical(geometry.canonical_to_quaternion([angles]))[0]
    assert np.abs(geometry.wrap_deg(back - np.array(angles))).max() < 1e-6


@given(ANGLE, ANGLE)
def test_great_circle_is_a_metric_without_a_seam(a, b) -> None:
    d = geometry.great_circle_deg(a, b)
    assert 0 <= d <= 180
    assert geometry.great_circle_deg(b, a) == pytest.approx(d)
    turned = (a[0] + 360.0, *a[1:])
    assert geometry.great_circle_deg(turned, b) == pytest.approx(d, abs=1e-6)


def test_unwrap_keeps_the_last_sample_and_crosses_the_seam() -> None:
    history = np.array([[[170.0, 0, 0], [178.0, 0, 0], [-174.0, 0, 0]]])
    assert geometry.unwrap_to_last(history)[0, :, 0].tolist() == [-190.0, -182.0, -174.0]


def test_slerp_takes_the_short_way() -> None:
    q = geometry.canonical_to_quaternion([[0, 0, 0], [90, 0, 0]])
    q[1] *= -1.0
    middle = geometry.quaternion_to_canonical(geometry.slerp([0.0, 1.0], q, [0.5]))[0]
    assert middle == pytest.approx([45, 0, 0], abs=1e-9)


def test_a_log_is_resampled_on_the_sphere_and_its_gap_stays_a_gap() -> None:
    log = b"time,yaw,pitch,roll\n0,170,0,0\n0.5,180,0,0\n1,-170,0,0\n6,-170,0,0\n6.2,-170,0,0\n"
    trace = read_head_csv(log, "u", "v")
    assert len(trace) == 32 and trace.hz == 5.0
    assert trace.angles_deg[1, 0] == pytest.approx(174.0)
    assert trace.angles_deg[4, 0] == pytest.approx(-174.0)
    assert trace.valid[:6].all() and not trace.valid[6:30].any() and trace.valid[30:].all()


def test_all_column_formats_agree() -> None:
    angles = np.array([[10.0, 20.0, 0.0], [20.0, -10.0, 0.0], [30.0, 5.0, 0.0]])
    time = np.array([0.0, 0.2, 0.4])
    q = geometry.canonical_to_quaternion(angles)
    v = geometry.lonlat_to_vector(angles[:, 0], angles[:, 1])
    for columns, values in (
        ("ypr", angles),
        ("quaternion-xyzw", q),
        ("quaternion-wxyz", q[:, [3, 0, 1, 2]]),
        ("vector", v),
    ):
        rows = "\n".join(",".join(f"{x:.12f}" for x in (t, *row)) for t, row in zip(time, values, strict=True))
        assert read_head_csv(rows.encode(), "u", "v", columns).angles_deg == pytest.approx(angles, abs=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"0,1,2\n", "expected 4 columns"),
        (b"0,1,2,3\n0.2,x,2,3\n", ":2: 'x' is not a number"),
        (b"0,1,2,nan\n", "not finite"),
        (b"0,1,95,3\n", "pitch 95"),
        (b"0,1,2,3\n0.4,1,2,3\n0.2,1,2,3\n", "does not come after"),
        (b"0,1,2,3\n0,90,2,3\n", "two different orientations"),
        (b"0,1,2,3\n1e9,1,2,3\n", "not a head log"),
        (b"0,1,2,3\n500000,1,2,3\n", "2 samples over 500000 s: .* --time-unit"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_bad_logs_are_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message) as caught:
        read_head_csv(data, "u", "v")
    assert "\n" not in str(caught.value)


def test_unknown_columns_offer_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="quaternion-xyzw"):
        read_head_csv(b"0,0,0,0,1\n", "u", "v", "quaternion")


def test_published_files_read_both_ways() -> None:
    rows = b"0.0,4.6,9.9,153.6\n0.2,6.8,11.3,141.8\n0.4,7.7,8.3,130.0\n0.39,7.7,8.3,130.0\n"
    published, canonical = read_netllm(rows, "1", "1", "jin2022", -90.0)
    assert published.reading == "published" and len(published) == 4
    assert len(canonical) == 3  # the row whose clock jumps back is left out
    q = geometry.published_to_quaternion([[4.6, 9.9, 153.6]])
    assert canonical.angles_deg[0] == pytest.approx(geometry.quaternion_to_canonical(q, -90.0)[0])


def test_head_traces_check_themselves() -> None:
    for angles in ([[0, 91, 0]], [[181, 0, 0]], [[0, 0, -181]], [[0, np.nan, 0]]):
        with pytest.raises(TraceFormatError, match=r"sample 0: (lon|lat|roll) .* out of range"):
            HeadTrace("u", "v", 5.0, angles)
    with pytest.raises(TraceFormatError, match="shape"):
        HeadTrace("u", "v", 5.0, [[0, 1]])
    with pytest.raises(TraceFormatError, match="rate"):
        HeadTrace("u", "v", 0.0, [[0, 1, 2]])


@pytest.mark.parametrize(
    ("videos", "users", "message"),
    [([2], [1], "video 2 of user 1 is missing"), ([1], [7, 8], r"video 1 of user 7 is missing \(2 pairs in all\)")],
)
def test_a_split_that_names_missing_viewers_is_refused(videos, users, message) -> None:
    heads = [HeadTrace("1", "1", 5.0, [[0, 0, 0]])]
    entry = {
        "video_split": {"train": [1], "valid": videos, "test": []},
        "user_split": {"train": [1], "valid": users, "test": []},
    }
    with pytest.raises(TraceFormatError, match=message):
        split_heads(heads, entry)


def test_a_stamp_that_repeats_itself_counts_once() -> None:
    once = read_head_csv(b"0,1,2,3\n0.2,4,5,6\n0.4,4,5,6\n", "u", "v")
    twice = read_head_csv(b"0,1,2,3\n0.2,4,5,6\n0.2,4,5,6\n0.4,4,5,6\n", "u", "v")
    assert once.digest == twice.digest and len(twice) == 3


def test_synthesis_is_seeded_split_and_like_real_motion() -> None:
    train, test = traces.load("viewport/synthetic", "train"), traces.load("viewport/synthetic", "test")
    assert {t.user for t in train}.isdisjoint(t.user for t in test)
    assert {t.video for t in train}.isdisjoint(t.video for t in test)
    figures = motion_statistics(train.traces)
    # Jin2022, training part: 1.36, 16.2, 25.6, 34.5 degrees and 15.9.
    assert figures["step_deg"] == pytest.approx(1.36, rel=0.25)
    assert figures["after_1s"] == pytest.approx(16.2, rel=0.2)
    assert figures["after_4s"] == pytest.approx(34.5, rel=0.25)
    assert figures["lat_std"] == pytest.approx(15.9, rel=0.25)


def test_storage_returns_what_was_saved(tmp_path) -> None:
    kept = list(traces.load("viewport/synthetic", "test"))[:3]
    save_heads(tmp_path / "heads.npz", kept)
    assert [t.digest for t in load_heads(tmp_path / "heads.npz")] == [t.digest for t in kept]
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(TraceFormatError):
        load_heads(tmp_path / "bad.npz")


def test_synthetic_sets_have_no_published_reading() -> None:
    with pytest.raises(ConfigError, match="as-published"):
        traces.load("viewport/synthetic/as-published", "test")


def test_a_folder_of_logs_is_a_trace_set(tmp_path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "ann.csv").write_text("".join(f"{i / 5},{i % 90},0,0\n" for i in range(120)))
    found = traces.read_head_folder(tmp_path)
    assert found[0].video == "lake" and found[0].user == "ann" and len(found[0]) == 120
    assert traces.read_head_folder(tmp_path / "lake")[0].user == "ann"
    with pytest.raises(TraceFormatError, match="no such file"):
        traces.read_head_folder(tmp_path / "sea")


@pytest.mark.realdata
def test_avtrack360_is_cut_by_video_and_viewer(fcc_hsdpa) -> None:
    traces.fetch("viewport/avtrack360")
    splits = {split: traces.load("viewport/avtrack360", split).traces for split in ("train", "valid", "test")}
    assert {split: len(members) for split, members in splits.items()} == {"train": 336, "valid": 40, "test": 40}
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        for key in ("video", "user"):
            assert not {getattr(t, key) for t in splits[a]} & {getattr(t, key) for t in splits[b]}
    assert traces.audit(splits).certified
    assert all(29 < t.duration_s < 31 for t in splits["test"])


@pytest.mark.realdata
def test_a_set_that_nobody_watched_whole_is_cut_by_video_and_viewer() -> None:
    if not os.environ.get("NETLLM_GYM_MIRROR", "").startswith("file://"):
        pytest.skip("no local mirror of the public traces (set NETLLM_GYM_MIRROR=file://…)")
    try:
        traces.fetch("viewport/sit2022")
    except DownloadError as error:
        pytest.skip(str(error))
    splits = {split: traces.load("viewport/sit2022", split).traces for split in ("train", "valid", "test")}
    assert {split: len(members) for split, members in splits.items()} == {"train": 2, "valid": 2, "test": 14}
    assert traces.audit(splits).certified
    assert all(157 < t.duration_s < 363 for t in splits["test"])


def test_a_pitch_from_0_to_360_is_unitys(tmp_path) -> None:
    rows = (f"{i / 5},{(355 + i) % 360},{i % 360},0" for i in range(60))
    (tmp_path / "log.csv").write_text("time,pitch,yaw,roll\n" + "\n".join(rows))
    found = traces.understand(tmp_path / "log.csv", traces.ImportOptions("head"))
    np.testing.assert_allclose(found.traces[0].angles_deg[[0, 5, 15], 1], [5.0, 0.0, -10.0], atol=1e-6)
    assert any("Unity" in note for note in found.notes)
