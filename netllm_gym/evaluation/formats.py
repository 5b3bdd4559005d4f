"""How numbers look in tables: three decimals, a true minus sign, a dash for what does not exist.

Ends of intervals show the digits that another seed of the bootstrap would show too.
"""

from __future__ import annotations

import math
from typing import Any


def number(value: Any, digits: int = 3, signed: bool = False) -> str:
    """Return `value` with `digits` decimals, or two significant digits when it is smaller than they show."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        value = 0.0 if abs(value) < 5e-6 else value  # what rounding leaves of nothing
        small = value != 0 and abs(value) < 10 ** (1 - digits)
        sign = "+" if signed else ""
        return (f"{value:{sign}.2g}" if small else f"{value:{sign}.{digits}f}").replace("-", "−")
    return str(value)


def compact(value: float) -> str:
    """Return `value` with three significant digits, thousands and millions as ``k`` and ``M``."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= 10 * size:
            return f"{value / size:.3g}{letter}".replace("-", "−")
    return f"{value + 0.0:.3g}".replace("-", "−")


# Twenty thousand draws place an end of an interval within half a per cent of its width (one standard error): a
# printed unit of at least a thirty-fifth of the width is six of these.
UNITS = 35


def _decimals(low: float, high: float, most: int) -> int:
    width = high - low
    if math.isinf(width):  # an open interval: as one that reaches as far to both sides of zero
        width = 2 * max(0.0 if math.isinf(end) else abs(end) for end in (low, high))
    if not width:
        return most
    return max(0, min(most, math.floor(-math.log10(width / UNITS))))


def interval(low: float, high: float, signed: bool = False) -> str:
    """Return ``[low, high]``, or nothing when there is none; the narrower, the more decimals."""
    if math.isnan(low):
        return ""
    return _ends(low, high, _decimals(low, high, 5), "+" if signed else "", "")


def _ends(low: float, high: float, digits: int, sign: str, unit: str) -> str:
    """Write both ends. One that rounds to zero, in an interval that leaves zero out, still says on which side it is."""
    zeros = [abs(end) < 0.5 * 10**-digits for end in (low, high)]
    side = "" if all(zeros) else ">0" if low > 0 else "<0" if high < 0 else ""
    ends = []
    for end, zero in zip((low, high), zeros, strict=True):
        text = side if zero and side else f"{0.0 if zero else float(end):{sign}.{digits}f}"
        ends.append(text + unit)
    return f"[{', '.join(ends)}]".replace("-", "−").replace("inf", "∞")


def percent(value: float, signed: bool = False) -> str:
    """Return a share as per cent with one decimal."""
    if math.isnan(value):
        return "–"
    value = 0.0 if abs(value) < 5e-6 else value
    return f"{100 * value:{'+' if signed else ''}.1f} %".replace("-", "−")


def percent_interval(low: float, high: float, signed: bool = False) -> str:
    """Return ``[low %, high %]``, or nothing when there is none."""
    if math.isnan(low):
        return ""
    return _ends(100 * low, 100 * high, _decimals(100 * low, 100 * high, 1), "+" if signed else "", " %")


def pretty(name: str) -> str:
    """Return a column's name as a heading: acronyms in capitals, and without the unit, which is shown beside
    it.
    """
    known = {"qoe": "QoE", "mae": "MAE", "jct": "JCT"}
    for unit in ("_s", "_ms", "_mbps", "_deg"):
        name = name.removesuffix(unit)
    return " ".join(known.get(word, word) for word in name.split("_"))


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table, the first column to the left."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
