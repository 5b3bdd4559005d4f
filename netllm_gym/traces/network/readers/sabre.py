"""Sabre's format: a JSON list of pieces with ``duration_ms``, ``bandwidth_kbps`` and ``latency_ms``.

The latency is read over: this package's environments take the request latency as an argument of their own.
"""

from __future__ import annotations

import json

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.text import decode


def read_sabre(data: bytes, name: str, group: str = "") -> NetworkTrace:
    """Parse a sabre trace.

    Raises:
        TraceFormatError: not JSON, not a list of such pieces, or a value out of range.
    """
    text = decode(data, name)
    try:
        pieces = json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceFormatError(name, f"not JSON: {error.msg}", error.lineno) from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or an integer of too many digits
        raise TraceFormatError(name, f"not readable JSON ({type(error).__name__})") from None
    if not isinstance(pieces, list):
        raise TraceFormatError(name, "expected a JSON list of pieces")
    columns: dict[str, list[float]] = {"duration_ms": [], "bandwidth_kbps": []}
    for number, piece in enumerate(pieces):
        for key, column in columns.items():
            value = piece.get(key) if isinstance(piece, dict) else None
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TraceFormatError(name, f"piece {number} has no number {key!r}")
            try:
                column.append(float(value) / 1000.0)
            except OverflowError:
                raise TraceFormatError(name, f"piece {number}: {key!r} is too large") from None
    return NetworkTrace(name, columns["duration_ms"], columns["bandwidth_kbps"], group)
