"""Videos from files: what is read, and what is refused in one line."""

from __future__ import annotations

import json
import struct

import pytest

from netllm_gym import traces
from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.video.mpd import read_mpd, read_sidx
from netllm_gym.traces.video.readers import read_manifest, read_video_json

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
        (_mpd(VIDEO.format('<Representation bandwidth="1"/>')), "no SegmentList, SegmentTemplate or"),
        (_mpd("", 'mediaPresentationDuration="7"'), "not a duration"),
        (_mpd("", 'mediaPresentationDuration="PTINFS"'), "not a duration"),
        (_mpd("", f'mediaPresentationDuration="PT{"9" * 400}S"'), "not a duration"),
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


def _periods(*bodies: str, attributes: str = 'mediaPresentationDuration="PT9S"') -> bytes:
    head = f'<?xml version="1.0"?><MPD xmlns:xlink="http://www.w3.org/1999/xlink" {attributes}>'
    return f"{head}{''.join(bodies)}</MPD>".encode()


def test_periods_of_one_ladder_follow_each_other() -> None:
    first = f"<Period>{VIDEO.format(_list(2000, ['0-199']) + _list(1000, ['0-99']))}</Period>"
    second = f"<Period>{VIDEO.format(_list(1000, ['0-49', '50-119']) + _list(2000, ['0-9', '10-29']))}</Period>"
    video = read_mpd(_periods(first, second), "v")
    assert video.chunk_bytes.tolist() == [[100, 200], [50, 10], [70, 20]]


def test_each_period_is_as_long_as_it_says_or_as_the_next_one_lets_it() -> None:
    template = VIDEO.format('<SegmentTemplate duration="2"/><Representation bandwidth="8"/>')
    three = (f'<Period duration="PT4S">{template}</Period>', f"<Period>{template}</Period>")
    video = read_mpd(_periods(*three, f'<Period start="PT6S">{template}</Period>'), "v")
    # 4 s, then to 6 s, then to the end at 9 s.
    assert video.chunk_bytes.ravel().tolist() == [2, 2, 2, 2, 1]


def test_a_timeline_may_repeat_to_the_end() -> None:
    line = '<SegmentTimeline><S d="4" r="-1"/></SegmentTimeline>'
    body = f'<SegmentTemplate>{line}</SegmentTemplate><Representation bandwidth="8"/>'
    assert read_mpd(_mpd(VIDEO.format(body), 'mediaPresentationDuration="PT11S"'), "v").chunks == 3
    with pytest.raises(TraceFormatError, match="unknown length"):
        read_mpd(_mpd(VIDEO.format(body), ""), "v")


def sidx(sizes: list[int], version: int = 0, kind: int = 0) -> bytes:
    times = struct.pack(">II" if version == 0 else ">QQ", 0, 0)
    entries = b"".join(struct.pack(">III", kind << 31 | size, 2000, 0) for size in sizes)
    body = struct.pack(">B3xII", version, 1, 1000) + times + struct.pack(">2xH", len(sizes)) + entries
    return struct.pack(">I4s", len(body) + 8, b"sidx") + body


@pytest.mark.parametrize("version", [0, 1])
def test_segment_base_sizes_stand_in_the_media_beside_the_manifest(tmp_path, version: int) -> None:
    levels = ""
    for rate, sizes in ((2000, [400, 500]), (1000, [100, 150])):
        index = sidx(sizes, version)
        (tmp_path / f"{rate}.mp4").write_bytes(b"head" + index + b"media")
        base = f'<BaseURL>{rate}.mp4</BaseURL><SegmentBase indexRange="4-{3 + len(index)}"/>'
        levels += f'<Representation bandwidth="{rate}">{base}</Representation>'
    (tmp_path / "v.mpd").write_bytes(_mpd(VIDEO.format(levels)))
    video = traces.load_video(tmp_path / "v.mpd")
    assert video.chunk_s == 2 and video.chunk_bytes.tolist() == [[100, 400], [150, 500]]


