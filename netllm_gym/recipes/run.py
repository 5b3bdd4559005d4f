"""Train any learner by the name of its recipe."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.datasets.experience import Experience, merge
from netllm_gym.datasets.store import load_experience
from netllm_gym.errors import ConfigError
from netllm_gym.extras import CORE_OF, guarded, require
from netllm_gym.files import one_writer, sweep, sweep_folder
from netllm_gym.progress import teller
from netllm_gym.randomness import borrowed_generators
from netllm_gym.recipes.base import Training, list_recipes, recipe_of
from netllm_gym.traces.protocol import training


def __getattr__(name: str) -> Any:
    if name == "RECIPES":  # of the first release
        return tuple(list_recipes())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@one_writer("out", "the checkpoint")
def train(
    recipe: str,
    datasets: str | Experience | Sequence[str | Experience] = (),
    out: str | Path = "",
    valid: str | Experience | Sequence[str | Experience] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: bool | Callable[[str], None] | None = True,
) -> Agent:
    """Train an agent and write its checkpoint folder.

    Args:
        recipe: one of :func:`netllm_gym.list_recipes`.
        datasets: ids of the training datasets, or :class:`Experience` objects (joined). Recipes that bring their own
            data take none.
        out: checkpoint folder to write; a resumable state lies beside it in ``<out>.run`` where a recipe keeps one.
        valid: ids of the validation datasets, or experience; some recipes choose their weights by them.
        minutes: stop after about so long.
        seed: of everything random.
        options: fields of the recipe's configuration class.
        say: print a line of progress now and then on stderr; or a function that receives it.

    Raises:
        UnknownNameError: no such recipe or option.
        DatasetError: a dataset that is missing or lacks what the recipe needs.
        ConfigError: an option out of range or that the recipe would ignore, no validation data where they are needed,
            or datasets for a recipe that brings its own.
        MissingExtraError: the recipe needs a package that is not installed.
    """
    datasets, valid = _several(datasets), _several(valid)
    chosen = recipe_of(recipe)
    if chosen.extra in CORE_OF:  # before any data is read
        require(chosen.extra, f"recipe {recipe}", CORE_OF[chosen.extra])
    config = chosen.configure(options or {}, seed)
    if minutes is not None and not 0 <= minutes < float("inf"):
        raise ConfigError(f"minutes must be finite and not negative, got {minutes:g}")
    if not str(out):
        raise ConfigError("say where the checkpoint goes: out=FOLDER")
    if chosen.data and not datasets:
        raise ConfigError(f"recipe {recipe} learns from data; name a dataset")
    if not chosen.data and (datasets or valid):
        raise ConfigError(f"recipe {recipe} brings its own data; it takes no dataset")
    if chosen.valid == "needed" and chosen.data and not valid:
        raise ConfigError(f"{recipe} chooses its weights on validation data; name a dataset with --valid")
    for given, used, what in ((valid, chosen.valid == "needed", "validation data"), (minutes, chosen.timed, "minutes")):
        if given and not used:
            warnings.warn(f"recipe {recipe} makes no use of {what}", stacklevel=3)
    folder = Path(out)
    if folder.name in ("", ".."):  # the working folder, or one above it: they have names all the same
        folder = Path(os.path.abspath(folder))
    sweep(folder.parent)
    sweep_folder(folder)
    with training(f"training {recipe}"):
        data = merge([_loaded(one) for one in datasets]) if datasets else None
        held_out = merge([_loaded(one) for one in valid]) if valid else None
        run = folder.with_name(f"{folder.name}.run")
        with guarded(f"recipe {recipe}"), borrowed_generators():
            agent = chosen.run(Training(config, folder, run, data, held_out, minutes, teller(say)))
    agent.name = str(out)
    return agent


def _several(data: str | Experience | Sequence[str | Experience] | None) -> Sequence[str | Experience]:
    """One dataset may stand for a list of one: a string taken letter by letter is never meant."""
    return [data] if isinstance(data, str | Experience) else data or ()


def _loaded(data: str | Experience) -> Experience:
    if isinstance(data, Experience):
        return data
    if isinstance(data, str):
        return load_experience(data)
    raise ConfigError(f"training data are the ids of datasets or Experience objects, got {type(data).__name__}")
