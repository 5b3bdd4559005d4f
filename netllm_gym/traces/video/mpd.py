"""DASH manifests (ISO/IEC 23009-1): the ladder and what every chunk weighs.

What is read: on-demand (static) manifests of one period or several with the same ladder; ``SegmentList``,
``SegmentTemplate`` (with or without ``SegmentTimeline``) and ``SegmentBase``. Of a video in several codecs the levels
of the first are read, and the video's name says so; sets for trick play are no levels. What is refused, each in one
line that names it: live (dynamic) manifests, periods elsewhere (xlink), ladders or chunk lengths that change, an index
(``SegmentBase``) whose media file is not beside the manifest, an index of indexes.

XML is parsed without entities (:mod:`netllm_gym.traces.xmltext`). Nothing is ever downloaded, and no file outside the
manifest's folder is opened.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.text import decode
from netllm_gym.traces.video.manifest import VideoManifest, assembled
from netllm_gym.traces.xmltext import read_xml

MAX_MANIFEST_BYTES = 64 * 2**20
MAX_INDEX_BYTES = 16 * 2**20
# 55 hours of one-second chunks; 100 hours of ten levels; a chunk of a day.
MAX_CHUNKS = 200_000
MAX_LEVELS = 1_000
MAX_SIZES = 4_000_000
LONGEST_S = 86_400.0
XLINK = "{http://www.w3.org/1999/xlink}href"
ADDRESSING = ("SegmentList", "SegmentTemplate", "SegmentBase")


@dataclass(frozen=True)
class _Level:
    """One representation of one period: seconds and bytes of its chunks, and whether the bytes are measured."""

    kbps: float
    seconds: list[float]
    sizes: list[float]
    measured: bool
    codec: str = ""


def read_mpd(data: bytes, name: str, folder: Path | None = None) -> VideoManifest:
    """Parse the video of an on-demand manifest.

    Sizes come from the byte ranges of a ``SegmentList`` (``mediaRange``) or from the ``sidx`` box that a
    ``SegmentBase`` points to, where that media file lies in `folder`. Where a manifest has none (most
    ``SegmentTemplate`` ones), every chunk weighs its level's ``bandwidth`` × its duration: a constant-bitrate video,
    whose name then ends in ``(nominal sizes)``.

    Args:
        data: content of the manifest.
        name: used for the video and in error messages.
        folder: where media files may lie; ``None``: nowhere.

    Raises:
        TraceFormatError: not XML, with a document type, without video, with levels of different lengths, or one of the
            things this module refuses.
    """
    text = decode(data, name)
    if len(data) > MAX_MANIFEST_BYTES:
        raise TraceFormatError(name, f"larger than {MAX_MANIFEST_BYTES // 2**20} MiB")
    root = read_xml(text, name)
    if root.tag != "MPD" or root.find("Period") is None:
        raise TraceFormatError(name, "not a DASH manifest: no MPD with a Period")
    if root.get("type") == "dynamic":
        raise TraceFormatError(name, "a live (dynamic) manifest is not supported: its chunks are not all known")
    periods: list[list[_Level]] = []
    for element, seconds in _periods(root, name):
        periods.append(_period(element, root, seconds, name, folder))
        if sum(len(level.sizes) for level in periods[-1]) * len(periods) > MAX_SIZES:
            raise TraceFormatError(name, f"more than {MAX_SIZES} chunks over all levels and periods")
    codecs = list(dict.fromkeys(level.codec for level in periods[0] if level.codec))
    if len(codecs) > 1:  # a player takes one of them: their bitrates are no common ladder
        periods = [[level for level in period if level.codec == codecs[0]] for period in periods]
    for period in periods:
        if len(set(counts := [len(level.sizes) for level in period])) != 1:
            raise TraceFormatError(name, f"levels have different numbers of chunks: {counts[:12]}")
    ladder = sorted(level.kbps for level in periods[0])
    for number, period in enumerate(periods[1:], start=1):
        if sorted(level.kbps for level in period) != ladder:
            raise TraceFormatError(name, f"period {number} has another ladder than period 0")
    order = [sorted(period, key=lambda level: level.kbps) for period in periods]
    columns = list(zip(*order, strict=True))  # one level across the periods
    lengths = sorted({level.seconds[0] for period in periods for level in period})
    # Packagers round a chunk to whole frames, so that periods may differ by a little.
    if lengths[-1] > 1.05 * lengths[0]:
        raise TraceFormatError(name, f"chunks of different lengths are not supported: {lengths[:12]} s")
    measured = all(level.measured for period in periods for level in period)
    sizes = [[size for level in column for size in level.sizes] for column in columns]
    chunk_s = periods[0][0].seconds[0]
    label = f"{name} ({codecs[0]} of {', '.join(codecs)})" if len(codecs) > 1 else name
    return assembled(label if measured else f"{label} (nominal sizes)", sizes, ladder, chunk_s)


def _address(*places: ElementTree.Element) -> str:
    """Return the address that elements give, each relative to the one around it; empty where none does."""
    found = ""
    for place in places:
        own = (place.findtext("BaseURL") or "").strip()
        found = own if "://" in own or own.startswith("/") else found[: found.rfind("/") + 1] + own if own else found
    return found


_FAMILIES = {"avc1": "avc", "avc3": "avc", "hvc1": "hevc", "hev1": "hevc", "dvh1": "dv", "dvhe": "dv", "vp09": "vp9",
             "vp9": "vp9", "vp08": "vp8", "vp8": "vp8", "av01": "av1"}  # fmt: skip


def codec_of(codecs: str) -> str:
    """Return the family of the video codec that a list such as ``avc1.4d401f,mp4a.40.2`` names; empty without one."""
    fours = (part.strip().partition(".")[0] for part in codecs.lower().split(","))
    return next((_FAMILIES[four] for four in fours if four in _FAMILIES), "")


def _is_trick(group: ElementTree.Element) -> bool:
    """Tell whether a set holds pictures for winding forward, not for playing."""
    told = [*group.findall("EssentialProperty"), *group.findall("SupplementalProperty")]
    return any("trickmode" in (e.get("schemeIdUri") or "") for e in told)


def _periods(root: ElementTree.Element, name: str) -> Iterator[tuple[ElementTree.Element, float | None]]:
    """Yield each period with its length in seconds, where the manifest tells it."""
    periods = root.findall("Period")
    total_s = _iso_seconds(root.get("mediaPresentationDuration"), name)
    begins = 0.0
    for number, period in enumerate(periods):
        if period.get(XLINK) is not None:
            raise TraceFormatError(name, f"period {number} lies elsewhere (xlink), which is not supported")
        given = _iso_seconds(period.get("start"), name)
        begins = begins if given is None else given
        seconds = _iso_seconds(period.get("duration"), name)
        if seconds is None:
            following = periods[number + 1].get("start") if number + 1 < len(periods) else None
            until = _iso_seconds(following, name) if number + 1 < len(periods) else total_s
            seconds = None if until is None else until - begins
        yield period, seconds
        begins += seconds or 0.0


def _period(
    period: ElementTree.Element, root: ElementTree.Element, total_s: float | None, name: str, folder: Path | None
) -> list[_Level]:
    """Return the video levels of a period."""
    levels: list[_Level] = []
    for group in (g for g in period.findall("AdaptationSet") if not _is_trick(g)):
        for level in group.findall("Representation"):
            kind = level.get("mimeType") or group.get("mimeType") or group.get("contentType") or ""
            if not kind and (level.get("width") or group.get("width")):
                kind = "video"  # nothing says so, but only a video has one
            if not kind.startswith("video"):
                continue
            if len(levels) >= MAX_LEVELS:
                raise TraceFormatError(name, f"more than {MAX_LEVELS} levels")
            levels.append(_level(level, group, period, total_s, name, folder, _address(root, period, group, level)))
            if len(levels) * len(levels[-1].sizes) > MAX_SIZES:
                raise TraceFormatError(name, f"more than {MAX_SIZES} chunks over all levels")
    if not levels:
        raise TraceFormatError(name, "no video representation")
    return levels


def _level(
    level: ElementTree.Element,
    group: ElementTree.Element,
    period: ElementTree.Element,
    total_s: float | None,
    name: str,
    folder: Path | None,
    url: str,
) -> _Level:
    kbps = _attribute(level, "bandwidth", name) / 1000.0
    codec = codec_of(level.get("codecs") or group.get("codecs") or "")
    nearest = next((e for place in (level, group, period) for e in place if e.tag in ADDRESSING), None)
    if nearest is None:
        raise TraceFormatError(name, "no SegmentList, SegmentTemplate or SegmentBase")
    found = _inherited(nearest.tag, (period, group, level))
    if found.tag == "SegmentBase":
        seconds, sizes = _indexed(found, url, name, folder)
        return _Level(kbps, even(seconds, name), sizes, True, codec)
    seconds = even(_durations(found, total_s, name), name)
    urls = found.findall("SegmentURL")
    ranges = [url.get("mediaRange") for url in urls]
    if urls and all(ranges):
        sizes = [_range(text or "", name)[1] for text in ranges]
        if len(sizes) != len(seconds):
            raise TraceFormatError(name, f"{len(sizes)} segments but {len(seconds)} on the timeline")
        return _Level(kbps, seconds, sizes, True, codec)
    if any(ranges):
        raise TraceFormatError(name, f"segment {ranges.index(None)} has no mediaRange, others have")
    return _Level(kbps, seconds, [kbps * 125.0 * s for s in seconds], False, codec)


def _inherited(tag: str, places: tuple[ElementTree.Element, ...]) -> ElementTree.Element:
    """Return an element with what those above it say where it says nothing itself: attributes, timeline, segments."""
    merged = ElementTree.Element(tag)
    inside: dict[str, list[ElementTree.Element]] = {}
    for element in (e for place in places for e in place.findall(tag)):
        merged.attrib.update(element.attrib)
        for kind in ("SegmentTimeline", "SegmentURL"):
            inside[kind] = element.findall(kind) or inside.get(kind, [])
    merged.extend(e for elements in inside.values() for e in elements)
    return merged


def _durations(found: ElementTree.Element, total_s: float | None, name: str) -> list[float]:
    """Seconds of every chunk of a list or template."""
    scale = _attribute(found, "timescale", name, 1.0)
    if scale == 0:
        raise TraceFormatError(name, "the timescale is zero")
    timeline = found.find("SegmentTimeline")
    if timeline is not None:
        return _timeline(timeline, scale, total_s, name)
    chunk_s = _attribute(found, "duration", name) / scale
    count: float = len(found.findall("SegmentURL"))
    listed = bool(count)
    if not count and total_s is not None and chunk_s > 0:
        count = _ceil(total_s / chunk_s, name)
    if not 0 < count <= MAX_CHUNKS or chunk_s <= 0:
        raise TraceFormatError(name, f"cannot tell the number of chunks ({count:g} of {chunk_s:g} s)")
    durations = [chunk_s] * int(count)
    if total_s is not None and not listed:
        durations[-1] = total_s - chunk_s * (int(count) - 1)
    return durations


def _timeline(timeline: ElementTree.Element, scale: float, total_s: float | None, name: str) -> list[float]:
    durations: list[float] = []
    until = 0.0
    for entry in timeline.findall("S"):
        seconds = _attribute(entry, "d", name) / scale
        if not seconds <= LONGEST_S:
            raise TraceFormatError(name, f"a chunk of {seconds:g} s")
        if entry.get("r") == "-1":  # until the period ends
            if total_s is None or seconds <= 0:
                raise TraceFormatError(name, "a timeline that repeats to the end of a period of unknown length")
            repeat: float = _ceil((total_s - until) / seconds, name) - 1
        else:
            repeat = _attribute(entry, "r", name, 0.0)
        if len(durations) + repeat + 1 > MAX_CHUNKS:
            raise TraceFormatError(name, f"more than {MAX_CHUNKS} chunks")
        repeats = max(int(repeat) + 1, 0)
        durations += [seconds] * repeats
        until += seconds * repeats
    if not durations:
        raise TraceFormatError(name, "an empty SegmentTimeline")
    return durations


def _ceil(chunks: float, name: str) -> int:
    if not chunks <= MAX_CHUNKS:
        raise TraceFormatError(name, f"more than {MAX_CHUNKS} chunks")
    return math.ceil(chunks - 1e-6)


def even(durations: list[float], name: str) -> list[float]:
    """Refuse chunks of different lengths; the last may be shorter."""
    if durations[0] <= 0 or any(abs(seconds - durations[0]) > 0.05 * durations[0] for seconds in durations[:-1]):
        raise TraceFormatError(name, "chunks of different lengths are not supported")
    return durations


def _indexed(base: ElementTree.Element, url: str, name: str, folder: Path | None) -> tuple[list[float], list[float]]:
    """Seconds and bytes of the chunks, from the index of a media file beside the manifest."""
    text = base.get("indexRange")
    if text is None:
        raise TraceFormatError(name, "SegmentBase without an indexRange is not supported: nothing tells the chunks")
    begin, length = _range(text, name)
    if length > MAX_INDEX_BYTES:
        raise TraceFormatError(name, f"an index of more than {MAX_INDEX_BYTES // 2**20} MiB")
    path = None if folder is None else (folder / url).resolve()
    if folder is None or path is None or not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise TraceFormatError(
            name, f"the chunks stand in the index (sidx) of {url[:80]!r}, which is not beside the manifest"
        )
    try:
        with path.open("rb") as media:
            media.seek(int(begin))
            return read_sidx(media.read(int(length)), str(path))
    except OSError as error:
        raise TraceFormatError(path, f"cannot be read ({error.strerror})") from None


def read_sidx(data: bytes, name: str) -> tuple[list[float], list[float]]:
    """Parse a segment index box (ISO/IEC 14496-12, 8.16.3).

    Returns:
        Seconds and bytes of each subsegment.

    Raises:
        TraceFormatError: not a whole ``sidx`` box, or an index of indexes.
    """
    try:
        size, kind, version, _, scale = struct.unpack_from(">I4sB3xII", data)
        at = 20 + (16 if version else 8)
        (count,) = struct.unpack_from(">2xH", data, at)
        entries = list(struct.iter_unpack(">III", data[at + 4 : at + 4 + 12 * count]))
    except struct.error:
        raise TraceFormatError(name, "the index range holds no whole sidx box") from None
    if kind != b"sidx" or version > 1 or size > len(data) or len(entries) != count or not count or not scale:
        raise TraceFormatError(name, "the index range holds no whole sidx box")
    if any(first >> 31 for first, _, _ in entries):
        raise TraceFormatError(name, "an index (sidx) of indexes is not supported")
    return [duration / scale for _, duration, _ in entries], [float(first) for first, _, _ in entries]


def _attribute(element: ElementTree.Element, key: str, name: str, default: float | None = None) -> float:
    """Return a non-negative attribute."""
    text = element.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise TraceFormatError(name, f"{element.tag} has no proper {key}: {(text or '')[:40]!r}")
    return value


def _range(text: str, name: str) -> tuple[float, float]:
    """First byte and number of bytes of a range such as ``0-99``."""
    match = re.fullmatch(r"([0-9]{1,15})-([0-9]{1,15})", text)
    if match is None or int(match[2]) < int(match[1]):
        raise TraceFormatError(name, f"not a byte range: {text[:40]!r}")
    return float(match[1]), float(int(match[2]) - int(match[1]) + 1)


def _iso_seconds(text: str | None, name: str) -> float | None:
    """Seconds of an ISO 8601 duration such as PT1H2M3.5S; years and months may be there if they are none."""
    if text is None:
        return None
    match = re.fullmatch(
        r"P(?:0+Y)?(?:0+M)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,12})?)S)?)?", text
    )
    if match is None:
        raise TraceFormatError(name, f"not a duration: {text[:40]!r}")
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (86400, 3600, 60, 1), strict=True))
