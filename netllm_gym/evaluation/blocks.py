"""Blocks of episodes, the units of work of an evaluation: played on any number of processes, kept, taken up again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import joblib

from netllm_gym.evaluation.rollout import BLOCK, forget, play_block
from netllm_gym.evaluation.specs import AgentSpec, EnvRecipe, Episode, canonical, code_digest, digest_of
from netllm_gym.files import exact_json, exact_value, read_sealed, write_sealed
from netllm_gym.progress import Progress
from netllm_gym.versions import versions
from netllm_gym.workers import results


@dataclass(frozen=True)
class Unit:
    """A unit of work: one agent on one block of episodes."""

    spec: AgentSpec
    episodes: tuple[Episode, ...]
    traced: tuple[int, ...]
    key: str | None  # None: an agent given as an object has no content to be recognised by

    def stored_in(self, folder: Path | None) -> Path | None:
        """Return the file of this unit's finished block; ``None`` where none is kept."""
        if folder is None or self.key is None:
            return None
        return folder / "episodes" / f"{self.key[:32]}.json"


def read_block(path: Path | None, key: str | None) -> dict[str, Any] | None:
    """Return a finished block, or ``None``; a damaged file counts as not finished and is played again."""
    if path is None or not path.is_file():
        return None
    try:
        block = exact_value(read_sealed(path))
        if "courses" in block:  # the name in blocks that were stored before
            block["timelines"] = block.pop("courses")
        return block if block["key"] == key and block["rows"] and "timelines" in block else None
    except (ValueError, KeyError, TypeError):  # a damaged file is a ValueError too
        return None


def units_of(
    recipe: EnvRecipe,
    specs: Sequence[AgentSpec],
    groups: Sequence[tuple[Episode, ...]],
    traced: Sequence[int],
    content: Any,
    timeout_s: float | None,
) -> list[Unit]:
    """Return a unit for every agent and group of episodes, with the key that its finished block is kept under."""
    common = {
        "env": recipe.spec.id,
        "kwargs": canonical(recipe.kwargs),
        "traces": content,
        "versions": versions(),
        "code": code_digest(),
        "timeout_s": timeout_s,
    }
    units = []
    for spec in specs:
        agent_key = None if spec.instance is not None else spec.key
        for episodes in groups:
            marked = tuple(e.index for e in episodes if e.index in traced)
            # Episodes carry their seeds, so the evaluation's own seed is in the key with them. So are the
            # labels, which the stored rows repeat.
            label = (spec.label, spec.training_seed)
            key = None if agent_key is None else digest_of([common, agent_key, label, episodes, marked])
            units.append(Unit(spec, episodes, marked, key))
    return units


def groups_of(plans: Sequence[Episode]) -> list[tuple[Episode, ...]]:
    """Cut the episodes into blocks. The first is one by itself: it measures a decision that no batch shares."""
    return [tuple(plans[a:b]) for a, b in itertools.pairwise([0, *range(1, len(plans), BLOCK), len(plans)])]


def finished_blocks(
    recipe: EnvRecipe, units: Sequence[Unit], folder: Path | None, workers: int, timeout_s: float | None, bar: Progress
) -> list[dict[str, Any]]:
    """Return the block of each unit: from `folder` where it is finished, else played now and kept there."""
    blocks = [read_block(unit.stored_in(folder), unit.key) for unit in units]
    waiting = [i for i, block in enumerate(blocks) if block is None]
    total = sum(len(unit.episodes) for unit in units)
    done = total - sum(len(units[i].episodes) for i in waiting)
    task = bar.add_task("evaluate", total=total, completed=done)
    for number, block in play_units(recipe, [units[i] for i in waiting], workers, uuid4().hex, timeout_s):
        unit = units[waiting[number]]
        blocks[waiting[number]] = block
        if path := unit.stored_in(folder):
            write_sealed(path, exact_json({"key": unit.key, **block}).encode() + b"\n")
        bar.update(task, advance=len(unit.episodes), description=f"evaluate {unit.spec.label}")
    return [block for block in blocks if block]


def play_units(
    recipe: EnvRecipe, units: Sequence[Unit], workers: int, run: str, timeout_s: float | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of the unit, its block) as blocks finish, in any order."""
    here = [i for i, unit in enumerate(units) if workers == 1 or unit.spec.instance is not None]
    # Trained agents are named last and take longest: they begin, so that no core waits for them at the end.
    away = sorted(set(range(len(units))).difference(here), reverse=True)
    if away:
        calls = [joblib.delayed(_numbered)(i, recipe, units[i], run, timeout_s) for i in away]
        yield from results(calls, workers, ordered=False)
    try:
        for i in here:
            yield _numbered(i, recipe, units[i], run, timeout_s)
    finally:
        forget()


def _numbered(
    number: int, recipe: EnvRecipe, unit: Unit, run: str, timeout_s: float | None
) -> tuple[int, dict[str, Any]]:
    return number, play_block(recipe, unit.spec, unit.episodes, unit.traced, run, timeout_s)
