"""Agents by name: ``make_agent("abr/robust-mpc")``, checkpoints by folder, and other people's packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.errors import ConfigError, UnknownNameError

_FACTORIES: dict[str, Callable[..., Agent]] = {}

# Modules that register this package's own agents, imported on the first look-up. None of them imports torch.
_BUILTIN_MODULES = (
    "netllm_gym.agents.anything",
    "netllm_gym.agents.abr.basic",
    "netllm_gym.agents.abr.rules",
    "netllm_gym.agents.abr.fast_mpc",
    "netllm_gym.agents.abr.published",
    "netllm_gym.agents.abr.actor_critic",
    "netllm_gym.agents.abr.shipped",
    "netllm_gym.agents.viewport.rules",
    "netllm_gym.agents.viewport.streaming",
    "netllm_gym.agents.viewport.learned",
    "netllm_gym.agents.viewport.llm",
    "netllm_gym.agents.cluster.rules",
    "netllm_gym.agents.cluster.packing",
    "netllm_gym.agents.cluster.tuned",
    "netllm_gym.agents.cluster.rollout",
    "netllm_gym.agents.cluster.decima",
    "netllm_gym.agents.cluster.cql",
    "netllm_gym.agents.cluster.llm",
    "netllm_gym.agents.llm",
)
_loaded = False


def register_agent(name: str) -> Callable[[Callable[..., Agent]], Callable[..., Agent]]:
    """Register a class or factory under ``task/name``; its keyword arguments become those of :func:`make_agent`.

    Example:
        >>> from netllm_gym import Agent, register_agent
        >>> @register_agent("abr/always-lowest")
        ... class AlwaysLowest(Agent):
        ...     def act(self, observation, info):
        ...         return 0
    """
    if name.count("/") != 1:
        raise ConfigError(f"an agent's name is 'task/name', got {name!r}")

    def add(factory: Callable[..., Agent]) -> Callable[..., Agent]:
        _FACTORIES[name] = factory
        return factory

    return add


def _load_all() -> None:
    global _loaded
    if _loaded:
        return
    _loaded = True
    for module in _BUILTIN_MODULES:
        importlib.import_module(module)
    for point in entry_points(group="netllm_gym.agents"):
        point.load()


def list_agents(task: str | None = None) -> list[str]:
    """Return the registered names, of one task (``"abr"``) or of all."""
    _load_all()
    return sorted(name for name in _FACTORIES if task is None or name.startswith(f"{task}/"))


def make_agent(name: str | Path | Agent, **kwargs: Any) -> Agent:
    """Build an agent from a registered name, a checkpoint folder (one that holds ``agent.json``), or ``hf://user/name``.

    Raises:
        UnknownNameError: no such agent; the message offers the nearest names.
        DownloadError: the Hub has no such agent or cannot be reached.
        CheckpointError: the folder is incomplete, corrupt or made for another environment.
        ConfigError: a keyword the agent does not take.
    """
    if isinstance(name, Agent):
        return name
    name = str(name)
    _load_all()
    if name in _FACTORIES:
        try:
            agent = _FACTORIES[name](**kwargs)
        except TypeError as error:
            raise ConfigError(f"agent {name}: {error}") from None
        agent.name = name
        return agent
    folder = Path(name)
    if name.startswith("hf://"):
        from netllm_gym.agents.llm.hub import pull

        folder = pull(name.removeprefix("hf://"))
    if (folder / "agent.json").is_file():
        from netllm_gym.agents.checkpoint import load_checkpoint

        try:
            agent = load_checkpoint(folder, **kwargs)
        except TypeError as error:
            raise ConfigError(f"agent {name}: {error}") from None
        agent.name = str(name)
        return agent
    raise UnknownNameError("agent", str(name), _FACTORIES)


def factory(name: str) -> Callable[..., Agent] | None:
    """Return what :func:`register_agent` stored under `name`; ``None`` for a checkpoint or an unknown name."""
    _load_all()
    return _FACTORIES.get(name)
