"""Tables in text files, whatever their delimiter: numbers as an array, the rest as text, with line numbers.

Commas, semicolons, tabs or blanks separate fields; lines that begin with ``#`` or ``%`` are comments; a first row that
holds words is a header. Nothing is guessed about the meaning of a column here.
"""

from __future__ import annotations

import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.moments import is_number, parse_time
from netllm_gym.traces.text import decode
from netllm_gym.traces.unfold import COMMENT, MAX_COLUMNS, SNIFF_LINES, arff, fields_of, grid, labelled, tuples

# More cells than any trace file has; what lies above is refused before it is stored.
MAX_CELLS = 60_000_000
LONGEST_EXACT = 2.0**53
_UNIT_APART = re.compile(r"(?<=[A-Za-z])\s+(?=[(\[][A-Za-z][^()\[\]]*[)\]])")
_MEASURE = re.compile(r"[+-]?\d+(\.\d+)? ?[A-Za-z][A-Za-z/]{0,12}")


@dataclass
class Table:
    """A parsed table.

    Attributes:
        name: for messages.
        header: names of the columns, or ``None``.
        values: shape ``[rows, columns]``; NaN where a field is no number.
        texts: column → fields, for columns that are not numbers throughout.
        lines: line of each row in the file, shape ``[rows]``.
        short: rows at the end with too few fields (a file cut off while it was written).
        ragged: rows left out because they have another number of fields.
        exact: column → fields, for columns of whole numbers with more digits than `values` hold (ids).
    """

    name: str
    header: list[str] | None
    values: NDArray[np.float64]
    texts: dict[int, list[str]] = field(default_factory=dict)
    lines: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    short: int = 0
    exact: dict[int, list[str]] = field(default_factory=dict)
    ragged: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    def cell(self, column: int, row: int) -> str:
        """Return a field as it is written, or the number it holds: all digits of an id, which tell ids apart."""
        written = self.texts.get(column) or self.exact.get(column)
        return f"{self.values[row, column]:.15g}" if written is None else written[row].strip()

    def rows(self, keep: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Table:
        """Return the table of some rows."""
        at = np.arange(len(self))[keep]
        texts = {c: [column[i] for i in at] for c, column in self.texts.items()}
        exact = {c: [column[i] for i in at] for c, column in self.exact.items()}
        return Table(self.name, self.header, self.values[at], texts, self.lines[at], exact=exact)

    def columns(self, keep: Sequence[int], header: Sequence[str]) -> Table:
        """Return the table of some columns, under names of `header`."""
        texts = {i: self.texts[c] for i, c in enumerate(keep) if c in self.texts}
        exact = {i: self.exact[c] for i, c in enumerate(keep) if c in self.exact}
        return Table(self.name, [*header], self.values[:, [*keep]], texts, self.lines, self.short, exact)


def _delimiter(lines: list[str]) -> str:
    """Return what separates the fields: the first candidate that cuts nearly all lines into equally many.

    A semicolon or a tab that cuts the first line like the others goes before a comma, which may be a decimal one.
    """
    lines = [re.sub(r'"[^"]*"', '"', line) for line in lines]  # what is quoted separates nothing
    for candidate in (";", "\t", "|"):
        number, times = Counter(line.count(candidate) for line in lines).most_common(1)[0]
        if number and times >= 0.9 * len(lines) and lines[0].count(candidate) == number:
            return candidate
    for candidate in (",", ";", "\t"):
        counts = Counter(line.count(candidate) for line in lines)
        number, times = counts.most_common(1)[0]
        if number and times >= 0.6 * len(lines):
            return candidate
    return " "


def read_table(data: bytes, name: str, ragged: float = 0.0) -> Table:
    """Parse a table.

    Args:
        data: content of the file.
        name: for messages.
        ragged: share of the rows that may have another number of fields, and are left out then; five times as many may
            be lines of words (a logger's errors).

    Raises:
        TraceFormatError: no text, no rows, or rows of different lengths.
    """
    text = decode(data, name)
    content: list[str] = []
    begin, comment = 0, ""
    lines = tuples(labelled(grid(arff(text.splitlines()))))
    if lines and re.fullmatch(r"(?i)sep=.", lines[0].strip("\ufeff ")):
        lines[0] = ""  # what Excel is told
    for number, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or (stripped.startswith(COMMENT) and not content):
            comment = stripped.lstrip("#%/ ").removeprefix("Fields:").strip() or comment  # a web server's
            continue
        begin = begin if content else number
        content.append(stripped)
        if len(content) >= SNIFF_LINES:
            break
    if not content:
        raise TraceFormatError(name, "holds no rows")
    delimiter = _delimiter(content)
    if delimiter == " ":  # "time (s) rate (kbps)" are two names
        lines[begin] = content[0] = _UNIT_APART.sub("_", content[0])
        comment = _UNIT_APART.sub("_", comment)
        for place, line in _names_apart(content):
            at = next(i for i in range(begin, len(lines)) if lines[i].strip() == content[place])
            lines[at] = content[place] = line
    if (names := _parted_otherwise(content, delimiter)) is not None:
        lines[begin] = content[0] = names
    above_rows = _preamble(content, delimiter)
    if above_rows:
        content = content[above_rows:]
        begin = next(i for i in range(begin, len(lines)) if lines[i].strip() == content[0])
    first = fields_of(content[0], delimiter)
    following = [fields_of(line, delimiter) for line in content[1:3]]
    header = _header(first, following)
    start = begin + (header is not None)
    if header is not None and len(content) > 2 and (second := _second_header(header, *following)) is not None:
        header = second
        start = next(i for i in range(start, len(lines)) if lines[i].strip() == content[1]) + 1
    if header is None and comment:  # the names may stand in a comment above the rows
        cuts = [fields_of(comment, mark) for mark in (delimiter, " ")]
        above = next((cut for cut in cuts if len(cut) == len(first)), [])
        header = _header(above, [first]) if len(above) == len(first) > 1 else None
    if header is not None and len(header) > MAX_COLUMNS:
        raise TraceFormatError(name, f"more than {MAX_COLUMNS} columns", begin + 1)
    if len(lines) * max(len(first), 1) > MAX_CELLS:
        raise TraceFormatError(name, f"more than {MAX_CELLS} fields")
    fast = _fast(lines, start, delimiter, len(header or first))
    if fast is None:
        return _slow(lines, start, delimiter, header, name, ragged if delimiter != " " else 0.0)
    long = np.flatnonzero((np.abs(fast[0]) >= LONGEST_EXACT).any(axis=0)).tolist()
    cells = [fields_of(line, delimiter) for line in lines[start:]] if long else []
    return Table(name, header, *fast, exact={c: [row[c] for row in cells] for c in long})


def _names_apart(content: list[str]) -> list[tuple[int, str]]:
    """Return the rows above a table between blanks whose names hold blanks, which wider gaps part, with those joined.

    ``KB/s in  KB/s out`` are the names of two columns; as four words they would be taken for no names at all.
    """
    widths = [len(line.split()) for line in content]
    usual, times = Counter(widths).most_common(1)[0]
    out = []
    for place, line in enumerate(content[:20]):
        names = re.split(r"\s{2,}|\t", line)
        if times < 2 or is_number(line.split()[0]) or widths[place] == usual:
            break
        if len(names) == usual > 1 and not any(is_number(name) for name in names):
            out.append((place, " ".join(re.sub(r"\s+", "_", name) for name in names)))
            break
    return out


def _parted_otherwise(content: list[str], delimiter: str) -> str | None:
    """Return names that another mark parts than the rows below them (``Time x y`` over ``0,1,2``), with theirs.

    A mark behind the last name is taken off. ``None`` where the line is as wide as the others, or holds other names.
    """
    widths = [len(fields_of(line, delimiter)) for line in content]
    usual, times = Counter(widths[1:]).most_common(1)[0] if len(widths) > 2 else (0, 0)
    if usual < 3 or widths[0] == usual or times < 0.9 * len(widths[1:]):
        return None
    if widths[0] == usual + 1 and content[0].endswith(delimiter) and delimiter != " ":
        return content[0][:-1]  # a mark behind the last name
    for mark in (",", ";", "\t", "|", " "):
        names = fields_of(content[0], mark) if mark != delimiter else []
        if len(names) == usual and not any(is_number(name) or delimiter in name for name in names):
            return delimiter.join(re.sub(r"\s+", "_", name) if delimiter == " " else name for name in names)
    return None


def _preamble(content: list[str], delimiter: str) -> int:
    """Return how many of the first lines stand above a table of equally many fields a row (``Device: Pixel 5``)."""
    widths = [len(fields_of(line, delimiter)) for line in content]
    usual, times = Counter(widths).most_common(1)[0]
    heads = (usual, usual - 1) if usual > 2 else (usual,)  # a header may leave out the row numbers in front
    if usual < 2 or times < 4 or widths[0] in heads:
        return 0
    numbers = any(is_number(cell) for cell in fields_of(content[1], delimiter))
    if widths[0] > usual > 2 and widths[1:].count(usual) == len(widths) - 1 and numbers:
        return 0  # names, of which one has no column below
    above = next(i for i, width in enumerate(widths) if width in heads)
    return above if above <= 20 and all(width == usual for width in widths[above + 1 :]) else 0


def _second_header(header: list[str], second: list[str], third: list[str]) -> list[str] | None:
    """Return the names with the row of units, or of inner names, that stands between them and the numbers."""
    if not len(header) == len(second) == len(third):
        return None
    below = [c for c, cell in enumerate(third) if is_number(cell)]
    blank = ("", "-", "--", "nan", "na", "n/a", "null", "none", "inf")
    if not below or any(is_number(x) or parse_time(x) is not None for x in second):
        return None
    named = [c for c in below if second[c].lower() not in blank and second[c].strip("()[]")[:1].isalpha()]
    bare = [c for c in below if not second[c] and header[c]]  # what needs no unit, or no inner name
    if len(named) + len(bare) < len(below) or len(named) < len(bare):
        return None
    if all(header) and len(set(header)) == len(header):
        return [f"{name} [{unit.strip('()[] ')}]" if unit.strip("()[] ") else name
                for name, unit in zip(header, second, strict=True)]  # fmt: skip
    outer = ""
    joined = []
    for name, inner in zip(header, second, strict=True):
        outer = name or outer
        joined.append(f"{outer} {inner}".strip())
    return joined


def _header(first: list[str], following: list[list[str]]) -> list[str] | None:
    """Return the names of the first row, if it is one: words that are neither numbers nor times."""
    words = [
        cell
        for c, cell in enumerate(first)
        if cell and not is_number(cell) and parse_time(cell) is None and not _measures(c, cell, following)
    ]
    if not words or not any(any(c.isalpha() for c in word) for word in words):
        return None
    numbers = sum(is_number(cell) for cell in first)
    below = max((sum(is_number(cell) for cell in row) for row in following), default=0)
    # Rows of words and numbers without a header repeat their words ("frame,1,forward,0.5").
    if numbers and (numbers >= below or any(set(words) <= set(row) for row in following)):
        return None
    return [cell.strip().strip('"').lstrip("#").strip() for cell in first]


def _measures(column: int, cell: str, following: list[list[str]]) -> bool:
    """Tell whether a cell is a number with its unit, as those below it are: ``5mbit`` over ``7mbit`` is no name."""
    below = [row[column] for row in following if column < len(row)]
    return bool(below) and all(_MEASURE.fullmatch(text) for text in (cell, *below))


def _fast(
    lines: list[str], start: int, delimiter: str, width: int
) -> tuple[NDArray[np.float64], dict[int, list[str]], NDArray[np.int64], int] | None:
    """Parse rows of nothing but numbers at once, or return ``None``."""
    body = lines[start:]
    if not body or any(not line or line[0] in "#%/" for line in body):
        return None
    if len(body) < 500:  # the slow path is faster than starting pandas
        return None
    import pandas as pd

    separator = r"\s+" if delimiter == " " else delimiter
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer pandas deprecate the argument: there, exact is the default
            frame = pd.read_csv(
                io.StringIO("\n".join(body)), sep=separator, header=None, dtype=np.float64, na_filter=False,
                float_precision="round_trip",
            )  # fmt: skip
    except (ValueError, OverflowError, MemoryError):
        return None
    values = frame.to_numpy()
    if values.shape != (len(body), width) or not np.isfinite(values).all():
        return None
    return values, {}, np.arange(start + 1, start + 1 + len(body)), 0


def _slow(lines: list[str], start: int, delimiter: str, header: list[str] | None, name: str, ragged: float) -> Table:
    odd: list[TraceFormatError] = []
    weight = 0.0
    rows: list[list[str]] = []
    numbers: list[int] = []
    short = 0
    width = len(header) if header else 0
    try:
        for number, line in enumerate(lines[start:], start=start + 1):
            stripped = line.strip()
            if not stripped or stripped.startswith(COMMENT):
                continue
            cells = fields_of(stripped if delimiter == " " else line, delimiter)
            if len(cells) > width and width and all(not cell for cell in cells[width:]):
                cells = cells[:width]  # a delimiter at the end of every line
            if not width:
                width = len(cells) - (header is None and len(cells) > 1 and not cells[-1] and delimiter != " ")
                cells = cells[:width]
            if len(cells) != width:
                if number == len(lines) and len(cells) < width and len(rows) > 1:
                    short += 1  # cut off while it was written
                    continue
                if header and len(rows) == 0 and len(cells) == width + 1:
                    width += 1  # a header that does not name the row numbers in front
                    header = ["index", *header]
                else:
                    odd.append(TraceFormatError(name, f"expected {width} columns, found {len(cells)}", number))
                    words = len(cells) == 1 and not is_number(cells[0])  # a logger's "no route to host"
                    weight += 0.2 if words else 1.0
                    if not rows or weight > ragged * len(lines):
                        raise odd[0]
                    continue
            if header is not None and cells[0] == header[0] and cells == header:
                continue  # files that were joined
            rows.append(cells)
            numbers.append(number)
    except csv.Error as error:
        raise TraceFormatError(name, f"not CSV ({error})") from None
    if not rows:
        raise TraceFormatError(name, "holds no rows below its header")
    if weight > ragged * (len(rows) + len(odd)):
        raise odd[0]
    if width > MAX_COLUMNS:
        raise TraceFormatError(name, f"more than {MAX_COLUMNS} columns", numbers[0])
    comma = (
        delimiter in (";", "\t", "|")
        and not any("." in cell for cell in rows[0])
        and any("," in cell for cell in rows[0])
    )
    values = np.full((len(rows), width), np.nan)
    texts: dict[int, list[str]] = {}
    exact: dict[int, list[str]] = {}
    for c in range(width):
        column = written = [row[c] for row in rows]
        if (grouped := _ungrouped(column)) is not None:
            column = grouped
        elif comma:
            column = [cell.replace(",", ".") if _DECIMAL.fullmatch(cell) else cell for cell in column]
        elif any("," in cell for cell in column[:200]):
            column = _plain_numbers(column)
        parsed = [float(cell) if is_number(cell) else math.nan for cell in column]
        values[:, c] = parsed
        if np.nanmax(np.abs(values[:, c]), initial=0.0) >= LONGEST_EXACT:
            exact[c] = written
        if not np.isfinite(values[:, c]).all():
            values[~np.isfinite(values[:, c]), c] = np.nan
            texts[c] = [_UNIT_COMMA.sub(r"\1.\2", cell) for cell in written] if comma else written
        if column is not written and (grouped is not None or not comma):
            texts[c] = written  # to whom "1,2" is a list, it stays one
    return Table(name, header, values, texts, np.array(numbers, np.int64), short, exact, len(odd))


_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_UNIT_COMMA = re.compile(r"^([+-]?\d+),(\d+)(?= ?[A-Za-z])")  # 1,87 Mbit/s
_DECIMAL = re.compile(r"[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d{1,4})?")


_APART = "'\u2019\u00a0\u202f\u2009"  # what Swiss, French and typographers put between thousands
_SPACED = re.compile(rf"[+-]?\d{{1,3}}([{_APART}]\d{{3}})+([.,]\d*)?")
_DOTTED = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+")
_DOTS = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d*)?")


