"""JSON from strangers: parsed within bounds on size and digits, and refused in one line beyond them."""

from __future__ import annotations

import json
import math
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.text import decode

MAX_DIGITS = 400


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
