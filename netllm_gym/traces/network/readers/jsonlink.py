"""Links in JSON: a list of samples, columns, a document a line (NDT7, speed tests), or pieces with a duration.

| document | read as |
|---|---|
| ``[{"duration_ms": …, "bandwidth_kbps": …}]`` | Sabre's pieces |
| ``{"uplink": {"trace_pattern": [{"duration": ms, "capacity": kbit/s}]}}`` | AlphaRTC's pieces |
| ``{"timestamps": […], "bandwidths": […]}`` | columns |
| ``{"Download": {"ServerMeasurements": [{"TCPInfo": {"ElapsedTime": µs, "BytesAcked": …}}]}}`` | NDT7's server |
| ``{"Key": "measurement", "Value": {"AppInfo": {"ElapsedTime": µs, "NumBytes": …}}}`` a line | NDT7 |
| ``{"dishGetHistory": {"current": …, "downlinkThroughputBps": […]}}`` | what a Starlink dish kept, a sample a second |
| ``{"data": {"result": [{"metric": {"__name__": …}, "values": [[s, "12"], …]}]}}`` | a range of Prometheus |
| ``[{"time": …, "throughput_mbps": …}]`` or one a line | samples |
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jsontext import number, read_documents
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.network.units import loose_unit, rate_unit
from netllm_gym.traces.tables import LONGEST_EXACT, Table
from netllm_gym.traces.text import decode

MAX_KEYS = 64


def read_json_links(data: bytes, name: str) -> NetworkTrace | Table:
    """Parse a document: a whole trace where it says all units itself, else a table of its samples.

    Raises:
        TraceFormatError: not JSON, or no samples inside.
    """
    text = decode(data, name)
    document: Any = read_documents(text, name)
    served = document.get("Download") if isinstance(document, dict) else None
    if isinstance(served, dict) and isinstance(served.get("ServerMeasurements"), list):
        document = [
            {"AppInfo": {"ElapsedTime": info.get("ElapsedTime"), "NumBytes": info.get("BytesAcked")}}
            for sample in served["ServerMeasurements"]
            if isinstance(sample, dict) and isinstance(info := sample.get("TCPInfo"), dict)
        ]
    if isinstance(document, list) and (measured := _ndt7(document, name)) is not None:
        return measured
    if (kept := _dish(document, name)) is not None:
        return kept
    pieces = _pieces(document)
    if pieces is not None:
        return _from_pieces(pieces, name)
    table = _table(document, name)
    if table is None:
        raise TraceFormatError(name, "no list of samples with a time and a throughput in this JSON")
    return _with_unit(table, _unit_of(document))


def _dish(document: Any, name: str) -> NetworkTrace | None:
    """Return what came down in each second that a Starlink dish remembers: a ring whose next place is ``current``."""
    node = document
    for keys in (("dishGetHistory", "dish_get_history"), ("downlinkThroughputBps", "downlink_throughput_bps")):
        node = next((node[k] for k in keys if k in node), node) if isinstance(node, dict) else node
    if node is document or not isinstance(node, list) or len(node) < 2:
        return None
    inside = document.get("dishGetHistory", document.get("dish_get_history", document))
    current = str(inside.get("current", len(node)))
    if not (current.isdigit() and len(current) < 15):
        raise TraceFormatError(name, f"current {current[:40]!r} is no place in a ring")
    count = int(current)
    rates = [number(rate, "downlinkThroughputBps", name) * 1e-6 for rate in node]
    first = count % len(rates)
    rates = rates[first:] + rates[:first] if count >= len(rates) else rates[: max(count, 0)]
    return NetworkTrace(name, [1.0] * len(rates), rates)


def _pieces(document: Any) -> list[dict[str, Any]] | None:
    """Return AlphaRTC's pieces, of the downlink where there is one."""
    if not isinstance(document, dict):
        return None
    for side in ("downlink", "uplink"):
        found = document.get(side)
        if isinstance(found, dict):
            found = found.get("trace_pattern")
        if isinstance(found, list) and found and all(isinstance(p, dict) and "duration" in p for p in found):
            return found
    return None


def _from_pieces(pieces: list[dict[str, Any]], name: str) -> NetworkTrace:
    durations = [number(p.get("duration"), f"piece {i}: duration", name) / 1000.0 for i, p in enumerate(pieces)]
    rates = [number(p.get("capacity", 0), f"piece {i}: capacity", name) / 1000.0 for i, p in enumerate(pieces)]
    return NetworkTrace(name, durations, rates)


def _ndt7(documents: list[Any], name: str) -> NetworkTrace | None:
    """Return the download that NDT7's client measured, from its running totals."""
    totals: list[tuple[float, float]] = []
    for document in documents:
        value = document.get("Value") if isinstance(document, dict) else None
        value = value if isinstance(value, dict) else document if isinstance(document, dict) else {}
        info = value.get("AppInfo")
        if not isinstance(info, dict) or value.get("Test", "download") != "download":
            continue
        if value.get("Origin", "client") != "client":
            continue
        elapsed, count = info.get("ElapsedTime"), info.get("NumBytes")
        if elapsed is None or count is None:
            continue
        totals.append((number(elapsed, "ElapsedTime", name) * 1e-6, number(count, "NumBytes", name)))
    if not totals:
        return None
    totals = [(0.0, 0.0), *totals] if totals[0][0] > 0 else totals
    time, counted = np.array(totals).T
    if (np.diff(time) <= 0).any() or (np.diff(counted) < 0).any():
        raise TraceFormatError(name, "NDT7's totals go back")
    return NetworkTrace(name, np.diff(time), np.diff(counted) * 8e-6 / np.diff(time))


