"""A user's own head logs: whatever layout they are in, read from a path."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from netllm_gym.errors import NetLLMGymError, TraceFormatError, UnknownNameError
from netllm_gym.traces import catalog
from netllm_gym.traces.head.columns import by_numbers, understand
from netllm_gym.traces.head.fields import AmbiguousColumnsError, HeadFields, by_header, rivals, unit_length
from netllm_gym.traces.head.layout import SUFFIXES, head_files, places
from netllm_gym.traces.head.log import sessions, to_trace
from netllm_gym.traces.head.matrix import SAID, unturned
from netllm_gym.traces.head.readers import COLUMNS, NETLLM_FILE, begins_with_clock, read_netllm, read_viewer_rows
from netllm_gym.traces.head.scales import HeadOptions, scales, stamps
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.head.viewerjson import read_viewer_json
from netllm_gym.traces.head.wide import by_viewer
from netllm_gym.traces.network.nameless import is_ride
from netllm_gym.traces.reading import (
    Notes,
    Reading,
    SaidOf,
    beginning,
    content,
    notes_beside,
    overflowing,
    passed_over,
    without_notes,
)
from netllm_gym.traces.tables import Table, read_table, twice
from netllm_gym.traces.traceset import TraceSet

MAX_LOGS = 200_000
# What a network log has and a head log has not; both may name a longitude and a latitude.
_RATES = re.compile(r"through_?put|band_?width|bit_?rate|bps|byte|rsr[pq]|sinr")
# What a drive test has beside its places, and a head log may have beside its turns (a frame rate, a latency).
_DRIVES = re.compile(
    r"rate|[kmg]bit|[kmg]b/s|bits|rssi|down_?(load|link)|up_?(load|link)|latency|ping|rtt|operator|(^|[^a-z])[du]l([^a-z]|$)"
)
_TURNS = re.compile(r"yaw|pitch|roll|quat|euler|theta|rot|qw")


def holds_head_logs(path: str | Path, deep: bool = False) -> bool:
    """Tell whether the first files of a path show directions of view: by their header, by numbers that only those have,
    or by NetLLM's file names; `deep`: the first file of each of the first folders."""
    root = Path(path)
    if not root.exists():
        return False
    members = head_files(root)
    if deep:
        members = list({member.parent: member for member in reversed(members)}.values())[::-1]
    prose = set(notes_beside(members[:8]))  # a few more are looked at, where notes stand first
    for member in [member for member in members[:8] if member not in prose][: 8 if deep else 4]:
        if member.name.lower().startswith(("readme", "license", "licence")) or not member.stat().st_size:
            continue
        if NETLLM_FILE.search(member.name):
            return True
        try:
            if _is_log(member, nested=root.is_dir() and member.parent != root):
                return True  # else a table of viewers, say, that stands beside their logs
        except AmbiguousColumnsError:
            return True  # to be refused as what it is
        except NetLLMGymError:
            continue
    return False


def _is_log(path: Path, nested: bool) -> bool:
    data = beginning(path)
    if data.lstrip()[:1] in (b"{", b"["):
        if not any(
            word in data.lower()
            for word in (b"yaw", b"quat", b'"qw"', b"pitch", b"longitude", b'"w"', b"theta", b"rotation", b"euler")
        ):
            return False
        try:
            logs = read_viewer_json(content(path), str(path))
        except TraceFormatError:
            return b'yaw"' in data.lower() and b'pitch"' in data.lower()  # to be refused as what it is
        return bool(logs) and not _is_drive(logs[0][2].header or [])
    if begins_with_clock(data):
        return read_viewer_rows(content(path), str(path)) is not None
    table = unturned(read_table(data, str(path)))
    if table.header is not None:
        if _is_drive(table.header):
            return False
        if by_viewer(table):
            return True
        named = by_header(table)
        turned = named is not None and (
            _TURNS.search(" ".join(table.header).lower())
            if named.form == "angles"
            else named.form == "quaternion" and unit_length(table, [*named.columns])
        )
        if turned:
            return True  # without a clock, to be refused as what it is
        return understand(table).form != ""
    if table.width < 3 or (table.width == 6 and is_ride(table.values)):
        return False  # a ride whose bytes rise for a while has a third number that turns far
    fields = by_numbers(table)
    if fields.form in ("quaternion", "vector") or fields.axes:
        return True
    return fields.form == "position" or (nested and table.width >= 4)


