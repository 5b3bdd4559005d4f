"""Videos from files: JSON, DASH manifests (``.mpd``) and folders of size files, one a level.

XML is parsed without entities: a document type declaration is refused before the parser sees it, so there is nothing to
expand or to fetch.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.readers.text import decode, parse_float
from netllm_gym.traces.video import VideoManifest

MAX_MANIFEST_BYTES = 64 * 2**20
MAX_CHUNKS = 1_000_000
MAX_LEVELS = 1_000


def read_manifest(
    path: Path, bitrates_kbps: Sequence[float] | None = None, chunk_s: float | None = None
) -> VideoManifest:
    """Read a video from a ``.json`` or ``.mpd`` file, or from a folder of size files.

    Args:
        path: the file; or a folder whose files, in the order of the numbers in their names, are the levels: one line
            a chunk, its size in bytes.
        bitrates_kbps: ladder of a folder; without it, the mean bitrate of each file.
        chunk_s: seconds of video in a chunk; a folder needs it.

    Raises:
        TraceFormatError: a file that cannot be read, with levels of different lengths, or without sizes.
        ConfigError: a folder without `chunk_s`, or a file with arguments it already answers.
    """
    if path.is_dir():
        if chunk_s is None:
            raise ConfigError(f"{path}: size files do not say how long a chunk is; give chunk_s")
        return _from_folder(path, bitrates_kbps, chunk_s)
    if bitrates_kbps is not None or chunk_s is not None:
        raise ConfigError(f"{path}: bitrates and chunk length of a manifest are those it states")
    data = _content(path)
    return read_mpd(data, str(path)) if path.suffix.lower() == ".mpd" else read_video_json(data, str(path))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise TraceFormatError(path, f"larger than {MAX_MANIFEST_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise TraceFormatError(path, f"cannot be read ({error.strerror})") from None


def _from_folder(folder: Path, bitrates_kbps: Sequence[float] | None, chunk_s: float) -> VideoManifest:
    members = [member for member in folder.iterdir() if member.is_file() and member.name[0] != "."]
    if not 0 < len(members) <= MAX_LEVELS:
        raise TraceFormatError(folder, f"holds {len(members)} files; expected one a level")
    members.sort(key=lambda member: ([int(part) for part in re.findall(r"[0-9]{1,9}", member.name)], member.name))
    levels: list[list[float]] = []
    for member in members:
        lines = decode(_content(member), str(member)).splitlines()
        levels.append([parse_float(line, str(member), i) for i, line in enumerate(lines, 1) if line.strip()])
    return _video(str(folder), levels, bitrates_kbps, chunk_s)


def _video(
    name: str, levels: list[list[float]], bitrates_kbps: Sequence[float] | None, chunk_s: float
) -> VideoManifest:
    """Assemble levels of chunk sizes, ordered by bitrate."""
    lengths = [len(level) for level in levels]
    if len(set(lengths)) != 1:
        raise TraceFormatError(name, f"levels have different numbers of chunks: {lengths[:12]}")
    sizes = np.array(levels, dtype=np.float64).T
    if bitrates_kbps is None:
        bitrates_kbps = (sizes.mean(axis=0) * 8 / 1000 / chunk_s).tolist() if chunk_s > 0 else []
    if len(bitrates_kbps) != len(levels):
        raise TraceFormatError(name, f"{len(bitrates_kbps)} bitrates but {len(levels)} levels")
    order = np.argsort(np.array(bitrates_kbps, dtype=np.float64), kind="stable")
    return VideoManifest(name, np.array(bitrates_kbps, dtype=np.float64)[order], chunk_s, sizes[:, order])


def _number(value: Any, what: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TraceFormatError(name, f"{what} is not a number")
    try:
        number = float(value)
    except OverflowError:
        raise TraceFormatError(name, f"{what} is too large") from None
    if not math.isfinite(number):
        raise TraceFormatError(name, f"{what} is not finite")
    return number


def read_video_json(data: bytes, name: str) -> VideoManifest:
    """Parse a JSON object.

    Keys: ``bitrates_kbps`` (one a level), the chunk length as ``chunk_s`` or ``segment_duration_ms``, and the sizes,
    one list a chunk with one number a level, as ``chunk_bytes`` or ``segment_sizes_bits`` (Sabre's names come second).

    Raises:
        TraceFormatError: not JSON, a key missing, a chunk without all levels, or a value out of range.
    """
    text = decode(data, name)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceFormatError(name, f"not JSON: {error.msg}", error.lineno) from None
    except (RecursionError, ValueError) as error:
        raise TraceFormatError(name, f"not readable JSON ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise TraceFormatError(name, "expected a JSON object")
    length = next((key for key in ("chunk_s", "segment_duration_ms") if key in found), None)
    sizes = next((key for key in ("chunk_bytes", "segment_sizes_bits") if key in found), None)
    if length is None or sizes is None or not isinstance(found.get("bitrates_kbps"), list):
        raise TraceFormatError(name, "needs bitrates_kbps, chunk_s and chunk_bytes")
    chunk_s = _number(found[length], length, name) / (1000.0 if length == "segment_duration_ms" else 1.0)
    ladder = [_number(value, f"bitrate {i}", name) for i, value in enumerate(found["bitrates_kbps"])]
    rows = found[sizes]
    if not isinstance(rows, list) or not rows:
        raise TraceFormatError(name, f"{sizes} is not a list of chunks")
    per_byte = 8.0 if sizes == "segment_sizes_bits" else 1.0
    levels: list[list[float]] = [[] for _ in ladder]
    for n, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(ladder):
            got = len(row) if isinstance(row, list) else "no"
            raise TraceFormatError(name, f"chunk {n} has {got} sizes, the ladder {len(ladder)} levels")
        for i, value in enumerate(row):
            levels[i].append(_number(value, f"chunk {n} at level {i}", name) / per_byte)
    return _video(name, levels, ladder, chunk_s)


def read_mpd(data: bytes, name: str) -> VideoManifest:
    """Parse the video of a static DASH manifest (ISO/IEC 23009-1), first period.

    Sizes come from the byte ranges of a ``SegmentList`` (``mediaRange``), or from a ``size`` or ``mediaRange`` list
    that some packagers write. Where a manifest has none (most ``SegmentTemplate`` ones), every chunk weighs its level's
    ``bandwidth`` × its duration: a constant-bitrate video, whose name then ends in ``(nominal sizes)``.

    Raises:
        TraceFormatError: not XML, with a document type, without video, or with levels of different lengths.
    """
    text = decode(data, name)
    if len(data) > MAX_MANIFEST_BYTES:
        raise TraceFormatError(name, f"larger than {MAX_MANIFEST_BYTES // 2**20} MiB")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise TraceFormatError(name, "has a document type declaration; entities are not read")
    try:
        # Bytes in UTF-8 whatever the declaration says: another encoding could hide a document type from the check.
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text).encode())
    except ElementTree.ParseError as error:
        raise TraceFormatError(name, f"not XML: {error.args[0]}", error.position[0]) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    period = root.find("Period")
    if root.tag != "MPD" or period is None:
        raise TraceFormatError(name, "not a DASH manifest: no MPD with a Period")
    ladder: list[float] = []
    levels: list[list[float]] = []
    lengths: set[float] = set()
    measured = True
    total_s = _iso_seconds(period.get("duration") or root.get("mediaPresentationDuration"), name)
    for group in period.findall("AdaptationSet"):
        for level in group.findall("Representation"):
            kind = level.get("mimeType") or group.get("mimeType") or group.get("contentType") or ""
            if not kind.startswith("video"):
                continue
            if len(levels) >= MAX_LEVELS:
                raise TraceFormatError(name, f"more than {MAX_LEVELS} levels")
            rate = _attribute(level, "bandwidth", name)
            chunk_s, sizes, own = _segments((level, group, period), rate, total_s, name)
            ladder.append(rate / 1000.0)
            levels.append(sizes)
            lengths.add(chunk_s)
            measured &= own
    if not levels:
        raise TraceFormatError(name, "no video representation")
    if len(lengths) != 1:
        raise TraceFormatError(name, f"levels have different chunk lengths: {sorted(lengths)[:12]} s")
    return _video(name if measured else f"{name} (nominal sizes)", levels, ladder, lengths.pop())


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


def _segments(
    places: tuple[ElementTree.Element, ...], rate_bps: float, total_s: float | None, name: str
) -> tuple[float, list[float], bool]:
    """Return the chunk length in seconds, the sizes in bytes, and whether they are the manifest's own."""
    found = next((e for place in places for e in place if e.tag in ("SegmentList", "SegmentTemplate")), None)
    if found is None:
        raise TraceFormatError(name, "no SegmentList or SegmentTemplate")
    scale = _attribute(found, "timescale", name, 1.0)
    timeline = found.find("SegmentTimeline")
    if scale == 0:
        raise TraceFormatError(name, "the timescale is zero")
    if timeline is not None:
        durations = _timeline(timeline, scale, name)
    else:
        chunk_s = _attribute(found, "duration", name) / scale
        count: float = len(found.findall("SegmentURL"))
        if not count and total_s is not None and chunk_s > 0:
            count = math.ceil(total_s / chunk_s - 1e-6)
        if not 0 < count <= MAX_CHUNKS or chunk_s <= 0:
            raise TraceFormatError(name, f"cannot tell the number of chunks ({count:g} of {chunk_s:g} s)")
        durations = [chunk_s] * int(count)
        if total_s is not None and not found.findall("SegmentURL"):
            durations[-1] = total_s - chunk_s * (int(count) - 1)
    urls = found.findall("SegmentURL")
    ranges = [url.get("mediaRange") for url in urls]
    if urls and all(ranges):
        sizes = [_range_bytes(text or "", name) for text in ranges]
        if timeline is not None and len(sizes) != len(durations):
            raise TraceFormatError(name, f"{len(sizes)} segments but {len(durations)} on the timeline")
        return durations[0], sizes, True
    if any(ranges):
        raise TraceFormatError(name, f"segment {ranges.index(None)} has no mediaRange, others have")
    return durations[0], [rate_bps / 8 * seconds for seconds in durations], False


def _range_bytes(text: str, name: str) -> float:
    match = re.fullmatch(r"([0-9]{1,15})-([0-9]{1,15})", text)
    if match is None or int(match[2]) < int(match[1]):
        raise TraceFormatError(name, f"not a byte range: {text[:40]!r}")
    return float(int(match[2]) - int(match[1]) + 1)


def _timeline(timeline: ElementTree.Element, scale: float, name: str) -> list[float]:
    durations: list[float] = []
    for entry in timeline.findall("S"):
        seconds, repeat = _attribute(entry, "d", name) / scale, _attribute(entry, "r", name, 0.0)
        if len(durations) + repeat + 1 > MAX_CHUNKS:
            raise TraceFormatError(name, f"more than {MAX_CHUNKS} chunks")
        durations += [seconds] * (int(repeat) + 1)
    if not durations:
        raise TraceFormatError(name, "an empty SegmentTimeline")
    # The last chunk may be shorter; others of another length would need a chunk length each.
    if any(abs(seconds - durations[0]) > 0.05 * durations[0] for seconds in durations[:-1]):
        raise TraceFormatError(name, "chunks of different lengths are not supported")
    return durations


def _iso_seconds(text: str | None, name: str) -> float | None:
    """Seconds of an ISO 8601 duration such as PT1H2M3.5S."""
    if text is None:
        return None
    match = re.fullmatch(r"P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,12})?)S)?)?", text)
    if match is None:
        raise TraceFormatError(name, f"not a duration: {text[:40]!r}")
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (86400, 3600, 60, 1), strict=True))
