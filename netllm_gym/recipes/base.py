"""What a recipe is, and the table of recipes."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

from netllm_gym.agents.base import Agent
from netllm_gym.datasets.experience import Experience
from netllm_gym.deprecation import renamed
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.plugins import Table

C = TypeVar("C")
MOST_SEED = 2**32 - 1  # beyond it NumPy's global generator, which Trainer seeds, takes none
# Options that mean the same in every recipe -> the least value (a rate is above 0, so the least float) and the largest:
# beyond it a step has no float32.
_RANGES = {"learning_rate": (5e-324, 1e6), "weight_decay": (0.0, 1e6)}


@dataclass(frozen=True)
class Training:
    """One training that a recipe is asked for.

    Attributes:
        config: the recipe's configuration, filled from the caller's options and seed.
        out: checkpoint folder to write; it must appear only when the training is finished.
        run: folder beside it for a resumable state and logs.
        data, valid: training and validation experience, where the recipe takes any.
        minutes: stop after about so long, ``None`` for the configured length.
        say: receives a line of progress now and then.
    """

    config: Any
    out: Path
    run: Path
    data: Experience | None
    valid: Experience | None
    minutes: float | None
    say: Callable[[str], None]

    def experience(self) -> Experience:
        """Return the training data, which recipes with ``data=True`` always get."""
        assert self.data is not None
        return self.data


@dataclass(frozen=True)
class Recipe:
    """A way to train an agent.

    Attributes:
        name: what it is called, e.g. ``cql`` or ``cluster-decima``.
        run: trains, writes the checkpoint and returns the agent.
        config: dataclass of its options; a field ``seed`` receives the caller's seed.
        data: whether it learns from the datasets that the caller names; otherwise it brings its own.
        valid: ``"needed"`` where it chooses its weights on validation data, ``"ignored"`` where it has no use for any.
        timed: whether it can stop after a number of minutes.
        values: whether it learns (also) from action values, so that data should be collected with them.
        extra: optional extra that it needs.
        fixed: options that belong to the name and cannot be chosen.
        resumable: whether the same command goes on from where a stopped one was.
    """

    name: str
    run: Callable[[Training], Agent]
    config: type
    data: bool = True
    valid: str = "ignored"
    timed: bool = False
    values: bool = False
    extra: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    resumable: bool = False

    @property
    def description(self) -> str:
        """The first line of its description."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    about = renamed("about", "description")

    def options(self) -> dict[str, Any]:
        """Return the options that a caller may set, with their defaults (``None`` where there is none)."""
        return {
            f.name: None if f.default is dataclasses.MISSING else f.default
            for f in fields(self.config)
            if f.name != "seed" and f.name not in self.fixed
        }

    def configure(self, options: Mapping[str, Any], seed: int) -> Any:
        """Return the configuration for `options`.

        Raises:
            UnknownNameError: an option that the recipe does not have.
            ConfigError: an option that cannot be chosen, or a value of another kind or out of range.
        """
        if "seed" in options:
            raise ConfigError("the seed is an argument of its own (seed=, --seed), not an option")
        for name in options:
            if name in self.fixed:
                raise ConfigError(f"recipe {self.name} fixes {name} = {self.fixed[name]!r}; it is no option")
            if name not in self.options():
                raise UnknownNameError("training option", name, self.options())
        check_seed(seed)
        given = fitting(self.config, options, f"of recipe {self.name} ")
        if any(f.name == "seed" for f in fields(self.config)):
            given["seed"] = seed
        return self.config(**given, **self.fixed)


def check_seed(seed: Any) -> None:
    """Refuse what no generator takes as a seed.

    Raises:
        ConfigError: no whole number from 0 to :data:`MOST_SEED`.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) <= MOST_SEED:
        raise ConfigError(f"a seed is a whole number from 0 to {MOST_SEED}, got {seed!r}")


def fitting(kind: type, options: Mapping[str, Any], whose: str = "") -> dict[str, Any]:
    """Return values as the fields of the dataclass `kind` want them: lists and names with commas become tuples, whole
    numbers floats.

    Raises:
        ConfigError: a value of another kind, not finite, or out of the range that its name has everywhere; the message
            says `whose` option it is.
    """
    hints = typing.get_type_hints(kind)
    return {name: _fitting(whose, name, value, hints.get(name, Any)) for name, value in options.items()}


def _fitting(whose: str, name: str, value: Any, hint: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
        plain = typing.get_origin(kind) or kind
        if plain is Any or (plain is type(None) and value is None):
            return value
        if plain is float and isinstance(value, int | float) and not isinstance(value, bool):
            return _number(whose, name, value)
        if plain is tuple and (members := _members(value, typing.get_args(kind))) is not None:
            for member in members:
                if isinstance(member, float):
                    _number(whose, name, member)
            return members
        if plain is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if plain not in (int, float, tuple, type(None)) and isinstance(plain, type) and isinstance(value, plain):
            return value
        if not isinstance(plain, type):
            return value
    wanted = " or ".join(_said(kind) for kind in kinds)
    raise ConfigError(f"option {name} {whose}takes {wanted}, got {value!r}")


def _number(whose: str, name: str, value: float) -> float:
    """Return a number as a float: what is not finite trains to nan, where it trains at all."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"option {name} {whose}takes a finite number, got {number}")
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if not low <= number <= high:
        raise ConfigError(f"option {name} {whose}must {'be positive' if low else 'not be negative'}, at most {high:g}")
    return number