def _base(attributes: str = 'indexRange="0-9"', url: str = "a.mp4") -> bytes:
    level = f"<BaseURL>{url}</BaseURL><SegmentBase {attributes}/>"
    return _mpd(VIDEO.format(f'<Representation bandwidth="1">{level}</Representation>'))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_base(), r"index \(sidx\) of 'a.mp4', which is not beside"),
        (_base(url="../outside.mp4"), "not beside the manifest"),
        (_base(url="https://example.org/a.mp4"), "not beside the manifest"),
        (_base(""), "without an indexRange"),
        (_base('indexRange="0-99999999"'), "index of more than"),
        (_mpd(VIDEO.format(_list(1, ["0-9"])), 'type="dynamic"'), r"live \(dynamic\) manifest"),
        (_periods("<Period/>", '<Period xlink:href="x"/>'), "no video representation"),
        (_periods('<Period xlink:href="x"/>'), "lies elsewhere"),
        (
            # As many chunks a level in all, but not in each period.
            _periods(
                *(
                    f"<Period>{VIDEO.format(_list(2, first) + _list(1, second))}</Period>"
                    for first, second in ((["0-9"], ["0-9", "10-19"]), (["0-9", "10-19"], ["0-9"]))
                )
            ),
            "different numbers of chunks",
        ),
        (
            _periods(*(f"<Period>{VIDEO.format(_list(rate, ['0-9']))}</Period>" for rate in (1, 2))),
            "period 1 has another ladder",
        ),
        (
            _periods(
                *(
                    f"<Period>{VIDEO.format(_list(1, ['0-9']).replace('20', length))}</Period>"
                    for length in ("20", "40")
                )
            ),
            "different lengths",
        ),
    ],
)
def test_what_a_manifest_may_not_have_is_named(tmp_path, data: bytes, message: str) -> None:
    (tmp_path.parent / "outside.mp4").write_bytes(sidx([1]))
    with pytest.raises(TraceFormatError, match=message):
        read_mpd(data, "v", tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no whole sidx"),
        (sidx([5])[:-1], "no whole sidx"),
        (sidx([5]).replace(b"sidx", b"moov"), "no whole sidx"),
        (sidx([]), "no whole sidx"),
        (sidx([5], kind=1), r"index \(sidx\) of indexes"),
    ],
)
def test_malformed_index(data: bytes, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read_sidx(data, "a.mp4")


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


DASH = '<MPD mediaPresentationDuration="{}"><Period><AdaptationSet {}>{}</AdaptationSet></Period></MPD>'


def test_a_template_says_only_what_those_above_it_do_not() -> None:
    inside = (
        '<SegmentTemplate timescale="1000" duration="4000"/><Representation bandwidth="1000000">'
        '<SegmentTemplate media="a-$Number$.m4s"/></Representation>'
    )
    video = read_mpd(DASH.format("P0Y0M0DT0H0M20.000S", 'mimeType="video/mp4"', inside).encode(), "v")
    assert (video.chunk_s, video.chunk_bytes.tolist()) == (4.0, [[500_000.0]] * 5)
    timed = (
        '<SegmentTemplate timescale="90000"><SegmentTimeline><S d="360000" r="4"/></SegmentTimeline></SegmentTemplate>'
        '<Representation bandwidth="1000000"><SegmentTemplate media="x"/></Representation>'
    )
    assert read_mpd(DASH.format("PT20S", 'width="640"', timed).encode(), "v").chunk_bytes.tolist() == [[500_000.0]] * 5


MASTER = (
    '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=800000,CODECS="avc1.4d401e,mp4a.40.2"\nlow.m3u8\n'
    "#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720\nhigh.m3u8\n"
    '#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"\nsound.m3u8\n'
)
RANGES = "#EXTM3U\n" + "".join(f"#EXTINF:4.0,\n#EXT-X-BYTERANGE:{9000 + i}@{i}\nx.ts\n" for i in range(3))
FILES = "#EXTM3U\n" + "".join(f"#EXTINF:4.004,\nhigh{i}.ts?key=1\n" for i in range(3))
END = "#EXT-X-ENDLIST\n"


def test_a_playlist_of_hls(tmp_path) -> None:
    (tmp_path / "master.m3u8").write_text(MASTER)
    (tmp_path / "low.m3u8").write_text(RANGES + END)
    (tmp_path / "high.m3u8").write_text(FILES + END)
    for i in range(3):
        (tmp_path / f"high{i}.ts").write_bytes(bytes(20_000 + i))
    video = traces.load_video(str(tmp_path / "master.m3u8"))
    assert video.bitrates_kbps.tolist() == [800.0, 2000.0]
    assert video.chunk_s == 4.0
    assert video.chunk_bytes.tolist() == [[9000, 20_000], [9001, 20_001], [9002, 20_002]]
    assert not video.name.endswith("(nominal sizes)")
    (tmp_path / "high1.ts").unlink()
    video = traces.load_video(str(tmp_path / "master.m3u8"))
    assert video.name.endswith("(nominal sizes)")
    assert video.chunk_bytes[1, 1] == pytest.approx(2e6 / 8 * 4.004)
    assert traces.load_video(str(tmp_path / "low.m3u8")).bitrates_kbps == pytest.approx([9001 * 8 / 4000])


@pytest.mark.parametrize(
    ("master", "low", "message"),
    [
        (MASTER, RANGES, "live"),
        (MASTER.replace("low.m3u8", "https://a.example/low.m3u8"), RANGES + END, "not beside"),
        (MASTER.replace("low.m3u8", "../low.m3u8"), RANGES + END, "not beside"),
        (MASTER.replace("low.m3u8", "master.m3u8"), RANGES + END, "live|without segments"),
        ("#EXTM3U\n", RANGES + END, "without variants"),
        (MASTER, RANGES.replace("#EXTINF:4.0", "#EXTINF:9e9"), "live|a segment of"),
        (MASTER, (RANGES + END).replace("#EXTINF:4.0", "#EXTINF:9e9"), "a segment of"),
        (MASTER, (RANGES + END).replace("#EXTINF:4.0", "#EXTINF:8.0"), "different lengths"),
        (MASTER, END, "EXTM3U"),
        ("<SmoothStreamingMedia/>", RANGES, "EXTM3U|XML"),
    ],
)
def test_playlists_that_cannot_be_read(tmp_path, master, low, message) -> None:
    (tmp_path / "master.m3u8").write_text(master)
    (tmp_path / "low.m3u8").write_text(low)
    (tmp_path / "high.m3u8").write_text(RANGES + END)
    with pytest.raises(TraceFormatError, match=message):
        read_manifest(tmp_path / "master.m3u8")
