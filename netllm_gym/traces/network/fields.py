"""Which columns of a table of measurements are the clock, the throughput, and what tells sessions apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.network.names import plain_name, split_unit
from netllm_gym.traces.network.series import counts_apart, rows_apart, session_columns
from netllm_gym.traces.network.spans import end_column
from netllm_gym.traces.network.units import cell_rate, is_unit, loose_unit, rate_unit, time_unit
from netllm_gym.traces.tables import Table


@dataclass(frozen=True)
class LinkFields:
    """Which columns hold what; -1: none.

    Attributes:
        time: the clock; -1 for rows at equal steps.
        rate: throughput, or bytes.
        time_unit, rate_unit: as their names say, or empty.
        unit_column: a column that names the unit of the rate, row by row.
        counts: ``rate`` holds bytes (bits where `rate_unit` is ``b``): since the row before (``bytes``) or since the
            start (``total``); else empty.
        span: a column with the milliseconds that the bytes took.
        sessions: columns that tell recordings apart.
        clock_column: a second column that completes the first (a time of day beside a date).
        holds: a value holds ``after`` its stamp, until the next row's (tables with a header), or ``before`` it, since
            the row above (Pensieve's files and others without one).
        end: a column that says when each row ends, where the clock says when it began.
        unread_unit: what the name of the rate's column gives as its unit, where that is none of those known; ``-``
            where two units are plausible and nothing names one.
    """

    time: int
    rate: int
    time_unit: str = ""
    rate_unit: str = ""
    unit_column: int = -1
    counts: str = ""
    span: int = -1
    sessions: tuple[int, ...] = ()
    clock_column: int = -1
    holds: str = "after"
    unread_unit: str = ""
    end: int = -1


# Public tables whose columns name no unit but whose papers do.
_DOCUMENTED = (
    ({"run_num", "seq_num", "throughput"}, "Mbps"),  # Lumos5G (Narayanan et al., IMC 2020)
    ({"timestamp", "dl_bitrate", "ul_bitrate"}, "kbps"),  # G-NetTrack, whatever separates its fields
    ({"sponsor", "ping", "download", "upload"}, "bps"),  # speedtest-cli's tables
    ({"time", "throughput", "speed", "latitude"}, "Mbps"),  # Starlink and cellular drives (Hu et al., 2023)
    ({"downlink_throughput_bps"}, "bps"),  # a Starlink dish's status
    ({"time", "dl_brate", "ul_brate"}, "bps"),  # srsRAN's metrics
)
_TIME = (
    r"(elapsed|relative|rel|session)_?(time|timestamp|seconds)?", r"time_?stamps?(_utc)?|ts|unix_?time(_?stamp)?|epoch",
    r"(date_?)?(time_?)?(stamp_?)?(utc|gmt|local)?", r"t|times|seconds?|secs?|m?sec|ms",
    r"d_?time|date_?time.*|datetimestamp.*",
    r"(start|begin|end|measurement|test|capture|sample|record|log|logging|system|device)_?(date_?)?(time|ts|timestamp)?",
    r"time_.*|.*_time(_?stamp)?|.*_timestamp", r"seq_?(num|no|number)?|second_?(index|number)?",
)  # fmt: skip
_DATE = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}|\d{1,2}-[A-Za-z]{3}-\d{2,4}")
_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
# How long a download took, a row each: no clock.
_SPENT = re.compile(r"(\w+_)?(delivery|download|fetch|transfer|transmission|chunk|segment)_?(time|duration|delay)")
_RATE = re.compile(
    r"through_?put|band_?width|good_?put|bit_?rate|data_?rate|capacity|delivery_?rate|(^|_)(b?rate|bw|thr|thrpt|tput|speed|"
    r"bps|mbps|kbps|gbps|mbits?|kbits?)(_|$)"
    # A direction alone, or with words that say no quantity: "dl_turbo" and "rx_gain" are others.
    r"|^(\w+_)?(dl|download|downlink|down|rx)(_(avg|average|mean|median|total|sum|value|result|tcp|udp|app|phy|mac|pdcp|rlc|"
    r"lte|nr|wifi|internet|test|user|ue|flow|[345]g|\d+))*(_[kmg]?i?(b|bits?|bytes?|pp?)(_?p?s)?)?$"
)
_BYTES = re.compile(r"(^|_)(bytes?|octets?)(_|$)|bytes_(rec\w*|rx|total|sec)|num_?bytes")
_BITS = re.compile(r"(^|_)bits$")
# Words that make a rate of whatever stands beside them: "throughput_bytes" is no count.
_PER_TIME = re.compile(
    r"through_?put|band_?width|good_?put|rate|capacity|speed|tput|(^|_)(bw|thr|thrpt|[kmg]?bps)(_|$)"
)
_DOWN = re.compile(r"(^|_)(dl|down|downlink|download|rx|recv\w*|received|receiver|ingress|in)(?![a-z0-9])")
_DIRECTION_ONLY = r"(\w+_)?(dl|down|downlink|download|rx|recv|received|in)"
_LINKWARD = r"(^|_)({})(link|load|stream)?(?![a-z0-9])"
_UP = re.compile(r"(^|_)(ul|up|uplink|upload|tx|send\w*|sent|egress|out)(_|$)|uplink|upload")
# What was not measured, or is no middle of it: read only where nothing else is there.
_SECOND = re.compile(r"predict|forecast|pacing|(^|_)(min|std|stdev|stddev|var|variance|sd|p\d\d|q\d\d)(_|$)")
_NOT = re.compile(
    r"moving|gps|vehicle|compass|heading|wind|fan|clock|frame|cpu|sampl|error|loss|drop|heart|refresh|(state|status)$|latency|"
    r"_time$|duration|rtt|ping|jitter|signal|rsr[pq]|sinr|snr|bler|cqi|mcs|retrans|max|target|available_?bitrate|link_?speed|"
    r"^link_(up|down)_?(stream|kbps)|(request|response|registration|procedure|success|hit|call|arrival|symbol|code|packet)_rate|"
    r"(average|avg|mean|top)_speed"
)
# What stands beside the bitrate of a video that was chosen, which is none of the link's.
_PLAYER = re.compile(
    r"(^|_)(buffer(_(level|size|s|sec|ms|length))?|re_?buf\w*|stall\w*|codecs?|resolution|fps|vmaf|qoe)(_|$)"
)
_UNIT = re.compile(r"(rate_|throughput_|bandwidth_|bitrate_)?units?")


def is_rate(plain: str) -> bool:
    """Tell whether a plain name, without its unit, is that of a throughput that was measured."""
    return bool(_RATE.search(plain)) and not (_NOT.search(plain) or _SECOND.search(plain))


def direction(name: str) -> int:
    """Return what a name's direction adds: a base station's ``rx … uplink`` is no downlink."""
    down, up = re.search(_LINKWARD.format("dl|down"), name), re.search(_LINKWARD.format("ul|up"), name)
    if (down is None) == (up is None):
        down, up = _DOWN.search(name), _UP.search(name)
    return 2 if down else -8 if up else 0


def by_header(table: Table) -> LinkFields | None:
    """Return what the header says, or ``None`` where it names no throughput."""
    names = table.header or []
    plain_names = {plain_name(n) for n in names}
    played = any(_PLAYER.search(name) for name in plain_names)
    travelled = bool({"latitude", "lat", "longitude", "lon", "lng", "gps_lat"} & plain_names)
    rates: list[tuple[int, int, str, str]] = []
    for i, name in enumerate(names):
        base, unit_text = split_unit(name)
        whole = plain_name(name)
        unit = rate_unit(unit_text) or rate_unit(name) or ""
        if not unit and _BYTES.search(whole) and re.search(r"/ ?s(ec)?$|_per_s", name.strip().lower()):
            unit = "B/s"  # bytes_in/s
        if re.fullmatch(r"net/\w+ (recv|send)", name.strip()):
            unit = "B/s"  # dstat's
        if re.fullmatch(r"rx|tx", name) and {name[0] + "y", name[0] + "z"} <= set(names):
            continue  # a turn or a place about x
        if _NOT.search(whole) or _NOT.search(base) or not holds_numbers(table, i):
            continue
        if (played and re.search(r"bit_?rate", whole) and direction(whole) <= 0) or (travelled and whole == "speed"):
            continue
        score = 0
        if _RATE.search(base) or _RATE.search(whole) or unit:
            score = 10 + (3 if unit else 0) + (2 if re.search(r"through_?put|good_?put|band_?width", whole) else 0)
            if whole in ("speed", "rate"):
                score -= 6
        elif _BYTES.search(whole) or _BITS.search(whole):
            score = 4
        if not score:
            continue
        score += direction(whole)
        score -= 8 if _SECOND.search(whole) else 0
        counts = ""
        if not unit and not _PER_TIME.search(whole):
            counts = "bytes" if _BYTES.search(whole) else "bits" if _BITS.search(whole) else ""
        rates.append((score, -i, unit, counts))
    if not rates:  # the cells say what their names do not: "2.0 Mb/s"
        rates = [
            (0, -i, "", "") for i, cells in table.texts.items() if all(cell_rate(x) is not None for x in cells[:20])
        ]
    if not rates:
        return None
    score, minus, unit, counts = max(rates)
    rate = -minus
    if {"packet loss", "jitter", "latency", "download bytes"} <= {n.strip().lower() for n in names} and not unit:
        unit = "B/s"  # the command-line client of Ookla exports bytes a second
    if {"download_bandwidth", "download_elapsed"} <= plain_names and not unit:
        unit = "B/s"  # and so does its JSON
    unit = unit or next((u for needed, u in _DOCUMENTED if needed <= plain_names), "")
    unread = ""
    if not unit and not counts:
        match = re.search(r"[(\[]([^)\]]{1,20})[)\]]\s*$", names[rate])
        word = match[1] if match else re.split(r"[ _.\-]+", names[rate].strip())[-1]
        unit = loose_unit(word) or ""
        unread = (
            word
            if not unit and is_unit(word) and not re.fullmatch(r"[kmg]?b(ps|its?)", plain_name(names[rate]))
            else ""
        )
        unread = "Bps (bits or bytes)" if re.search(r"[a-z]Bps$", names[rate].strip()) and not unit else unread
    if counts == "bits":
        counts, unit = "bytes", "b"
    if counts and _total(table, rate):
        counts = "total"
    time, clock_unit, second = _time(names, table, rate)
    unit_column = next((i for i, n in enumerate(names) if _UNIT.fullmatch(plain_name(n)) and i in table.texts), -1)
    sessions, several = session_columns(table, (time, rate, second), time)
    if several and counts and not _total(table, rate):
        counts = "total" if counts_apart(table, sessions, table.values[:, rate]) else counts
    end = -1 if counts else end_column(names, time)
    return LinkFields(
        time, rate, clock_unit, unit, unit_column, counts, -1, sessions, second, unread_unit=unread, end=end
    )


def refuse_counter(table: Table, found: LinkFields) -> None:
    """Refuse a column that only names a direction and never falls: bytes so far, or a rate?

    Raises:
        TraceFormatError: nothing tells which.
    """
    if table.header is None or found.counts or found.rate_unit or found.unit_column >= 0:
        return
    name = table.header[found.rate]
    if re.fullmatch(_DIRECTION_ONLY, plain_name(name)) and _total(table, found.rate):
        raise TraceFormatError(
            table.name, f"{name[:40]!r} never falls; where it counts bytes, call it {name[:40]}_bytes, where it is a "
            "rate, say its unit with --rate-unit", 1
        )  # fmt: skip


def _time(names: list[str], table: Table, rate: int) -> tuple[int, str, int]:
    best: tuple[int, int, str] | None = None
    for i, name in enumerate(names):
        if i == rate:
            continue
        base, unit_text = split_unit(name)
        unit = time_unit(unit_text) or time_unit(name) or ""
        if unit_text and rate_unit(unit_text):
            continue
        if _SPENT.fullmatch(base) and i not in table.texts and not _total(table, i):
            continue
        for rank, pattern in enumerate(_TIME):
            if base and re.fullmatch(pattern, base):
                if _clock_like(table, i) and (
                    best is None or (rank, 0 if unit else 1) < (best[0], 0 if best[2] else 1)
                ):
                    best = rank, i, unit
                break
        else:
            # "elapsed_realtime_ns", or a mere "ms"
            if unit and (not base or re.search(r"time|clock|elapsed", base)) and best is None and _clock_like(table, i):
                best = 9, i, unit
    best = best or _unnamed_clock(names, table, rate)
    if best is None:
        return -1, "", -1
    texts = {i: cells[0].strip() for i, cells in table.texts.items() if i != rate}
    found = texts.get(best[1], ":")
    if _DATE.fullmatch(found):  # its time of day may stand beside it
        named = (i for i, text in texts.items() if ":" in text and "time" in plain_name(names[i]))
        second = next((i for i, text in texts.items() if _OF_DAY.fullmatch(text)), next(named, -1))
        return best[1], best[2], second
    if _OF_DAY.fullmatch(found):  # its date may
        date = next((i for i, text in texts.items() if _DATE.fullmatch(text)), -1)
        return (date, "", best[1]) if date >= 0 else (best[1], best[2], -1)
    return best[1], best[2], -1


def _unnamed_clock(names: list[str], table: Table, rate: int) -> tuple[int, int, str] | None:
    """Return a column of moments in text, or the first column if it rises and counts no rows: a clock by any name."""
    for i, cells in sorted(table.texts.items()):
        if i == rate or np.isfinite(table.values[:, i]).mean() >= 0.1 or seconds_of(cells[:50]) is None:
            continue
        if len(table) <= 2 or _moves(table, i):  # else the day of all rows
            return 10, i, ""
    values, (base, unit_text) = table.values[:, 0], split_unit(names[0])
    if rate == 0 or not np.isfinite(values).all() or len(values) < 3 or not (np.diff(values) > 0).all():
        return None
    words = re.search(r"start|begin|time|timer|clock|stamp|epoch|zeit|temps|tiempo|tempo|hora|(^|_)ts(_|$)", base)
    if words or not base or time_unit(unit_text):  # a name of other letters has no plain form
        return 10, 0, time_unit(unit_text) or ""
    return None


def holds_numbers(table: Table, column: int) -> bool:
    """Tell whether a column holds numbers, or numbers with their units."""
    good = np.isfinite(table.values[:, column])
    if good.mean() > 0.5:
        return True
    cells = [cell for cell in table.texts.get(column, [])[:20] if cell]
    return bool(cells) and all(cell_rate(cell) is not None for cell in cells)


def _clock_like(table: Table, column: int) -> bool:
    if len(table) > 2 and not _moves(table, column):
        return False  # when the measurement began, in every row
    if column not in table.texts:
        return True
    if np.isfinite(table.values[:, column]).mean() > 0.9:
        return True
    cells = table.texts[column][:10]
    return seconds_of(cells) is not None or all(
        re.fullmatch(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}", c) for c in cells
    )


def _moves(table: Table, column: int) -> bool:
    cells: list[str] | list[float] = table.texts.get(column) or table.values[:, column].tolist()
    return any(cell != cells[0] for cell in cells)


def _total(table: Table, column: int) -> bool:
    values = table.values[:, column]
    values = values[np.isfinite(values)]
    steps = np.diff(values)
    if len(values) > 2 and bool((steps >= 0).all()) and values[-1] > values[0]:
        return True
    # A counter that began anew now and then: it rises nearly always, and what it falls to is little.
    fell = steps < 0
    return (
        len(steps) >= 8
        and fell.mean() <= 0.15
        and (steps > 0).mean() >= 0.7
        and bool((values[1:][fell] < 0.5 * values[:-1][fell]).all())
    )


def is_rate_table(table: Table) -> bool:
    """Tell whether the header names a throughput."""
    return by_header(table) is not None


def clock_column(table: Table, rate: int) -> int:
    """Return the column of the clock beside a column of values, or -1."""
    return _time(table.header or [], table, rate)[0]


def duration_column(table: Table) -> int:
    """Return the column that says how long each row lasts, where nothing says when it began; else -1."""
    names = table.header or []
    fields = by_header(table)
    if fields is None or fields.time >= 0:
        return -1
    for i, name in enumerate(names):
        base, _ = split_unit(name)
        if (
            re.fullmatch(r"duration|interval(_length)?|delta(_t|_time)?|dt|step|period|length", base)
            or _SPENT.fullmatch(base)
        ) and i != fields.rate:
            return i if i not in table.texts else -1
    return -1


def with_clock(table: Table) -> Table:
    """Return a table of durations as one with a clock in each series: a row's value holds from its stamp on."""
    column = duration_column(table) if table.header is not None else -1
    if column < 0 or table.header is None:
        return table
    lasts = table.values[:, column]
    if not np.isfinite(lasts).all() or (lasts < 0).any():
        row = int(np.argmax(~(lasts >= 0)))
        raise TraceFormatError(table.name, "a duration that is none", int(table.lines[row]))
    fields = by_header(table)
    series = rows_apart(table, fields.sessions if fields else ())
    out = table.rows(np.concatenate([np.append(rows, rows[-1]) for rows in series]))
    out.values[:, column] = np.concatenate([np.append(0.0, np.cumsum(lasts[rows])) for rows in series])
    unit = time_unit(split_unit(table.header[column])[1])
    header = list(table.header)
    header[column] = f"time ({unit})" if unit else "time"
    return replace(out, header=header, short=table.short)
