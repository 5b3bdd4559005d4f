"""Names of columns that belong together by a letter: ``qx, qy, qz, qw``, ``Rot.x``, ``pos_x_unity``."""

from __future__ import annotations

import re

from netllm_gym.traces.text import micro

PIXELS = re.compile(r"[ _.]*[(\[]?(px|pix|pixels?)[)\]]?$", re.I)  # fmt: skip
ANGLES = re.compile(r"([ ._]*[(\[](deg\w*|rad\w*|°)[)\]]|[ ._](deg|degrees?|rad|radians?))$", re.I)
_LEADING = re.compile(r"([wxyz])[ ._](head|hmd|view(?:port)?|cent(?:er|re)|gaze|eye)", re.I)  # x_head
_AT_END = re.compile(r"(.*?)[ ._\-\[(]*([wxyzWXYZ])()[)\]]?")
_INSIDE = re.compile(r"(.*?)[ ._]?([wxyzWXYZ])[ ._]([A-Za-z]\w+)")  # qx_unity, pos.x.world
_CAMEL = re.compile(r"(.*?)([WXYZ])(Rot\w*|Quat\w*|Ori\w*|Pos\w*|Loc\w*|Dir\w*|Euler\w*|Angle\w*)")  # CameraXRot
_GLUED = ("q", "quat", "rot", "r", "v", "dir", "vec", "h", "head", "p", "pos", "u", "f")


def plain(name: str) -> str:
    """Lower case, words joined by underscores: ``cal. Yaw (deg)`` → ``cal_yaw_deg``; camel case is cut."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", micro(name).strip())
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def of_place(name: str, names: list[str]) -> bool:
    """Tell whether ``px`` at the end of a name are no pixels, because ``py`` stands beside it."""
    low = name.strip().lower()
    return low.endswith("px") and any(other.strip().lower() == f"{low[:-1]}y" for other in names)


def lettered(names: list[str]) -> dict[str, dict[str, int]]:
    """Group columns by what their letter w, x, y or z belongs to: ``qx`` → q, ``Rot.x`` → rot, ``qx_unity`` → q_unity.

    A word may happen to end in such a letter (``latency``): glued to small letters it counts where x, y and z all do.
    """
    groups: dict[str, dict[str, int]] = {}
    unsure: dict[str, dict[str, int]] = {}
    for i, given in enumerate(names):
        name = ANGLES.sub("", given.strip() if of_place(given, names) else PIXELS.sub("", given.strip())).strip()
        if leading := _LEADING.fullmatch(name):
            groups.setdefault(plain(leading[2]), {}).setdefault(leading[1].lower(), i)
            continue
        for match in filter(None, (form.fullmatch(name) for form in (_AT_END, _INSIDE, _CAMEL))):
            prefix, letter, whose = match[1], match[2], match[3]
            glued = bool(prefix) and name[len(prefix)] == letter
            last = re.split(r"[ ._]", prefix)[-1].lower()  # hmd_qx
            sure = not glued or letter.isupper() or last in _GLUED
            at = groups if sure else unsure
            at.setdefault(plain(f"{prefix} {whose}"), {}).setdefault(letter.lower(), i)
            if sure:
                break
    whole = {prefix: group for prefix, group in unsure.items() if set("xyz") <= set(group) and prefix not in groups}
    return groups | whole
