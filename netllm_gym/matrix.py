"""Cross-dataset matrices: agents, or one recipe trained on each family of traces, on every family's test split.

A row is an agent and a column a family; a cell is the agent's standing there, the share of the way from floor to
oracle, which can be compared across links of any speed. Families come from the catalog of settings (``[task.matrix]``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from netllm_gym import traces as trace_room
from netllm_gym.envs.lookup import creator_of, spec_of
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation import canvas
from netllm_gym.evaluation.formats import percent, percent_interval, table
from netllm_gym.evaluation.generalisation import meaning_of_standing, standings
from netllm_gym.evaluation.heatmap import heatmap
from netllm_gym.evaluation.result import EvaluationResult
from netllm_gym.evaluation.runner import evaluate
from netllm_gym.evaluation.settings import Setting, load_families
from netllm_gym.files import atomic_path, one_writer, sweep, write_text

SHARED = "*"


@dataclass
class Matrix:
    """Standings of agents over families.

    Attributes:
        standings: agents × families.
        low, high: ends of the 95 % intervals, of the same shape.
        shared: (agent, family) of cells whose test traces share content or recordings with what the agent learned from.
        results: family → evaluation.
    """

    standings: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    shared: set[tuple[str, str]]
    results: dict[str, EvaluationResult]

    def markdown(self) -> str:
        """Return the matrix as a Markdown table with intervals."""
        phrase = meaning_of_standing(next(iter(self.results.values())))
        body = []
        for agent in self.standings.index:
            cells = []
            for family in self.standings.columns:
                text = percent(self.standings.loc[agent, family])
                text += f" {percent_interval(self.low.loc[agent, family], self.high.loc[agent, family])}"
                cells.append(text.strip() + (SHARED if (agent, family) in self.shared else ""))
            body.append([agent, *cells])
        lines = [f"{phrase[0].upper()}{phrase[1:]}, on the test split of each family [95 % interval by recording].", ""]
        lines += table(["agent", *map(str, self.standings.columns)], body)
        if self.shared:
            lines += ["", f"{SHARED} These test traces share content or recordings with what the agent learned from."]
        lines += ["", "| family | episodes | recordings | traces | results |", "|---|---:|---:|---:|---:|"]
        for family, result in self.results.items():
            recordings = int(result.summary()["recordings"].max())
            digest = str(result.manifest["traces"]["digest"])[:12]
            lines.append(
                f"| {family} | {result.manifest['episodes']} | {recordings} | {digest} | {result.digest[:12]} |"
            )
        return "\n".join(lines) + "\n"


@one_writer("out", "the matrix in")
def evaluate_matrix(
    task: str = "abr",
    agents: Sequence[str | Mapping[str, Any]] = (),
    profile: str = "embedded",
    recipe: str | None = None,
    out: str | Path = "runs/matrix",
    families: Sequence[str] = (),
    episodes: int | None = None,
    train_episodes: int = 120,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    workers: int = 1,
    say: Callable[[str], None] = print,
    progress: bool = False,
) -> Matrix:
    """Play every agent on every family of traces, and train one on each when `recipe` is given.

    Args:
        task: of the catalog of settings.
        agents: played as they are.
        profile: ``embedded``, or ``paper`` (public traces, fetched when missing).
        recipe: of :func:`netllm_gym.train`; it adds one agent per family, trained on that family's train split, its
            weights chosen on the valid split.
        out: folder for ``matrix.md``, ``matrix.csv``, the heatmap, the datasets' agents and a report per family.
        families: only these trace sets; by default the catalog's.
        episodes: at most so many of each test split; by default every trace once.
        train_episodes: of experience per family (and a sixth of it for validation).
        options: of the recipe.
        seed, workers: as for :func:`netllm_gym.evaluate`.
        say: receives a line per step.
        progress: show a bar per family.

    Raises:
        UnknownNameError, DownloadError: a task, family, agent or recipe that does not exist or cannot be had.
        ConfigError: nothing to play.
    """
    out, settings = Path(out), load_families(task, profile)
    sweep(out)
    if families:
        first = next(iter(settings.values()))
        settings = {name: replace(first, kwargs={**first.kwargs, "traces": name}) for name in families}
    for setting in settings.values():
        setting.bring(say)
    playing: list[Any] = list(agents)
    taught: dict[str, str] = {}
    if recipe:
        for name, setting in settings.items():
            say(f"training {recipe} on {name}")
            label = f"{recipe} on {name}"
            taught[label] = name
            folder = _train(recipe, setting, out, train_episodes, dict(options or {}), seed, workers, say)
            playing.append({"name": str(folder), "label": label})
    if not playing:
        raise ConfigError("name agents to play, or a recipe to train on each family")

    results: dict[str, EvaluationResult] = {}
    found: dict[str, pd.DataFrame] = {}
    for name, setting in settings.items():
        say(f"playing {name}")
        most = len(trace_room.load(name, "test"))
        count = most if episodes is None else min(episodes, most)
        folder = out / _slug(name)
        results[name] = evaluate(
            agents=playing, setting=setting, episodes=count, seed=seed, workers=workers, out=folder, progress=progress
        )
        results[name].report(folder)
        found[name] = standings(results[name]).set_index("agent")
    oracle = next(iter(results.values())).manifest["oracle"]
    shown = [agent for agent in next(iter(found.values())).index if agent != oracle]
    parts = {
        part: pd.DataFrame({name: frame[part] for name, frame in found.items()}).loc[shown]
        for part in ("standing", "low", "high")
    }
    shared = {
        (label, name)
        for label, source in taught.items()
        for name in settings
        if source != name and _share(source, name)
    }
    matrix = Matrix(parts["standing"], parts["low"], parts["high"], shared, results)
    _write(matrix, out)
    return matrix


def _slug(name: str) -> str:
    return name.replace("/", "-")


def _train(
    recipe: str,
    setting: Setting,
    out: Path,
    count: int,
    options: dict[str, Any],
    seed: int,
    workers: int,
    say: Callable[[str], None],
) -> Path:
    """Collect from the family's own train and valid splits, train, and return the checkpoint folder."""
    from netllm_gym.datasets.collect import CollectConfig, collect
    from netllm_gym.recipes import recipe_of, train

    known = recipe_of(recipe)
    if not known.data:
        raise ConfigError(f"recipe {recipe} brings its own data; a matrix trains on each family's")
    values = known.values and hasattr(creator_of(spec_of(setting.env)), "action_values")
    names = {}
    behaviour = tuple(name for name in (setting.baseline, setting.oracle) if name)
    start = {"random_start": True} if setting.env == "netllm_gym/ABR-v0" else {}
    for split, episodes in (("train", count), ("valid", max(8, count // 6))):
        config = CollectConfig(
            env=setting.env,
            agents=behaviour,
            episodes=episodes,
            epsilon=0.15,
            seed=seed,
            hindsight=values,
            env_kwargs={**setting.kwargs, "split": split, **start},
        )
        names[split] = f"netllm_gym/matrix/{split}_{config.key}-v0"
        collect(config, names[split], workers)
    folder = out / "agents" / f"{recipe}-{_slug(str(setting.kwargs['traces']))}"
    note = folder.with_suffix(".txt")  # which data and options the finished agent comes from
    key = f"{recipe} {sorted(options.items())} {names['train']} {names['valid']} seed {seed}"
    if not (folder / "agent.json").is_file() or not note.is_file() or note.read_text(encoding="utf-8") != key:
        valid = [names["valid"]] if known.valid == "needed" else None
        train(recipe, [names["train"]], folder, valid, seed=seed, options=options, say=say)
        write_text(note, key)
    return folder


def _share(source: str, target: str) -> bool:
    """Whether test traces of `target` share content, recordings or runs of samples with what `source` teaches."""
    splits = {
        "train": (*trace_room.load(source, "train"), *trace_room.load(source, "valid")),
        "test": tuple(trace_room.load(target, "test")),
    }
    found = trace_room.audit(splits, near=False)
    pair = next(iter(found.exact))
    return bool(found.exact[pair] or found.shared_recordings[pair] or found.overlapping[pair])


def _write(matrix: Matrix, out: Path) -> None:
    write_text(out / "matrix.md", matrix.markdown())
    with atomic_path(out / "matrix.csv") as path:
        path.write_text(matrix.standings.to_csv(index_label="agent"), encoding="utf-8")
    figure = heatmap(matrix.standings, meaning_of_standing(next(iter(matrix.results.values()))))
    for suffix in ("png", "pdf"):
        canvas.write(figure, out / f"matrix.{suffix}")
