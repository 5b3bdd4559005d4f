"""HLS playlists (RFC 8216): the ladder of a multivariant playlist and what every segment of its media playlists weighs.

Media playlists, and segments where they are to be weighed, lie beside the playlist: nothing is downloaded, and no file
outside its folder is opened. A segment weighs its ``EXT-X-BYTERANGE``, else what its file weighs, else its
``EXT-X-BITRATE`` × its duration. Where a playlist tells none of these, it weighs its level's average bandwidth × its
duration, and the video's name ends in ``(nominal sizes)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.text import decode, parse_float
from netllm_gym.traces.video.manifest import VideoManifest, assembled
from netllm_gym.traces.video.mpd import LONGEST_S, MAX_CHUNKS, MAX_LEVELS, MAX_SIZES, codec_of, even

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_VIDEO_CODECS = re.compile(r"avc|hvc|hev|dvh|av01|vp0?[89]|mp4v", re.I)


def read_hls(path: Path, load: Callable[[Path], bytes]) -> VideoManifest:
    """Read the video of a playlist on disk.

    Args:
        path: a multivariant playlist, or the media playlist of a single level.
        load: returns a file's bytes, within bounds.

    Raises:
        TraceFormatError: no such playlist, a live one, or segments of different lengths.
    """
    name = str(path)
    lines = _lines(load(path), name)
    levels: dict[str, float] = {}
    codecs: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.startswith("#EXT-X-STREAM-INF:"):
            continue
        told = {key: value.strip('"') for key, value in _ATTRIBUTE.findall(line)}
        if "RESOLUTION" not in told and "CODECS" in told and not _VIDEO_CODECS.search(told["CODECS"]):
            continue  # sound alone
        uri = next((x for x in lines[number:] if x and not x.startswith("#")), "")
        rate = told.get("AVERAGE-BANDWIDTH", told.get("BANDWIDTH", ""))
        levels.setdefault(uri, parse_float(rate, name, number) / 1000.0)
        codecs.setdefault(uri, codec_of(told.get("CODECS", "")))
        if len(levels) > MAX_LEVELS:
            raise TraceFormatError(name, f"more than {MAX_LEVELS} levels")
    if not any(line.startswith(("#EXT-X-STREAM-INF", "#EXTINF")) for line in lines):
        raise TraceFormatError(name, "a playlist of HLS without variants and without segments")
    if not levels:
        if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
            raise TraceFormatError(name, "no variant of this playlist is a video")
        seconds, sizes, measured = _segments(lines, path, 0.0)
        if not measured:
            raise TraceFormatError(name, "nothing tells what its segments weigh; give the multivariant playlist")
        return assembled(name, [sizes], None, even(seconds, name)[0])
    families = list(dict.fromkeys(codec for codec in codecs.values() if codec))
    if len(families) > 1:  # a player takes one of them: their bitrates are no common ladder
        levels = {uri: kbps for uri, kbps in levels.items() if codecs[uri] == families[0]}
        name = f"{name} ({families[0]} of {', '.join(families)})"
    read = []
    for uri, kbps in levels.items():
        beside = _beside(path.parent, uri)
        if beside is None:
            raise TraceFormatError(name, f"the media playlist {uri[:80]!r} is not beside it: download it there")
        read.append(_segments(_lines(load(beside), str(beside)), beside, kbps))
        if sum(len(sizes) for _, sizes, _ in read) > MAX_SIZES:
            raise TraceFormatError(name, f"more than {MAX_SIZES} segments over all levels")
    lengths = [even(seconds, name)[0] for seconds, _, _ in read]
    if max(lengths) > 1.05 * min(lengths):
        raise TraceFormatError(name, f"segments of different lengths are not supported: {sorted(set(lengths))[:12]} s")
    label = name if all(measured for _, _, measured in read) else f"{name} (nominal sizes)"
    return assembled(label, [sizes for _, sizes, _ in read], list(levels.values()), lengths[0])


def _lines(data: bytes, name: str) -> list[str]:
    lines = [line.strip() for line in decode(data, name).splitlines()]
    if not lines or lines[0] != "#EXTM3U":
        raise TraceFormatError(name, "not a playlist of HLS: it begins with #EXTM3U", 1)
    return lines


def _beside(folder: Path, uri: str) -> Path | None:
    path = (folder / uri.partition("?")[0]).resolve()
    return path if "://" not in uri and path.is_relative_to(folder.resolve()) and path.is_file() else None


def _segments(lines: list[str], path: Path, kbps: float) -> tuple[list[float], list[float], bool]:
    """Return seconds and bytes of each segment, and whether all bytes are measured."""
    name = str(path)
    if "#EXT-X-ENDLIST" not in lines and "#EXT-X-PLAYLIST-TYPE:VOD" not in lines:
        raise TraceFormatError(name, "a live playlist (no #EXT-X-ENDLIST) is not supported")
    seconds: list[float] = []
    sizes: list[float] = []
    measured = True
    lasts = size = rate = 0.0
    for number, line in enumerate(lines, start=1):
        if line.startswith("#EXTINF:"):
            lasts = parse_float(line[8:].partition(",")[0], name, number)
            if not 0 < lasts <= LONGEST_S:
                raise TraceFormatError(name, f"a segment of {lasts:g} s", number)
        elif line.startswith("#EXT-X-BYTERANGE:"):
            size = parse_float(line[17:].partition("@")[0], name, number)
        elif line.startswith("#EXT-X-BITRATE:"):
            rate = parse_float(line[15:], name, number)
        elif line and not line.startswith("#") and lasts:
            file = None if size or rate else _beside(path.parent, line)
            weight = size or (file.stat().st_size if file else rate * 125.0 * lasts)
            measured = measured and weight > 0
            seconds.append(lasts)
            sizes.append(weight or kbps * 125.0 * lasts)
            if len(sizes) > MAX_CHUNKS:
                raise TraceFormatError(name, f"more than {MAX_CHUNKS} segments")
            lasts = size = 0.0
    if not sizes:
        raise TraceFormatError(name, "a playlist without segments")
    return seconds, sizes, measured
