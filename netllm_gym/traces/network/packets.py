"""Lists of packets, as Wireshark and tshark export them: a row a packet, its time and its length in bytes.

What came in every 0.2 s is summed, of the sender of most bytes where a column names senders: the other direction holds
acknowledgements. It is what was sent, which bounds from below what the link could carry.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import seconds_of
from netllm_gym.traces.network.fields import clock_column, is_rate_table, plain_name
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
