"""Environments by id: of this package, of other packages, and Gymnasium's."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from netllm_gym.envs.actions import with_flat_actions
from netllm_gym.errors import ConfigError, UnknownNameError, theirs
from netllm_gym.plugins import load_group, look_here


def spec_of(env: str) -> EnvSpec:
    """Return the registration of `env`, an id or ``module:id``; the module may lie in the working directory.

    An id nobody has registered yet is looked for in the packages of the entry-point group ``netllm_gym.envs``.

    Raises:
        UnknownNameError: no such environment; the message offers the nearest ids.
        ConfigError: the module cannot be imported.
    """
    module, _, name = env.rpartition(":")
    if module:
        look_here()
        try:
            with theirs(f"module {module} of environment {env}"):
                importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"environment {env}: module {module} cannot be imported ({error})") from None
    if name not in gym.registry:
        load_group("netllm_gym.envs")
    if name not in gym.registry:
        raise UnknownNameError("environment", name, gym.registry)
    return gym.registry[name]


def name_of(env: gym.Env) -> str:
    """Return the id of an environment without its wrappers, or the name of its class where it was not registered."""
    inner = env.unwrapped
    return inner.spec.id if inner.spec else type(inner).__name__


def metadata_of(env: gym.Env) -> dict[str, Any]:
    """Return the metadata of an environment; some have none.

    Raises:
        ConfigError: they, or their ``modalities`` or ``scales``, are no table.
    """
    found: Any = env.metadata
    tables = {"metadata": found}
    if isinstance(found, Mapping):
        tables |= {f"metadata[{key!r}]": found.get(key) for key in ("modalities", "scales")}
    for what, table in tables.items():
        if table is not None and not isinstance(table, Mapping):
            raise ConfigError(f"{what} of {name_of(env)} is a table, not a {type(table).__name__}")
    return {key: value for key, value in (found or {}).items() if value is not None}


def traces_of(env: gym.Env) -> Any:
    """Return the traces of an environment that plays some, by number; ``None`` for any other."""
    traces: Any = getattr(env.unwrapped, "traces", None)
    return traces if hasattr(traces, "__len__") and hasattr(traces, "__getitem__") and len(traces) else None


def make_env(env: str | EnvSpec, kwargs: Mapping[str, Any] | None = None) -> gym.Env:
    """Return a new environment, without Gymnasium's checks of every step, with composite actions flat.

    Raises:
        UnknownNameError: no such environment, or an argument that it does not take.
        ConfigError: an argument that does not fit or that is missing, an environment without spaces, or a simulator
            that is not installed.
    """
    spec = spec_of(env) if isinstance(env, str) else env
    parameters = _parameters(spec)
    taken = _arguments(parameters)
    for name in kwargs or ():
        if taken and name not in taken:
            raise UnknownNameError(f"argument of {spec.id}", name, taken)
    if lacking := _lacking(parameters, {**spec.kwargs, **(kwargs or {})}):
        names = " ".join(f"--env-arg {name}=…" for name in lacking)
        raise ConfigError(f"{spec.id} cannot be made without {', '.join(lacking)} ({names}, or env_kwargs in Python)")
    try:
        with theirs(f"the making of {spec.id}"):
            made = gym.make(spec, disable_env_checker=True, **(kwargs or {}))
    except (TypeError, gym.error.Error) as error:  # a missing simulator is Gymnasium's error, with what to install
        raise ConfigError(f"{spec.id}: {error}") from None
    for name in ("observation_space", "action_space"):
        space = getattr(made.unwrapped, name, None)
        if not isinstance(space, gym.Space):
            kind = "" if space is None else f", but a {type(space).__module__}.{type(space).__name__}"
            raise ConfigError(f"{spec.id} has no {name} of gymnasium.spaces{kind}; its __init__ sets one")
    return with_flat_actions(made)


def _parameters(spec: EnvSpec) -> list[inspect.Parameter] | None:
    """Return what the maker of an environment takes; ``None`` where it does not tell.

    Raises:
        ConfigError: as for :func:`creator_of`.
    """
    try:
        return list(inspect.signature(creator_of(spec)).parameters.values())
    except ConfigError:
        raise
    except (TypeError, ValueError, ImportError, AttributeError):
        return None


def _lacking(parameters: list[inspect.Parameter] | None, given: Mapping[str, Any]) -> list[str]:
    """Return the arguments without which an environment cannot be made and that nobody gives."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters or () if p.default is p.empty and p.kind in named and p.name not in given]


def _arguments(parameters: list[inspect.Parameter] | None) -> tuple[str, ...]:
    """Return what the maker of an environment takes by name; nothing where it takes anything, or does not tell."""
    if parameters is None or any(one.kind is one.VAR_KEYWORD for one in parameters):
        return ()
    # The last is gym.make's own: the environment never sees it.
    return (*(one.name for one in parameters if one.kind is not one.POSITIONAL_ONLY), "max_episode_steps")


def creator_of(spec: EnvSpec) -> Any:
    """Return the class or function that makes environments of `spec`.

    Raises:
        ConfigError: it needs a simulator that is not installed, or makes vectors only.
    """
    if spec.entry_point is None:
        raise ConfigError(
            f"{spec.id} is registered with a vector_entry_point only; agents here play single environments, so "
            "register it with an entry_point too"
        )
    try:
        return load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    except gym.error.Error as error:
        raise ConfigError(f"{spec.id}: {error}") from None


def importable(spec: EnvSpec) -> EnvSpec | None:
    """Return `spec` with its entry point as text, which a dataset can store; ``None`` where it has no address.

    A class or function that was registered as an object has one if it can be imported from its module again.
    """
    entry: Any = spec.entry_point
    if isinstance(entry, str):
        return spec
    module, name = getattr(entry, "__module__", ""), getattr(entry, "__qualname__", "")
    try:
        if module == "__main__" or getattr(importlib.import_module(module), name, None) is not entry:
            return None
    except (ImportError, ValueError):
        return None
    return replace(spec, entry_point=f"{module}:{name}")
