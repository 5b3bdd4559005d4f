"""Every reader of videos returns one or says in a line what is wrong, whatever the bytes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.video.mpd import read_mpd, read_sidx
from netllm_gym.traces.video.readers import read_manifest, read_video_json
from tests.traces.test_manifests import GOOD, sidx

PIECES = st.sampled_from(
    [
        *("<MPD>", "</MPD>", "<Period>", "</Period>", "<AdaptationSet contentType='video'>", "</AdaptationSet>"),
        *("<Representation bandwidth='9'>", "</Representation>", "<SegmentList duration='2'>", "</SegmentList>"),
        *("<SegmentURL mediaRange='0-9'/>", "<SegmentTemplate duration='-1'/>", "<S d='0'/>", "&x;", "<!-- -->"),
        *("<SegmentBase indexRange='0-9'/>", "<BaseURL>..</BaseURL>", "<SegmentTimeline>", "</SegmentTimeline>"),
        *("<S d='1' r='-1'/>", "<S d='1' r='1e9'/>", "<Period duration='PT4S'>", "<Period start='PT9S'>"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(GOOD)), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(PIECES, max_size=12).map("".join).map(str.encode)
    | VALUES.map(json.dumps).map(str.encode)
)
def test_a_video_or_a_clear_error(data: bytes) -> None:
    for video in (lambda: read_mpd(data, "fuzz", Path("/")), lambda: read_video_json(data, "fuzz")):
        with contextlib.suppress(TraceFormatError):
            assert video().chunks > 0


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: sidx([7, 9])[:24] + tail))
def test_an_index_or_a_clear_error(data: bytes) -> None:
    with contextlib.suppress(TraceFormatError):
        seconds, sizes = read_sidx(data, "fuzz")
        assert len(seconds) == len(sizes) > 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["1", "-2", "nan", "x", "", "1e400", "\xff"]), max_size=4), max_size=3))
def test_size_files_or_a_clear_error(tmp_path_factory, levels: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("sizes")
    for i, lines in enumerate(levels):
        (folder / f"size_{i}").write_bytes("\n".join(lines).encode("latin-1"))
    with contextlib.suppress(TraceFormatError):
        assert read_manifest(folder, chunk_s=4.0).levels == len(levels)
