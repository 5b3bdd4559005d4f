"""Read a TensorFlow checkpoint without TensorFlow: a table of names, and the tensors' bytes.

``NAME.index`` is a sorted string table (LevelDB's format, uncompressed) from tensor names to where they lie;
``NAME.data-00000-of-00001`` holds the raw tensors. Written from the formats' public descriptions (LevelDB's
``table_format.md``, TensorFlow's ``tensor_bundle.proto``). Nothing is executed, and nothing is allocated before it is
measured.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import CheckpointError

Floats = NDArray[np.float32]

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
FLOAT32 = 1
MOST_TENSORS = 10_000
LONGEST_NAME = 4096
MOST_AXES = 8


class _Cursor:
    """A position in bytes that never leaves them."""

    def __init__(self, data: bytes, begin: int = 0, end: int | None = None) -> None:
        self.data, self.at = data, begin
        self.end = len(data) if end is None else end
        if not 0 <= begin <= self.end <= len(data):
            raise CheckpointError("the index of the checkpoint points outside itself")

    def varint(self) -> int:
        """The next number of seven bits a byte, at most 64 bits."""
        value = 0
        for shift in range(0, 64, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise CheckpointError("the index of the checkpoint holds a number of more than 64 bits")

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size < 0 or self.at + size > self.end:
            raise CheckpointError("the index of the checkpoint ends too early")
        self.at += size
        return self.data[self.at - size : self.at]


def _block(index: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    """Return the entries of a block; keys share prefixes with the one before."""
    if offset + size + 5 > len(index) or size < 4:
        raise CheckpointError("the index of the checkpoint points outside itself")
    if index[offset + size]:
        raise CheckpointError("the index of the checkpoint is compressed, which TensorFlow's is not")
    (restarts,) = struct.unpack_from("<I", index, offset + size - 4)
    if restarts > (size - 4) // 4:
        raise CheckpointError("the index of the checkpoint points outside itself")
    cursor, key = _Cursor(index, offset, offset + size - 4 - 4 * restarts), b""
    found: list[tuple[bytes, bytes]] = []
    while cursor.at < cursor.end:
        shared, own, length = cursor.varint(), cursor.varint(), cursor.varint()
        if shared > len(key) or own > LONGEST_NAME or shared + own > LONGEST_NAME or len(found) > MOST_TENSORS:
            raise CheckpointError("the index of the checkpoint is damaged")
        key = key[:shared] + cursor.take(own)
        found.append((key, cursor.take(length)))
    return found


def _fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """Return the (number, value) pairs of a protocol buffer."""
    cursor = _Cursor(message)
    found: list[tuple[int, int | bytes]] = []
    while cursor.at < cursor.end:
        tag = cursor.varint()
        kind = tag & 7
        if kind == 0:
            found.append((tag >> 3, cursor.varint()))
        elif kind == 2:
            found.append((tag >> 3, cursor.take(cursor.varint())))
        elif kind in (1, 5):
            found.append((tag >> 3, cursor.take(8 if kind == 1 else 4)))
        else:
            raise CheckpointError("the index of the checkpoint is damaged")
    return found


def _entry(name: str, message: bytes, data: bytes) -> Floats | None:
    """Return the tensor that an entry describes, ``None`` when it is not of float32."""
    numbers = {number: value for number, value in _fields(message) if isinstance(value, int)}
    if numbers.get(1) != FLOAT32:
        return None
    if numbers.get(3, 0):
        raise CheckpointError(f"{name} lies in another file of the checkpoint")
    shape: list[int] = []
    for number, value in _fields(message):
        if number == 2 and isinstance(value, bytes):
            dims = [part for field, part in _fields(value) if field == 2 and isinstance(part, bytes)]
            shape = [next((n for f, n in _fields(dim) if f == 1 and isinstance(n, int)), 0) for dim in dims]
    if len(shape) > MOST_AXES or any(not 0 < length < 1 << 31 for length in shape):
        raise CheckpointError(f"{name} has a shape that no tensor here has")
    offset, size = numbers.get(4, 0), numbers.get(5, 0)
    if size != 4 * math.prod(shape):
        raise CheckpointError(f"{name} of shape {tuple(shape)} does not fit its {size} bytes")
    if offset + size > len(data):
        raise CheckpointError(f"{name} reaches beyond the {len(data)} bytes of the checkpoint")
    return np.frombuffer(data, "<f4", size // 4, offset).reshape(shape)


def read_bundle(index: bytes, data: bytes) -> dict[str, Floats]:
    """Return the float32 tensors of a checkpoint by name.

    Args:
        index: the content of ``NAME.index``.
        data: the content of ``NAME.data-00000-of-00001``.

    Raises:
        CheckpointError: truncated, damaged or hostile files, in one line.
    """
    if len(index) < FOOTER or struct.unpack_from("<Q", index, len(index) - 8)[0] != MAGIC:
        raise CheckpointError("this is no index of a TensorFlow checkpoint, or it is cut off")
    footer = _Cursor(index, len(index) - FOOTER, len(index) - 8)
    footer.varint(), footer.varint()
    tensors: dict[str, Floats] = {}
    for _, handle in _block(index, footer.varint(), footer.varint()):
        place = _Cursor(handle)
        for key, message in _block(index, place.varint(), place.varint()):
            if not key:  # the header
                continue
            name = key.decode("utf-8", "replace")
            found = _entry(name, message, data)
            if found is not None:
                tensors[name] = found
    if not tensors:
        raise CheckpointError("the checkpoint holds no tensor of float32")
    return tensors
