"""Units of links: what names say, what numbers show, and when neither tells.

A guessed unit is a silent factor of a thousand. So a unit is taken from the name of a column, from what stands in its
cells (``1.87 Mbits/sec``), from a calendar's time, or, when nothing says it, from the one reading that is plausible for
a network; two plausible readings are refused.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.text import micro

Array = NDArray[np.float64]

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "days": 86_400.0}
MEGABITS = {
    "bps": 1e-6,
    "kbps": 1e-3,
    "Mbps": 1.0,
    "Gbps": 1e3,
    "B/s": 8e-6,
    "kB/s": 8e-3,
    "MB/s": 8.0,
    "KiB/s": 1024 * 8e-6,
    "MiB/s": 1024**2 * 8e-6,
}
# Readings that are not plausible for a link, whatever the unit: refused when a file's own words lead there.
FASTEST_MBPS = 20_000.0
LONGEST_S = 366 * 86_400.0

_TIME_SUFFIX = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "ms": "ms", "msec": "ms", "msecs": "ms",
    "millis": "ms", "milliseconds": "ms", "millisecond": "ms", "us": "us", "usec": "us", "micros": "us",
    "microseconds": "us", "ns": "ns", "nsec": "ns", "nanos": "ns", "nanoseconds": "ns",
    "min": "min", "mins": "min", "minute": "min", "minutes": "min", "h": "h", "hr": "h", "hrs": "h", "hour": "h",
    "hours": "h", "day": "days", "days": "days",
}  # fmt: skip
_RATE = re.compile(
    r"(?P<prefix>g|giga|m|mega|k|kilo|)[ _-]?(?P<what>bits?|b|bytes?)[ _-]?(?:/|p|per|_)?[ _-]?"
    r"(?:s|sec|secs|second|seconds)?",
    re.IGNORECASE,
)

# What a name tells of a rate between 100 and 1,500: of a fast radio Mbit/s, of a slow one kbit/s.
_FAST, _SLOW = (
    re.compile(r"(?i)(?<![0-9])5g(?![0-9a-z])|mm-?wave"),
    re.compile(r"(?i)(?<![0-9a-z])[23]g(?![0-9a-z])|hspa|hsdpa|umts|gprs"),
)


def rate_unit(text: str) -> str | None:
    """Return the unit that words such as ``Mbits/sec``, ``kbps``, ``MB/s`` or ``bytes_sec`` name, or ``None``."""
    text = text.strip().strip("()[]")
    if (binary := re.fullmatch(r"([KkM])i(?:B|[Bb]ytes?)(?:/s(?:ec(?:ond)?)?|ps)", text)) is not None:
        return f"{binary[1].upper()}iB/s"
    match = _RATE.fullmatch(text)
    if match is None or not text or text.lower() in ("b", "m", "k", "g"):
        return None
    prefix, what = match["prefix"].lower()[:1], match["what"]
    has_time = bool(re.search(r"(/|ps$|per|_s|sec)", text, re.IGNORECASE))
    if not has_time:
        return None
    # "KBps" are bytes, as "KB/s" are; "KBPS" shouts and says nothing.
    if what.lower().startswith("byte") or (what == "B" and ("/" in text or text.endswith("Bps"))):
        return {"": "B/s", "k": "kB/s", "m": "MB/s"}.get(prefix)
    if what == "b" and "/" in text and prefix == "m" and text[0] == "m":
        return None  # mb/s could be either
    return {"": "bps", "k": "kbps", "m": "Mbps", "g": "Gbps"}[prefix]


def loose_unit(text: str) -> str | None:
    """Return the unit that ``Mbit`` or ``kbits`` name where a rate is known to stand, or ``None``."""
    match = re.fullmatch(r"(k|m|g)bits?", text.strip(), re.IGNORECASE)
    return {"k": "kbps", "m": "Mbps", "g": "Gbps"}[match[1].lower()] if match else None


def is_unit(text: str) -> bool:
    """Tell whether a word is written as a unit of rates is, whether known or not: ``packets/s``, ``pps``, ``kB``."""
    return bool(
        re.fullmatch(r"(?i)[a-z]{1,10} ?(/|per) ?[a-z]{1,10}|[a-z]{1,4}ps|[kmg]i?(b|bits?|bytes?)", text.strip())
    )


def time_unit(text: str) -> str | None:
    """Return the unit that a word names, or ``None``."""
    return _TIME_SUFFIX.get(micro(text).strip().strip("()[]").lower())


_CELL = re.compile(r"([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*([A-Za-z][A-Za-z/ _]{1,12})")


def cell_rate(text: str) -> float | None:
    """Return the Mbit/s of a cell such as ``1.87 Mbits/sec``, or ``None``."""
    match = _CELL.fullmatch(text.strip())
    unit = (rate_unit(match[2]) or loose_unit(match[2])) if match else None  # "5mbit" is tc's
    return float(match[1]) * MEGABITS[unit] if match and unit else None


def seconds_per_tick(moments: list[Array], name: str) -> tuple[float, str]:
    """Return the seconds of one tick of unlabelled clocks, and a sentence that says what was taken.

    Args:
        moments: the stamps of each session.
        name: for messages.

    Raises:
        TraceFormatError: two units are plausible.
    """
    first = max((float(m[0]) for m in moments if len(m)), default=0.0)
    for unit, low in (("ns", 1e18), ("us", 1e15), ("ms", 1e12), ("s", 1e9)):
        if low <= first < 5 * low:
            return SECONDS[unit], "" if unit == "s" else f"time: {unit} since 1970"
    steps = np.concatenate([np.diff(m) for m in moments]) if moments else np.empty(0)
    steps = steps[steps > 0]
    median = float(np.median(steps)) if len(steps) else 1.0
    if 25_000.0 < first < 80_000.0 and median < 3e-3 and first % 1.0:
        return 86_400.0, "time: days since 1900, as spreadsheets count (--time-unit says otherwise)"
    if median < 1e-4:
        raise TraceFormatError(name, f"time steps of {median:g} s are not plausible; say the unit: --time-unit")
    if median <= 20.0:
        return 1.0, f"time: seconds (assumed: steps of {median:g}; --time-unit says otherwise)"
    if median < 100.0 and median % 30.0:
        raise TraceFormatError(name, f"time steps of {median:g} may be s or ms; say which: --time-unit s or ms")
    if median < 100.0:
        return 1.0, f"time: seconds (assumed: steps of {median:g}; --time-unit says otherwise)"
    for unit, high in (("ms", 2e4), ("us", 2e7), ("ns", 2e10)):
        if median < high:
            return SECONDS[unit], f"time: {unit} (steps of {median:g} s are not plausible; --time-unit says otherwise)"
    raise TraceFormatError(name, f"time steps of {median:g} fit no unit; say which: --time-unit")


def megabits_per_unit(rates: Array, in_ms: bool, name: str) -> tuple[float, str]:
    """Return the Mbit/s of one unit of unlabelled rates, and a sentence that says what was taken.

    Args:
        rates: all values of a set.
        in_ms: the clock beside them counts milliseconds, so that they are hardly Mbit/s.
        name: for messages; what it says of the radio counts where the numbers do not tell.

    Raises:
        TraceFormatError: two units are plausible.
    """
    positive = rates[rates > 0]
    if not len(positive):
        return 1.0, ""
    middle = float(np.median(positive))
    if middle >= 1.5e6:
        return MEGABITS[
            "bps"
        ], f"throughput: bit/s (a median of {middle:g} is too much for kbit/s; --rate-unit says otherwise)"
    if middle >= 1.5e5:
        raise TraceFormatError(
            name, f"a median of {middle:g} may be bit/s or kbit/s; say which: --rate-unit bps or kbps"
        )
    if middle >= 1500.0:
        return MEGABITS[
            "kbps"
        ], f"throughput: kbit/s (a median of {middle:g} is too much for Mbit/s; --rate-unit says otherwise)"
    if middle >= 100.0:
        whole = float((positive == np.round(positive, 2)).mean())
        if in_ms:
            return MEGABITS[
                "kbps"
            ], f"throughput: kbit/s (beside a clock in ms, a median of {middle:g}; --rate-unit says otherwise)"
        if whole > 0.9:
            near = "/".join(re.split(r"[/\\]", name)[-3:])  # the file and two folders above it
            fast, slow = _FAST.search(near), _SLOW.search(near)
            told = fast or slow
            if told is None or (fast and slow):
                raise TraceFormatError(
                    name, f"a median of {middle:g} may be Mbit/s or kbit/s; say which: --rate-unit Mbps or kbps"
                )
            unit, said = ("Mbps", "Mbit/s") if fast else ("kbps", "kbit/s")
            return MEGABITS[unit], f"throughput: {said} ({told[0]} in the name; --rate-unit says otherwise)"
    return 1.0, f"throughput: Mbit/s (assumed: a median of {middle:g}; --rate-unit says otherwise)"


def far_apart(rates: dict[str, Array]) -> str:
    """Return a sentence on recordings, by name, that may be in another unit than the others; empty where none is."""
    middles = {name: float(np.median(values[values > 0])) for name, values in rates.items() if (values > 0).any()}
    usual = float(np.median(list(middles.values()))) if middles else 0.0
    far = [name for name, middle in middles.items() if not usual / 300.0 < middle < usual * 300.0]
    return f"read in the unit of the others, though far from them: {', '.join(far[:5])}" if far else ""


def far_beyond(rates: dict[str, Array]) -> str:
    """Return a sentence on recordings, by name, with Mbit/s a thousand times their own median; empty for none."""
    far = []
    for name, values in rates.items():
        most = float(values.max(initial=0.0))
        if most > 1000.0 and most > 1000.0 * float(np.median(values[values > 0])):
            far.append(name)
    more = f" and {len(far) - 5} more" if len(far) > 5 else ""
    return (
        f"values a thousand times the median beside them, perhaps in another unit: {', '.join(far[:5])}{more}"
        if far
        else ""
    )
