"""Network traces from tables of any columns: sessions cut, units settled over a whole set, repairs counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.traces.moments import calendar_seconds, seconds_of
from netllm_gym.traces.network import fields as reading
from netllm_gym.traces.network import units
from netllm_gym.traces.network.fields import LinkFields
from netllm_gym.traces.network.nameless import by_numbers
from netllm_gym.traces.network.spans import ends_of, late_rows
from netllm_gym.traces.network.trace import NetworkTrace
from netllm_gym.traces.reading import Notes, SaidOf
from netllm_gym.traces.tables import Table

Array = NDArray[np.float64]

# Repairs: what is left out, and counted; beyond these a file is refused.
SHARE = 0.02  # of the rows of a session
BACK_S = 1.0  # a stamp that goes back by no more
# A pause that cuts a recording in two: longer than this many steps and than a minute.
PAUSE_STEPS, PAUSE_S = 100.0, 60.0


@dataclass(frozen=True)
class NetworkOptions:
    """What a user says about tables of measurements; what is left open is recognised, or refused.

    Attributes:
        time, throughput: names of the columns; both or neither.
        time_unit: a key of :data:`netllm_gym.traces.network.units.SECONDS`.
        throughput_unit: a key of :data:`netllm_gym.traces.network.units.MEGABITS`.
        group: the source recording of a trace: a column of the file, or an expression on the file's name whose first
            group names it.
        step_s: seconds between rows of files without a clock.
    """

    time: str | None = None
    throughput: str | None = None
    time_unit: str = ""
    throughput_unit: str = ""
    group: str | None = None
    step_s: float | None = None

    def __post_init__(self) -> None:
        for kind, unit, known in (
            ("time unit", self.time_unit, units.SECONDS),
            ("throughput unit", self.throughput_unit, units.MEGABITS),
        ):
            if unit and unit not in known:
                raise UnknownNameError(kind, unit, known)
        if (self.time is None) != (self.throughput is None):
            raise ConfigError("the columns of time and throughput go together: name both, or neither")
        if self.step_s is not None and not 0 < self.step_s < 86_400:
            raise ConfigError(f"a step is positive and shorter than a day, got {self.step_s}")
        if self.group is not None:
            try:
                re.compile(self.group)
            except re.error as error:
                raise ConfigError(f"the group {self.group!r} is no expression ({error})") from None

    def group_of(self, name: str) -> str | None:
        """Return the recording that the expression finds in a file's name, or ``None``."""
        if self.group is None:
            return None
        match = re.search(self.group, name)
        if match is None:
            return None
        return match[1] if match.re.groups else match[0]


@dataclass(frozen=True)
class Session:
    """Rows of one recording: stamps as written, values as written, ``label`` of the session, ``group`` if named."""

    name: str
    label: str
    group: str
    moments: Array
    values: Array
    lines: NDArray[np.int64]
    seconds: bool
    scale: Array | None


def link_fields(table: Table, options: NetworkOptions) -> LinkFields | None:
    """Return which columns of a table matter: named by the user, by the header, or shown by the numbers."""
    if options.time is not None and options.throughput is not None:
        header = [name.strip() for name in table.header or []]
        at = []
        for column in (options.time, options.throughput):
            if header.count(column) != 1:
                shown = ", ".join(repr(name[:30]) for name in header[:12]) or "none"
                raise TraceFormatError(table.name, f"no column {column!r}; the header has: {shown}", 1)
            at.append(header.index(column))
        found: LinkFields | None = LinkFields(at[0], at[1])
        named = reading.by_header(table)
        if found and named and named.sessions:
            found = replace(found, sessions=tuple(c for c in named.sessions if c not in at))
    else:
        found = reading.by_header(table) if table.header is not None else by_numbers(table)
    if found is None:
        return None
    found = replace(
        found,
        time_unit=options.time_unit or found.time_unit,
        rate_unit=options.throughput_unit or found.rate_unit,
        unit_column=-1 if options.throughput_unit else found.unit_column,
        counts="" if options.throughput_unit and not found.counts else found.counts,
    )
    return replace(found, time=-1) if options.step_s is not None else found


