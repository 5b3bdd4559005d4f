"""JSON from strangers: parsed within bounds on size and digits, and refused in one line beyond them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import is_number
from netllm_gym.traces.text import decode

MAX_DIGITS = 400
MAX_FRAMED, MAX_TABLES = 5, 200  # how deep tables are looked for, and among how many neighbours
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

    Tables whose names stand once, beside rows without names, become lists of objects (:func:`framed`).

    Raises:
        TraceFormatError: as for :func:`read_json`.
    """
    try:
        return framed(read_json(text, name, max_bytes))
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
    return framed(found)


def framed(node: Any, depth: int = 0) -> Any:
    """Return a document whose tables are lists of objects.

    Such tables are pandas' ``{"columns": ["t", "mbps"], "data": [[0, 5], …]}``, InfluxDB's with ``values``,
    pandas' columns by row, ``{"t": {"0": 0, …}, "mbps": {"0": 5, …}}``, and Prometheus' series.
    """
    if depth > MAX_FRAMED:
        return node
    if isinstance(node, list):
        if len(node) > MAX_TABLES:
            return node
        found = [framed(item, depth + 1) for item in node]
        if not found or not all(isinstance(a, dict) and isinstance(b, list) for a, b in zip(node, found, strict=True)):
            return found
        return found[0] if len(found) == 1 else {str(i): table for i, table in enumerate(found, start=1)}
    if not isinstance(node, dict):
        return node
    results = node.get("results")
    if isinstance(results, list) and results and all(isinstance(x, dict) and "series" in x for x in results):
        every = [x["series"] for x in results]
        if all(isinstance(series, list) for series in every):
            return framed([table for series in every for table in series], depth + 1)
    if (series := _series(node)) is not None:
        return series
    names = node.get("columns")
    if isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names) > 1:
        for key in ("data", "values", "rows"):
            rows = node.get(key)
            if isinstance(rows, list) and rows and all(isinstance(r, list) and len(r) == len(names) for r in rows):
                return [dict(zip(names, row, strict=True)) for row in rows]
    values = list(node.values())
    if len(values) > 1 and all(isinstance(column, dict) and len(column) > 1 for column in values):
        indices = list(values[0])
        flat = not any(isinstance(x, dict | list) for column in values for x in column.values())
        if all(index.isdigit() for index in indices) and flat and all(list(column) == indices for column in values):
            return [{name: column[index] for name, column in node.items()} for index in indices]
    return {key: framed(value, depth + 1) for key, value in node.items()} if len(node) <= MAX_TABLES else node


def _series(node: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return a series of Prometheus as a list of objects: ``{"metric": {"__name__": …}, "values": [[s, "12"], …]}``."""
    metric, values = node.get("metric"), node.get("values")
    if not isinstance(metric, dict) or not isinstance(values, list) or not values:
        return None
    if not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str) for pair in values):
        return None
    labels = [str(text) for key, text in metric.items() if key != "__name__"]
    label = str(metric.get("__name__") or " ".join(labels) or "value")[:80]
    return [{"time": at, label: float(text) if is_number(text) else text[:80]} for at, text in values]


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