def _ungrouped(column: list[str]) -> list[str] | None:
    """Return numbers whose thousands are set apart by marks that mean nothing else, or by dots before a decimal comma.

    ``10'500`` and ``1.234,5`` are such; ``1.234`` alone is one and a bit. ``None`` where no cell is.
    """
    if any(_SPACED.fullmatch(cell) for cell in column[:200]):
        return [re.sub(f"[{_APART}]", "", cell).replace(",", ".") if _SPACED.fullmatch(cell) else
                cell.replace(",", ".") if _DECIMAL.fullmatch(cell) else cell for cell in column]  # fmt: skip
    if any(_DOTTED.fullmatch(cell) for cell in column) and all(_DOTS.fullmatch(cell) for cell in column if cell):
        return [cell.replace(".", "").replace(",", ".") for cell in column]
    return None


def _plain_numbers(column: list[str]) -> list[str]:
    """Return cells with a comma in them as numbers, where only one meaning fits the whole column.

    ``1,234,567`` groups thousands, ``2,35`` is a decimal comma; ``2,350`` could be both and stays text.
    """
    cells = [cell for cell in column if "," in cell]
    grouped = all(_GROUPED.fullmatch(cell) for cell in cells)
    decimal = all(_DECIMAL.fullmatch(cell) for cell in column if cell)
    if grouped and (not decimal or any(cell.count(",") > 1 or "." in cell for cell in cells)):
        return [cell.replace(",", "") for cell in column]
    if decimal and not grouped:
        return [cell.replace(",", ".") for cell in column]
    return column


def twice(table: Table, columns: Sequence[int]) -> str:
    """Return a sentence about columns that are read although another has their name; empty if there is none."""
    header = table.header or []
    named = [header[c] for c in columns if 0 <= c < len(header) and header.count(header[c]) > 1]
    return f"several columns are called {named[0][:40]!r}: one of them is read" if named else ""