def _members(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return a list, one value, or values with commas between as a tuple; None if one is of another kind."""
    kind = kinds[0] if kinds else Any
    if isinstance(value, str) and (kind is str or "," in value):
        value = [part.strip() for part in value.split(",")] if value else None
        if value and kind in (int, float):
            try:
                value = [kind(part) for part in value]
            except ValueError:
                return None
    found = list(value) if isinstance(value, list | tuple) else None if value is None else [value]
    if found is not None and kind is float:
        found = [float(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in found]
    if found is None or (isinstance(kind, type) and any(type(one) is not kind for one in found)):
        return None
    return tuple(found)


def _said(kind: Any) -> str:
    if (typing.get_origin(kind) or kind) is not tuple:
        return getattr(kind, "__name__", str(kind))
    return f"a list of {typing.get_args(kind)[0].__name__}, commas between"


def narrowed(kind: type[C], options: Any) -> C:
    """Return the `kind` among the fields of a configuration that extends it."""
    return kind(**{f.name: getattr(options, f.name) for f in fields(kind)})  # type: ignore[arg-type]


_RECIPES: Table[Recipe] = Table(
    "recipe",
    "netllm_gym.recipes",
    tuple(
        f"netllm_gym.recipes.{module}"
        for module in (
            "llm",
            "regret_mlp",
            "offline",
            "abr_actor_critic",
            "abr_llm",
            "abr_regret_mlp",
            "cluster_adaptive",
            "cluster_decima",
            "cluster_expert",
            "cluster_llm",
            "cluster_cql",
            "viewport_llm",
            "viewport_networks",
            "viewport_crowd",
            "generalist",
            "few_shot",
        )
    ),
)


def register_recipe(
    name: str,
    config: type,
    *,
    data: bool = True,
    valid: str = "ignored",
    timed: bool = False,
    values: bool = False,
    extra: str = "",
    fixed: Mapping[str, Any] | None = None,
    resumable: bool = False,
) -> Callable[[Callable[[Training], Agent]], Callable[[Training], Agent]]:
    """Register a function that trains an agent, so that :func:`netllm_gym.train` and ``netllm-gym train`` run it.

    The function receives a :class:`Training`, writes the checkpoint folder ``training.out`` and returns the agent. The
    arguments are the attributes of :class:`Recipe`.

    Example:
        >>> from dataclasses import dataclass
        >>> import netllm_gym
        >>> @dataclass(frozen=True)
        ... class Nothing:
        ...     seed: int = 0
        >>> @netllm_gym.register_recipe("docs/nothing", Nothing, data=False)
        ... def nothing(training):
        ...     "Train nothing."
        ...     return netllm_gym.make_agent("any/random")
    """
    if valid not in ("needed", "ignored"):
        raise ConfigError(f"valid is 'needed' or 'ignored', got {valid!r}")
    if not dataclasses.is_dataclass(config):
        raise ConfigError(f"the configuration of recipe {name} must be a dataclass, got {config!r}")

    def add(run: Callable[[Training], Agent]) -> Callable[[Training], Agent]:
        recipe = Recipe(name, run, config, data, valid, timed, values, extra, dict(fixed or {}), resumable)
        _RECIPES.register(name, recipe, run)
        return run

    return add


def list_recipes() -> list[str]:
    """Return the names of all recipes."""
    return _RECIPES.names()


def recipe_of(name: str) -> Recipe:
    """Return the recipe called `name`.

    Raises:
        UnknownNameError: no such recipe; the message offers the nearest names.
    """
    return _RECIPES[name]
