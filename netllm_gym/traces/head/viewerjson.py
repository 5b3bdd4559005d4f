"""Head logs in JSON: wherever a document holds a list of samples with a time and an orientation, that is a log.

Samples are objects (``{"sec": 0.2, "yaw": 3, …}``), or columns (``{"time": […], "yaw": […]}``). Who watched what stands
beside them (``filename``, ``user``, …), at any level above. AVTrack360's files are of this kind.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.head.columns import by_numbers
from netllm_gym.traces.head.fields import _USER, _VIDEO, _plain, by_header
from netllm_gym.traces.jsontext import read_documents
from netllm_gym.traces.moments import is_number, seconds_of
from netllm_gym.traces.tables import LONGEST_EXACT, Table
from netllm_gym.traces.text import decode
from netllm_gym.traces.unfold import tuple_letters, tuple_name

MAX_LOGS = 100_000
MAX_KEYS = 64
# Columns of one log may differ in length by no more than this share: the last samples are then left out.
RAGGED = 0.01
_HEAD = re.compile(r"hm|hmd|head(_?(motions?|movements?|poses?|rotations?|orientations?|data|logs?))?")
_EYES = re.compile(
    r"((left|right|l|r|combined)_?)?(em|eyes?|gazes?|hands?|controllers?)(_?(motions?|movements?|poses?|data|logs?))?"
)
_PERSON = re.compile(r"(user|viewer|subj|participant|person|observer)|[ups]\d{1,4}$")
_COUNTED = re.compile(r"(video|vid|v|clip|scene|user|u|viewer|subject|subj|s|participant|p|uid)[-_ ]?\w{0,20}\d", re.I)


def read_viewer_json(data: bytes, name: str) -> list[tuple[str, str, Table]]:
    """Return the logs of a document, or of a file with a document a line, as ``(user, video, table)``.

    Of an object that holds a head's log, those of eyes and hands beside it are left out.

    Raises:
        TraceFormatError: not JSON, or no log inside.
    """
    text = decode(data, name)
    documents: Any = read_documents(text, name)
    logs: list[tuple[str, str, Table]] = []
    _walk(documents, {}, (), name, logs, 0)
    if not logs:
        raise TraceFormatError(name, "no list of samples with a time and an orientation in this JSON")
    return logs


def _flat(sample: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return a sample with its inner objects and triples unfolded: ``{"q": {"x": 1}}`` → ``{"q.x": 1}``."""
    out: dict[str, Any] = {}
    for key, value in sample.items():
        if isinstance(value, dict) and depth < 3:
            out.update({f"{key}.{k}": v for k, v in _flat(value, depth + 1).items()})
        elif isinstance(value, list) and 2 <= len(value) <= 4 and all(isinstance(v, int | float) for v in value):
            letters = tuple_letters(key) if len(value) == 4 else "xyz"
            out.update({tuple_name(key, c, len(value)): v for c, v in zip(letters, value, strict=False)})
        else:
            out[key] = value
    return out


def _walk(
    node: Any, context: dict[str, str], keys: tuple[str, ...], name: str, logs: list[tuple[str, str, Table]], depth: int
) -> None:
    if depth > 40 or len(logs) >= MAX_LOGS:
        return
    if isinstance(node, list):
        dicts = bool(node) and all(isinstance(item, dict) for item in node[:50])
        table = _samples(node, name) if dicts else _rows(node, name)
        if table is not None:
            logs.append((*_named(context, keys), table))
            return
        for item in node:
            if isinstance(item, list | dict):
                _walk(item, context, keys, name, logs, depth + 1)
    elif isinstance(node, dict):
        below = dict(context)
        for key, value in node.items():
            plain = _plain(str(key))
            if isinstance(value, str | int) and not isinstance(value, bool):
                if _USER.fullmatch(plain):
                    below["user"] = str(value)[:80]
                elif _VIDEO.fullmatch(plain):
                    below["video"] = str(value)[:80]
        table = _columns(node, name) or _by_time(node, name)
        if table is not None:
            logs.append((*_named(below, keys), table))
            return
        inner = {key: value for key, value in node.items() if isinstance(value, list | dict)}
        eyes = [key for key in inner if _EYES.fullmatch(_plain(str(key)))]
        if any(_HEAD.fullmatch(_plain(str(key))) for key in inner):  # what eyes and hands did stands beside it
            inner = {key: value for key, value in inner.items() if key not in eyes}
        for key, value in inner.items():
            # A key among siblings names what it holds, and so does one that counts.
            named = len(inner) > 1 or _COUNTED.fullmatch(str(key))
            labels = (*keys, str(key)[:80]) if named else keys
            _walk(value, below, labels, name, logs, depth + 1)


