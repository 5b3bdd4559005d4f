"""A user's own network traces: files of any format, read from a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.traces.foreign import refuse_foreign
from netllm_gym.traces.moments import is_number
from netllm_gym.traces.network import readers, units
from netllm_gym.traces.network.fields import (
    duration_column,
    is_rate_table,
    refuse_counter,
    with_clock,
)
from netllm_gym.traces.network.packets import downloaded, summed
from netllm_gym.traces.network.readers.columns import guess_columns
from netllm_gym.traces.network.readers.iperf import is_iperf_text, read_iperf
from netllm_gym.traces.network.readers.jsonlink import read_json_links
from netllm_gym.traces.network.readers.large import is_large, read_large
from netllm_gym.traces.network.readers.linklog import is_link_log, read_link_log
from netllm_gym.traces.network.rivals import rivals
from netllm_gym.traces.network.series import downward
from netllm_gym.traces.network.tables import SHARE, LinkSet, NetworkOptions, link_fields, sessions_of, traces_of
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.reading import Notes, Reading, beginning, content, data_files, overflowing, passed_over
from netllm_gym.traces.tables import Table, read_table, twice
from netllm_gym.traces.text import decode
from netllm_gym.traces.traceset import TraceSet

MAX_FILES = 200_000


def _read_table_links(data: bytes, name: str) -> tuple[NetworkTrace, ...]:
    return _settled([(name, with_clock(read_table(data, name)))], NetworkOptions(), Notes(), {})


def _read_json(data: bytes, name: str) -> NetworkTrace | tuple[NetworkTrace, ...]:
    found = read_json_links(data, name)
    return found if isinstance(found, NetworkTrace) else _settled([(name, found)], NetworkOptions(), Notes(), {})


# name -> reader(data, name) returning a trace, or a tuple of them for files that hold many.
FORMATS: dict[str, Callable[[bytes, str], NetworkTrace | tuple[NetworkTrace, ...]]] = {
    "cooked": readers.read_cooked,
    "csv": readers.read_columns,
    "gnettrack": readers.read_gnettrack,
    "iperf": read_iperf,
    "json": _read_json,
    "mahimahi": readers.read_mahimahi,
    "mm-link": read_link_log,
    "puffer": readers.read_puffer,
    "sabre": readers.read_sabre,
    "table": _read_table_links,
}
# Formats whose rows are settled together with those of the set's other files.
POOLED = ("cooked", "csv", "json", "table")
# Columns that give a CSV away.
_HEADERS = {"gnettrack": {"Timestamp", "DL_bitrate"}, "puffer": {"session_id", "delivery_rate"}}


def guess_format(data: bytes, name: str) -> str:
    """Return the format a file's beginning suggests: a key of :data:`FORMATS`.

    JSON is ``iperf``, ``sabre`` or ``json`` by what is in it; a header with G-NetTrack's or Puffer's columns is theirs;
    any other table with a throughput is ``csv`` with a header and ``table`` without, two columns of numbers between
    blanks are ``cooked``, one column of whole numbers is ``mahimahi``, lines of intervals are ``iperf``.

    Raises:
        TraceFormatError: empty or binary, or nothing that suggests one of them.
    """
    text = decode(data, name)
    refuse_foreign(text, name)
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), text.strip().split("\n", 1)[0])
    inside = first[1:].lstrip()
    if first[:1] == "{" or (
        first[:1] == "[" and (inside[:1] in ("{", "[", "]", "") or is_number(inside.split(",")[0].strip()))
    ):  # "[ 5]" begins a line of iperf
        return _guess_json(text, name)
    if is_iperf_text(text):
        return "iperf"
    header = {field.strip().strip('"') for field in first.split(",")}
    for format, needed in _HEADERS.items():
        if needed <= header:
            return format
    if guess_columns([field.strip().strip('"') for field in first.split(",")]):
        return "csv"
    if is_link_log(text):
        return "mm-link"
    if len(first.split()) == 1 and "," not in first and ";" not in first and is_number(first):
        cells = re.sub(r"(?m)^#.*$", "", text[:4096]).split(None, 200)[:200]
        falls = [a for a, b in pairwise(cells[:-1]) if is_number(a) and is_number(b) and float(b) < float(a)]
        if len(falls) > 0.1 * len(cells):
            raise TraceFormatError(
                name, "one column of numbers that fall, so no times of packets: for a rate a row give the seconds "
                "between rows: --step; sizes of chunks are a video's", 1
            )  # fmt: skip
        if any("." in cell for cell in cells):
            raise TraceFormatError(
                name, "one column of throughputs and no clock: give the seconds between rows: --step", 1
            )
        return "mahimahi"
    try:
        table = read_table(text[:65_536].rsplit("\n", 1)[0].encode() if len(text) > 65_536 else data, name, SHARE)
        found = link_fields(summed(table)[0], NetworkOptions())
    except TraceFormatError as error:
        if len(first.split()) == 2 and "," not in first and all(is_number(x) for x in first.split()):
            return "cooked"
        raise TraceFormatError(
            name, f"looks like no known format ({', '.join(FORMATS)}): {_reason(error)}", error.line or 1
        ) from None
    if found is None and table.header is None and table.width > 1:
        raise TraceFormatError(
            name,
            f"{table.width} columns without names: write a line of names above them, as in time_s,throughput_mbps",
            1,
        )
    if found is None:
        names = ", ".join(repr(n[:30]) for n in (table.header or [])[:12]) or f"{table.width} columns without names"
        raise TraceFormatError(
            name,
            f"looks like no known format ({', '.join(FORMATS)}), head log or workload: {names} name no throughput, no "
            "orientation, no run time of jobs; name the columns in a header, or say --kind",
            1,
        )
    if table.header is not None:
        return "csv"
    return "cooked" if table.width == 2 and not table.texts and "," not in first and ";" not in first else "table"


def holds_links(path: str | Path) -> bool:
    """Tell whether one of the first files of a path suggests a format of links."""
    try:
        for file in data_files(Path(path), [])[:4]:
            try:
                guess_format(beginning(file), str(file))
                return True
            except TraceFormatError:
                continue
    except TraceFormatError:
        pass
    return False


def _reason(error: TraceFormatError) -> str:
    return str(error).rpartition(": ")[2]


def _guess_json(text: str, name: str) -> str:
    start = text[:20_000]
    stream = '"event"' in start and '"interval"' in start and '"sum"' in start
    if stream or '"intervals"' in start or ('"start"' in start and '"accepted_connection"' in start):
        return "iperf"
    return (
        "sabre"
        if text.lstrip().startswith("[") and '"duration_ms"' in start and '"bandwidth_kbps"' in start
        else "json"
    )


@overflowing
def understand_links(path: str | Path, format: str | None = None, options: NetworkOptions | None = None) -> Reading:
    """Read every file of a path (a folder to any depth; read-me and empty files are skipped with a note).

    Args:
        path: file or folder.
        format: a key of :data:`FORMATS`; recognised file by file when not given.
        options: columns, units, groups; what is left open is recognised, or refused.

    Raises:
        TraceFormatError: the first file that cannot be read, as ``file:line: reason``.
        UnknownNameError: no such format or unit.
        ConfigError: columns for another format than a table.
    """
    root, options, notes = Path(path), options or NetworkOptions(), Notes()
    if format is not None and format not in FORMATS:
        raise UnknownNameError("trace format", format, FORMATS)
    named = options.time is not None
    if named and format not in (None, "csv", "table"):
        raise ConfigError(f"columns belong to the format csv, not {format}")
    files = data_files(root, notes.guesses)
    if len(files) > MAX_FILES:
        raise TraceFormatError(root, f"more than {MAX_FILES} files")
    if upward := _upward(files):
        files = [file for file in files if file not in upward]
        notes.guess(f"files of an uplink left out, whose downlink's stands beside: {len(upward)}")
    whole: dict[str, list[NetworkTrace]] = {}
    tables: list[tuple[str, Table]] = []
    names = {str(file): file.name if file == root else file.relative_to(root).as_posix() for file in files}
    formats: dict[str, int] = {}
    beside: list[tuple[Path, TraceFormatError]] = []
    for file in files:
        name = str(file)
        if not named and format in (None, "cooked", "table") and is_large(file, beginning(file)):
            tick = units.SECONDS.get(options.time_unit, 1.0 if format == "cooked" else None)
            factor = units.MEGABITS.get(options.throughput_unit, 1.0 if format == "cooked" else None)
            large = read_large(file, names[name], tick, factor, notes.guesses)
            whole[name] = [_renamed(large, names[name], {names[name]: names[name]}, options)]
            formats["cooked"] = formats.get("cooked", 0) + 1
            continue
        data = content(file)
        try:
            chosen = "csv" if named or options.step_s is not None else format or guess_format(data, name)
        except TraceFormatError as error:
            if len(files) == 1 or not _is_beside(data, name):
                raise
            beside.append((file, error))
            continue
        formats[chosen] = formats.get(chosen, 0) + 1
        if chosen in POOLED:
            found: Any = read_json_links(data, name) if chosen == "json" else read_table(data, name, SHARE)
            if isinstance(found, Table) and found.ragged:
                notes.repairs["rows of another number of fields left out"] += found.ragged
            if isinstance(found, Table) and not named:
                found, said = downloaded(found)
                notes.guess(said)
                if (lasting := duration_column(found) if found.header else -1) >= 0 and found.header:
                    notes.guess(f"a row lasts as long as its {found.header[lasting]!r} says, the next follows at once")
                found, said = summed(with_clock(found))
                notes.guess(said)
        else:
            found = FORMATS[chosen](data, name)
        if isinstance(found, Table):
            tables.append((name, found))
        else:
            parts = found if isinstance(found, tuple) else (found,)
            whole[name] = [_renamed(trace, name, names, options) for trace in parts]
    notes.guess(passed_over(beside, len(files), "throughput"))
    settled = _settled(tables, options, notes, names) if tables else ()
    traces = [trace for members in whole.values() for trace in members] + list(settled)
    traces.sort(key=lambda trace: _natural(trace.name))
    notes.guess(units.far_beyond({trace.name: trace.throughput_mbps for trace in traces}))
    label = ", ".join(sorted(formats))
    table = [_row(trace) for trace in traces[:5]]
    return Reading("network", label, tuple(_unique(traces)), notes.guesses, dict(notes.repairs), table)


_WAYS = re.compile(r"(?<![a-z])(up|ul|uplink|upload|upstream)(?![a-z])", re.I)
_OTHER = {"up": "down", "ul": "dl", "uplink": "downlink", "upload": "download", "upstream": "downstream"}


def _upward(files: list[Path]) -> set[Path]:
    """Return the files of an uplink beside whom the downlink's stands: ``drive.up`` beside ``drive.down``."""
    paths = {str(file).lower() for file in files}
    found = set()
    for file in files:
        other = _WAYS.sub(lambda match: _OTHER[match[1].lower()], file.name.lower())
        if other != file.name.lower() and str(file.with_name(other)).lower() in paths:
            found.add(file)
    return found


