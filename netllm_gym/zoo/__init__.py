"""The zoo: trained agents that ship with the package, each a folder with weights, a card and a recipe.

A folder called ``task-name`` holds the agent ``task/name``. Its ``recipe.toml`` says what else there is to know; every
key may be left out, and so may the file:

    title = "GRU"                  # in tables
    label = "viewport/gru"         # several folders with one label are training seeds of one recipe
    training_seed = 0
    commands = ["netllm-gym collect …", "netllm-gym train llm … --out {out}"]
    successor = "task/name"        # instead of commands: the agent whose recipe replaced the one that made this
    retrained = { name = "{out}" } # how the agent that the commands leave in {out} is built
    minutes = 7                    # about how long the commands take on one core
    settings = ["default"]         # of the evaluation; by default all
    profiles = ["paper"]           # by default paper and embedded
    episodes = { unseen2 = 8 }     # fewer than the table's, for a slow agent
    tasks = ["abr", "viewport"]    # that it plays; by default the one that the folder's name begins with

Commands begin with ``netllm-gym`` or with ``python benchmarks/…`` (then they need a checkout of the repository) and run
one after the other, without a shell. ``{out}`` is the checkpoint folder they must leave (or the folder
of several), ``{run}`` a folder for
anything else, kept, so that trainings resume.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from netllm_gym.errors import CheckpointError
from netllm_gym.files import digest, folder_digest

ROOT = Path(__file__).resolve().parent
RECIPE = "recipe.toml"


@dataclass(frozen=True)
class ZooEntry:
    """A trained agent that ships.

    Attributes:
        folder: where its weights lie.
        agent: its name, ``task/name``.
        title, label, training_seed, commands, successor, retrained, minutes, settings, profiles, episodes,
            tasks: see the module.
    """

    folder: Path
    agent: str
    title: str = ""
    label: str = ""
    training_seed: int = 0
    commands: tuple[str, ...] = ()
    successor: str = ""
    retrained: Mapping[str, Any] = field(default_factory=lambda: {"name": "{out}"})
    minutes: float | None = None
    settings: tuple[str, ...] | None = None
    profiles: tuple[str, ...] = ("paper", "embedded")
    episodes: Mapping[str, int] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    @property
    def plays(self) -> tuple[str, ...]:
        """The tasks that the agent solves."""
        return self.tasks or (self.agent.partition("/")[0],)

    @property
    def weights(self) -> list[Path]:
        """The files that decide what the agent does: not card and recipe."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file() and path.suffix not in (".md", ".toml"))

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of :attr:`weights`."""
        return digest(
            part
            for path in self.weights
            for part in (path.relative_to(self.folder).as_posix().encode(), path.read_bytes())
        )


def read_entry(folder: Path) -> ZooEntry:
    """Read a folder of the zoo.

    Raises:
        CheckpointError: a recipe that is not TOML, or has a key of another name or kind.
    """
    task, _, name = folder.name.partition("-")
    agent = f"{task}/{name}"
    path = folder / RECIPE
    given: dict[str, Any] = {}
    if path.is_file():
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from None
    known = {item.name for item in fields(ZooEntry)} - {"folder"}
    if odd := sorted(set(given) - known):
        raise CheckpointError(f"{path} has an unknown key {odd[0]!r}; known: {', '.join(sorted(known))}")
    for key in ("commands", "settings", "profiles", "tasks"):
        if key in given:
            if not isinstance(given[key], list) or not all(isinstance(item, str) for item in given[key]):
                raise CheckpointError(f"{path}: {key} must be a list of texts")
            given[key] = tuple(given[key])
    return ZooEntry(folder, **{"agent": agent, "label": given.get("agent", agent), **given})


@cache
def entries() -> tuple[ZooEntry, ...]:
    """Return everything in the zoo, in alphabetical order; a folder without weights ships nothing."""
    folders = sorted(path for path in ROOT.iterdir() if path.is_dir() and "-" in path.name)
    return tuple(entry for entry in map(read_entry, folders) if entry.weights)


def content(agent: str) -> str | None:
    """Digest of the weights behind an agent's name: those of a checkpoint folder, or those that the zoo ships for it;
    ``None`` for an agent without weights.
    """
    folder = Path(agent)
    # A folder of several, one for each reading of head angles or each ladder, counts as a whole.
    if (folder / "agent.json").is_file() or (folder.is_dir() and any(folder.glob("*/agent.json"))):
        return folder_digest(folder)
    return "+".join(entry.digest for entry in find(agent)) or None


def find(agent: str) -> list[ZooEntry]:
    """Return the folders of the agent called `agent`; none when it does not come from the zoo."""
    return [entry for entry in entries() if entry.agent == agent]
