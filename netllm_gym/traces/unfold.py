"""What tools write into one cell, or above a table, as plain columns: ARFF's declarations, tuples, Unreal's triples."""

from __future__ import annotations

import csv
import re

MAX_COLUMNS = 2_000
SNIFF_LINES = 40
COMMENT = ("#", "%", "//")


def fields_of(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line."""
    if delimiter == " ":
        return line.split()
    if '"' in line:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    return [cell.strip().strip("'") for cell in line.split(delimiter)]


_RULE = re.compile(r"\s*[|+]?\s*:?-{2,}[-+|: ]*")
_FOOT = re.compile(r"\(\d+ rows?\)")


def grid(lines: list[str]) -> list[str]:
    """Turn a table drawn with bars (Markdown, psql, mysql) into bare rows; leave other files as they are."""
    at = [i for i, line in enumerate(lines[:SNIFF_LINES]) if line.strip() and not line.startswith(COMMENT)]
    ruled = [i for i in at[:3] if _RULE.fullmatch(lines[i]) and ("|" in lines[i] or "+" in lines[i])]
    if not ruled or len(at) < 3 or "|" not in lines[at[0]] + lines[at[1]]:
        return lines
    bare = ["" if _RULE.fullmatch(line) or _FOOT.fullmatch(line.strip()) else line.strip() for line in lines]
    return [line[1:-1] if line[:1] == line[-1:] == "|" else line for line in bare]


def arff(lines: list[str]) -> list[str]:
    """Turn the declarations of an ARFF file into a header row; leave other files as they are."""
    first = next((line.lstrip().lower() for line in lines[:200] if line.strip() and line.lstrip()[0] != "%"), "")
    if not first.startswith("@relation"):
        return lines
    names: list[str] = []
    for number, line in enumerate(lines[: MAX_COLUMNS + 1000]):
        words = line.split(None, 2)
        if words and words[0].lower() == "@attribute" and len(words) > 1:
            names.append(words[1].strip("'\"").replace(",", " "))
        elif words and words[0].lower() == "@data" and number and names:
            return [""] * number + [",".join(names), *lines[number + 1 :]]
    return lines


_TUPLE = re.compile(r'"?[(\[]\s*([+-]?[\d.eE+-]+(?:\s*[,;]\s*[+-]?[\d.eE+-]+){1,3})\s*[)\]]"?')


def tuples(lines: list[str]) -> list[str]:
    """Unfold tuples such as Unity's ``(0.0, 0.7, 0.0, 0.7)`` under one name into columns ``name.x`` to ``name.w``.

    Files without a header, or whose first row holds no tuple, stay as they are.
    """
    body = [i for i, line in enumerate(lines[: SNIFF_LINES * 2]) if line.strip() and not line.startswith(COMMENT)]
    if len(body) < 2 or not _TUPLE.search(lines[body[1]]) or _TUPLE.search(lines[body[0]]):
        return lines
    shapes = {tuple(len(re.split("[,;]", match[1])) for match in _TUPLE.finditer(lines[i])) for i in body[1:]}
    if len(shapes) > 1 or "." not in "".join(match[1] for i in body[1:] for match in _TUPLE.finditer(lines[i])):
        return lines  # lists of numbers of something, such as a task's parents
    folded = _TUPLE.sub("\0", lines[body[1]])
    delimiter = next((mark for mark in (";", "\t", ",") if mark in folded), " ")
    names, cells = fields_of(lines[body[0]], delimiter), fields_of(folded, delimiter)
    if len(names) != len(cells):
        return lines
    sizes = iter(next(iter(shapes)))
    header = []
    for name, cell in zip(names, cells, strict=True):
        count = next(sizes) if cell == "\0" else 0
        header += [tuple_name(name.strip(), letter, count) for letter in tuple_letters(name)[:count]] or [name]
    unfolded = [_TUPLE.sub(lambda match: delimiter.join(re.split(r"\s*[,;]\s*", match[1])), line) for line in lines]
    unfolded[body[0]] = delimiter.join(header)
    return unfolded


def tuple_letters(name: str) -> str:
    """Return what the numbers under one name are: its own order of a quaternion, else x, y, z and w."""
    return "wxyz" if re.search(r"w\W*x\W*y\W*z", name.lower()) else "xyzw"


def tuple_name(name: str, letter: str, count: int) -> str:
    """Return the name of one number of a tuple; in brackets where a quaternion's order is no more than usual."""
    told = count < 4 or re.search(r"w\W*x\W*y\W*z|x\W*y\W*z\W*w", name.lower())
    return f"{name}.{letter}" if told else f"{name}[{letter}]"


_LABELLED = re.compile(r'"?[{(]?((?:[XYZPW]=-?[\d.]+(?:e-?\d+)?,?\s+){1,3}[YZWR]=-?[\d.]+(?:e-?\d+)?)[)}]?"?')
_TURNED = {"P": "pitch", "Y": "yaw", "R": "roll"}


def labelled(lines: list[str]) -> list[str]:
    """Unfold Unreal's ``P=1.0 Y=2.0 R=3.0`` and ``X=… Y=… Z=… W=…`` under one name into columns of their own.

    Those of x, y, z and w keep the sign of equality at the end of their names: it tells whose axes they are.
    """
    body = [i for i, line in enumerate(lines[: SNIFF_LINES * 2]) if line.strip() and not line.startswith(COMMENT)]
    if len(body) < 2 or not _LABELLED.search(lines[body[1]]) or _LABELLED.search(lines[body[0]]):
        return lines
    letters = [re.findall("[A-Z](?==)", match[1]) for match in _LABELLED.finditer(lines[body[1]])]
    folded = _LABELLED.sub("\0", lines[body[1]])
    delimiter = next((mark for mark in (";", "\t", ",") if mark in folded), "")
    names = lines[body[0]].split(delimiter or None)
    cells = folded.split(delimiter or None)
    if len(names) != len(cells):
        return lines
    inner = iter(letters)
    header = []
    for name, cell in zip(names, cells, strict=True):
        own = next(inner) if cell.strip() == "\0" else []
        turned = own == ["P", "Y", "R"]
        header += [f"{name.strip()}.{_TURNED[x] if turned else x.lower() + '='}" for x in own] or [name]
    mark = delimiter or " "
    out = [_LABELLED.sub(lambda m: mark.join(re.findall(r"=([^,\s]+)", m[1])), line) for line in lines]
    out[body[0]] = mark.join(header)
    return out