def _natural(name: str) -> tuple[str, ...]:
    return tuple(name.split("/"))


def _settled(
    tables: list[tuple[str, Table]], options: NetworkOptions, notes: Notes, names: dict[str, str]
) -> tuple[NetworkTrace, ...]:
    sets: list[LinkSet] = []
    for name, given in tables:
        table, left_out = downward(given) if options.time is None else (given, "")
        notes.guess(left_out)
        found = link_fields(table, options)
        if found is None:
            shown = ", ".join(repr(n[:30]) for n in (table.header or [])[:12]) or f"{table.width} columns without names"
            raise TraceFormatError(
                name,
                f"no column of throughput is known among {shown}; name them: --time, --throughput, or say --kind",
                1,
            )
        refuse_counter(table, found)
        if table.header is not None:
            clock = "none" if found.time < 0 else table.header[found.time]
            notes.guess(f"columns: time {clock!r}, throughput {table.header[found.rate]!r}")
            notes.guess(twice(table, (found.time, found.rate)))
            notes.guess("" if options.throughput else rivals(table, found))
            what = {"bytes": "what came since the row above", "total": "all that came so far"}.get(found.counts, "")
            notes.guess(f"{table.header[found.rate]!r} counts {what}" if what else "")
        elif found.time > found.rate:
            notes.guess("columns without names: the clock stands behind the throughput")
        sets.append((found, tuple(table.header or ()), sessions_of(table, found, options, notes)))
    return tuple(traces_of(sets, names, options, notes))