def sessions_of(table: Table, found: LinkFields, options: NetworkOptions, notes: Notes) -> list[Session]:
    """Cut a table into recordings: by the columns that name them, and where the clock starts anew.

    Raises:
        TraceFormatError: no clock, or too many rows without a value.
    """
    moments, text = _moments(table, found, options)
    values, scale = _values(table, found)
    ends = ends_of(table, found.time, found.end)
    good = np.isfinite(moments) & np.isfinite(values)
    lost = int((~good).sum())
    if lost > max(SHARE * len(good), 0):
        line = int(table.lines[np.argmax(~good)])
        raise TraceFormatError(
            table.name, f"no number for time or throughput ({lost} of {len(good)} rows): leave such rows out, or write "
            "0 where the link was down", line
        )  # fmt: skip
    clock = moments[good]
    if len(clock) > 2 and (np.diff(clock) <= 0).all() and clock[-1] < clock[0]:
        notes.guess("the newest row stands first: read from the last one up")
        return sessions_of(table.rows(slice(None, None, -1)), found, options, notes)
    if lost:
        notes.repairs["rows without a time or a throughput left out"] += lost
    if table.short:
        notes.repairs["rows cut off at the end of a file left out"] += table.short
    at = np.flatnonzero(good)
    pieces: list[tuple[str, NDArray[np.intp]]] = [("", at)]
    if found.sessions:
        keys: dict[str, list[int]] = {}
        for i in at.tolist():
            keys.setdefault("/".join(_cell(table, c, i) for c in found.sessions), []).append(i)
        pieces = [(key, np.array(rows, dtype=np.intp)) for key, rows in keys.items()]
    group_at = -1
    if options.group is not None and table.header is not None and options.group in [h.strip() for h in table.header]:
        group_at = [h.strip() for h in table.header].index(options.group)
    out: list[Session] = []
    for label, rows in pieces:
        cut = restarts(moments[rows], calendar=text or bool(len(rows) and moments[rows].min() > 1e9))
        if ends is not None:
            cut = np.union1d(cut, np.flatnonzero(late_rows(moments[rows], ends[rows])) + 1)
        for number, part in enumerate(np.split(rows, cut)):
            name = label if not len(cut) else "/".join(x for x in (label, str(number + 1)) if x)
            if found.counts and found.sessions and len(pieces) > 1 and not (np.diff(values[part]) != 0).any():
                notes.guess("series whose counter stands still left out")
                continue
            group = _cell(table, group_at, int(part[0])) if group_at >= 0 else label
            times = moments[part]
            if ends is not None:  # the last row lasts, too
                times, part = np.append(times, ends[part[-1]]), np.append(part, part[-1])
            out.append(
                Session(table.name, name, group, times, values[part], table.lines[part], text,
                        None if scale is None else scale[part])
            )  # fmt: skip
    if len(out) > 1:
        names = table.header or [f"column {c + 1}" for c in range(table.width)]
        why = "a clock that starts anew" if ends is None else "pauses between rows that say their end"
        if found.sessions:
            why = f"by {', '.join(repr(names[c][:30]) for c in found.sessions)}"
        notes.guess(f"sessions in one file become traces ({why})")
    return out


def restarts(moments: Array, calendar: bool = False) -> NDArray[np.intp]:
    """Return where a clock starts anew: rows at which it falls by more than half of what it had run.

    Args:
        moments: the clock.
        calendar: it tells moments of a calendar: there a recording of another day may stand below a later one, and a
            fall by more than a pause between two runs of ten rows is such a place.
    """
    steps = np.diff(moments)
    back = np.flatnonzero(steps < 0)
    if not len(back):
        return back
    forward = steps[steps > 0]
    pause = max(PAUSE_STEPS * float(np.median(forward)), PAUSE_S) if calendar and len(forward) else np.inf
    out: list[int] = []
    start = 0
    ends = [*back[1:].tolist(), len(steps)]
    for i, following in zip(back.tolist(), ends, strict=True):
        run = moments[i] - moments[start]
        anew = i - start >= 1 and -steps[i] > 0.5 * run > 0 and len(moments) - i > 2
        if anew or (-steps[i] > pause and min(i - start, following - i) >= 10):
            out.append(i + 1)
            start = i + 1
    return np.array(out, dtype=np.intp)


def _cell(table: Table, column: int, row: int) -> str:
    return table.cell(column, row)[:80]


def _moments(table: Table, found: LinkFields, options: NetworkOptions) -> tuple[Array, bool]:
    if found.time < 0:
        if options.step_s is None:
            raise TraceFormatError(table.name, "no column of time; give the seconds between rows: --step", 1)
        return np.arange(len(table), dtype=np.float64) * options.step_s, True
    if found.time in table.texts and np.isfinite(table.values[:, found.time]).mean() < 0.9:
        cells = table.texts[found.time]
        beside = table.texts[found.clock_column] if found.clock_column >= 0 else []
        if beside and "-" in beside[0] and seconds_of(beside) is not None:
            cells = beside  # a whole moment beside its date
        elif beside:
            cells = [f"{a} {b}" for a, b in zip(cells, beside, strict=True)]
        moments = seconds_of(cells)
        if moments is None:
            raise TraceFormatError(table.name, f"{cells[0][:40]!r} is not a time", int(table.lines[0]))
        return moments, True
    written = None if found.time_unit else calendar_seconds(table.values[:, found.time])
    return (table.values[:, found.time], False) if written is None else (written, True)


