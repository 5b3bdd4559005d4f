"""Videos from files: what is read, and what is refused in one line."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netllm_gym import traces
from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.manifests import read_manifest, read_mpd, read_video_json

GOOD = {"bitrates_kbps": [300, 100], "chunk_s": 2, "chunk_bytes": [[7, 5], [9, 4], [8, 3]]}


def _json(**changes) -> bytes:
    return json.dumps({k: v for k, v in {**GOOD, **changes}.items() if v is not None}).encode()


def test_json_levels_are_put_in_order() -> None:
    video = read_video_json(_json(), "v")
    assert video.bitrates_kbps.tolist() == [100, 300] and video.chunk_s == 2
    assert video.chunk_bytes.tolist() == [[5, 7], [4, 9], [3, 8]]


def test_sabre_json_is_in_bits_and_ms(tmp_path) -> None:
    data = {"bitrates_kbps": [100], "segment_duration_ms": 3000, "segment_sizes_bits": [[80], [160]]}
    (tmp_path / "v.json").write_text(json.dumps(data))
    video = traces.load_video(str(tmp_path / "v.json"))
    assert video.chunk_s == 3 and video.chunk_bytes.ravel().tolist() == [10, 20]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"{\n,", "v:2: not JSON"),
        (b"\xff{}", "not UTF-8"),
        (b"[]", "expected a JSON object"),
        (_json(chunk_s=None), "needs bitrates_kbps"),
        (_json(chunk_s=0), "chunk length must be positive"),
        (_json(chunk_bytes=[[1, 2], [3]]), "chunk 1 has 1 sizes, the ladder 2 levels"),
        (_json(chunk_bytes=[[1, 2], None]), "chunk 1 has no sizes"),
        (_json(chunk_bytes=[[1, float("nan")]]), "chunk 0 at level 1 is not finite"),
        (_json(chunk_bytes=[[1, -2]]), "no positive size"),
        (_json(bitrates_kbps=[100, 100]), "strictly increasing"),
        (_json(chunk_bytes=[[1, 10**400]]), "too large"),
    ],
)
def test_malformed_json(data: bytes, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read_video_json(data, "v")


def _mpd(body: str, attributes: str = 'mediaPresentationDuration="PT7S"') -> bytes:
    head = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
    return f"{head}{attributes}><Period>{body}</Period></MPD>".encode()


def _list(rate: int, ranges: list[str | None]) -> str:
    urls = "".join(f'<SegmentURL mediaRange="{r}"/>' if r else '<SegmentURL media="x"/>' for r in ranges)
    return (
        f'<Representation bandwidth="{rate}"><SegmentList timescale="10" duration="20">{urls}</SegmentList>'
        "</Representation>"
    )


VIDEO = '<AdaptationSet mimeType="video/mp4">{}</AdaptationSet>'
AUDIO = '<AdaptationSet mimeType="audio/mp4"><Representation bandwidth="1"/></AdaptationSet>'


def test_segment_list_sizes_are_byte_ranges() -> None:
    levels = _list(2000, ["0-199", "200-599"]) + _list(1000, ["0-99", "100-299"])
    video = read_mpd(_mpd(AUDIO + VIDEO.format(levels)), "v")
    assert video.bitrates_kbps.tolist() == [1, 2] and video.chunk_s == 2
    assert video.chunk_bytes.tolist() == [[100, 200], [200, 400]]


def test_segment_template_without_sizes_is_nominal_and_says_so() -> None:
    template = '<SegmentTemplate timescale="1000" duration="2000"/><Representation bandwidth="8000"/>'
    video = read_mpd(_mpd(VIDEO.format(template)), "v")
    assert video.chunk_bytes.ravel().tolist() == [2000, 2000, 2000, 1000]
    assert video.name.endswith("(nominal sizes)")
    line = '<SegmentTimeline><S d="40" r="1"/><S d="10"/></SegmentTimeline>'
    line = f'<SegmentTemplate timescale="10">{line}</SegmentTemplate>'
    video = read_mpd(_mpd(VIDEO.format(line + '<Representation bandwidth="8"/>')), "v")
    assert video.chunk_s == 4 and video.chunk_bytes.ravel().tolist() == [4, 4, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'<!DOCTYPE m [<!ENTITY a "b">]><MPD/>', "document type"),
        (b"<MPD>\n<", "v:2: not XML"),
        (b"<a/>", "not a DASH manifest"),
        (_mpd(AUDIO), "no video representation"),
        (_mpd(VIDEO.format(_list(2, ["0-9"]) + _list(1, ["0-9", "10-19"]))), "different numbers of chunks"),
        (_mpd(VIDEO.format(_list(2, ["0-9", None]))), "segment 1 has no mediaRange"),
        (_mpd(VIDEO.format(_list(2, ["9-0"]))), "not a byte range"),
        (_mpd(VIDEO.format('<Representation bandwidth="x"/>')), "no proper bandwidth"),
        (_mpd(VIDEO.format('<Representation bandwidth="1"/>')), "no SegmentList or SegmentTemplate"),
        (_mpd("", 'mediaPresentationDuration="7"'), "not a duration"),
        (_mpd(VIDEO.format('<SegmentTemplate duration="1"/><Representation bandwidth="1"/>'), ""), "number of chunks"),
        (
            _mpd(
                VIDEO.format(
                    '<SegmentTemplate><SegmentTimeline><S d="1" r="99999999"/></SegmentTimeline></SegmentTemplate>'
                    '<Representation bandwidth="1"/>'
                )
            ),
            "more than",
        ),
    ],
)
def test_malformed_mpd(data: bytes, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read_mpd(data, "v")


def test_another_encoding_cannot_hide_entities() -> None:
    with pytest.raises(TraceFormatError):
        read_mpd('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x><MPD/>'.encode("utf-16"), "v")


def test_size_files(tmp_path) -> None:
    for level, sizes in (("size_10", "300\n310\n"), ("size_9", "200\n210\n")):
        (tmp_path / level).write_text(sizes)
    video = read_manifest(tmp_path, [1, 2], 4.0)
    assert video.chunk_bytes.tolist() == [[200, 300], [210, 310]]
    assert read_manifest(tmp_path, chunk_s=4.0).bitrates_kbps.tolist() == [0.41, 0.61]
    with pytest.raises(ConfigError, match="chunk_s"):
        traces.load_video(tmp_path)
    (tmp_path / "size_10").write_text("300\n")
    with pytest.raises(TraceFormatError, match="different numbers of chunks"):
        read_manifest(tmp_path, chunk_s=4.0)
    (tmp_path / "size_10").write_text("300\nx\n")
    with pytest.raises(TraceFormatError, match="size_10:2"):
        read_manifest(tmp_path, chunk_s=4.0)


PIECES = st.sampled_from(
    [
        *("<MPD>", "</MPD>", "<Period>", "</Period>", "<AdaptationSet contentType='video'>", "</AdaptationSet>"),
        *("<Representation bandwidth='9'>", "</Representation>", "<SegmentList duration='2'>", "</SegmentList>"),
        *("<SegmentURL mediaRange='0-9'/>", "<SegmentTemplate duration='-1'/>", "<S d='0'/>", "&x;", "<!-- -->"),
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
    for read in (read_mpd, read_video_json):
        with contextlib.suppress(TraceFormatError):
            assert read(data, "fuzz").chunks > 0