def _flat(sample: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in sample.items():
        label = f"{prefix}{key}"[:80]
        if isinstance(value, dict) and depth < 3:
            out.update(_flat(value, f"{label} ", depth + 1))
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            out[label] = value
        if len(out) > MAX_KEYS:
            break
    return out


def _table(document: Any, name: str, depth: int = 0) -> Table | None:
    if isinstance(document, dict):
        lists = {
            str(k)[:80]: v for k, v in document.items() if isinstance(v, list) and v and isinstance(v[0], int | float)
        }
        count = min((len(v) for v in lists.values()), default=0)
        if 2 <= len(lists) <= MAX_KEYS and count > 1:
            return _rows(list(lists), [{k: v[i] for k, v in lists.items()} for i in range(count)], name)
        if (stepped := _stepped(document, lists)) is not None:
            return _rows(["time_s", stepped[0]], stepped[1], name)
        if depth >= 4:
            return None
        inner = {
            str(key)[:80]: found for key, value in document.items()
            if isinstance(value, dict | list) and (found := _table(value, name, depth + 1)) is not None
        }  # fmt: skip
        first = next(iter(inner.values()), None)
        if first is None or len(inner) == 1 or first.header is None:
            return first
        # Several traces of one kind, by their names; what has other columns is something else.
        alike = {key: found for key, found in inner.items() if found.header == first.header}
        same_texts = all(found.texts.keys() == first.texts.keys() for found in alike.values())
        if len(alike) == 1 or "trace" in first.header or not same_texts:
            return first
        return _joined(alike, name)
    if isinstance(document, list) and document and all(isinstance(item, dict) for item in document[:50]):
        samples = [_flat(item) for item in document if isinstance(item, dict)]
        keys = list(dict.fromkeys(k for s in samples[:20] for k in s))[:MAX_KEYS]
        return _rows(keys, samples, name) if len(keys) > 1 else None
    if (
        isinstance(document, list)
        and document
        and all(isinstance(i, list) and len(i) == len(document[0]) for i in document)
    ):
        width = len(document[0])
        if 2 <= width <= MAX_KEYS and all(isinstance(x, int | float) for x in document[0]):
            table = _rows(
                [str(c) for c in range(width)], [{str(c): x for c, x in enumerate(i)} for i in document], name
            )
            return Table(name, None, table.values, table.texts, table.lines)
    return None


def _unit_of(document: Any) -> str:
    """Return the unit of rates that a document says beside its samples (``"unit": "Mbps"``), or an empty text."""
    if not isinstance(document, dict):
        return ""
    for part in (document, *(value for value in document.values() if isinstance(value, dict))):
        for key, value in part.items():
            if isinstance(value, str) and re.fullmatch(
                r"((data_?)?rate|throughput|bandwidth|bitrate)?_?units?", key.lower()
            ):
                unit = rate_unit(value) or loose_unit(value)
                if unit:
                    return unit
    return ""


def _with_unit(table: Table, unit: str) -> Table:
    """Return a table with a column that names the unit of each row's rate, unless it has one."""
    if not unit or table.header is None or any(re.fullmatch(r"units?", name.lower()) for name in table.header):
        return table
    values = np.column_stack([table.values, np.full(len(table), np.nan)])
    texts = {**table.texts, table.width: [unit] * len(table)}
    return Table(table.name, [*table.header, "unit"], values, texts, table.lines, table.short, table.exact)


def _joined(tables: dict[str, Table], name: str) -> Table:
    """Return tables of the same columns as one, with a column ``trace`` that tells them apart."""
    parts = list(tables.values())
    header = [*(parts[0].header or []), "trace"]
    labels = [key for key, part in tables.items() for _ in range(len(part))]
    values = np.concatenate([part.values for part in parts])
    values = np.column_stack([values, np.full(len(values), np.nan)])
    texts = {c: [cell for part in parts for cell in part.texts[c]] for c in parts[0].texts}
    return Table(name, header, values, {**texts, len(header) - 1: labels}, np.arange(1, len(values) + 1))


def _stepped(document: dict[str, Any], lists: dict[str, list[Any]]) -> tuple[str, list[dict[str, Any]]] | None:
    """Return a list of rates beside the one number that says how far apart they are, with a clock in seconds."""
    scales = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}
    steps = [
        (float(value) * scales[match[3]])
        for key, value in document.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
        and (match := re.fullmatch(r"(sample_?)?(interval|step|period|dt)_?(ms|us|s|sec|seconds)", key.lower()))
    ]  # fmt: skip
    if len(lists) != 1 or len(steps) != 1:
        return None
    key, values = next(iter(lists.items()))
    if len(values) < 2:
        return None
    rows = [{"time_s": i * steps[0], key: value} for i, value in enumerate(values)]
    return key, [*rows, {"time_s": len(values) * steps[0], key: values[-1]}]


def _rows(keys: list[str], samples: list[dict[str, Any]], name: str) -> Table:
    values = np.full((len(samples), len(keys)), np.nan)
    texts: dict[int, list[str]] = {}
    exact: dict[int, list[str]] = {}
    for c, key in enumerate(keys):
        column = [sample.get(key) for sample in samples]
        if any(isinstance(x, str) for x in column):
            texts[c] = ["" if x is None else str(x)[:200] for x in column]
        elif any(isinstance(x, int) and abs(x) >= LONGEST_EXACT for x in column):
            exact[c] = [str(x) for x in column]
        for i, x in enumerate(column):
            if isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e300:
                values[i, c] = float(x)
    return Table(name, keys, values, texts, np.arange(1, len(samples) + 1), exact=exact)