def _values(table: Table, found: LinkFields) -> tuple[Array, Array | None]:
    """Return the values, and each row's Mbit/s per unit where the rows themselves say it."""
    column = table.values[:, found.rate]
    if found.rate in table.texts and np.isfinite(column).mean() < 0.5:
        parsed = [units.cell_rate(cell) for cell in table.texts[found.rate]]
        return np.array([np.nan if x is None else x for x in parsed]), np.ones(len(parsed))
    if found.unit_column >= 0:
        named = [units.rate_unit(cell) for cell in table.texts[found.unit_column]]
        return column, np.array([np.nan if unit is None else units.MEGABITS[unit] for unit in named])
    return column, None


# What one file's table holds: its columns, its header (empty without one) and its recordings.
LinkSet = tuple[LinkFields, tuple[str, ...], list[Session]]


def traces_of(
    sets: Sequence[LinkSet], names: dict[str, str], options: NetworkOptions, notes: Notes
) -> list[NetworkTrace]:
    """Return the traces of sessions, the units settled over all that share columns and header.

    Raises:
        TraceFormatError: units that nothing tells, values that are not plausible, or a clock that goes back.
    """
    groups: dict[tuple[LinkFields, tuple[str, ...]], list[Session]] = {}
    for fields, header, sessions in sets:
        members = groups.setdefault((fields, header), [])
        members += [session for session in sessions if len(session.moments)]
    groups = {key: members for key, members in groups.items() if members}
    if not groups:
        raise TraceFormatError(
            next(iter(names), "table"), "counters that stand still: name a column of rates, --time, --throughput"
        )
    traces: list[NetworkTrace] = []
    said = SaidOf()
    for (found, _), members in groups.items():
        own = Notes()
        tick, guessed = _tick(members, found, own)
        factor = _factor(members, found, guessed and tick == 1e-3, own)
        if not (found.counts or found.rate_unit or members[0].scale is not None):
            own.guess(units.far_apart({names.get(s.name, s.name): s.values for s in members}))
        said.add(own.guesses, [names.get(session.name, session.name) for session in members])
        for session in members:
            traces += _pieces(session, found, tick, factor, names, options, notes)
    for sentence in said.sentences(len(groups)):
        notes.guess(sentence)
    return traces


def _tick(members: list[Session], found: LinkFields, notes: Notes) -> tuple[float, bool]:
    if found.time < 0 or (members and members[0].seconds):
        return 1.0, False
    if found.time_unit:
        return units.SECONDS[found.time_unit], False
    tick, sentence = units.seconds_per_tick([s.moments for s in members], members[0].name)
    notes.guess(sentence)
    return tick, True


def _factor(members: list[Session], found: LinkFields, in_ms: bool, notes: Notes) -> float:
    if found.counts or (members and members[0].scale is not None):
        return 1.0
    if found.rate_unit:
        return units.MEGABITS[found.rate_unit]
    if found.unread_unit == "-":
        raise TraceFormatError(
            members[0].name, "nothing names the unit of the throughput; say what it is: --rate-unit", 1
        )
    if found.unread_unit:
        raise TraceFormatError(
            members[0].name, f"the unit {found.unread_unit!r} is none that is known; say what it is: --rate-unit", 1
        )
    factor, sentence = units.megabits_per_unit(np.concatenate([s.values for s in members]), in_ms, members[0].name)
    notes.guess(sentence)
    return factor


