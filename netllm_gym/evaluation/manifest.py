"""What a result's ``manifest.json`` must hold before anything is made of it: it may have been changed by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from netllm_gym.errors import ConfigError, DatasetError
from netllm_gym.plugins import check_table

_NONE = type(None)
_TEXT, _ANY = (str, _NONE), object
_KINDS: dict[str, Any] = {
    "env": str, "env_kwargs": dict, "setting": (dict, _NONE), "traces": dict, "agents": [dict], "privileged": [str],
    "trained": [str], "margin": (dict, _NONE), "baseline": str, "floor": _TEXT, "oracle": _TEXT, "metric": dict,
    "terms": dict, "seed": int, "episodes": int, "test_uses": (int, _NONE), "versions": dict, "revision": _TEXT,
    "code": str, "machine": str, "command": str, "call": str, "finished": str, "examples": dict,
}  # fmt: skip
_LATER = {"trained", "margin", "test_uses", "examples"}  # not in every result of earlier versions
_METRIC = {"name": str, "aggregate": str, "better": str}
_AGENT = {"label": str, "name": str, "training_seed": int, "kwargs": dict, "checkpoint": _ANY}
_TRACES = ("digest", "name", "split")
_TERM = {"aggregate": str, "better": str, "unit": str}
_SETTING = {"task": str, "name": str, "profile": str, "note": _ANY}


def check_manifest(folder: Any, manifest: Mapping[str, Any], agents: Collection[str]) -> None:
    """Refuse a manifest that lacks something, or holds something of another kind.

    Args:
        folder: of the result, for messages.
        manifest: as read.
        agents: labels in the rows.

    Raises:
        DatasetError: one line that names the key.
    """
    what = f"{folder}: manifest.json"
    try:
        check_table(what, manifest, _KINDS, _KINDS.keys() - _LATER)
        check_table(f"{what}: metric", manifest["metric"], _METRIC, _METRIC)
        check_table(f"{what}: traces", manifest["traces"], {"notes": [str]}, _TRACES)
        for name, term in manifest["terms"].items():
            check_table(f"{what}: term {name}", term, _TERM, ("better", "unit"))
        for agent in manifest["agents"]:
            check_table(f"{what}: an agent", agent, _AGENT, _AGENT)
        if manifest["setting"]:
            check_table(f"{what}: setting", manifest["setting"], _SETTING, _SETTING)
    except ConfigError as error:
        raise DatasetError(str(error)) from None
    for role in ("baseline", "floor", "oracle"):
        if manifest[role] is not None and manifest[role] not in agents:
            raise DatasetError(f"{what}: {role} {manifest[role]!r} is none of the agents in the rows")
    if odd := [name for name, number in manifest.get("examples", {}).items() if not isinstance(number, int)]:
        raise DatasetError(f"{what}: example {odd[0]} is no number of an episode")
