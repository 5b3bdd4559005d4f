"""Head logs with several viewers beside each other: ``time, user1_yaw, user1_pitch, user2_yaw, user2_pitch``."""

from __future__ import annotations

import re

from netllm_gym.traces.head.fields import by_header
from netllm_gym.traces.tables import Table

_WHO = (
    r"(?:users?|viewers?|subjects?|subj|participants?|persons?|observers?|players?)[ _.#-]?\d{1,6}|u\d{1,6}|[ps]\d{2,6}"
)
_FIRST = re.compile(rf"({_WHO})[ _.:/-]+(\S.*)", re.I)
_LAST = re.compile(rf"(\S.*?)[ _.:/-]+({_WHO})", re.I)


def by_viewer(table: Table) -> list[tuple[str, Table]]:
    """Return a viewer and his columns, with those that all share, for each viewer that names tell; else nothing.

    Every viewer must have the same columns, two or more, and they must be an orientation: ``x1, y1, x2, y2`` may be a
    head and a gaze as well as two viewers, so a number alone is no viewer.
    """
    if table.header is None:
        return []
    whose: dict[str, dict[str, int]] = {}
    shared: list[int] = []
    for column, name in enumerate(table.header):
        if match := _FIRST.fullmatch(name.strip()):
            whose.setdefault(match[1], {})[match[2]] = column
        elif match := _LAST.fullmatch(name.strip()):
            whose.setdefault(match[2], {})[match[1]] = column
        else:
            shared.append(column)
    parts = [*whose.values()]
    if len(parts) < 2 or len(parts[0]) < 2 or any(set(part) != set(parts[0]) for part in parts):
        return []
    common = [table.header[column] for column in shared]
    found = [(user, table.columns([*shared, *own.values()], [*common, *own])) for user, own in whose.items()]
    return found if by_header(found[0][1]) is not None else []