def _pieces(
    session: Session, found: LinkFields, tick: float, factor: float, names: dict[str, str], options: NetworkOptions,
    notes: Notes,
) -> list[NetworkTrace]:  # fmt: skip
    name = session.name
    time, values, lines = session.moments * tick, session.values * factor, session.lines
    if session.scale is not None:
        if not np.isfinite(session.scale).all():
            row = int(np.argmax(~np.isfinite(session.scale)))
            raise TraceFormatError(name, "no unit that is known", int(lines[row]))
        values = values * session.scale
    absent = session.values == -1
    if 0 < absent.sum() <= SHARE * len(values):
        notes.repairs["rows of -1, which stands for no value, left out"] += int(absent.sum())
        time, values, lines = time[~absent], values[~absent], lines[~absent]
    if (values < 0).any():
        raise TraceFormatError(name, f"negative throughput {values.min():g}", int(lines[np.argmax(values < 0)]))
    before = np.maximum.accumulate(np.concatenate([time[:1], time[:-1]]))
    back = time < before
    if back.any():
        worst = int(np.argmax(before - time))
        if before[worst] - time[worst] > BACK_S or back.sum() > SHARE * len(time):
            row = int(np.argmax(back))
            raise TraceFormatError(name, f"time {time[row]:g} s does not come after {before[row]:g} s", int(lines[row]))
        notes.repairs[f"rows whose stamp goes back by at most {BACK_S:g} s left out"] += int(back.sum())
        time, values, lines = time[~back], values[~back], lines[~back]
    beyond = values > units.FASTEST_MBPS
    if not found.counts and 0 < beyond.sum() <= max(SHARE * len(values), 1) < len(values):
        notes.repairs[f"rows beyond {units.FASTEST_MBPS:,.0f} Mbit/s left out"] += int(beyond.sum())
        time, values, lines = time[~beyond], values[~beyond], lines[~beyond]
    time, values = _once(time, values, notes, found.counts == "bytes")
    if len(time) < 2:
        raise TraceFormatError(name, f"needs at least two samples, has {len(time)}", int(lines[0]))
    steps = np.diff(time)
    megabits = 1e-6 if found.rate_unit == "b" else 8e-6
    if found.counts == "total":
        came = np.diff(values)
        if (anew := came < 0).any():
            # Past 2³² a counter of 32 bits goes on from 0, one of a device that was restarted begins there.
            wrapped = (values[:-1] > 0.75 * 2**32) & (values[:-1] < 2**32) & (values[1:] < 0.25 * 2**32)
            came = np.where(anew, np.where(wrapped, came + 2.0**32, values[1:]), came)
            notes.repairs["rows at which a byte counter began anew"] += int(anew.sum())
        rates = came * megabits / steps
    elif found.counts == "bytes":
        rates = values[1:] * megabits / steps
    else:
        rates = values[:-1] if found.holds == "after" else values[1:]
    if (rates < 0).any():
        raise TraceFormatError(name, "a byte counter that falls", int(lines[np.argmax(rates < 0)]))
    total = float(steps.sum())
    with np.errstate(over="ignore"):  # infinite is not plausible either
        mean = float(np.dot(rates, steps) / total)
    if mean > units.FASTEST_MBPS or total > units.LONGEST_S:
        raise TraceFormatError(
            name, f"would be {mean:,.0f} Mbit/s over {total / 3600:,.0f} h, which is not plausible: "
            "say the units: --time-unit, --rate-unit", int(lines[0])
        )  # fmt: skip
    label = names.get(name, name)
    label = f"{label}#{session.label}" if session.label else label
    group = session.group if options.group is None or session.group else ""
    group = options.group_of(label) or (f"{names.get(name, name)}#{group}" if group else names.get(name, name))
    if options.group is not None and session.group:
        group = session.group
    return _without_pauses(label, steps, rates, group, notes)


def _once(time: Array, values: Array, notes: Notes, counted: bool) -> tuple[Array, Array]:
    """Join rows of one stamp: the corners of a step function as they are, bytes to their sum, others to their mean."""
    same = np.diff(time) == 0
    if not same.any():
        return time, values
    counts = Counter(time.tolist())
    inner = list(counts.values())[1:-1]
    second = np.flatnonzero(same) + 1  # the value after each corner is the one before the next
    held = values[second[:-1]] == values[second[1:] - 1]
    if not counted and inner and all(count == 2 for count in inner) and len(inner) > 1 and held.mean() > 0.9:
        # Each corner is written with the value before it and the one after: the first is the one up to its stamp.
        keep = np.concatenate([[True], ~same])
        return time[keep], values[keep]
    notes.repairs[f"rows of one stamp {'summed' if counted else 'averaged'}"] += int(same.sum())
    stamps, index = np.unique(time, return_inverse=True)
    return stamps, np.bincount(index, values) / (1.0 if counted else np.bincount(index))


def _without_pauses(label: str, steps: Array, rates: Array, group: str, notes: Notes) -> list[NetworkTrace]:
    limit = max(PAUSE_STEPS * float(np.median(steps)), PAUSE_S)
    pauses = np.flatnonzero(steps > limit)
    if not len(pauses):
        return [NetworkTrace(label, steps, rates, group)]
    if not any(note.startswith("a pause of more than") for note in notes.guesses):  # its length differs by trace
        notes.guess(f"a pause of more than {limit:g} s cuts a recording into traces of one group")
    traces, begin = [], 0
    for number, end in enumerate([*pauses.tolist(), len(steps)], start=1):
        piece = slice(begin, end)
        if end - begin >= 2 and (rates[piece] > 0).any():
            traces.append(NetworkTrace(f"{label}~{number}", steps[piece], rates[piece], group))
        begin = end + 1
    if not traces:
        raise TraceFormatError(label, "nothing but pauses: no two samples in a row that carry anything")
    return traces
