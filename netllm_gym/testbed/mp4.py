"""Boxes of the ISO base media file format (ISO/IEC 14496-12): cut a fragmented file, name its codec, fill a segment up.

Only what the testbed writes itself is read here; sizes are checked against the data before anything is cut.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from netllm_gym.errors import TraceFormatError

HEADER = 8
# Boxes of boxes on the way to the codec's configuration, and the bytes of their own before the first child.
_CONTAINERS = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8, b"avc1": 78}


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield ``(type, begin, end)`` of the boxes of ``data[begin:end]``, header included.

    Raises:
        TraceFormatError: a box that is shorter than its header or longer than the data.
    """
    end = len(data) if end is None else end
    while begin < end:
        if end - begin < HEADER:
            raise TraceFormatError("MP4", f"{end - begin} bytes are left where a box should begin")
        size, kind = struct.unpack_from(">I4s", data, begin)
        if size == 1 and end - begin >= 16:
            size = struct.unpack_from(">Q", data, begin + HEADER)[0]
        if size < HEADER or size > end - begin:
            raise TraceFormatError("MP4", f"a box of {size} bytes does not fit into the {end - begin} that are left")
        yield kind, begin, begin + size
        begin += size


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """Cut a fragmented file into its initialisation segment and its media segments, one per ``moof``.

    Raises:
        TraceFormatError: not a fragmented file.
    """
    starts: list[int] = []
    stop = len(data)
    for kind, begin, _ in boxes(data):
        if kind == b"moof":
            starts.append(begin)
        elif kind == b"mfra":  # the index for random access, of no use to a player of segments
            stop = begin
    if not starts:
        raise TraceFormatError("MP4", "the file has no fragment")
    return data[: starts[0]], [data[a:b] for a, b in zip(starts, [*starts[1:], stop], strict=True)]


def codec(initialisation: bytes) -> str:
    """Return the RFC 6381 name of the H.264 track, e.g. ``avc1.42c00c``.

    Raises:
        TraceFormatError: there is no such track.
    """

    def find(begin: int, end: int) -> str | None:
        for kind, first, last in boxes(initialisation, begin, end):
            if kind == b"avcC":
                return "avc1." + initialisation[first + HEADER + 1 : first + HEADER + 4].hex()
            if kind in _CONTAINERS and (name := find(first + HEADER + _CONTAINERS[kind], last)):
                return name
        return None

    name = find(0, len(initialisation))
    if name is None:
        raise TraceFormatError("MP4", "the file has no H.264 track")
    return name


def padding(size: int) -> bytes:
    """Return a ``free`` box of `size` bytes, which players skip; ``size`` is 0 or at least 8."""
    if size == 0:
        return b""
    if not HEADER <= size < 2**32:
        raise TraceFormatError("MP4", f"no free box has {size} bytes")
    return struct.pack(">I4s", size, b"free") + bytes(size - HEADER)