def _is_beside(data: bytes, name: str) -> bool:
    """Tell whether a file beside links is a table of something else: names, and none of a throughput."""
    try:
        table = read_table(data[:65_536].rsplit(b"\n", 1)[0] if len(data) > 65_536 else data, name)
    except TraceFormatError:
        return False
    return table.header is not None and link_fields(table, NetworkOptions()) is None and not is_rate_table(table)


def _renamed(trace: NetworkTrace, name: str, names: Mapping[str, str], options: NetworkOptions) -> NetworkTrace:
    label = names[name] + trace.name.removeprefix(name) if trace.name.startswith(name) else trace.name
    own = trace.group in (trace.name, "")
    group = options.group_of(label) or (label if own else names.get(trace.group, trace.group))
    return NetworkTrace(label, trace.duration_s, trace.throughput_mbps, group, trace.start_s)


def _unique(traces: list[NetworkTrace]) -> list[NetworkTrace]:
    seen: dict[str, int] = {}
    out = []
    for trace in traces:
        seen[trace.name] = seen.get(trace.name, 0) + 1
        if seen[trace.name] > 1:
            label = f"{trace.name}#{seen[trace.name]}"
            trace = NetworkTrace(label, trace.duration_s, trace.throughput_mbps, trace.group, trace.start_s)
        out.append(trace)
    return out


