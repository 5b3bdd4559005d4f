"""Lists of packets, as Wireshark and tshark export them: a row a packet, its time and its length in bytes; and lists of
downloads: a row each, when it began, how long it took and how many bytes came.

What came in every 0.2 s is summed, of the sender of most bytes where a column names senders: the other direction holds
acknowledgements. It is what was sent, which bounds from below what the link could carry.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.network.fields import by_header, clock_column, is_rate_table
from netllm_gym.traces.network.names import plain_name, split_unit
from netllm_gym.traces.network.spans import BEGAN, ENDED
from netllm_gym.traces.network.units import SECONDS, seconds_per_tick, time_unit
from netllm_gym.traces.tables import Table

BIN_S = 0.2
MAX_BINS = 5_000_000
_LENGTH = re.compile(r"(frame|ip|udp|tcp|packet|pkt)?_?(len|length|size)(_bytes)?")
_SENDER = re.compile(r"(ip_|ipv6_|eth_)?(src|source)(_(ip|addr|address))?")
_PACKET = re.compile(r"(frame|ip|ipv6|tcp|udp|eth|packet|pkt)(_.*)?|protocol|info|destination|dst|source|src")


def summed(table: Table) -> tuple[Table, str]:
    """Return a list of packets as a table of rates, and a sentence that says so; other tables as they are.

    Raises:
        TraceFormatError: a time or a length that is none, or packets over an absurd time.
    """
    names = [plain_name(name) for name in table.header or []]
    length = next((i for i, n in enumerate(names) if _LENGTH.fullmatch(n) and i not in table.texts), -1)
    if length < 0 or not any(_PACKET.fullmatch(n) for n in names) or is_rate_table(table):
        return table, ""
    time = clock_column(table, length)
    if time < 0:
        return table, ""
    moments = seconds_of(table.texts[time]) if time in table.texts else table.values[:, time]
    lengths = table.values[:, length]
    if moments is None or not np.isfinite(moments).all() or not (np.isfinite(lengths) & (lengths >= 0)).all():
        raise TraceFormatError(table.name, "a packet without a time or a length", int(table.lines[0]))
    said = f"packets summed by {BIN_S:g} s: what was sent, not what could have been"
    sender = next((i for i, n in enumerate(names) if _SENDER.fullmatch(n) and i in table.texts), -1)
    if sender >= 0:
        sent: Counter[str] = Counter()
        for who, size in zip(table.texts[sender], lengths.tolist(), strict=True):
            sent[who] += size
        most = sent.most_common(1)[0][0]
        keep = np.array([who == most for who in table.texts[sender]])
        moments, lengths = moments[keep], lengths[keep]
        said += f", those from {most[:40]}"
    start, end = float(moments.min()), float(moments.max())
    bins = int(min((end - start) // BIN_S, MAX_BINS)) + 1
    if bins > MAX_BINS or bins < 2:
        raise TraceFormatError(table.name, f"packets over {end - start:g} s make no trace", int(table.lines[0]))
    total = np.bincount(((moments - start) / BIN_S).astype(np.int64), lengths, minlength=bins)[:bins]
    rates = np.append(total * 8.0 / BIN_S, 0.0)  # the last row only ends the one above it
    values = np.column_stack([np.arange(bins + 1) * BIN_S, rates])
    return Table(table.name, ["time (s)", "throughput (bit/s)"], values, {}, np.arange(1, bins + 2)), said


_TOOK = re.compile(
    r"duration|took|time_taken|(\w+_)?(delivery|download|fetch|transfer|transmission|receive|total)_?(time|duration)"
)
OVERLAP = 0.02  # share of downloads that may begin before the one above has ended


def downloaded(table: Table) -> tuple[Table, str]:
    """Return a list of downloads as rows that last as long as each took, and a sentence; other tables as they are.

    Bytes over the time until the next download would hold the pauses between them for a slow link.

    Raises:
        TraceFormatError: downloads side by side, whose bytes do not tell what the link carried.
    """
    found = by_header(table) if table.header is not None else None
    if found is None or found.counts != "bytes" or found.rate_unit or table.header is None or found.time < 0:
        return table, ""
    names = [split_unit(name) for name in table.header]
    free = [i for i in range(len(names)) if i != found.rate]
    took = next((i for i in free if _TOOK.fullmatch(names[i][0]) and i not in table.texts), -1)
    ended = next((i for i in free if ENDED.fullmatch(names[i][0])), -1)
    began = found.time if BEGAN.fullmatch(names[found.time][0]) else -1
    if took < 0 and (began < 0 or ended < 0 or ended == began):
        return table, ""
    clock, tick = _clock(table, found.time, names[found.time][1])
    if found.clock_column >= 0:  # a date, and its time of day
        pairs = zip(table.texts[found.time], table.texts[found.clock_column], strict=True)
        whole = seconds_of([f"{day} {time}" for day, time in pairs])
        clock = clock if whole is None else whole
    if took >= 0:
        unit = time_unit(names[took][1])
        lasted = table.values[:, took] * (SECONDS[unit] if unit else tick)
    else:
        lasted = _clock(table, ended, names[ended][1] or names[began][1], tick)[0] - clock
    good = np.isfinite(lasted) & np.isfinite(table.values[:, found.rate]) & (lasted > 0)
    if good.sum() < max(2, 0.98 * len(good)):
        row = int(np.argmax(~good))
        raise TraceFormatError(table.name, "a download that took no time", int(table.lines[row]))
    order = np.argsort(clock[good], kind="stable")
    starts = clock[good][order]
    early = np.diff(starts) < lasted[good][order][:-1] - 1e-3
    if took < 0 and early.mean() > OVERLAP:  # a clock beside a duration may tell the end
        raise TraceFormatError(
            table.name, "downloads that run side by side: give what came in each second instead",
            int(table.lines[np.argmax(early)]),
        )  # fmt: skip
    keep = [
        *found.sessions,
        *(c for c in table.texts if c not in (found.time, found.clock_column, ended) and c not in found.sessions),
    ]
    values = np.column_stack([lasted, table.values[:, found.rate] * 8.0 / np.where(good, lasted, 1.0)])
    values = np.column_stack([values, table.values[:, keep]])[good]
    texts = {2 + i: [x for x, y in zip(table.texts[c], good, strict=True) if y]
             for i, c in enumerate(keep) if c in table.texts}  # fmt: skip
    # Without its clock nothing but the name tells that a column parts recordings.
    kept = ["session_id" if found.sessions == (c,) else table.header[c] for c in keep]
    header = ["duration (s)", "throughput (bit/s)", *kept]
    said = f"a download a row: {table.header[found.rate]!r} over the time that it took, pauses left out"
    return Table(table.name, header, values, texts, table.lines[good], table.short), said


def _clock(table: Table, column: int, word: str, tick: float = 0.0) -> tuple[NDArray[np.float64], float]:
    """Return a column of moments in seconds, and the seconds of one of its ticks."""
    moments = seconds_of(table.texts[column]) if column in table.texts else None
    if moments is not None:
        return moments, 1.0
    values, unit = table.values[:, column], time_unit(word)
    tick = SECONDS[unit] if unit else tick or seconds_per_tick([values[np.isfinite(values)]], table.name)[0]
    return values * tick, tick