def _is_drive(header: list[str]) -> bool:
    """Tell whether names are those of measurements of a link, which may have a longitude and a latitude too."""
    names = " ".join(header).lower()
    return bool(_RATES.search(names) or (_DRIVES.search(names) and not _TURNS.search(names)))


def guess_columns(data: bytes, name: str) -> str:
    """Return what follows the time in a log: a key of :data:`netllm_gym.traces.head.readers.COLUMNS`.

    A header decides (``time,w,x,y,z``). Without one three numbers are yaw, pitch and roll; four would be a quaternion
    whose order nobody can see.

    Raises:
        TraceFormatError: it cannot be told, or the columns stand in another order than any of these.
    """
    table = read_table(data, name)
    fields = understand(table)
    letters = {"quaternion": "xyzw", "vector": "xyz", "position": "xy"}.get(fields.form)
    words = list(letters) if letters else ["yaw", "pitch", "roll"][: len(fields.columns)]
    order = [words[fields.columns.index(c)] for c in sorted(fields.columns)]
    for columns, wanted in COLUMNS.items():
        if tuple(order) == wanted and (fields.form != "vector" or columns == "vector"):
            return columns
    raise TraceFormatError(name, f"cannot tell the columns; say which: {', '.join(COLUMNS)}", 1)


def _netllm(files: list[Path], dataset: str, notes: Notes) -> list[HeadTrace]:
    """Read NetLLM's files, whose angles are Z-X-Y ones of the headset, with the frame offset of their data set."""
    traces = []
    known = {
        n.removeprefix("viewport/"): e for n in catalog.names("viewport/") if "folder" in (e := catalog.describe(n))
    }
    for file in files:
        match = NETLLM_FILE.search(file.name)
        named = [p.lower() for p in file.parts] if dataset in ("", "user") else [dataset.lower()]
        chosen = next((name for name, entry in known.items() if entry["folder"].lower() in named), None)
        if match is None or chosen is None:
            raise TraceFormatError(
                file, f"NetLLM's angles are Z-X-Y ones; say whose they are: --dataset {' or '.join(known)}"
            )
        video = next((p[5:] for p in reversed(file.parts) if p.lower().startswith("video") and p[5:]), file.parent.name)
        traces.append(read_netllm(content(file), match[1], video, chosen, known[chosen]["lon_offset_deg"])[1])
    notes.guess("NetLLM's files: roll, pitch, yaw of Z-X-Y turned into the canonical reading")
    return traces


@overflowing
def understand_heads(
    path: str | Path, columns: str | None = None, options: HeadOptions | None = None, pattern: str | None = None
) -> Reading:
    """Read every head log of a path: tables with or without header, JSON, a row a viewer, NetLLM's files.

    Args:
        path: file or folder (searched to any depth).
        columns: a key of :data:`COLUMNS`, where nothing in the files tells what follows the time.
        options: units and conventions; what is left open is guessed from all logs together and noted.
        pattern: where user and video stand in a path, such as ``{user}/{user}_{video}.csv``.

    Raises:
        TraceFormatError: nothing to read, or the first file that cannot be read.
        UnknownNameError: no such `columns`.
    """
    if columns is not None and columns not in COLUMNS:
        raise UnknownNameError("column format", columns, COLUMNS)
    root, options, notes = Path(path), options or HeadOptions(), Notes()
    skipped: list[str] = []
    files = _candidates(root, skipped)
    netllm = [file for file in files if NETLLM_FILE.search(file.name)]
    if netllm and columns is None:
        traces = _netllm(netllm, options.dataset, notes)
        form = "netllm"
    else:
        form, traces = _tables(root, files, columns, options, pattern, notes)
    table = [_row(trace) for trace in traces[:5]]
    return Reading("head", form, tuple(traces), [*skipped, *notes.guesses], dict(notes.repairs), table)


