"""iperf: the JSON of iperf3 (``-J``) and the text of iperf 2 and 3; one interval a piece.

Where both ends report, the receiver's numbers count: they are what arrived. Parallel streams are summed.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jsontext import number, read_json
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.network.units import MEGABITS, rate_unit
from netllm_gym.traces.text import decode

_LINE = re.compile(
    r"\[\s*(?P<id>SUM|\d+)\](?:\[(?P<role>[^\]]*)\])?\s+(?P<begin>\d+(?:\.\d+)?)\s*-\s*(?P<end>\d+(?:\.\d+)?)\s+sec\s+"
    r"\d+(?:\.\d+)?\s+[KMGT]?Bytes\s+(?P<rate>\d+(?:\.\d+)?)\s+(?P<unit>[KMGT]?(?:bits|Bytes)/sec)(?P<rest>.*)"
)


# iperf 2 with -y C: stamp, both ends, stream, interval, bytes, bit/s
_REPORT = re.compile(
    r"\d{14}(?:\.\d+)?,[^,]*,\d*,[^,]*,\d*,(?P<id>-?\d+),(?P<begin>\d+(?:\.\d+)?)-(?P<end>\d+(?:\.\d+)?),"
    r"\d+,(?P<rate>\d+)(?P<rest>,.*)?"
)


def is_iperf_text(text: str) -> bool:
    """Tell whether lines look like iperf's intervals."""
    return any(_LINE.search(line) or _REPORT.fullmatch(line.strip()) for line in text.splitlines()[:200])


def read_iperf(data: bytes, name: str, group: str = "") -> NetworkTrace:
    """Parse iperf3's JSON, or the text of either version.

    Raises:
        TraceFormatError: neither, a run that failed, or no interval.
    """
    text = decode(data, name)
    if text.lstrip().startswith("{"):
        if '"event"' in text[:2000]:  # --json-stream: an event a line
            events = [read_json(line, name) for line in text.splitlines() if line.strip()]
            intervals = [e.get("data") for e in events if isinstance(e, dict) and e.get("event") == "interval"]
            return _json({"intervals": intervals}, name, group)
        return _json(read_json(text, name), name, group)
    return _text(text, name, group)


def _json(document: Any, name: str, group: str) -> NetworkTrace:
    if not isinstance(document, dict) or not isinstance(document.get("intervals"), list):
        failed = document.get("error") if isinstance(document, dict) else None
        raise TraceFormatError(
            name, f"the run failed: {str(failed)[:80]}" if failed else "no intervals of iperf3 inside"
        )
    begins, ends, rates = [], [], []
    for i, interval in enumerate(document["intervals"]):
        if not isinstance(interval, dict):
            raise TraceFormatError(name, f"interval {i} is no object")
        total = interval.get("sum_bidir_reverse") or interval.get("sum")
        if not isinstance(total, dict):
            streams = interval.get("streams")
            if not isinstance(streams, list) or not streams or not all(isinstance(s, dict) for s in streams):
                raise TraceFormatError(name, f"interval {i} has no sum and no streams")
            total = {
                **streams[0],
                "bits_per_second": sum(number(s.get("bits_per_second"), f"interval {i}", name) for s in streams),
            }
        if total.get("omitted"):
            continue
        begins.append(number(total.get("start"), f"interval {i}: start", name))
        ends.append(number(total.get("end"), f"interval {i}: end", name))
        rates.append(number(total.get("bits_per_second"), f"interval {i}: bits_per_second", name) * 1e-6)
    return _trace(begins, ends, rates, name, group)


def _text(text: str, name: str, group: str) -> NetworkTrace:
    rows: dict[str, list[tuple[float, float, float]]] = {}
    lines = [(line, _LINE.search(line)) for line in text.splitlines()]
    # --bidir marks who sent: what the client received is the downlink, as in the JSON.
    received = any((match["role"] or "").startswith("RX") for _, match in lines if match)
    for line, match in lines:
        if report := _REPORT.fullmatch(line.strip()):
            stream = "SUM" if report["id"] == "-1" else report["id"]
            rows.setdefault(stream, []).append(
                (float(report["begin"]), float(report["end"]), float(report["rate"]) * 1e-6)
            )
            continue
        if match is None or "omitted" in match["rest"] or (received and (match["role"] or "").startswith("TX")):
            continue
        unit = rate_unit(match["unit"])
        scale = 1e6 if match["unit"].startswith("T") else MEGABITS[unit] if unit else 1.0
        if "Bytes" in match["unit"]:  # iperf counts bytes by 1024, bits by 1000
            scale = 8e-6 * 1024.0 ** " KMGT".index(match["unit"][0].replace("B", " "))
        rows.setdefault(match["id"], []).append(
            (float(match["begin"]), float(match["end"]), float(match["rate"]) * scale)
        )
    if not rows:
        raise TraceFormatError(name, "no interval lines of iperf inside")
    if "SUM" in rows:
        chosen = rows["SUM"]
    else:  # streams side by side: interval by interval
        sums: dict[tuple[float, float], float] = {}
        for stream in rows.values():
            for begin, end, rate in stream:
                sums[begin, end] = sums.get((begin, end), 0.0) + rate
        chosen = [(begin, end, rate) for (begin, end), rate in sorted(sums.items())]
    # The last lines sum up the whole run.
    kept: list[tuple[float, float, float]] = []
    for begin, end, rate in chosen:
        if kept and begin < kept[-1][1] - 1e-6:
            continue
        kept.append((begin, end, rate))
    return _trace([r[0] for r in kept], [r[1] for r in kept], [r[2] for r in kept], name, group)


def _trace(begins: list[float], ends: list[float], rates: list[float], name: str, group: str) -> NetworkTrace:
    if not begins:
        raise TraceFormatError(name, "no interval of iperf inside")
    gone_back = any(b < a - 1e-3 for a, b in zip(ends, begins[1:], strict=False))
    if begins[0] < 0 or gone_back or any(e < b for b, e in zip(begins, ends, strict=True)):
        raise TraceFormatError(name, "intervals that go back in time")
    steps = np.array(ends) - np.array(begins)
    keep = steps > 1e-6
    return NetworkTrace(name, steps[keep], np.array(rates)[keep], group)
