"""Is the language model needed? A grid of LLM agents that differ in a few options, trained, compared and drawn.

Everything that is not varied stays the same: encoder, tokens, head, data, budget, evaluation episodes. Finished cells
are kept and a training that was stopped goes on, so the same command resumes.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from netllm_gym.agents.checkpoint import read_description
from netllm_gym.datasets.experience import Experience, merge
from netllm_gym.datasets.store import load_experience
from netllm_gym.errors import CheckpointError, ConfigError, UnknownNameError
from netllm_gym.evaluation.brief import with_interval
from netllm_gym.evaluation.formats import number
from netllm_gym.evaluation.formats import table as markdown_table
from netllm_gym.files import atomic_path, digest, one_writer, sweep, write_json, write_text
from netllm_gym.recipes.base import check_seed, fitting

if TYPE_CHECKING:
    from netllm_gym.evaluation.result import EvaluationResult

DATA_SHARE = "data_share"
MOST_TRAININGS = 10_000
TABLES = ("vary", "options", "setting", "conditions", "elsewhere")
_PLACE = re.compile(r"[^\W_](-|[^\W_]){0,59}")


@dataclass(frozen=True)
class Grid:
    """What to compare.

    Attributes:
        train, valid: dataset ids.
        vary: option of the LLM agent, or ``data_share`` (of the training episodes, in (0, 1]) → its values.
        options: of every cell.
        seeds: training seeds of every cell.
        minutes: at most, for each training; 0 leaves it to ``steps``.
        env, setting, episodes: of the evaluation; `setting` holds the environment's arguments.
        rivals: other agents to evaluate beside, the first is the baseline.
        conditions: name → options that belong together (a random backbone with a start token, a small transformer);
            each is crossed with what is varied.
        elsewhere: name → further settings of the same environment that every agent plays (a family of traces that was
            left out of the training).
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    vary: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    minutes: float = 0.0
    env: str = "netllm_gym/ABR-v0"
    setting: Mapping[str, Any] = field(default_factory=dict)
    episodes: int = 0
    rivals: tuple[str, ...] = ()
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    elsewhere: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in TABLES:
            _table(name, given.pop(name))
        for name, value in fitting(Grid, given, "of a grid ").items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "vary", {key: _values(key, values) for key, values in self.vary.items()})
        if not self.train or not self.valid or not self.seeds:
            raise ConfigError("an ablation needs training and validation datasets and at least one seed")
        for seed in self.seeds:
            check_seed(seed)
        for name in ("seeds", "rivals"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ConfigError(f"{name} of a grid name one twice: {', '.join(map(str, getattr(self, name)))}")
        if self.minutes < 0 or self.episodes < 0:
            raise ConfigError(f"minutes and episodes must not be negative, got {self.minutes:g} and {self.episodes}")
        count = math.prod(map(len, self.vary.values())) * max(len(self.conditions), 1) * len(self.seeds)
        if count > MOST_TRAININGS:
            raise ConfigError(f"{count:.3g} trainings are more than {MOST_TRAININGS}")
        for name, options in self.conditions.items():
            if both := sorted(set(_table(f"condition {name!r}", options)) & set(self.vary)):
                raise ConfigError(f"condition {name!r} sets {both[0]}, which is also varied")
            if not name.strip() or not name.isprintable() or "|" in name:  # it stands in a cell of a table
                raise ConfigError(f"a condition's name is one line without '|', not {name!r}")
        for name, setting in self.elsewhere.items():
            _table(f"elsewhere {name!r}", setting)
        # They become names of files, whose case some disks do not tell apart.
        if bad := [name for name in self.elsewhere if not _PLACE.fullmatch(name)]:
            raise ConfigError(f"a setting elsewhere is named in at most 60 letters, digits and hyphens, not {bad[0]!r}")
        if len({name.lower() for name in self.elsewhere}) < len(self.elsewhere):
            raise ConfigError("two settings elsewhere differ only in their case")
        # Options that do not exist or do not fit are found before anything is trained.
        names = [*(cell.label for cell in cells(self)), *self.rivals]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"two recipes or rivals are called {twice[0]!r}, and their rows would be taken for one")

    @classmethod
    def read(cls, path: str | Path) -> Grid:
        """Read a grid from a TOML file whose keys are the attributes.

        Raises:
            ConfigError: no such file, not TOML, or a missing key.
            UnknownNameError: a key or option that does not exist.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                raise UnknownNameError("key of a grid", name, known)
        if missing := [name for name in ("train", "valid") if name not in values]:
            raise ConfigError(f"{path}: a grid needs {' and '.join(missing)}: names of datasets")
        try:
            return cls(**values)
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{path}: {' '.join(str(error).split())[:300]}") from None


@dataclass(frozen=True)
class Cell:
    """One recipe of a grid, trained with every seed.

    Attributes:
        label: what is varied, for tables.
        values: the varied options.
        share: of the training episodes.
        configs: seed → configuration.
    """

    label: str
    values: dict[str, Any]
    share: float
    configs: dict[int, Any]


def cells(grid: Grid) -> list[Cell]:
    """Return the recipes of `grid`, without those that come out the same (a stand-in has no adapters to vary).

    Raises:
        UnknownNameError, ConfigError: an option that does not exist, or a value that does not fit.
    """
    from netllm_gym.agents.llm.config import LLMConfig

    known = {item.name for item in fields(LLMConfig)}
    found: dict[str, Cell] = {}
    conditions: Mapping[str, Mapping[str, Any]] = grid.conditions or {"": {}}
    for condition, *chosen in itertools.product(conditions, *grid.vary.values()):
        values = dict(zip(grid.vary, chosen, strict=True))
        given = {**grid.options, **conditions[condition], **values}
        share = _share(given.pop(DATA_SHARE, 1.0))
        if "seed" in given:
            raise ConfigError("the seeds of a grid are its key seeds, not an option")
        fitting(LLMConfig, {name: value for name, value in given.items() if name in known}, "of a grid ")
        configs = {seed: LLMConfig.from_json({**given, "seed": seed}) for seed in grid.seeds}
        first = configs[grid.seeds[0]].to_json()
        shown = {key: first.get(key, share) for key in values}
        if first["tuning"] != "lora":
            shown = {key: value for key, value in shown.items() if not key.startswith("lora_")}
            first = {key: value for key, value in first.items() if not key.startswith("lora_")}
        key = json.dumps([first, share], sort_keys=True)
        names = [condition] if condition else []
        names += [_shown(name, value) for name, value in shown.items()]
        if not names and values:  # ranks of adapters that there are not
            names = [first["tuning"]]
        if condition:
            shown = {"condition": condition, **shown}
        found.setdefault(key, Cell(", ".join(names) or "as configured", shown, share, configs))
    if lost := set(grid.conditions) - {cell.values.get("condition") for cell in found.values()}:
        raise ConfigError(f"condition {min(lost)!r} comes out the same as another: each is trained once")
    return list(found.values())


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{name} of a grid is a table of names and values, got {value!r}"[:200])
    return value


def _values(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"vary takes a list of values of each option, got {name} = {values!r}"[:200])
    if not (found := tuple(values)):
        raise ConfigError(f"nothing to vary in {name!r}")
    return found


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigError(f"data_share must lie in (0, 1], got {value!r}")
    return float(value)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, str):
        return Path(value).name if "/" in value else value
    return f"{name} {value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else f"{name} {value}"


def take_share(experience: Experience, share: float) -> Experience:
    """Return a `share` of the episodes, the same for every recipe; smaller shares are contained in larger ones."""
    if share == 1.0:
        return experience
    count = max(1, round(share * len(experience)))
    order = np.random.default_rng(0).permutation(len(experience))[:count]
    episodes = [experience.episodes[i] for i in sorted(order)]
    return replace(experience, episodes=episodes, digest=f"{experience.digest}*{share:g}")


@one_writer("out", "the ablation in")
def ablate(
    grid: Grid, out: str | Path, workers: int = 1, say: Callable[[str], None] = print
) -> tuple[pd.DataFrame, Path]:
    """Train and evaluate every cell; write ``table.csv``, ``table.md`` and ``ablation.png`` below `out`, and the same
    with ``-NAME`` for each setting elsewhere.

    Returns:
        The table (one row per recipe and rival) and the folder. ``difference`` is to the first rival, or else to the
        first recipe, ``reference_difference`` to the ``reference`` of :func:`references`; both are paired, on the same
        episodes.

    Raises:
        ConfigError, DatasetError, UnknownNameError: an unusable grid, dataset or agent.
    """
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train
    from netllm_gym.evaluation import evaluate
    from netllm_gym.evaluation.runner import refuse

    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    for setting in (grid.setting, *grid.elsewhere.values()):  # found now, not when everything is trained
        refuse(grid.env, grid.rivals or ("any/random",), setting, grid.episodes or None)
    folder = Path(out)
    sweep(folder)
    experience = merge([load_experience(name) for name in grid.train])
    valid = merge([load_experience(name) for name in grid.valid])
    recipes = cells(grid)
    agents: list[Any] = list(grid.rivals)
    costs: dict[str, dict[str, float]] = {}
    spent: dict[str, float] = {}  # seconds of training, all seeds
    total = len(recipes) * len(grid.seeds)
    # Seed by seed: an ablation that is stopped early has whole comparisons of fewer seeds.
    for turn, (seed, cell) in enumerate(itertools.product(grid.seeds, recipes), 1):
        config, data = cell.configs[seed], take_share(experience, cell.share)
        content = {"config": config.to_json(), "data": data.digest, "valid": valid.digest, "minutes": grid.minutes}
        place = folder / "cells" / digest([json.dumps(content, sort_keys=True).encode()])[:16]
        if not (place / "agent.json").is_file():
            say(f"[{turn}/{total}] {cell.label}, seed {seed}")
            run, begin = place.with_suffix(".run"), time.perf_counter()
            agent = train(
                config, data, valid, run, minutes=grid.minutes or None, progress=lambda line: say(f"  {line}")
            )
            learnt = sum(p.numel() for p in agent.model.parameters() if p.requires_grad)
            agent.results |= {"trainable": learnt, "seconds": round(time.perf_counter() - begin, 1)}
            save(agent, place)
        results = _results(place)
        costs[cell.label] = {key: results[key] for key in ("trainable", "valid_score", "seconds") if key in results}
        costs[cell.label]["seconds"] = round(spent.setdefault(cell.label, 0.0) + results.get("seconds", 0.0), 1)
        spent[cell.label] = costs[cell.label]["seconds"]
        agents.append({"name": str(place), "label": cell.label, "training_seed": seed})
    tables, against = {}, references(recipes)
    for where, setting in {"": grid.setting, **grid.elsewhere}.items():
        result = evaluate(
            env=grid.env,
            agents=agents,
            setting=dict(setting),
            episodes=grid.episodes or None,
            baseline=grid.rivals[0] if grid.rivals else None,
            workers=workers,
            out=folder / (f"evaluation-{where}" if where else "evaluation"),
            progress=False,
        )
        tables[where] = _compared(result, against, costs)
    for where, table in tables.items():
        suffix = f"-{where}" if where else ""
        with atomic_path(folder / f"table{suffix}.csv") as temporary:
            table.to_csv(temporary, index=False)
        write_text(folder / f"table{suffix}.md", _markdown(table, grid, where))
        _draw(table, folder / f"ablation{suffix}.png")
    write_json(folder / "grid.json", {cell.label: cell.values for cell in recipes})
    return tables[""], folder


def _results(place: Path) -> Mapping[str, Any]:
    """Return what was measured when a cell was trained; a damaged one is named, as it is trained again without it."""
    try:
        found = read_description(place)["results"]
    except (CheckpointError, KeyError) as error:
        found = error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"the finished cell {place} is damaged: delete it, and the same command trains it again")
    return found


def references(recipes: Sequence[Cell]) -> dict[str, str]:
    """Return for each recipe what it is compared with: the first condition at the same varied values, so that only
    the condition differs; without conditions, the first recipe.
    """
    firsts: dict[str, str] = {}
    chosen = {}
    for cell in recipes:
        level = {key: value for key, value in cell.values.items() if key != "condition"}
        key = json.dumps(level, sort_keys=True) if "condition" in cell.values else ""
        chosen[cell.label] = firsts.setdefault(key, cell.label)
    return chosen


def _compared(
    result: EvaluationResult, against: Mapping[str, str], costs: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """One row per recipe and rival, each beside the first rival and beside its reference (a rival: the first one)."""
    table = result.summary().reset_index()
    first = next(iter(against.values()))
    table["reference"] = [against.get(agent, first) for agent in table["agent"]]
    columns = ("difference", "difference_low", "difference_high", "verdict", "why")
    for reference, rows in table.groupby("reference", sort=False):
        among = result.frame["agent"].isin([*rows["agent"], reference])
        part = replace(result, frame=result.frame[among].reset_index(drop=True),
                       manifest={**result.manifest, "baseline": reference}).summary().set_index("agent")  # fmt: skip
        for column in columns:
            table.loc[rows.index, f"reference_{column}"] = part.loc[rows["agent"], column].to_numpy()
    for name in ("trainable", "seconds"):
        table[name] = [costs.get(label, {}).get(name, 0.0) for label in table["agent"]]
    wanted = ("agent", "mean", "ci_low", "ci_high", *columns, "reference", *(f"reference_{name}" for name in columns))
    return table[[column for column in (*wanted, "trainable", "seconds", "latency_p50_ms") if column in table]]


def readable(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows of a table as texts, a value and its interval in one cell."""
    return [
        {
            "agent": row["agent"],
            "mean": with_interval(row, "mean", "ci"),
            "difference": with_interval(row, "difference", "difference"),
            "verdict": row["verdict"] or "–",
            "reference": row["reference"],
            "to reference": with_interval(row, "reference_difference", "reference_difference"),
            "verdict on it": row["reference_verdict"] or "–",
            "trainable": f"{row['trainable']:.0f}",
            "seconds": number(row["seconds"], 1),
        }
        for row in table.to_dict("records")
    ]


