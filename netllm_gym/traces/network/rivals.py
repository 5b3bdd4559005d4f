"""Columns of a table of measurements that name a throughput as well as the one that is read."""

from __future__ import annotations

import re

from netllm_gym.traces.network import fields
from netllm_gym.traces.network.names import split_unit
from netllm_gym.traces.network.units import rate_unit
from netllm_gym.traces.tables import Table


def rivals(table: Table, found: fields.LinkFields) -> str:
    """Return a sentence on columns that could be read in place of the one that is; empty if there is none.

    Such are names that differ by a number alone (``flow1``, ``flow2``), and others of the same unit and direction
    (``verizon_dl_mbps`` beside ``att_dl_mbps``): which of them is meant, nobody but the user knows.
    """
    header = table.header or []
    if not 0 <= found.rate < len(header):
        return ""
    own = header[found.rate]
    bare = re.sub(r"\d+", "", own)
    base, word = split_unit(own)
    unit = rate_unit(word)
    alike = [name for i, name in enumerate(header) if i != found.rate and re.sub(r"\d+", "", name) == bare != own]
    if not alike and unit:
        for i, name in enumerate(header):
            other, its = split_unit(name)
            if i in (found.rate, found.time) or rate_unit(its) != unit or not fields.is_rate(other):
                continue
            if fields.direction(other) == fields.direction(base) and fields.holds_numbers(table, i):
                alike.append(name)
    return f"read {own!r}, not {', '.join(map(repr, alike[:5]))}: --throughput names another" if alike else ""
