"""Read the tensors of a GGUF file (llama.cpp's container) with numpy alone.

Only what the embedded SmolLM2 uses: float32 and the block formats Q8_0 (32 int8, one float16 scale) and Q4_1
(32 four-bit integers, a float16 scale and minimum). Tensors are read one by one, so that the first blocks of a model
cost a fraction of the whole. Format: ggml's docs/gguf.md, version 3.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import CheckpointError

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_F32, _Q4_1, _Q8_0 = 0, 3, 8
_BLOCK = 32
# Bounds of a header: no model comes near them, and nothing is allocated beyond what the file holds.
_MAX_ENTRIES = 1_000_000
_MAX_RANK = 8
_MAX_ALIGNMENT = 1 << 20
_BYTES = {_F32: (1, 4), _Q4_1: (_BLOCK, 20), _Q8_0: (_BLOCK, 34)}


class GGUF:
    """The metadata and tensors of one file.

    Raises:
        CheckpointError: not a GGUF file, truncated, or of a tensor type not read here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._size = path.stat().st_size
            with path.open("rb") as handle:
                self._read_header(handle)
        except (OSError, struct.error, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise CheckpointError(f"{path} is not a readable GGUF file ({error})") from None

    def _read_header(self, handle: BinaryIO) -> None:
        if handle.read(4) != b"GGUF":
            raise CheckpointError(f"{self.path} is not a GGUF file")
        version, tensors, keys = struct.unpack("<IQQ", handle.read(20))
        if version != 3:
            raise CheckpointError(f"{self.path} is GGUF version {version}; version 3 is read")
        if keys > _MAX_ENTRIES or tensors > _MAX_ENTRIES:
            raise CheckpointError(f"{self.path} claims {keys} keys and {tensors} tensors")
        self.metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = _string(handle, self._size)
            (kind,) = struct.unpack("<I", handle.read(4))
            self.metadata[key] = _value(handle, kind, self._size)
        self.tensors: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(tensors):
            name = _string(handle, self._size)
            (rank,) = struct.unpack("<I", handle.read(4))
            if rank > _MAX_RANK:
                raise CheckpointError(f"{self.path}: tensor {name[:80]!r} has {rank} axes")
            shape = struct.unpack(f"<{rank}Q", handle.read(8 * rank))[::-1]  # stored fastest axis first
            self.tensors[name] = (shape, *struct.unpack("<IQ", handle.read(12)))
        alignment = self.metadata.get("general.alignment", 32)
        if isinstance(alignment, bool) or not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT:
            raise CheckpointError(f"{self.path} has no proper alignment: {str(alignment)[:40]!r}")
        self._data = -(-handle.tell() // alignment) * alignment

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Read and dequantise one tensor."""
        if name not in self.tensors:
            raise CheckpointError(f"{self.path} holds no tensor {name}")
        shape, kind, offset = self.tensors[name]
        if kind not in _BYTES:
            raise CheckpointError(f"{self.path}: tensor {name} has type {kind}; F32, Q4_1 and Q8_0 are read")
        per_block, block_bytes = _BYTES[kind]
        values = math.prod(shape)
        count = values // per_block * block_bytes
        if values % per_block or self._data + offset + count > self._size:
            raise CheckpointError(f"{self.path} is truncated at tensor {name}")
        with self.path.open("rb") as handle:
            handle.seek(self._data + offset)
            raw = np.frombuffer(handle.read(count), np.uint8)
        if raw.size != count:
            raise CheckpointError(f"{self.path} is truncated at tensor {name}")
        return _dequantise(raw, kind).reshape(shape)

    def rows(self, name: str, numbers: Sequence[int]) -> NDArray[np.float32]:
        """Read and dequantise some rows of a matrix, ``[len(numbers), columns]``.

        Raises:
            CheckpointError: no such matrix, no such row, a type not read here, or a truncated file.
        """
        shape, kind, offset = self.tensors.get(name, ((), -1, 0))
        if kind not in _BYTES or len(shape) != 2 or shape[1] % _BYTES[kind][0]:
            raise CheckpointError(f"{self.path} holds no matrix {name} of a type that is read")
        if odd := [number for number in numbers if not 0 <= number < shape[0]]:
            raise CheckpointError(f"{self.path}: {name} has {shape[0]} rows, row {odd[0]} was asked for")
        per_block, block_bytes = _BYTES[kind]
        row_bytes = shape[1] // per_block * block_bytes
        if self._data + offset + shape[0] * row_bytes > self._size:
            raise CheckpointError(f"{self.path} is truncated at tensor {name}")
        with self.path.open("rb") as handle:
            parts = []
            for number in numbers:
                handle.seek(self._data + offset + number * row_bytes)
                parts.append(handle.read(row_bytes))
        raw = np.frombuffer(b"".join(parts), np.uint8)
        if raw.size != row_bytes * len(numbers):
            raise CheckpointError(f"{self.path} is truncated at tensor {name}")
        return _dequantise(raw, kind).reshape(len(numbers), shape[1])


def _string(handle: BinaryIO, size: int) -> str:
    (length,) = struct.unpack("<Q", handle.read(8))
    if length > size - handle.tell():
        raise ValueError(f"a text of {length} bytes in a file of {size}")
    return handle.read(length).decode()


def _value(handle: BinaryIO, kind: int, size: int) -> Any:
    if kind == _STRING:
        return _string(handle, size)
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", handle.read(12))
        if inner == _ARRAY or count > size - handle.tell():
            raise ValueError("an array of arrays, or one longer than the file")
        return [_value(handle, inner, size) for _ in range(count)]
    layout = _SCALARS[kind]
    return struct.unpack(layout, handle.read(struct.calcsize(layout)))[0]


def _dequantise(raw: NDArray[np.uint8], kind: int) -> NDArray[np.float32]:
    if kind == _F32:
        return raw.view(np.float32).copy()
    blocks = raw.reshape(-1, _BYTES[kind][1])
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    if kind == _Q8_0:
        return blocks[:, 2:].view(np.int8).astype(np.float32) * scale
    low = blocks[:, 2:4].copy().view(np.float16).astype(np.float32)
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)  # low halves come first
    return nibbles.astype(np.float32) * scale + low
