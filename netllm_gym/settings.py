"""The catalog of evaluation settings: what each task is tested on, as data (``settings.toml``).

Other packages add tasks of the same form: a TOML file under the entry-point group ``netllm_gym.settings``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from netllm_gym import traces as trace_room
from netllm_gym.errors import DownloadError, UnknownNameError
from netllm_gym.plugins import check_table, plain_id, toml_tables


@dataclass(frozen=True)
class Setting:
    """One cell of the evaluation: an environment with the traces that agents are tested on.

    Attributes:
        task, name, profile: its place in the catalog.
        env: id of the environment.
        kwargs: arguments of the environment.
        baseline, floor, oracle: agents that the comparison needs, ``None`` where a task has none.
        note: what differs from the default setting.
        margin: ``share``, ``of`` (``span`` or ``baseline``) and ``reason`` of the margin of equivalence; ``None`` for
            2 % of the span from floor to oracle.
    """

    task: str
    name: str
    profile: str
    env: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    baseline: str | None = None
    floor: str | None = None
    oracle: str | None = None
    note: str = ""
    margin: Mapping[str, Any] | None = None

    def call(self) -> str:
        """Return the Python that makes this setting again: its place in the catalog, or all its values."""
        try:
            if load_setting(self.task, self.name, self.profile) == self:
                return f"load_setting({self.task!r}, {self.name!r}, {self.profile!r})"
        except UnknownNameError:
            pass
        return repr(replace(self, kwargs=dict(self.kwargs)))

    def bring(self, say: Callable[[str], None]) -> None:
        """Fetch the public traces and the video that are not on this machine yet.

        Raises:
            DownloadError: they cannot be had.
        """
        name, video = self.kwargs.get("traces"), self.kwargs.get("video")
        if not isinstance(name, str):  # an environment without traces, or traces that are here already
            return
        try:
            trace_room.load(name, self.kwargs.get("split", "test"))
        except DownloadError:
            say(f"fetching {name}")
            trace_room.fetch(name)
        try:
            trace_room.load_video(video) if video else None
        except DownloadError:
            say(f"fetching video {video}")
            trace_room.fetch(f"video/{video}")

    def describe(self) -> dict[str, Any]:
        """Return the place in the catalog and the note as JSON."""
        return {"task": self.task, "name": self.name, "profile": self.profile, "note": self.note}


def check_task(task: str, entry: Any) -> None:
    """Check a task of a settings file.

    Raises:
        ConfigError: a key that is missing or of another kind.
    """
    what = f"task {task!r}"
    texts = dict.fromkeys(("env", "baseline", "floor", "oracle"), str)
    check_table(what, entry, {**texts, "margin": dict, "settings": dict, "matrix": dict}, ("env",))
    if "margin" in entry:
        kinds = {"share": (int, float), "of": str, "reason": str}
        check_table(f"{what}: margin", entry["margin"], kinds, ("share", "of"))
    for name, setting in entry.get("settings", {}).items():
        check_table(f"{what}: setting {name!r}", setting, {"note": str})
        for profile, arguments in setting.items():
            if isinstance(arguments, dict):
                check_table(f"{what}: setting {name!r}, {profile}", arguments, {"env": str})
    for profile, matrix in entry.get("matrix", {}).items():
        check_table(f"{what}: matrix {profile!r}", matrix, {"families": [str]}, ("families",))


@cache
def _catalog() -> Mapping[str, Any]:
    own = tomllib.loads(files("netllm_gym").joinpath("settings.toml").read_text(encoding="utf-8"))
    offered = toml_tables("netllm_gym.settings", check_task)
    others = {task: entry for task, entry in offered.items() if task not in own}
    return MappingProxyType({**own, **others})


def list_settings(task: str | None = None) -> list[tuple[str, str, str]]:
    """Return the (task, name, profile) of every setting, of one task or of all."""
    return [
        (owner, name, profile)
        for owner, entry in _catalog().items()
        if task in (None, owner)
        for name, profiles in entry.get("settings", {}).items()
        for profile in profiles
        if isinstance(profiles[profile], dict)
    ]


def load_setting(task: str, name: str = "default", profile: str = "embedded") -> Setting:
    """Return a setting of the catalog.

    Raises:
        UnknownNameError: no such task, setting or profile; the message offers the nearest names.
    """
    if task not in _catalog():
        raise UnknownNameError("task", task, _catalog())
    entry = _catalog()[task]
    settings = entry.get("settings", {})
    if name not in settings:
        raise UnknownNameError(f"setting of {task}", name, settings)
    profiles = {key: value for key, value in settings[name].items() if isinstance(value, dict)}
    if profile not in profiles:
        raise UnknownNameError(f"profile of {task} {name}", profile, profiles)
    chosen = profiles[profile]
    return Setting(
        task=task,
        name=name,
        profile=profile,
        env=chosen.get("env", entry["env"]),
        kwargs={key: value for key, value in chosen.items() if key != "env"},
        baseline=entry.get("baseline"),
        floor=entry.get("floor"),
        oracle=entry.get("oracle"),
        note=settings[name].get("note", ""),
        margin=entry.get("margin"),
    )


def load_families(task: str, profile: str = "embedded") -> dict[str, Setting]:
    """Return trace family → setting that tests on it, of the task's cross-dataset matrix.

    Raises:
        UnknownNameError: no such task, or no matrix of it in this profile.
    """
    if task not in _catalog():
        raise UnknownNameError("task", task, _catalog())
    matrix = _catalog()[task].get("matrix", {})
    if profile not in matrix:
        raise UnknownNameError(f"profile of {task}'s matrix", profile, matrix)
    chosen = load_setting(task, "default", profile)
    arguments = {key: value for key, value in matrix[profile].items() if key != "families"}
    return {
        name: replace(
            chosen,
            name=f"matrix {name}",
            profile=profile,
            kwargs={**arguments, "traces": name},
            note="one trace family",
        )
        for name in matrix[profile]["families"]
    }


def task_of(env_id: str) -> str:
    """Return the task that the catalog tests in `env_id`; where several do (with and without a crowd), the first.

    Raises:
        UnknownNameError: no task uses this environment.
    """
    by_env: dict[str, str] = {}
    for task, entry in _catalog().items():
        if "env" in entry:
            by_env.setdefault(plain_id(entry["env"]), task)
    if plain_id(env_id) not in by_env:
        raise UnknownNameError("environment with settings", env_id, by_env)
    return by_env[plain_id(env_id)]
