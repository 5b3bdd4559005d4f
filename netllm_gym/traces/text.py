"""What all text readers share: decoding and numbers, with errors that name file and line."""

from __future__ import annotations

import math

from netllm_gym.errors import TraceFormatError

# Far above any real trace (10 million lines); guards against a file that is not a trace at all.
MAX_TEXT_BYTES = 512 * 2**20


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8 text.

    Raises:
        TraceFormatError: empty, oversized, binary or in another encoding.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise TraceFormatError(name, f"larger than {MAX_TEXT_BYTES // 2**20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TraceFormatError(name, "not UTF-8 text", line) from None
    if "\0" in text:
        raise TraceFormatError(name, "binary content")
    if not text.strip():
        raise TraceFormatError(name, "empty file")
    return text


def micro(text: str) -> str:
    """Return a text with the letter u for the micro sign and for the Greek letter that stands for it."""
    return text.replace("\u00b5", "u").replace("\u03bc", "u")


def parse_float(field: str, name: str, line: int) -> float:
    """Parse a finite number.

    Raises:
        TraceFormatError: not a number, infinite or NaN.
    """
    try:
        value = float(field)
    except ValueError:
        raise TraceFormatError(name, f"{field[:40]!r} is not a number", line) from None
    if not math.isfinite(value):
        raise TraceFormatError(name, f"{field[:40]!r} is not finite", line)
    return value
