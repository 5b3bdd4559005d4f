"""Moments and numbers in text: dates in usual orders, clocks, spans, and what a plain number is."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")


def is_number(text: str) -> bool:
    """Tell whether `text` is a plain number (``nan`` and ``inf`` are not)."""
    return len(text) < 400 and _NUMBER.fullmatch(text) is not None


_TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d_%H.%M.%S",
    "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M",
    "%Y-%m-%d %H:%M", "%Y%m%d%H%M%S", "%Y%m%d_%H%M%S", "%Y-%m-%dT%H:%M:%S:%f", "%Y/%m/%d-%H:%M:%S.%f",
    "%Y-%m-%d_%H-%M-%S", "%a %b %d %H:%M:%S %Y", "%Y-%m-%d-%H-%M-%S.%f",
    "%d-%b-%Y %H:%M:%S", "%d-%m-%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S:%f", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p",
    "%d/%m/%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M", "%a %d %b %Y %H:%M:%S",
    "%a %d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z", "%b %d %Y %H:%M:%S.%f", "%b %d %Y %H:%M:%S",
    *(f"{day} {clock}" for day in ("%m/%d/%y", "%d/%m/%y", "%y/%m/%d", "%d.%m.%y")
      for clock in ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%H:%M:%S.%f")),
)  # fmt: skip
# What a date between slashes may begin with, by how many digits its last part has.
_ORDERS = ((re.compile(r"\d{1,2}/\d{1,2}/\d{4}"), ("%d/%m/%Y", "%m/%d/%Y")),
           (re.compile(r"\d{1,2}/\d{1,2}/\d{2}(?!\d)"), ("%d/%m/%y", "%m/%d/%y", "%y/%m/%d")))  # fmt: skip
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,9})?)(?::(\d{3}))?")
_DAYS = re.compile(r"(\d{1,4}) days?,? (.+)")  # pandas' and Python's spans
# A zone by its letters, at the end or before the year that date(1) writes last; a log keeps one, so steps are true.
_ZONE = re.compile(r" \(?(?!AM$|PM$)[A-Z]{2,5}\)?(?=$| \d{4}$)")
_HALF_DAY = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d{1,9})?))? ?([AaPp])\.?[Mm]\.?")
_BASIC = re.compile(r"\d{8}T\d{4}")  # ISO 8601 without marks: 20210131T235959Z
_NANOS = re.compile(r"(:\d\d\.\d{6})\d{1,3}(?!\d)")  # Wireshark's; strptime reads six digits
_OWN = ("iso", "clock", "span", "half day", "days", "no year")  # known otherwise than by a format
_NO_YEAR = re.compile(r"(\d\d)-(\d\d) (\d\d:\d\d:\d\d)")
_COMMA = re.compile(r"(:\d\d),(\d{1,9})(?!\d)")  # 10:00:00,250
_SPAN = re.compile(r"(\d{1,15}(?:\.\d{1,12})?) ?(s|sec|ms|us|ns)")
_SPAN_S = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def parse_time(text: str, known: str = "") -> tuple[float, str] | None:
    """Return the seconds since 1970 (or since midnight, for a mere clock) that `text` names, and its format.

    Args:
        text: ISO 8601, a date and time in a usual order, ``H:MM:SS.fff``, ``1:02 PM`` or ``0.5s``. Without
            a zone, UTC is taken.
        known: the format of the field above, tried first.

    Returns:
        ``None`` when it is no time.
    """
    text = text.strip().strip('"')
    if known in ("", "span") and (span := _SPAN.fullmatch(text)):
        return float(span[1]) * _SPAN_S[span[2]], "span"
    if (days := _DAYS.fullmatch(text)) and (rest := parse_time(days[2], "clock")):
        return int(days[1]) * 86_400.0 + rest[0], "days"
    if not 4 <= len(text) <= 40 or not text[-1:].strip():
        return None
    if not any(c in text for c in ":.-_") and not _BASIC.match(text):
        return None
    if is_number(text):
        return None
    text = _NANOS.sub(r"\1", _COMMA.sub(r"\1.\2", _ZONE.sub("", text))).replace(", ", " ")
    if known in ("", "iso"):
        try:
            moment = datetime.fromisoformat(text.replace("UTC", "+00:00").replace(" +", "+"))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), "iso"
        except (ValueError, OverflowError):
            pass
    if known in ("", "clock") and (match := _CLOCK.fullmatch(text)):
        hours, minutes, seconds, thousandths = match.groups()
        if thousandths is not None and hours is None:  # 08:22:123: nobody can tell which part is missing
            return None
        whole = int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
        return whole + int(thousandths or 0) / 1000.0, "clock"
    if known in ("", "half day") and (match := _HALF_DAY.fullmatch(text)):
        hours, minutes, seconds, half = match.groups()
        if not 1 <= int(hours) <= 12:
            return None
        return (int(hours) % 12 + 12 * (half in "pP")) * 3600.0 + int(minutes) * 60 + float(seconds or 0), "half day"
    if known in ("", "no year") and (match := _NO_YEAR.fullmatch(text)):  # dstat's; a leap year has all days
        dated = parse_time(f"2000-{match[2]}-{match[1]} {match[3]}", "iso")
        return None if dated is None else (dated[0], "no year")
    for format in (known,) if known and known not in _OWN else _TIME_FORMATS:
        try:
            return datetime.strptime(text, format).replace(tzinfo=UTC).timestamp(), format
        except (ValueError, OverflowError):
            continue
    return None


def seconds_of(column: list[str]) -> NDArray[np.float64] | None:
    """Return the moments that a column of text names, in seconds; NaN where one is none; ``None`` if most are none.

    Days, months and years that could be swapped (``03/02/2021``, ``03/02/21``) are read in the order that fits all
    cells; where several do, in the one that makes the log shorter. A clock that passes midnight goes on.
    """
    first = next((cell for cell in column if cell.strip()), "").strip().strip('"')
    orders = next((orders for shape, orders in _ORDERS if shape.match(first)), ())
    readings = [found for order in orders or [""] if (found := _seconds_of(column, order)) is not None]
    if not readings:
        return None
    missing = [int(np.isnan(found).sum()) for found in readings]
    best = [found for found, lost in zip(readings, missing, strict=True) if lost == min(missing)]
    return min(best, key=lambda found: float(np.nanmax(found) - np.nanmin(found)))


def _seconds_of(column: list[str], order: str) -> NDArray[np.float64] | None:
    out = np.full(len(column), np.nan)
    known, misses = "", 0
    days, before = 0.0, math.nan
    for i, cell in enumerate(column):
        found = parse_time(cell, known) if known or not order else None
        if found is None and known and not order:
            found = parse_time(cell)
        if found is None and order:
            found = next((f for k in _TIME_FORMATS if k.startswith(order) and (f := parse_time(cell, k))), None)
        if found is None:
            misses += 1
            if misses > 5 and misses > 0.5 * (i + 1):
                return None
            continue
        moment, known = found
        if known in ("clock", "half day"):
            days += 86_400.0 * (moment + days < before - 43_200.0)
            moment += days
            before = moment
        out[i] = moment
    return out if misses < 0.5 * len(column) else None


# Ticks of 100 ns, by where they begin: .NET counts from the year 1, Windows from 1601; both end in the year 2070.
_TICKS = ((6.2e17, 6.54e17, 621_355_968e9), (1.19e17, 1.48e17, 116_444_736e9))


def _clock_digits(values: NDArray[np.float64], good: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the seconds of a clock written as one number (93059, 93100, …), which steps evenly only if read so."""
    if len(good) < 10 or good.min() < 0 or good.max() >= 240_000:
        return None
    hours, minutes, seconds = values // 10_000, values // 100 % 100, values % 100
    known = np.isfinite(values)
    if (minutes[known] >= 60).any() or (seconds[known] >= 60).any():
        return None
    written, read = np.diff(good), np.diff((hours * 3600 + minutes * 60 + seconds)[known])
    even = (read > 0).all() and (np.abs(read - np.median(read)) <= 1.0).mean() > 0.9
    jumps = np.abs(written - read) > 1.0
    return hours * 3600 + minutes * 60 + seconds if even and jumps.any() and jumps.mean() < 0.5 else None


