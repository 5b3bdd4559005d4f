"""JSON from strangers: parsed within bounds on size and digits, and refused in one line beyond them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.text import decode

MAX_DIGITS = 400
_BLANK = re.compile(r"[\s,]*")  # between documents


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def read_json(data: bytes | str, name: str, max_bytes: int = 256 * 2**20) -> Any:
    """Parse a JSON document.

    Raises:
        TraceFormatError: not JSON, larger than `max_bytes`, nested too deep, or a number of absurd length.
    """
    if len(data) > max_bytes:
        raise TraceFormatError(name, f"larger than {max_bytes // 2**20} MiB")
    text = decode(data, name) if isinstance(data, bytes) else data
    try:
        return json.loads(text, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise TraceFormatError(name, f"not JSON: {error.msg}", error.lineno) from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise TraceFormatError(name, f"not readable JSON ({type(error).__name__}: {str(error)[:80]})") from None


def read_documents(text: str, name: str, max_bytes: int = 256 * 2**20) -> Any:
    """Parse a document, or several one after the other (a line each, or printed over many lines) as a list of them.

    Raises:
        TraceFormatError: as for :func:`read_json`.
    """
    try:
        return read_json(text, name, max_bytes)
    except TraceFormatError:
        if len(text) > max_bytes or not text.lstrip().startswith("{"):
            raise
    decoder = json.JSONDecoder(parse_int=_integer)
    found: list[Any] = []
    at = len(text) - len(text.lstrip())
    try:
        while at < len(text):
            document, end = decoder.raw_decode(text, at)
            found.append(document)
            at = _BLANK.match(text, end).end()  # type: ignore[union-attr]  # it matches nothing, too
    except json.JSONDecodeError as error:
        raise TraceFormatError(name, f"not JSON: {error.msg}", error.lineno) from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise TraceFormatError(name, f"not readable JSON ({type(error).__name__}: {str(error)[:80]})") from None
    return found


def number(value: Any, what: str, name: str) -> float:
    """Return a finite number of a JSON document.

    Raises:
        TraceFormatError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TraceFormatError(name, f"{what} is not a number")
    try:
        result = float(value)
    except OverflowError:
        raise TraceFormatError(name, f"{what} is too large") from None
    if not math.isfinite(result):
        raise TraceFormatError(name, f"{what} is not finite")
    return result