def _named(context: dict[str, str], keys: tuple[str, ...]) -> tuple[str, str]:
    """Return user and video of a log: as the document says, else from the keys that lead to it."""
    user, video = context.get("user", ""), context.get("video", "")
    free = [key for key in keys if key not in (user, video)]
    if not user and len(free) == 1 and _PERSON.match(_plain(free[0])):
        user = free.pop()
    if not video and free:
        video = free[0] if len(free) < 2 or not _PERSON.match(_plain(free[0])) else free[-1]
        free.remove(video)
    if not user and free and len(keys) > 1:
        user = free[-1]
    return user, re.sub(r"\.(mp4|mkv|webm|avi|mov)$", "", video)


def _samples(items: list[Any], name: str) -> Table | None:
    begin = [_flat(item) for item in items[:20]]  # a tracker that was lost writes null at first
    keys = list(dict.fromkeys(k for item in begin for k, x in item.items() if isinstance(x, int | float | str)))[
        :MAX_KEYS
    ]
    if len(keys) < 3:
        return None
    trial = _table(keys, begin, name)
    if not _is_log(trial):
        return None
    return _table(keys, [_flat(item) if isinstance(item, dict) else {} for item in items], name)


def _rows(items: list[Any], name: str) -> Table | None:
    """Return a list of rows without names, whose numbers must show what they are."""
    first = items[0] if items else None
    if not isinstance(first, list) or len(items) < 2 or not 3 <= len(first) <= MAX_KEYS:
        return None
    if not all(isinstance(row, list) and len(row) == len(first) for row in items):
        return None
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in first):
        return None
    keys = [str(c) for c in range(len(first))]
    table = replace(_table(keys, [dict(zip(keys, row, strict=True)) for row in items], name), header=None)
    try:
        by_numbers(table)
    except TraceFormatError:
        return None
    return table


def _table(keys: list[str], samples: list[dict[str, Any]], name: str) -> Table:
    texts: dict[int, list[str]] = {}
    exact: dict[int, list[str]] = {}
    values = np.full((len(samples), len(keys)), np.nan)
    for c, key in enumerate(keys):
        column = [sample.get(key) for sample in samples]
        if any(isinstance(value, str) for value in column):
            texts[c] = ["" if value is None else str(value) for value in column]
        elif any(isinstance(value, int) and abs(value) >= LONGEST_EXACT for value in column):
            exact[c] = [str(value) for value in column]
        for i, value in enumerate(column):
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
                values[i, c] = float(value) if math.isfinite(value) else math.nan
    return Table(name, keys, values, texts, np.arange(1, len(samples) + 1), exact=exact)


def _columns(node: dict[str, Any], name: str) -> Table | None:
    lists = {str(k): v for k, v in node.items() if isinstance(v, list) and v and isinstance(v[0], int | float)}
    if len(lists) < 3 or len(lists) > MAX_KEYS:
        return None
    lengths = [len(column) for column in lists.values()]
    count = min(lengths)
    if max(lengths) - count > max(1, RAGGED * max(lengths)):
        return None
    samples = [{key: column[i] for key, column in lists.items()} for i in range(count)]
    table = _table(list(lists), samples, name)
    return table if _is_log(table) else None


def _by_time(node: dict[str, Any], name: str) -> Table | None:
    """Return samples that stand under their times: ``{"0.0": {"yaw": 1, …}, "0.2": …}``."""
    if len(node) < 2 or not all(isinstance(value, dict) for value in islice(node.values(), 50)):
        return None
    keys = [str(key) for key in node]
    if seconds_of(keys[:50]) is None and not all(is_number(key) for key in keys[:50]):
        return None
    if (own := _samples([*node.values()], name)) is not None:
        return own  # numbered samples, which tell their own time
    if all(key == str(i) for i, key in enumerate(keys, start=int(keys[0] == "1"))):
        return None  # numbers of frames, and nothing tells how many there are a second
    return _samples([{"time": float(k) if is_number(k) else k, **v} if isinstance(v, dict) else {}
                     for k, v in zip(keys, node.values(), strict=True)], name)  # fmt: skip


def _is_log(table: Table) -> bool:
    found = by_header(table)
    return found is not None and found.time >= 0
