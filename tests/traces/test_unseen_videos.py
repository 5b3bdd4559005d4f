"""Manifests as packagers write them: several codecs, sets for trick play, addresses given further up."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces import load_video

MPD = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT8S">{}<Period>{}</Period></MPD>'
TEMPLATE = '<SegmentTemplate timescale="1000" duration="4000" media="$Number$.m4s"/>'


def _set(codecs: str, *rates: int, inside: str = "") -> str:
    levels = "".join(f'<Representation id="{codecs}{rate}" bandwidth="{rate}"/>' for rate in rates)
    return f'<AdaptationSet mimeType="video/mp4" codecs="{codecs}">{inside}{TEMPLATE}{levels}</AdaptationSet>'


def _video(tmp_path: Path, periods: str, base: str = ""):
    (tmp_path / "m.mpd").write_text(MPD.format(base, periods))
    return load_video(tmp_path / "m.mpd")


def test_levels_of_several_codecs_are_no_common_ladder(tmp_path) -> None:
    both = _set("avc1.4d401f", 500_000, 2_000_000) + _set("vp09.00.10.08", 400_000, 1_500_000)
    video = _video(tmp_path, both)
    assert video.bitrates_kbps.tolist() == [500.0, 2000.0]
    assert "(avc of avc, vp9)" in video.name
    one = _video(tmp_path, _set("avc1.4d401f", 500_000) + _set("avc1.640028", 2_000_000))
    assert one.bitrates_kbps.tolist() == [500.0, 2000.0] and "avc" not in one.name


def test_a_set_for_trick_play_is_no_level(tmp_path) -> None:
    trick = '<EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode" value="1"/>'
    video = _video(tmp_path, _set("avc1.4d401f", 500_000, 2_000_000) + _set("avc1.4d401f", 50_000, inside=trick))
    assert video.bitrates_kbps.tolist() == [500.0, 2000.0]


@pytest.mark.parametrize(
    ("root", "group", "level"),
    [("media/", "", "v.mp4"), ("", "media/", "v.mp4"), ("", "", "media/v.mp4"), ("media/other.mpd", "v.mp4", "")],
)
def test_addresses_above_a_level_count(tmp_path, root, group, level) -> None:
    sizes = (1000, 2000, 3000)
    index = struct.pack(">I4sB3xIIIIHH", 32 + 36, b"sidx", 0, 1, 1000, 0, 0, 0, 3)
    index += b"".join(struct.pack(">III", size, 2000, 0) for size in sizes)
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "v.mp4").write_bytes(b"x" * 100 + index)
    base = [f"<BaseURL>{text}</BaseURL>" if text else "" for text in (root, group, level)]
    period = (
        f'<AdaptationSet mimeType="video/mp4">{base[1]}<Representation id="a" bandwidth="8000">{base[2]}'
        f'<SegmentBase indexRange="100-{99 + len(index)}"/></Representation></AdaptationSet>'
    )
    assert _video(tmp_path, period, base[0]).chunk_bytes[:, 0].tolist() == list(sizes)


def test_an_address_outside_the_folder_is_not_opened(tmp_path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x" * 200)
    (tmp_path / "in").mkdir()
    for address in ("../", "http://example.org/"):
        with pytest.raises(TraceFormatError):
            _video(
                tmp_path / "in",
                '<AdaptationSet mimeType="video/mp4"><Representation id="a" bandwidth="8000"><BaseURL>v.mp4</BaseURL>'
                '<SegmentBase indexRange="100-150"/></Representation></AdaptationSet>',
                f"<BaseURL>{address}</BaseURL>",
            )


def test_variants_of_several_codecs_are_no_common_ladder(tmp_path) -> None:
    master = "#EXTM3U\n"
    for codec, rate in (("avc1.4d401f", 500_000), ("hvc1.1.6", 400_000), ("avc1.4d401f", 2_000_000)):
        uri = f"{codec[:4]}{rate}.m3u8"
        master += f'#EXT-X-STREAM-INF:BANDWIDTH={rate},CODECS="{codec},mp4a.40.2",RESOLUTION=640x360\n{uri}\n'
        (tmp_path / uri).write_text("#EXTM3U\n" + "#EXTINF:4,\nx.ts\n" * 2 + "#EXT-X-ENDLIST\n")
    (tmp_path / "m.m3u8").write_text(master)
    video = load_video(tmp_path / "m.m3u8")
    assert video.bitrates_kbps.tolist() == [500.0, 2000.0]
    assert "(avc of avc, hevc)" in video.name


def test_what_is_no_video_is_told_what_one_is(tmp_path) -> None:
    (tmp_path / "v.csv").write_text("chunk,240p\n1,1000\n")
    with pytest.raises(TraceFormatError, match="DASH manifest"):
        load_video(tmp_path / "v.csv")