def _candidates(root: Path, skipped: list[str]) -> list[Path]:
    if not root.exists():
        raise TraceFormatError(root, "no such file or folder")
    files = head_files(root)
    kept = [f for f in files if f == root or not f.name.lower().startswith(("readme", "license", "licence"))]
    full = [f for f in kept if f.stat().st_size]
    if len(full) < len(files):
        skipped.append(f"skipped {len(files) - len(full)} files: empty, or a read-me")
    full, prose = without_notes(full)
    if prose:
        skipped.append(f"skipped: {', '.join(f'{file.name} (notes)' for file in prose[:5])}")
    if not full:
        raise TraceFormatError(root, f"no file <video>/<user>.csv below it (nor another {', '.join(sorted(SUFFIXES))})")
    if len(full) > MAX_LOGS:
        raise TraceFormatError(root, f"more than {MAX_LOGS} files")
    return full


def _tables(
    root: Path, files: list[Path], columns: str | None, options: HeadOptions, pattern: str | None, notes: Notes
) -> tuple[str, list[HeadTrace]]:
    where, layout = places(root, files, pattern)
    logs: list[tuple[str, str, Table, HeadFields]] = []
    form = ""
    beside: list[tuple[Path, TraceFormatError]] = []
    shapes: dict[str, TraceFormatError | None] = {}  # how the first lines look, of logs and of what stands beside them
    flat = {str(file) for file in files if file == root or file.parent == root}
    for file in files:
        user, video = where[file]
        name = str(file)
        data = content(file)
        if columns is None and data.lstrip()[:1] in (b"{", b"["):
            try:
                inside = [(u or user, v or video, t) for u, v, t in read_viewer_json(data, name)]
            except TraceFormatError as error:
                if len(files) == 1 or "no list of samples" not in str(error):
                    raise
                beside.append((file, error))
                continue
            form = "json"
            if "pitch_yaw_roll_data_hmd" in data[:4096].decode("utf-8", "replace"):
                options = replace(options, pitch_down=True)
                notes.guess("AVTrack360's angles: positive pitch looks down")
        else:
            rows = read_viewer_rows(data, name) if columns is None else None
            if rows is None:
                try:
                    table = unturned(read_table(data, name))
                except TraceFormatError as error:
                    if columns is not None or len(files) == 1 or shapes.setdefault(_shape(data), error) is None:
                        raise
                    beside.append((file, error))
                    continue
                beside_each_other = [] if columns is not None else by_viewer(table)
                notes.guess("columns that are named after viewers are theirs" if beside_each_other else "")
                inside = [(u, file.stem if str(file) in flat else video, t) for u, t in beside_each_other] or [
                    (user, video, table)
                ]
            else:
                inside = [(u, file.stem, t) for u, t in rows]
            if columns is None and len(files) > 1 and (why := _is_beside(inside[0][2])) is not None:
                if shapes.setdefault(_shape(data), why) is None:
                    raise why
                beside.append((file, why))
                continue
            if columns is None and (damaged := shapes.setdefault(_shape(data), None)) is not None:
                raise damaged  # a file that begins like the logs is one
            form = form or ("rows" if rows is not None else "table")
        for log_user, log_video, table in inside:
            if table.short:
                notes.repairs["rows cut off at the end of a file left out"] += table.short
            fields = understand(table, columns)
            notes.guess(SAID if "matrix.w" in (table.header or ()) else "")
            if said := twice(table, (fields.time, *fields.columns)):
                notes.guess(said)
            if said := rivals(table, fields):
                notes.guess(said)
            logs.append((log_user, log_video, table, fields))
    notes.guess(passed_over(beside, len(files), "orientation", few=True))
    if form == "table":
        notes.guess(f"viewers and videos from the paths, as {layout}")
    traces: list[HeadTrace] = []
    taken: dict[tuple[str, str], int] = {}
    groups: dict[tuple[HeadFields, tuple[str, ...]], list[tuple[str, str, Table]]] = {}
    for log_user, log_video, table, fields in logs:
        names = () if table.header is None else tuple(table.header[c] for c in (*fields.columns, fields.time) if c >= 0)
        groups.setdefault((fields, names), []).append((log_user, log_video, table))
    guessed = SaidOf()
    for (fields, _), members in groups.items():
        if _tsinghua(members[0][2]) and not options.lon_offset_deg:
            options = replace(options, lon_offset_deg=90.0)
            notes.guess("Wu2017's raw logs: the frame's centre lies at yaw -90")
        own = Notes(repairs=notes.repairs)
        how = scales([t for _, _, t in members], fields, options, own)
        guessed.add(own.guesses, [Path(t.name).name for _, _, t in members])
        for user, video, table in members:
            moments, text = stamps(table, fields)
            pieces = sessions(table, moments * (1.0 if text else how.seconds), fields)
            if len(pieces) > 1 and fields.user < 0 and fields.video < 0:
                notes.guess("a clock that starts anew begins another viewer")
            for inner_user, inner_video, members_of in pieces:
                part = table if len(pieces) == 1 else table.rows(members_of)
                whole_file = Path(table.name).stem if inner_user and table.name in flat else video
                pair = inner_user or user, inner_video or whole_file
                taken[pair] = taken.get(pair, 0) + 1
                label = pair[1] if taken[pair] == 1 else f"{pair[1]}#{taken[pair]}"
                traces.append(to_trace(part, fields, how, options, notes, pair[0], label))
    for sentence in guessed.sentences(len(groups)):
        notes.guess(sentence)
    return form or "table", traces


