"""Google's cluster traces: instance events of 2019 (JSON lines or CSV with a header) and task events of 2011 (CSV).

A collection, or job, becomes one stage whose tasks last as long as its instances ran, from the last time they were
scheduled until they finished. Jobs arrive with their first event. Neither trace tells which tasks wait for which.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload
from netllm_gym.traces.packed import BROKEN, opened

# Events by year: when an instance begins to run, when it is done, and when it stops without being done.
_BEGIN = {"2019": {"3", "SCHEDULE"}, "2011": {"1"}}
_DONE = {"2019": {"6", "FINISH"}, "2011": {"4"}}
_STOP = {"2019": {"4", "5", "7", "8", "EVICT", "FAIL", "KILL", "LOST"}, "2011": {"2", "3", "5", "6"}}
WIDTH_2011 = 13
MAX_JOBS = 20_000
MAX_EVENTS = 50_000_000
MAX_TASKS = 5_000_000
MAX_LINE = 1_000_000
LONGEST_US = 1e14
SHARE = 0.01


def guess_borg(text: str) -> str | None:
    """Return the year of the trace that a file's beginning belongs to, or ``None``."""
    first = text.lstrip("\ufeff \n\r\t").split("\n", 1)[0].strip()
    if '"collection_id"' in first and '"instance_index"' in first and first.startswith("{"):
        return "2019"
    names = {cell.strip().strip('"') for cell in first.split(",")}
    if {"time", "type", "collection_id", "instance_index"} <= names:
        return "2019"
    cells = first.split(",")
    plain = len(cells) == WIDTH_2011 and all(c.strip().isdigit() for c in (cells[0], cells[2], cells[3], cells[5]))
    return "2011" if plain and len(cells[0]) < 20 and cells[5].strip() in "012345678" else None


def read_borg(files: list[Path], year: str, source: str, repairs: dict[str, int]) -> Workload:
    """Return the earliest 20,000 jobs with an instance that finished; the first comes at 0 s.

    Raises:
        TraceFormatError: more than 1 % of the rows are no events, too many of them, or no instance that finished.
    """
    arrival: dict[str, float] = {}
    begun: dict[tuple[str, str], float] = {}
    ran: dict[str, list[float]] = {}
    bad = total = tasks = stopped = 0
    for path in files:
        for event in _events(path, year):
            total += 1
            if total > MAX_EVENTS or tasks > MAX_TASKS:
                raise TraceFormatError(path, f"more than {MAX_EVENTS} events or {MAX_TASKS} tasks: cut it")
            if event is None:
                bad += 1
                continue
            at, job, index, kind = event
            arrival[job] = min(at, arrival.get(job, at))
            key = (job, index)
            if kind in _BEGIN[year]:
                begun[key] = at
            elif kind in _DONE[year] and (start := begun.pop(key, None)) is not None and at >= start:
                ran.setdefault(job, []).append(max((at - start) * 1e-6, 1e-3))
                tasks += 1
            elif kind in _STOP[year] and begun.pop(key, None) is not None:
                stopped += 1
        if bad > max(1, SHARE * total):
            raise TraceFormatError(path, f"{bad} of {total} rows are no events of the trace of {year}")
    if not ran:
        raise TraceFormatError(source, "no instance that was scheduled and finished")
    ranked = sorted((arrival[job], job) for job in ran)
    for what, count in (
        ("rows that are no events left out", bad),
        ("runs that were evicted, killed or lost left out", stopped),
        (f"jobs after the first {MAX_JOBS} left out", max(len(ranked) - MAX_JOBS, 0)),
    ):
        if count:
            repairs[what] = count
    ranked = ranked[:MAX_JOBS]
    templates = tuple(JobTemplate(job, (StageProfile(len(ran[job]), {}, {5: ran[job]}, {}),), ()) for _, job in ranked)
    return Workload(source, templates, arrivals_s=tuple((at - ranked[0][0]) * 1e-6 for at, _ in ranked))


def _events(path: Path, year: str) -> Iterator[tuple[float, str, str, str] | None]:
    """Yield (microseconds, job, instance, event) of each row; ``None`` for a row that is none."""
    place: dict[str, int] | None = None
    try:
        with opened(path) as file:
            for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE), b"")):
                line = raw.decode("utf-8", "replace").strip().lstrip("\ufeff")
                if not line:
                    continue
                try:
                    if line.startswith("{"):
                        row = json.loads(line)
                        cells = [str(row.get(k, "")) for k in ("time", "collection_id", "instance_index", "type")]
                    else:
                        found = next(csv.reader([line]))
                        if number == 0 and year == "2019":
                            names = [cell.strip() for cell in found]
                            wanted = ("time", "collection_id", "instance_index", "type")
                            place = {k: names.index(k) for k in wanted}
                            continue
                        at = list(place.values()) if place else [0, 2, 3, 5]
                        cells = [found[i].strip() for i in at]
                    moment = float(cells[0])
                    good = 0 <= moment <= LONGEST_US and 0 < len(cells[1]) <= 80 and len(cells[2]) <= 80
                    yield (moment, cells[1], cells[2], cells[3].upper()) if good else None
                except (ValueError, IndexError, TypeError, AttributeError, RecursionError, csv.Error, OverflowError):
                    yield None
    except BROKEN as error:
        raise TraceFormatError(path, f"cannot be read ({' '.join(str(error).split())[:100]})") from None
