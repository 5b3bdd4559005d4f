"""The names of columns: their words in one spelling, and the units they end in."""

from __future__ import annotations

import re

from netllm_gym.traces.network.units import rate_unit, time_unit
from netllm_gym.traces.text import micro


def plain_name(name: str) -> str:
    """Return a column's name in lower case, its words joined by underscores."""
    name = re.sub(r"([a-z0-9])([A-Z][a-z]|(?:UL|DL|RX|TX)(?![a-z]))", r"\1_\2", micro(name).strip())
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def split_unit(name: str, words: re.Pattern[str] | None = None) -> tuple[str, str]:
    """Return the plain name without its unit, and the unit's text (``DL Throughput [Mbps]`` → dl_throughput, Mbps)."""
    match = re.search(r"[(\[]([^)\]]{1,20})[)\]]\s*$", name)
    if match:
        return plain_name(name[: match.start()]), match[1]
    if glued := re.search(r"[a-z]([KMG][bB]ps|[kmg]bps)$", name.strip()):  # MeanThroughputMbps
        return plain_name(name.strip()[: -len(glued[1])]), glued[1]
    if (hump := re.search(r"(?<=[a-z])[A-Z][a-z]+$", name.strip())) and time_unit(hump[0]):  # timestampMs
        return plain_name(name.strip()[: hump.start()]), hump[0]
    if sysstat := re.fullmatch(r"([rt]x)kB/s", name.strip()):  # whose kilobytes have 1024
        return sysstat[1], "KiB/s"
    pieces = re.split(r"[ _.\-]+", name.strip())
    for size in (3, 2, 1):
        unit = ("/" if size == 2 else "_").join(pieces[-size:])
        if len(pieces) > size and rate_unit(unit):
            return plain_name("_".join(pieces[:-size])), unit
    if len(pieces) > 1 and (time_unit(pieces[-1]) or rate_unit(pieces[-1])):
        return plain_name("_".join(pieces[:-1])), pieces[-1]
    return plain_name(name), ""
