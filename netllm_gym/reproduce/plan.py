"""What the headline table holds: cells of task × setting, and who plays in each. Data, not code: ``headline.toml``
names the classical agents and the published numbers, the zoo brings the trained ones.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from netllm_gym import zoo
from netllm_gym.agents import registry
from netllm_gym.agents.registry import make_agent
from netllm_gym.errors import ConfigError, NetLLMGymError, UnknownNameError
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.settings import Setting, list_settings, load_setting
from netllm_gym.evaluation.specs import AgentSpec
from netllm_gym.plugins import check_table, toml_tables


@dataclass(frozen=True)
class Published:
    """A number that somebody published: its name, value per setting, and where it was read."""

    name: str
    values: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Task:
    """One task of the headline table; see ``headline.toml`` for the meaning of its keys."""

    name: str
    title: str
    agents: tuple[str, ...]
    settings: tuple[str, ...]
    rules_only: tuple[str, ...] = ()
    museum: tuple[str, ...] = ()
    learned: tuple[Mapping[str, Any], ...] = ()
    episodes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 60.0
    note: str = ""
    published: tuple[Published, ...] = ()

    def known(self, setting: Setting) -> tuple[Published, ...]:
        """Published numbers to show beside `setting`: those were measured on public traces."""
        return self.published if setting.profile == "paper" else ()


@cache
def tasks() -> dict[str, Task]:
    """Return the tasks of the headline table by name."""
    text = files("netllm_gym.evaluation").joinpath("headline.toml").read_text(encoding="utf-8")
    every = {**toml_tables("netllm_gym.headline", read_task), **tomllib.loads(text)}
    return {name: read_task(name, entry) for name, entry in every.items()}


_LISTS = ("agents", "settings", "rules_only", "museum")


def read_task(name: str, entry: Any) -> Task:
    """Return a task of a headline file.

    Raises:
        ConfigError: a key that is missing, unknown, or of another kind.
    """
    what = f"task {name!r} of the headline table"
    kinds = {
        "title": str,
        "note": str,
        "seconds": (int, float),
        "episodes": dict,
        "published": [dict],
        "learned": [dict],
    }
    check_table(what, entry, {**kinds, **{key: [str] for key in _LISTS}}, ("title", "agents", "settings"))
    known = {item.name for item in fields(Task)} - {"name"}
    if odd := sorted(set(entry) - known):
        raise ConfigError(f"{what} has an unknown key {odd[0]!r}; known: {', '.join(sorted(known))}")
    check_table(f"{what}: episodes", entry.get("episodes", {}), dict.fromkeys(entry.get("episodes", {}), int))
    for item in entry.get("published", ()):
        part = f"{what}: published"
        check_table(part, item, {"name": str, "values": dict, "source": str}, ("name", "values", "source"))
        check_table(f"{part}: values", item["values"], dict.fromkeys(item["values"], (int, float)))
        if odd := sorted(set(item) - {"name", "values", "source"}):
            raise ConfigError(f"{part} has an unknown key {odd[0]!r}")
    for item in entry.get("learned", ()):
        check_table(f"{what}: learned", item, {"name": str, "label": str, "title": str}, ("name", "label"))
    published = tuple(Published(**item) for item in entry.get("published", ()))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Task(name, **{**values, "published": published})


def chosen_tasks(names: Sequence[str]) -> list[Task]:
    """Return the tasks called `names`, or all.

    Raises:
        UnknownNameError: no such task in the table.
    """
    for name in names:
        if name not in tasks():
            raise UnknownNameError("task of the headline table", name, tasks())
    return [task for name, task in tasks().items() if not names or name in names]


@dataclass(frozen=True)
class Learned:
    """A trained agent of the table: what :func:`netllm_gym.evaluate` is given, and where it plays."""

    label: str
    agent: Mapping[str, Any]
    title: str = ""
    settings: tuple[str, ...] | None = None
    episodes: Mapping[str, int] = field(default_factory=dict)


def zoo_agents(task: str, profile: str) -> tuple[list[Learned], dict[str, str]]:
    """Return the trained agents of `task` made for `profile` that can be built here, and those left out with the
    reason (a missing extra, say): the zoo's, then what the table builds of them.
    """
    wanted = []
    for entry in zoo.entries():
        if task in entry.plays and profile in entry.profiles:
            name = entry.agent if registry.factory(entry.agent) else str(entry.folder)
            agent = {"name": name, "label": entry.label, "training_seed": entry.training_seed}
            wanted.append(Learned(entry.label, agent, entry.title, entry.settings, entry.episodes))
    for item in tasks()[task].learned if task in tasks() else ():
        agent = {key: value for key, value in item.items() if key != "title"}
        wanted.append(Learned(item["label"], agent, item.get("title", "")))
    found, left_out = [], {}
    for learned in wanted:
        try:
            AgentSpec.of(learned.agent).build()
        except NetLLMGymError as error:
            left_out[learned.label] = str(error)
        else:
            found.append(learned)
    return found, left_out


def replayed(task: Task, profile: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the published agents of `task` whose weights can be had here, and the others with the reason. They are
    held against public traces only.
    """
    found, left_out = [], {}
    for name in task.museum if profile == "paper" else ():
        try:
            make_agent(name)
        except NetLLMGymError as error:
            left_out[name] = str(error)
            continue
        found.append(name)
    return tuple(found), left_out