def _is_beside(table: Table) -> TraceFormatError | None:
    """Return why a table beside head logs is none: it holds something else, such as the viewers' ages or answers."""
    if table.header is None or by_header(table) is None:
        try:
            understand(table)
        except AmbiguousColumnsError:
            return None  # to be refused as what it is
        except TraceFormatError as error:
            return error
    return None


def _shape(data: bytes) -> str:
    """Return the names of a file's first line, or how many fields a line of numbers has."""
    first = next((line for line in data[:20_000].decode("utf-8", "replace").splitlines() if line.strip()), "")
    return first.strip() if re.search(r"[A-DF-Za-df-z]{2}", first) else str(len(re.split(r"[,;\t ]+", first.strip())))


def _tsinghua(table: Table) -> bool:
    return table.header is not None and {"PlaybackTime", "UnitQuaternion.x", "HmdPosition.x"} <= set(table.header)


def _row(trace: HeadTrace) -> dict[str, Any]:
    low, high = trace.angles_deg.min(axis=0), trace.angles_deg.max(axis=0)
    return {
        "video": trace.video,
        "user": trace.user,
        "from s": round(trace.start_s, 2),
        "seconds": round(trace.duration_s, 1),
        "yaw": f"{low[0]:.0f} to {high[0]:.0f}°",
        "pitch": f"{low[1]:.0f} to {high[1]:.0f}°",
        "roll": f"{low[2]:.0f} to {high[2]:.0f}°",
        "gaps": f"{1 - trace.valid.mean():.0%}",
    }


def read_heads(path: str | Path, columns: str | None = None, **settings: Any) -> TraceSet[HeadTrace]:
    """Read every head log of a path (:func:`understand_heads`) as a trace set.

    Args:
        path: folder or file.
        columns: as for :func:`netllm_gym.traces.read_head_csv`; default: what the files show.
        settings: fields of :class:`netllm_gym.traces.head.scales.HeadOptions`.

    Raises:
        TraceFormatError: nothing to read, or the first file that cannot be read.
    """
    found = understand_heads(path, columns, HeadOptions(**settings))
    return TraceSet(str(path), "all", found.traces, "user's own", source=str(path), notes=found.sentences())
