"""Which test traces an agent has trained on, as far as its training set is known.

Published agents say it by what their authors' repositories hold, which is an inference and is called one; agents of the
zoo by what their checkpoints and recipes record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from netllm_gym import traces as trace_room
from netllm_gym import zoo
from netllm_gym.agents.abr.families import FAMILIES, links_of
from netllm_gym.agents.checkpoint import read_description
from netllm_gym.agents.museum import exhibit
from netllm_gym.errors import CheckpointError, ConfigError, DownloadError, UnknownNameError
from netllm_gym.settings import Setting
from netllm_gym.traces.catalog import describe, fetcher

RECORDED = "recorded by its recipe"
_FETCHED = re.compile(r"traces fetch (\S+)")
_GIVEN = re.compile(r"traces=(\S+)")
# Recipes that draw links from all public families, without those that any valid or test split shares.
_FAMILIES = re.compile(r"train (abr-(actor-critic|llm|regret-mlp)|generalist)\b")


@dataclass(frozen=True)
class TrainingSet:
    """A trace set whose train split an agent has learned from.

    Attributes:
        name: of the set, as :func:`netllm_gym.traces.load` takes it.
        why: how that is known; begins with ``inferred`` where nobody has written it down.
        links: returns its train traces; by default those of the set.
    """

    name: str
    why: str
    links: Callable[[], tuple[Any, ...]] | None = field(default=None, compare=False)

    def train(self) -> tuple[Any, ...]:
        """Return the traces, fetched when missing."""
        return _train(self.name) if self.links is None else self.links()

    def sources(self) -> tuple[str, ...]:
        """Return the sets that :meth:`train` reads."""
        return (self.name,) if self.links is None else tuple(FAMILIES)


@dataclass(frozen=True)
class Overlap:
    """How many test traces share content, a recording or a run of samples with the training traces.

    Attributes:
        shared, of: test traces that do, and all.
        source: the training sets.
        why: how the training sets are known.
    """

    shared: int
    of: int
    source: str
    why: str = ""


def training_sets(agent: str) -> tuple[TrainingSet, ...]:
    """Return what `agent` has learned from; nothing where that is not known, or where it learns nothing."""
    shown = exhibit(agent)
    if shown is not None:
        return () if shown.trained_on is None else (TrainingSet(f"{shown.trained_on}/as-published", shown.why),)
    found: dict[str, TrainingSet] = {}
    # An agent that plays the policy for any ladder away from home has learned from what that learned from, too.
    for entry in [*zoo.find(agent), *zoo.find(f"{agent}-any")]:
        commands = "\n".join(entry.commands)
        fetched = _FETCHED.findall(commands)
        if _FAMILIES.search(commands):
            name = "all public families, less what a valid or test split shares"
            found[name] = TrainingSet(name, RECORDED, _families)
            fetched = [name for name in fetched if name not in FAMILIES]
        try:
            recipe = read_description(entry.folder).get("recipe") or {}
        except CheckpointError:  # several checkpoints in one folder
            recipe = {}
        learnt = recipe.get("train") or ()
        for name in (*fetched, *_GIVEN.findall(commands), *([learnt] if isinstance(learnt, str) else learnt)):
            found[name] = TrainingSet(name, RECORDED)
    return tuple(found.values())


def _families() -> tuple[Any, ...]:
    for name in FAMILIES:
        _train(name)  # fetched when missing
    return tuple(link for family in links_of("train").values() for link in family)


def overlap(agent: str, setting: Setting) -> Overlap | None:
    """Return what `agent` has trained on of the test traces of `setting`; ``None`` when its training set is not known
    or is of another kind.

    Raises:
        DownloadError: its training traces cannot be had.
    """
    name = setting.kwargs.get("traces")
    if not isinstance(name, str):
        return None
    # For traces that come with the package nothing is fetched: they are looked up only where all are here.
    comes_along = fetcher(describe(name)["kind"]) is None
    if comes_along and not all(_here(source) for one in training_sets(agent) for source in one.sources()):
        return None
    return shared_with(agent, name, str(setting.kwargs.get("split", "test")))


def shared_with(agent: str, name: str, split: str = "test") -> Overlap | None:
    """Return what `agent` has trained on of the traces `name` in `split`; ``None`` as for :func:`overlap`.

    Raises:
        DownloadError: its training traces cannot be had.
    """
    kind = type(trace_room.load(name, split).traces[0])
    known = tuple(one for one in training_sets(agent) if type(one.train()[0]) is kind)
    if not known:
        return None
    shared, of = _shared(known, name, split)
    reasons = "; ".join(dict.fromkeys(one.why for one in known))
    return Overlap(shared, of, "; ".join(f"{one.name}, train" for one in known), reasons)


def _here(source: str) -> bool:
    try:
        return bool(trace_room.load(source, "train").traces)
    except DownloadError:
        return False


@cache
def _train(source: str) -> tuple[Any, ...]:
    try:
        return trace_room.load(source, "train").traces
    except DownloadError:
        trace_room.fetch(source.removesuffix("/as-published"))
        return trace_room.load(source, "train").traces


@cache
def _shared(sources: tuple[TrainingSet, ...], name: str, split: str) -> tuple[int, int]:
    train = tuple(trace for source in sources for trace in source.train())
    test = trace_room.load(name, split).traces
    found = trace_room.audit({"train": train, "test": test}, near=False)
    pair = ("train", "test")
    groups = {trace.group for trace in train}
    named = {*found.exact[pair], *found.overlapping[pair], *(trace.name for trace in test if trace.group in groups)}
    return len(named), len(test)


def rivals(against: str, task: str) -> tuple[str, ...]:
    """Return the agents that `against` names: one agent, or ``museum``, all published agents of the task's table.

    Raises:
        UnknownNameError: neither.
        ConfigError: a task without published agents.
    """
    from netllm_gym.agents.registry import factory, list_agents
    from netllm_gym.reproduce.plan import tasks

    if against == "museum":
        shown = tasks()[task].museum if task in tasks() else ()
        if not shown:
            raise ConfigError(f"no published agent of {task} is replayed here")
        return shown
    if factory(against) is None:
        raise UnknownNameError("agent", against, ["museum", *list_agents(task)])
    return (against,)