@dataclass(frozen=True)
class Cell:
    """One task and setting, and the agents that meet on its first `episodes` episodes (``None``: every trace once).

    Slow agents play fewer episodes; they form a cell of their own, in which the classical agents play again, so that
    every comparison is paired.
    """

    task: Task
    setting: Setting
    classical: tuple[str, ...]
    learned: tuple[Learned, ...]
    episodes: int | None
    first: bool = True
    museum: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Folder and heading: task, setting, and the number of episodes where there are several such cells."""
        return f"{self.task.name}-{self.setting.name}" + ("" if self.first else f"-first{self.episodes}")


def cells(
    task: Task,
    profile: str,
    learned: Sequence[Learned],
    settings: Sequence[str] = (),
    most: int | None = None,
    museum: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells of `task` in `profile`.

    Args:
        task: of the table.
        profile: ``paper`` or ``embedded``; settings that it lacks are left out.
        learned: the trained agents.
        settings: only these.
        most: at most so many episodes in any cell.
        museum: published agents that play in every cell.

    Raises:
        UnknownNameError: a setting that the table does not have.
    """
    columns = (*task.settings, *task.rules_only)
    for name in settings:
        if name not in columns:
            raise UnknownNameError(f"setting of {task.name} in the headline table", name, columns)
    here = {name for owner, name, kind in list_settings(task.name) if kind == profile}
    found: list[Cell] = []
    for name in columns:
        if name not in here or (settings and name not in settings):
            continue
        setting = load_setting(task.name, name, profile)
        playing = [] if name in task.rules_only else [a for a in learned if a.settings is None or name in a.settings]
        counts: dict[int | None, list[Learned]] = {_at_most(task.episodes.get(name), most): []}
        for agent in playing:
            # Never more than the table's: the cell of everybody else is the first and largest.
            fewer = _at_most(agent.episodes.get(name), _at_most(task.episodes.get(name), most))
            counts.setdefault(fewer, []).append(agent)
        for number, (count, agents) in enumerate(counts.items()):
            found.append(Cell(task, setting, task.agents, tuple(agents), count, number == 0, tuple(museum)))
    return found


def _at_most(count: int | None, most: int | None) -> int | None:
    return most if count is None else count if most is None else min(count, most)


@dataclass(frozen=True)
class Outcome:
    """A cell of the table, played."""

    cell: Cell
    result: EvaluationResult


def retrained(entry: zoo.ZooEntry, out: Path) -> Learned:
    """Return the agent that the recipe of `entry` leaves in `out`, to be shown beside the shipped one."""
    agent = {
        key: value.replace("{out}", str(out)) if isinstance(value, str) else value
        for key, value in entry.retrained.items()
    }
    label = f"{entry.label}, retrained"
    return Learned(
        label,
        {**agent, "label": label, "training_seed": entry.training_seed},
        f"{entry.title}, retrained" if entry.title else "",
        entry.settings,
        entry.episodes,
    )