def reasons(table: pd.DataFrame) -> list[str]:
    """Return why verdicts are undecided, each reason once."""
    found = [
        row[why] for why, said in (("why", "verdict"), ("reference_why", "reference_verdict"))
        for row in table.to_dict("records") if row[said] == "undecided"
    ]  # fmt: skip
    return list(dict.fromkeys(found))


def _markdown(table: pd.DataFrame, grid: Grid, where: str = "") -> str:
    rows = readable(table)
    place = f"{grid.env} ({where})" if where else grid.env
    note = f"Seeds {', '.join(map(str, grid.seeds))}; trained on {', '.join(grid.train)}; played on {place}."
    against = f"`difference` is to {grid.rivals[0] if grid.rivals else 'the first recipe'}."
    lines = [*markdown_table([*rows[0]], [[*row.values()] for row in rows]), "", f"{note} {against}"]
    return "\n".join([*lines, *(f"\nUndecided: {why}." for why in reasons(table))]) + "\n"


def _draw(table: pd.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 0.9 + 0.32 * len(table)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = table.iloc[::-1].reset_index(drop=True)
    for axes, middle, low, high in (
        (left, "mean", "ci_low", "ci_high"),
        (right, "reference_difference", "reference_difference_low", "reference_difference_high"),
    ):
        error = [rows[middle] - rows[low], rows[high] - rows[middle]]
        axes.errorbar(rows[middle], range(len(rows)), xerr=error, fmt="o", color="black", capsize=3)
        axes.grid(axis="x", alpha=0.3)
    left.set_yticks(range(len(rows)), rows["agent"])
    left.set_xlabel("mean and its 95 % interval")
    right.axvline(0.0, color="grey", linewidth=1)
    names = [*table["reference"].unique()]
    right.set_xlabel(f"paired difference to\n{names[0] if len(names) == 1 else 'condition 1, same values'}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
