"""Who watched what, from where a log lies: ``<video>/<user>.csv``, ``<user>/<user>_<video>.csv`` and other layouts."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from netllm_gym.errors import ConfigError
from netllm_gym.traces import packed

SUFFIXES = {".csv", ".txt", ".json", ".jsonl", ".tsv", ".dat", ".log", ".arff", *packed.SUFFIXES}
_USER_PART = re.compile(r"(?:user|uid|viewer|subject|subj|participant|person)[-_ ]?([a-zA-Z]*\d+)", re.I)
_VIDEO_PART = re.compile(r"(?:video|vid|clip|content|scene|movie)[-_ ]?(\w*\d+)", re.I)
_PERSON = re.compile(r"(?:uid|user|subject|participant|viewer)[-_ ]?(?=\w)", re.I)
_BOTH_PARTS = re.compile(
    r".*?(?:video|vid|clip|scene)[-_ ]?(?P<video>[a-zA-Z]*\d+)[-_ ]+(?:user|uid|viewer|subject|subj|participant)[-_ ]?"
    r"(?P<user>[a-zA-Z]*\d+)", re.I
)  # fmt: skip
# A folder that is a person's: user01, uid-3, p001.
_PERSONAL = re.compile(
    r"(?:uid|user|subject|subj|sub|participant|viewer|person|observer)[-_ ]?\w*\d\w*|[ps]\d{2,3}", re.I
)
# The halves of u1_v2.
_PERSON_NO, _VIDEO_NO = re.compile(r"[ups]\d{1,4}", re.I), re.compile(r"v(id(eo)?)?\d", re.I)
_NOISE = re.compile(
    r"[-_ ]?(orientation|head(motion)?(logs?)?|hmd|gaze|log|fixations?|scanpaths?|\d+hz|raw|trace|data)$", re.I
)


def head_files(root: Path) -> list[Path]:
    """Return the files below a folder that may be head logs, in sorted order; of a file, the file itself."""
    if root.is_file():
        return [root]
    return sorted(
        p for p in root.rglob("*")
        if p.is_file() and p.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in p.relative_to(root).parts)
    )  # fmt: skip


def pattern_of(text: str) -> re.Pattern[str]:
    """Return the expression of a pattern such as ``{user}/{user}_{video}.csv``.

    Raises:
        ConfigError: it names neither user nor video, or something else.
    """
    pieces = re.split(r"\{(\w+)\}", text)
    out: list[str] = []
    seen: set[str] = set()
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            out.append(re.escape(piece).replace(r"\*", "[^/]*"))
        elif piece not in ("user", "video"):
            raise ConfigError(f"a pattern may name {{user}} and {{video}}, not {{{piece}}}")
        else:
            out.append(f"(?P={piece})" if piece in seen else f"(?P<{piece}>[^/]+?)")
            seen.add(piece)
    if not seen:
        raise ConfigError(f"the pattern {text!r} names neither {{user}} nor {{video}}")
    return re.compile("(?:.*/)?" + "".join(out) + "$")


def _label(text: str, part: re.Pattern[str]) -> str:
    match = part.search(text)
    return match[1] if match else text


def places(root: Path, files: list[Path], pattern: str | None = None) -> tuple[dict[Path, tuple[str, str]], str]:
    """Return ``(user, video)`` of each file, and a sentence that says which layout was read.

    Raises:
        ConfigError: a pattern that does not fit a file.
    """
    if pattern is not None:
        wanted = pattern_of(pattern)
        found = {}
        for file in files:
            match = wanted.match(file.as_posix())
            if match is None:
                raise ConfigError(f"{file} does not fit the pattern {pattern}")
            groups = match.groupdict()
            found[file] = (groups.get("user") or file.stem, groups.get("video") or file.parent.name)
        return found, f"files {pattern}"
    result: dict[Path, tuple[str, str]] = {}
    layouts: dict[str, int] = {}
    for file in files:
        inner = file.relative_to(root.parent if root.is_file() else root)
        user, video, layout = _place(PurePosixPath((Path(root.name) / inner).as_posix()), len(inner.parts) == 1)
        result[file] = (user, video)
        layouts[layout] = layouts.get(layout, 0) + 1
    if len(set(result.values())) < len(result):  # two files of one pair: tell them apart by their path
        pairs: dict[tuple[str, str], int] = {}
        for file, pair in result.items():
            pairs[pair] = pairs.get(pair, 0) + 1
            if pairs[pair] > 1:
                result[file] = (pair[0], f"{pair[1]}#{pairs[pair]}")
    return result, ", ".join(sorted(layouts, key=lambda k: -layouts[k]))


def _place(path: PurePosixPath, flat: bool) -> tuple[str, str, str]:
    path = path.with_name(packed.inner_name(path.name))
    stem, parent = _NOISE.sub("", path.stem) or path.stem, path.parent.name
    above = [part for part in path.parts[1:-2] if _PERSON.match(part)]
    if above:  # uid-…/test0/<video>/<video>_0.txt
        return _PERSON.sub("", above[-1]), parent, "<user>/…/<video>/<file>"
    if parent and re.match(rf"{re.escape(parent)}[-_ ]", stem):
        return parent, stem[len(parent) + 1 :], "<user>/<user>_<video>"
    user, video = _USER_PART.search(stem), _VIDEO_PART.search(stem)
    if not user and not video and (both := _BOTH_PARTS.fullmatch(parent)):  # video_05_user_14/data.csv
        return both["user"], both["video"], "video_<video>_user_<user>/<file>"
    if user and user.start() > 0:  # <video>_user07
        rest = stem[: user.start()].rstrip("-_ ")
        return user[1], rest if rest else parent, "<video>_user<user>"
    if user and user.end() < len(stem):
        return user[1], _label(stem[user.end() :].lstrip("-_ "), _VIDEO_PART), "user<user>_<video>"
    if video and not user and parent and not flat and not _VIDEO_PART.search(parent):
        return _label(parent, _USER_PART), video[1], "<user>/video<video>"
    if not flat and _PERSONAL.fullmatch(parent) and not _PERSONAL.fullmatch(stem):
        return _label(parent, _USER_PART), stem, "<user>/<video>"
    if flat:
        halves = re.split(r"[_-]", stem, maxsplit=1)
        if len(halves) == 2 and _PERSON_NO.fullmatch(halves[0]) and _VIDEO_NO.match(halves[1]):
            return halves[0], halves[1], "<user>_<video>"
        if len(halves) == 2 and halves[1]:
            return halves[1], halves[0], "<video>_<user>"
        return stem, parent or "video", "<user>"
    return stem, parent, "<video>/<user>"
