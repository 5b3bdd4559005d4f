"""What the chains of all tasks share: a place, a seed, datasets and trainings that are kept, and the last table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netllm_gym.files import finite, write_json
from netllm_gym.settings import Setting


@dataclass(frozen=True)
class Chain:
    """One pass through the chain.

    Attributes:
        traces: trace set of the catalog.
        minutes: scales datasets and trainings.
        out: folder of the checkpoints.
        seed: of everything random.
        workers: processes for collecting.
        say: receives a line of text.
    """

    traces: str
    minutes: float
    out: Path
    seed: int
    workers: int
    say: Callable[[str], None]

    def scaled(self, per_minute: float, least: int = 1) -> int:
        """Return so many per minute, as a whole number."""
        return max(least, round(per_minute * self.minutes))

    def learn(self, name: str, recipe: str, data: Sequence[str] = (), valid: Sequence[str] = (), **options: Any) -> str:
        """Train `recipe` into the folder `name`, unless the same training is there already; return the folder."""
        from netllm_gym.recipes import recipe_of, train

        folder = self.out / name
        order = {"recipe": recipe, "options": options, "data": list(data), "valid": list(valid), "seed": self.seed}
        marker = folder / "recipe.json"
        if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == finite(order):
            self.say(f"  {name}: kept")
            return str(folder)
        started = time.monotonic()
        chosen_by = list(valid) if recipe_of(recipe).valid == "needed" else None
        train(recipe, data, folder, chosen_by, None, self.seed, options, say=lambda line: self.say(f"    {line}"))
        write_json(marker, order)
        self.say(f"  {name}: trained in {time.monotonic() - started:.0f} s")
        return str(folder)


@dataclass(frozen=True)
class Plan:
    """The chain of one task.

    Attributes:
        traces: the embedded trace set.
        baseline: what the others are compared with.
        rivals: agents that need no training here.
        learners: agents that are trained.
        data: what the second step makes.
        setting: trace set → what agents are tested on.
        prepare: makes the datasets that the learners named need.
        train: trains the learners named; returns learner → agent.
        episodes: of the evaluation; ``None``: every test trace.
    """

    traces: str
    baseline: str
    rivals: tuple[str, ...]
    learners: tuple[str, ...]
    data: str
    setting: Callable[[str], Setting]
    prepare: Callable[[Chain, Sequence[str]], Any]
    train: Callable[[Chain, Any, Sequence[str]], dict[str, dict[str, Any]]]
    episodes: int | None = None


def lines_of(result: Any) -> list[str]:
    """Render a summary as lines: metric with interval, paired difference, share of the gap, verdict."""
    metric, baseline = result.metric["name"], result.manifest["baseline"]
    lines = [f"  {'agent':22s} {metric:>9s}  {'95 % CI':>18s}  {f'vs {baseline}':>26s}  {'gap closed':>10s}  verdict"]
    for row in result.summary().reset_index().to_dict("records"):
        interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        paired = f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
        paired = paired if row["difference"] == row["difference"] else "-"  # the baseline itself
        share = f"{row['score']:.1%}" if row["score"] == row["score"] else "-"
        numbers = f"{row['mean']:9.3f}  {interval:>18s}  {paired:>26s}  {share:>10s}"
        lines.append(f"  {row['agent']:22s} {numbers}  {row['verdict']}")
    return lines