def _row(trace: NetworkTrace) -> dict[str, Any]:
    seconds = float(trace.duration_s.sum())  # total_s would keep the ends of all pieces
    return {
        "trace": trace.name,
        "group": trace.group,
        "pieces": len(trace),
        "seconds": round(seconds, 1),
        "step s": round(seconds / len(trace), 3),
        "mean Mbit/s": round(trace.mean_mbps, 3),
        "max Mbit/s": round(float(trace.throughput_mbps.max()), 3),
        "first Mbit/s": " ".join(f"{x:.4g}" for x in trace.throughput_mbps[:4]),
    }


def guess_path(path: Path) -> str:
    """Return the format of a file, or of the first data file of a folder (:func:`guess_format`)."""
    first = data_files(path, [])[0]
    return guess_format(content(first), str(first))


def read_path(
    path: Path, format: str | None = None, columns: Mapping[str, Any] | None = None
) -> TraceSet[NetworkTrace]:
    """Read network traces (:func:`understand_links`) as a trace set.

    Args:
        path: file or folder.
        format: a key of :data:`FORMATS`.
        columns: fields of :class:`NetworkOptions`.

    Raises:
        TraceFormatError, UnknownNameError, ConfigError: as for :func:`understand_links`.
    """
    found = understand_links(path, format, NetworkOptions(**(columns or {})))
    return TraceSet(str(path), "all", found.traces, "user's own", source=str(path), notes=found.sentences())


__all__ = ["FORMATS", "NetworkOptions", "guess_format", "guess_path", "read_path", "understand_links"]
