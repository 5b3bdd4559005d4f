"""Rebuild the headline table from the weights that ship, or from scratch.

Every task and setting, classical agents beside trained ones, floor and oracle: one call, resumable after a kill, the
same table on every run. Clock readings are in the reports of the cells and never in the table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from netllm_gym import zoo
from netllm_gym.evaluation.runner import evaluate
from netllm_gym.files import finite, one_writer, sweep, write_text
from netllm_gym.reproduce.plan import Cell, Outcome, cells, chosen_tasks, replayed, retrained, zoo_agents
from netllm_gym.reproduce.retrain import retrain
from netllm_gym.reproduce.rows import with_stored

__all__ = ["Outcome", "reproduce"]


@one_writer("out", "the table in")
def reproduce(
    tasks: Sequence[str] = (),
    profile: str = "paper",
    settings: Sequence[str] = (),
    from_scratch: bool = False,
    out: str | Path = "runs/reproduce",
    workers: int = 2,
    episodes: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
    progress: bool = True,
) -> Path:
    """Play every cell of the headline table and write the table; the same call goes on after a kill.

    Args:
        tasks, settings: only these, by default all.
        profile: ``paper`` (public traces, fetched when missing) or ``embedded`` (synthetic ones, always here).
        from_scratch: train every agent of the zoo again by its recorded recipe and show it beside the shipped one.
        out: folder for the table and the reports of its cells.
        workers: processes; the numbers do not depend on them.
        episodes: at most so many in any cell, for a quick look.
        seed: of the episodes.
        say: receives a line per step.
        progress: show a bar within each cell.

    Returns:
        The path of ``reproduce.md``. Beside it lie ``report.html``, ``reproduce.json`` and a folder per cell.

    Raises:
        UnknownNameError: a task or setting that the table does not have.
        DownloadError: public traces that cannot be had.
        ConfigError: a recipe that cannot be run, or failed.
    """
    from netllm_gym.reproduce.page import write_page
    from netllm_gym.reproduce.table import as_json, as_markdown

    out, begin = Path(out), time.monotonic()
    sweep(out)
    work: list[Cell] = []
    left_out: dict[str, str] = {}
    for task in chosen_tasks(tasks):
        learned, missing = zoo_agents(task.name, profile)
        museum, unread = replayed(task, profile)
        left_out |= missing | unread
        if from_scratch:
            for entry in zoo.entries():
                if task.name not in entry.plays or profile not in entry.profiles or entry.label in missing:
                    continue
                if entry.successor:
                    say(f"{entry.label} is made by no recipe of today; {entry.successor} is trained in its place")
                else:
                    learned.append(retrained(entry, retrain(entry, out / "from-scratch" / entry.folder.name, say)))
        work += cells(task, profile, learned, settings, episodes, museum)
    for cell in work:
        cell.setting.bring(say)

    outcomes: list[Outcome] = []
    clock = _Clock([cell.task.seconds for cell in work])

    def write() -> None:
        write_text(out / "reproduce.json", json.dumps(finite(as_json(outcomes)), indent=1, allow_nan=False) + "\n")
        write_text(out / "reproduce.md", as_markdown(outcomes, profile, seed, left_out))
        write_page(outcomes, out / "report.html", profile, seed, left_out)

    # References first: whoever stops early has a table to compare with, and the second pass plays them no second time.
    references = [replace(cell, learned=(), museum=()) for cell in work]
    passes = [references, work] if any(cell.learned for cell in work) else [work]
    for number, part in enumerate(passes):
        for place, cell in enumerate(part):
            final = part is work
            left = clock.left() if final else ""
            who = "" if final else " (references)"
            say(f"[{place + 1}/{len(part)} {(time.monotonic() - begin) / 60:4.1f} min{left}] {cell.name}{who}")
            agents: list[Any] = [*cell.classical, *cell.museum, *(learner.agent for learner in cell.learned)]
            with clock if final else nullcontext():
                result = evaluate(
                    agents=agents,
                    setting=cell.setting,
                    episodes=cell.episodes,
                    seed=seed,
                    workers=workers,
                    out=out / cell.name,
                    trace_steps=(0,),
                    progress=progress,
                )
                if final and profile == "paper" and seed == 0:
                    result = with_stored(result, cell.name)
                if final:
                    result.report(out / cell.name)
            if number:
                outcomes[place] = Outcome(cell, result)
            else:
                outcomes.append(Outcome(cell, result))
        write()
        if part is not work:
            say(f"references: {out / 'reproduce.md'} (the trained agents follow)")
    say(f"done in {(time.monotonic() - begin) / 60:.1f} minutes")
    return out / "reproduce.md"


class _Clock:
    """Estimates the time left: what is expected of the cells to come, scaled by how the finished ones turned out."""

    def __init__(self, expected: list[float]) -> None:
        self.expected, self.done, self.spent = expected, 0, 0.0

    def __enter__(self) -> None:
        self._begin = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.spent += time.monotonic() - self._begin
        self.done += 1

    def left(self) -> str:
        """About how many minutes are left, as text; nothing before the first cell is done."""
        if not self.done:
            return ""
        ratio = self.spent / sum(self.expected[: self.done])
        return f", about {ratio * sum(self.expected[self.done :]) / 60:.0f} min left"