def calendar_seconds(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the seconds since 1970 of numbers that write a calendar, or ``None`` where they count something else.

    A calendar are the digits of date and time (``20210131235959``, also without seconds or with milliseconds) and the
    ticks of .NET and of Windows. Read as a count, a minute of such digits would be a tenth of a second.
    """
    good = values[np.isfinite(values)]
    if len(good) < 2:
        return None
    low, high = float(good.min()), float(good.max())
    for first, last, epoch in _TICKS:
        if first <= low and high <= last:
            return (values - epoch) * 1e-7
    if (clock := _clock_digits(values, good)) is not None:
        return clock
    places = next((n for n in (12, 14, 17) if 1.97 * 10.0 ** (n - 1) <= low and high < 2.1 * 10.0 ** (n - 1)), 0)
    if not places:
        return None
    digits = values * 10.0 ** (14 - places)
    whole = np.floor(digits)
    parts = np.stack([np.floor(whole / 10.0**at) % size for at, size in ((10, 1e4), (8, 100), (6, 100), (4, 100),
                                                                         (2, 100), (0, 100))])  # fmt: skip
    least = np.array([1970, 1, 1, 0, 0, 0])[:, None]
    most = np.array([2099, 12, 31, 23, 59, 59])[:, None]
    known = np.isfinite(values)
    if not ((parts >= least) & (parts <= most))[:, known].all():
        return None
    year, month, day, hour, minute, second = np.where(known, parts, least)
    months = (year.astype(np.int64) - 1970) * 12 + month.astype(np.int64) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    seconds = days * 86_400.0 + hour * 3600 + minute * 60 + second + (digits - whole)
    return np.where(known, seconds, np.nan)
