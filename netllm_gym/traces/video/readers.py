"""Videos from files: JSON, folders with a size file per level, DASH manifests (``mpd.py``) and HLS (``hls.py``)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netllm_gym.errors import ConfigError, TraceFormatError
from netllm_gym.traces.text import decode, parse_float
from netllm_gym.traces.video.hls import read_hls
from netllm_gym.traces.video.manifest import VideoManifest, assembled
from netllm_gym.traces.video.mpd import MAX_LEVELS, read_mpd

MAX_MANIFEST_BYTES = 64 * 2**20
# How a manifest begins, whatever its file is called: the root of DASH's XML, HLS's first line, the sizes in JSON.
MPD = r"(?s:(<\?xml.*?\?>\s*)?(<!--.*?-->\s*)*<(\w+:)?MPD[\s>])"
BEGINS = rf'{MPD}|#EXTM3U|\{{[^{{}}]*?"(segment_sizes_bits|chunk_bytes)"\s*:\s*\[\s*\['


def is_manifest(path: Path) -> bool:
    """Tell whether a file begins as the manifest of a video does."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return re.match(BEGINS, _beginning(file.read(20_000))) is not None
    except (OSError, ValueError):  # not there, or no name of a file
        return False


def _beginning(data: bytes) -> str:
    return data[:20_000].decode("utf-8-sig", "replace").lstrip()


def read_manifest(
    path: Path, bitrates_kbps: Sequence[float] | None = None, chunk_s: float | None = None
) -> VideoManifest:
    """Read a video from a ``.json``, ``.mpd`` or ``.m3u8`` file, or from a folder of size files.

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
    if path.suffix.lower() == ".mpd" or re.match(MPD, _beginning(data)):
        return read_mpd(data, str(path), path.parent)
    if path.suffix.lower() in (".m3u8", ".m3u") or data.lstrip(b"\xef\xbb\xbf").startswith(b"#EXTM3U"):
        return read_hls(path, _content)
    if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        raise TraceFormatError(path, "XML but no DASH manifest (.mpd): a video is an MPD, an HLS playlist or JSON")
    if not data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[")):
        raise TraceFormatError(
            path, "a video is a DASH manifest (.mpd), an HLS playlist (.m3u8), JSON (bitrates_kbps, chunk_s, "
            "chunk_bytes) or a folder with a file of chunk sizes a level"
        )  # fmt: skip
    return read_video_json(data, str(path))


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe may never end
            raise TraceFormatError(path, "no ordinary file")
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
    return assembled(str(folder), levels, bitrates_kbps, chunk_s)


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
    return assembled(name, levels, ladder, chunk_s)
