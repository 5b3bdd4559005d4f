"""Agents by name: ``make_agent("abr/robust-mpc")``, checkpoints by folder, and other people's packages."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.errors import CheckpointError, ConfigError, UnknownNameError, theirs
from netllm_gym.plugins import Table, call, is_own, look_here
from netllm_gym.randomness import borrowed_generators

# Modules that register this package's own agents, imported on the first look-up. None of them imports torch.
_BUILTIN_MODULES = (
    "netllm_gym.agents.anything",
    "netllm_gym.agents.abr.basic",
    "netllm_gym.agents.abr.rules",
    "netllm_gym.agents.abr.fast_mpc",
    "netllm_gym.agents.abr.published",
    "netllm_gym.agents.abr.zoo_agents",
    "netllm_gym.agents.museum.abr",
    "netllm_gym.agents.museum.cluster",
    "netllm_gym.agents.viewport.rules",
    "netllm_gym.agents.viewport.streaming",
    "netllm_gym.agents.viewport.two_tier",
    "netllm_gym.agents.viewport.recurrent",
    "netllm_gym.agents.viewport.llm",
    "netllm_gym.agents.viewport.crowd",
    "netllm_gym.agents.viewport.crowd_rules",
    "netllm_gym.agents.cluster.rules",
    "netllm_gym.agents.cluster.packing",
    "netllm_gym.agents.cluster.tuned",
    "netllm_gym.agents.cluster.adaptive",
    "netllm_gym.agents.cluster.rollout",
    "netllm_gym.agents.cluster.decima",
    "netllm_gym.agents.cluster.cql",
    "netllm_gym.agents.cluster.llm",
    "netllm_gym.agents.llm",
)
# Environments that this package's own agents of a task decide in; a task not listed: any environment.
_OWN_ENVS = {
    "abr": ("netllm_gym/ABR-v0",),
    "viewport": ("netllm_gym/ViewportPrediction-v0",),
    "streaming": ("netllm_gym/ViewportStreaming-v0",),
    "cluster": ("netllm_gym/ClusterScheduling-v0",),
}
_ADDRESS = re.compile(r"[^\W\d]\w*(\.\w+)*:[^\W\d]\w*(\.\w+)*")  # module:Class


@dataclass(frozen=True)
class Registered:
    """An agent's class or factory, and the ids of the environments that it decides in (none: what its class says)."""

    factory: Callable[..., Agent]
    serves: tuple[str, ...] = ()


AGENTS: Table[Registered] = Table("agent", "netllm_gym.agents", _BUILTIN_MODULES)


def register_agent(name: str, serves: Sequence[str] = ()) -> Callable[[Callable[..., Agent]], Callable[..., Agent]]:
    """Register a class or factory under ``task/name``; its keyword arguments become those of :func:`make_agent`.

    A second registration of a name replaces the first with a warning, as Gymnasium's do; an agent of this package
    never replaces a user's.

    Args:
        name: ``task/name``.
        serves: ids of the environments that the agent decides in; an agent asked to play another one is refused
            before the first step. By default what the class declares (:attr:`Agent.serves`).

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
        own = _OWN_ENVS.get(name.partition("/")[0], ()) if is_own(factory) else ()
        AGENTS.register(name, Registered(factory, tuple(serves) or own), factory)
        return factory

    return add


def list_agents(task: str | None = None) -> list[str]:
    """Return the registered names, of one task (``"abr"``) or of all.

    A package whose agents cannot be loaded is named in a warning each time; everybody else's are listed.
    """
    return [name for name in AGENTS.names() if task is None or name.startswith(f"{task}/")]


@borrowed_generators()  # first weights are drawn before the trained ones replace them
def make_agent(name: str | Path | Agent, **kwargs: Any) -> Agent:
    """Build an agent from a registered name, a checkpoint folder (one that holds ``agent.json``), ``module:Class``, or
    ``hf://user/name``.

    Raises:
        UnknownNameError: no such agent; the message offers the nearest names.
        DownloadError: the Hub has no such agent or cannot be reached.
        CheckpointError: the folder is incomplete, corrupt or made for another environment.
        ConfigError: a keyword the agent does not take, or a ``module:Class`` that cannot be imported.
    """
    if isinstance(name, Agent):
        return name
    name = str(name)
    if not name:
        raise UnknownNameError("agent", name, AGENTS.names())
    if name in AGENTS:
        known = AGENTS[name]
        with theirs(f"the making of agent {name}"):
            made = call(known.factory, f"agent {name}", **kwargs)
        return _called(made, name, known.serves)
    folder = Path(name)
    if name.startswith("hf://"):
        from netllm_gym.agents.hub import pull

        folder = pull(name.removeprefix("hf://"))
    if (folder / "agent.json").is_file():
        from netllm_gym.agents.checkpoint import load_checkpoint

        return _called(load_checkpoint(folder, **kwargs), name)
    if (own := imported(name)) is not None:
        with theirs(f"the making of agent {name}"):
            agent = call(own, f"agent {name}", **kwargs)
        if not isinstance(agent, Agent):
            raise ConfigError(f"{name} makes a {type(agent).__name__}, not a netllm_gym.Agent")
        return _called(agent, name)
    if folder.is_dir():
        raise CheckpointError(f"{name} is a folder without agent.json: no training has finished there")
    rooms = {known.partition("/")[0] for known in AGENTS.names()}
    what = "agent" if name.partition("/")[0] in rooms else "agent (and no such checkpoint folder)"
    raise UnknownNameError(what, name, AGENTS)


def _called(agent: Agent, name: str, serves: tuple[str, ...] = ()) -> Agent:
    """Give `agent` the name it was asked for by, and what it was registered to serve."""
    try:
        agent.name = name
        if serves:
            agent.serves = serves
    except AttributeError as error:
        raise ConfigError(f"agent {name}: name and serves must be plain attributes ({error})") from None
    return agent


def imported(name: str) -> Callable[..., Agent] | None:
    """Return the class or function that ``module:Class`` names, looked for in the working directory too; ``None`` for a
    name of another form.

    Raises:
        ConfigError: there is no such module or nothing of that name in it.
    """
    if not _ADDRESS.fullmatch(name):
        return None
    module, _, attribute = name.partition(":")
    look_here()
    try:
        with theirs(f"module {module} of agent {name}"):
            target: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise  # the module is there, and something it needs is not
        raise ConfigError(f"agent {name}: there is no module {module!r}") from None
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise ConfigError(f"agent {name}: module {module!r} has no {attribute!r}")
        target = getattr(target, part)
    if not callable(target):
        raise ConfigError(f"agent {name}: {attribute!r} is no class or function")
    return target


def factory(name: str) -> Callable[..., Agent] | None:
    """Return what makes the agent called `name`: what :func:`register_agent` stored, or the class ``module:Class``;
    ``None`` for a checkpoint or an unknown name.
    """
    return AGENTS[name].factory if name in AGENTS else imported(name)
