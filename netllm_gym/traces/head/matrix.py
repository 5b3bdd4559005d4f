"""Rotation matrices in head logs, as the quaternions that the other readers know.

Nine columns named by row and column (``m00`` to ``m22``, ``r11`` to ``r33``; of sixteen the turn is the upper left
part), or a cell of three rows of three numbers, turn the head's own axes into the world's, as Unity's ``mRC`` do. What
is no rotation stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from netllm_gym.traces.tables import Table

_NAME = re.compile(r"(.*?)[ _.\[(]*([0-3])[ _,.\]\[]*([0-3])[\])]?")
_CELL = re.compile(r"[\[(\s]*([-+\d.eE]+(?:[\],;\s\[]+[-+\d.eE]+){8})[\])\s]*")
SAID = "rotation matrices: row by row, their columns are the axes of the head"


def unturned(table: Table) -> Table:
    """Return a table with a quaternion ``matrix.x`` to ``matrix.w`` for a rotation matrix; others as they are."""
    if table.header is None:
        return table
    found = _columns(table.header)
    if found is not None:
        turns = table.values[:, found]
    elif (cells := _cells(table)) is not None:
        turns = cells
    else:
        return table
    turns = turns.reshape(-1, 3, 3)
    good = np.asarray(np.isfinite(turns).all(axis=(1, 2)))
    square = np.einsum("nij,nkj->nik", turns[good], turns[good])
    off = np.abs(square - np.eye(3)).max(axis=(1, 2))
    if not good.any() or (off > 0.02).mean() > 0.05:
        return table
    good[good] = (np.linalg.det(turns[good]) > 0.9) & (off < 0.2)  # beyond it is damage, not rounding
    from scipy.spatial.transform import Rotation

    quaternion = np.full((len(turns), 4), np.nan)
    if good.any():
        quaternion[good] = Rotation.from_matrix(turns[good]).as_quat()
    keep = [i for i in range(table.width) if i not in set(found or ())]
    rest = table.columns(keep, [table.header[i] for i in keep])
    header = [*(table.header[i] for i in keep), *(f"matrix.{c}" for c in "xyzw")]
    return replace(rest, header=header, values=np.column_stack([rest.values, quaternion]))


def _columns(header: list[str]) -> list[int] | None:
    """Return the columns of a matrix, row by row, or ``None`` where names make up none."""
    groups: dict[str, dict[tuple[int, int], int]] = {}
    for i, name in enumerate(header):
        if match := _NAME.fullmatch(name.strip()):
            groups.setdefault(match[1].lower(), {})[int(match[2]), int(match[3])] = i
    for places in groups.values():
        first = 0 if (0, 0) in places else 1
        wanted = [(row, column) for row in range(first, first + 3) for column in range(first, first + 3)]
        if len(places) in (9, 12, 16) and all(place in places for place in wanted):
            return [places[place] for place in wanted]
    return None


def _cells(table: Table) -> np.ndarray | None:
    """Return the matrices of a column whose cells hold nine numbers in brackets, or ``None``."""
    for cells in table.texts.values():
        if len(cells[0]) > 400 or not _CELL.fullmatch(cells[0].strip()):
            continue
        out = np.full((len(cells), 9), np.nan)
        for row, cell in enumerate(cells):
            if len(cell) <= 400 and _CELL.fullmatch(cell.strip()):
                try:
                    out[row] = [float(x) for x in re.findall(r"[-+\d.eE]+", cell)]
                except ValueError:
                    continue
        return out
    return None
