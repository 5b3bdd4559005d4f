"""iperf: the JSON of iperf3 (``-J``) and the text of iperf 2 and 3; one interval a piece.

Where both ends report, the receiver's numbers count: they are what arrived. Parallel streams are summed.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jsontext import number, read_documents
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.network.units import MEGABITS, rate_unit
from netllm_gym.traces.text import decode

_LINE = re.compile(
    r"\[\s*(?P<id>SUM|\d+)\](?:\[(?P<role>[^\]]*)\])?\s+(?P<begin>\d+(?:\.\d+)?)\s*-\s*(?P<end>\d+(?:\.\d+)?)\s+sec\s+"
    r"\d+(?:\.\d+)?\s+[KMGT]?Bytes\s+(?P<rate>\d+(?:\.\d+)?)\s+(?P<unit>[KMGT]?(?:bits|Bytes)/sec)(?P<rest>.*)"
)


Run = list[tuple[float, float, float]]  # begin and end, s, and Mbit/s of each interval
_BEGINS = re.compile(r"Connecting to host|Client connecting|Accepted connection|Server listening")
# iperf 2 with -y C: stamp, both ends, stream, interval, bytes, bit/s
_REPORT = re.compile(
    r"\d{14}(?:\.\d+)?,[^,]*,\d*,[^,]*,\d*,(?P<id>-?\d+),(?P<begin>\d+(?:\.\d+)?)-(?P<end>\d+(?:\.\d+)?),"
    r"\d+,(?P<rate>\d+)(?P<rest>,.*)?"
)


def is_iperf_text(text: str) -> bool:
    """Tell whether lines look like iperf's intervals."""
    return any(_LINE.search(line) or _REPORT.fullmatch(line.strip()) for line in text.splitlines()[:200])


def read_iperf(data: bytes, name: str, group: str = "") -> NetworkTrace | tuple[NetworkTrace, ...]:
    """Parse iperf3's JSON, or the text of either version; runs that were written one after the other are traces.

    Raises:
        TraceFormatError: neither, a run that failed, or no interval.
    """
    text = decode(data, name)
    if not text.lstrip().startswith("{"):
        runs = [_joined(run) for run in _runs(text)]
    else:
        found = read_documents(text, name)
        documents = found if isinstance(found, list) else [found]
        if '"event"' in text[:2000]:  # --json-stream: an event a line
            documents = _streamed(documents)
        runs = [_json(document, name) for document in documents]
    if not runs:
        raise TraceFormatError(name, "no interval lines of iperf inside")
    if len(runs) == 1:
        return _trace(runs[0], name, group)
    return tuple(_trace(run, f"{name}#{number}", group or name) for number, run in enumerate(runs, start=1))


def _streamed(events: list[Any]) -> list[Any]:
    """Return the events of iperf3 as documents, one for each that says that a run begins."""
    documents: list[dict[str, list[Any]]] = []
    for event in events:
        kind = event.get("event") if isinstance(event, dict) else None
        if kind == "start" or (kind == "interval" and not documents):
            documents.append({"intervals": []})
        if kind == "interval":
            documents[-1]["intervals"].append(event.get("data"))
    return documents


def _json(document: Any, name: str) -> Run:
    if not isinstance(document, dict) or not isinstance(document.get("intervals"), list):
        failed = document.get("error") if isinstance(document, dict) else None
        raise TraceFormatError(
            name, f"the run failed: {str(failed)[:80]}" if failed else "no intervals of iperf3 inside"
        )
    run: Run = []
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
        begin, end, rate = (
            number(total.get(k), f"interval {i}: {k}", name) for k in ("start", "end", "bits_per_second")
        )
        run.append((begin, end, rate * 1e-6))
    return run


def _runs(text: str) -> list[dict[str, Run]]:
    """Return the intervals of each run, by stream."""
    runs: list[dict[str, Run]] = [{}]
    latest = span = 0.0
    matches = [(line, _LINE.search(line)) for line in text.splitlines()]
    # --bidir marks who sent: what the client received is the downlink, as in the JSON.
    received = any((match["role"] or "").startswith("RX") for _, match in matches if match)
    ended = re.compile(r"\b(sender|receiver)\s*$")
    alone = all(ended.search(match["rest"]) for _, match in matches if match)  # nothing but the sums of whole runs
    for line, match in matches:
        if _BEGINS.match(line) and runs[-1]:
            runs.append({})
        report = _REPORT.fullmatch(line.strip()) if match is None else None
        if match is not None:
            what = ended.search(match["rest"])
            if "omitted" in match["rest"] or (received and (match["role"] or "").startswith("TX")):
                continue
            if what and not (alone and what[1] == "receiver"):
                continue
            stream = match["id"]
            begin, end, rate = float(match["begin"]), float(match["end"]), float(match["rate"]) * _scale(match["unit"])
        elif report is not None:
            stream = "SUM" if report["id"] == "-1" else report["id"]
            begin, end, rate = float(report["begin"]), float(report["end"]), float(report["rate"]) * 1e-6
        else:
            continue
        if not runs[-1]:
            latest, span = begin, end - begin
        own = runs[-1].get(stream, [])
        again = [r for b, e, r in own if b == begin and e == end]
        if again == [rate] and len(own) == 1:
            continue  # the sum of a run of one interval
        if again or (begin < latest - 1e-6 and end - begin < 1.5 * span):  # not the sum of the whole run
            runs.append({})
            span = end - begin
        latest = begin if not runs[-1] else max(latest, begin)
        runs[-1].setdefault(stream, []).append((begin, end, rate))
    return [run for run in runs if run]


def _scale(text: str) -> float:
    if "Bytes" in text:  # iperf counts bytes by 1024, bits by 1000
        return 8e-6 * 1024.0 ** " KMGT".index(text[0].replace("B", " "))
    unit = rate_unit(text)
    return 1e6 if text.startswith("T") else MEGABITS[unit] if unit else 1.0


def _joined(rows: dict[str, Run]) -> Run:
    """Return the intervals of a run, those of its streams summed."""
    if "SUM" in rows:
        chosen = rows["SUM"]
    else:  # streams side by side: interval by interval
        sums: dict[tuple[float, float], float] = {}
        for stream in rows.values():
            for begin, end, rate in stream:
                sums[begin, end] = sums.get((begin, end), 0.0) + rate
        chosen = [(begin, end, rate) for (begin, end), rate in sorted(sums.items())]
    # The last lines sum up the whole run.
    kept: Run = []
    for begin, end, rate in chosen:
        if kept and begin < kept[-1][1] - 1e-6:
            continue
        kept.append((begin, end, rate))
    return kept


def _trace(run: Run, name: str, group: str) -> NetworkTrace:
    if not run:
        raise TraceFormatError(name, "no interval of iperf inside")
    begins, ends, rates = (list(column) for column in zip(*run, strict=True))
    gone_back = any(b < a - 1e-3 for a, b in zip(ends, begins[1:], strict=False))
    if begins[0] < 0 or gone_back or any(e < b for b, e in zip(begins, ends, strict=True)):
        raise TraceFormatError(name, "intervals that go back in time")
    steps = np.array(ends) - np.array(begins)
    keep = steps > 1e-6
    return NetworkTrace(name, steps[keep], np.array(rates)[keep], group)
