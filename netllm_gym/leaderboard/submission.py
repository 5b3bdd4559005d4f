"""What a submission is, and how one that may come from anybody is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netllm_gym.errors import ConfigError, DamagedError, DatasetError
from netllm_gym.evaluation.specs import digest_of

FORMAT = 1
MAX_BYTES = 256 * 1024
MAX_AGENTS = 64
MAX_EPISODES = 2_000
# Agents with weights of their own lie beside the submission, in this folder.
AGENTS = "agents"
_WORDS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*){0,3}")
_HEX = re.compile(r"[0-9a-f]{64}")
SCORES = ("mean", "ci_low", "ci_high", "difference", "difference_low", "difference_high")


@dataclass(frozen=True)
class Entry:
    """One agent of a submission.

    Attributes:
        label: its name in tables.
        name: its registered name, or ``agents/FOLDER`` beside the submission.
        kwargs: arguments of the agent: numbers, truth values and short names.
        training_seed: which training it comes from.
        weights: digest of its weights, empty for an agent without any.
        rows: digest of what it decided and earned.
    """

    label: str
    name: str
    kwargs: Mapping[str, Any]
    training_seed: int
    weights: str
    rows: str


@dataclass(frozen=True)
class Submission:
    """One evaluation that somebody submits.

    Attributes:
        path: the file.
        by, note: who, and a sentence.
        task, setting, profile: the setting of the catalog.
        traces: digest of its traces.
        metric: its name, and which side is better.
        episodes, seed: of the evaluation.
        baseline: label that differences are to.
        entries: the agents.
        scores: label → mean with its interval, difference with its interval, verdict.
        test_uses: how often the submitter's machine had scored agents on this test split by then.
        versions: of the packages.
    """

    path: Path
    by: str
    note: str
    task: str
    setting: str
    profile: str
    traces: str
    metric: Mapping[str, str]
    episodes: int
    seed: int
    baseline: str
    entries: tuple[Entry, ...]
    scores: Mapping[str, Mapping[str, Any]]
    test_uses: int
    versions: Mapping[str, str]


def read_submission(path: str | Path) -> Submission:
    """Read a submission, which may come from anybody: nothing in it is run or opened.

    Raises:
        DatasetError: no such file, or one that is not what :func:`submit` writes; one line says what is wrong.
        DamagedError: the content does not fit its digest.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        raise DatasetError(f"{path}: there is no such file")
    if path.stat().st_size > MAX_BYTES:
        raise DatasetError(f"{path}: {path.stat().st_size} bytes; a submission has at most {MAX_BYTES}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from None
    return checked(path, content)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


class _Reader:
    """Take values of the right kind out of an object; the first that is not is one line."""

    def __init__(self, path: Path, content: Any, where: str = "") -> None:
        self.path, self.where = path, where
        if not isinstance(content, dict):
            raise DatasetError(f"{path}: {where or 'the file'} must be a JSON object")
        self.content = content

    def fail(self, key: str, wanted: str) -> DatasetError:
        return DatasetError(f"{self.path}: {self.where}{key} must be {wanted}")

    def text(self, key: str, pattern: re.Pattern[str] | None = None, longest: int = _WORDS, empty: bool = True) -> str:
        value = self.content.get(key)
        if (
            not isinstance(value, str)
            or len(value) > longest
            or not (empty or value)
            or not (value + "x").isprintable()
        ):
            raise self.fail(key, f"printable text of at most {longest} characters")
        if pattern and value and not pattern.fullmatch(value):
            raise self.fail(key, f"text of the form {pattern.pattern}")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.content.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, f"a whole number from {low} to {high}")
        return value


def checked(path: Path, content: Any) -> Submission:
    """Return the submission that the parsed file `path` holds; raises as :func:`read_submission` does."""
    top = _Reader(path, content)
    if content.get("format") != FORMAT:
        raise DatasetError(f"{path}: format {content.get('format')!r}; this version reads {FORMAT}")
    signed = top.text("digest", _HEX, 64, empty=False)
    try:
        fits = digest_of({key: value for key, value in content.items() if key != "digest"}) == signed
    except (ConfigError, RecursionError, ValueError):
        fits = False
    if not fits:
        raise DamagedError(f"{path}: the content does not fit its digest; write it with netllm-gym submit")
    given = content.get("agents")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_AGENTS:
        raise top.fail("agents", f"a list of 1 to {MAX_AGENTS}")
    entries = tuple(_entry(path, number, one) for number, one in enumerate(given))
    if len({(entry.label, entry.training_seed) for entry in entries}) < len(entries):
        raise DatasetError(f"{path}: an agent stands twice")
    labels = {entry.label for entry in entries}
    scores = _Reader(path, content.get("scores"), "scores.").content
    if set(scores) != labels:
        raise top.fail("scores", "those of the agents listed")
    for label in labels:
        reader = _Reader(path, scores[label], f"scores.{label}.")
        reader.text("verdict")
        for key in SCORES:
            value = reader.content.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise reader.fail(key, "a number or null")
    metric, versions = (
        _Reader(path, content.get("metric"), "metric."),
        _Reader(path, content.get("versions"), "versions."),
    )
    submission = Submission(
        path, top.text("by"), top.text("note"), top.text("task", _NAME), top.text("name", _NAME),
        top.text("profile", _NAME), top.text("traces", _HEX, 64),
        {"name": metric.text("name", empty=False), "better": metric.text("better", re.compile("higher|lower"))},
        top.whole("episodes", 1, MAX_EPISODES), top.whole("seed", 0, 2**63), top.text("baseline", empty=False),
        entries, scores, top.whole("looks" if "looks" in content else "test_uses", 0, 10**6),
        {key: versions.text(key) for key in list(versions.content)[:64]},
    )  # fmt: skip
    if submission.baseline not in labels:
        raise top.fail("baseline", "one of the agents")
    return submission


def _entry(path: Path, number: int, content: Any) -> Entry:
    reader = _Reader(path, content, f"agents[{number}].")
    kwargs = _Reader(path, content.get("kwargs"), f"agents[{number}].kwargs.")
    for key, value in kwargs.content.items():
        short = isinstance(value, str) and len(value) <= _WORDS and _NAME.fullmatch(value) and ".." not in value
        if not (short or value is None or isinstance(value, bool | int | float)) or not str(key).isidentifier():
            raise kwargs.fail(str(key)[:40], "a number, a truth value or a name")
    name = reader.text("name", _NAME, empty=False)
    if ".." in name:
        raise reader.fail("name", "a registered name or agents/FOLDER")
    return Entry(
        reader.text("label", longest=80, empty=False), name, dict(kwargs.content),
        reader.whole("training_seed", 0, 2**31), reader.text("weights", longest=400),
        reader.text("rows", _HEX, 64, False),
    )  # fmt: skip


def read_all(folder: str | Path) -> list[Submission]:
    """Read every ``*.json`` of a folder.

    Raises:
        DatasetError: no such folder, or a file that cannot be read.
    """
    if not Path(folder).is_dir():
        raise DatasetError(f"{folder}: no such folder")
    return [read_submission(path) for path in sorted(Path(folder).glob("*.json"))]
