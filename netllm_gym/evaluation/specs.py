"""Who plays what: agents, episodes and the environment, described so that they can be rebuilt and recognised.

A description does two jobs. A worker process rebuilds the agent and the environment from it, and its digest
keys the finished episodes on disk, so that a repeated command finds them again and a changed one does not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from netllm_gym import zoo
from netllm_gym.agents import registry
from netllm_gym.agents.base import Agent
from netllm_gym.agents.museum import exhibit
from netllm_gym.envs.lookup import make_env, spec_of
from netllm_gym.errors import ConfigError
from netllm_gym.files import file_digest
from netllm_gym.plugins import is_own

# Keys of an agent given as a dict that are not keyword arguments of the agent.
_RESERVED = ("name", "label", "training_seed")


def canonical(value: Any) -> Any:
    """Return `value` as plain JSON that depends on its content alone.

    Raises:
        ConfigError: the value has no content that could be written down (a function, an open file).
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "sha256": hashlib.sha256(value.tobytes()).hexdigest()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(getattr(value, "digest", None), str):
        return {"type": type(value).__name__, "digest": value.digest}
    if isinstance(value, list | tuple | set | frozenset):
        return [canonical(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            "type": type(value).__name__,
            **canonical({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}),
        }
    raise ConfigError(f"a {type(value).__name__} cannot be recorded as an argument; use numbers, text, lists or traces")


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(canonical(value), sort_keys=True).encode()).hexdigest()


def code_digest() -> str:
    """SHA-256 over everything of this package that decides what happens in an episode.

    It keys stored episodes together with the version: in a development checkout the version stands still while
    the simulators and agents change.
    """
    root = Path(__file__).resolve().parent.parent
    sources = [path for room in ("traces", "envs", "agents") for path in (root / room).rglob("*")]
    sources += [root / name for name in ("play.py", "answers.py", "evaluation/rollout.py", "evaluation/specs.py")]
    sha = hashlib.sha256()
    for path in sorted(sources):
        if path.suffix in (".py", ".toml") and path.is_file():
            sha.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    # Agents ask each other (abr/actor-critic a second policy, streaming/crowd a forecast), so all weights count.
    for entry in zoo.entries():
        sha.update(entry.agent.encode() + b"\0" + entry.digest.encode() + b"\0")
    return sha.hexdigest()


def _source(factory: Any) -> str | None:
    """SHA-256 of the file that defines somebody else's agent: when it changes, its stored episodes count no more."""
    if factory is None or is_own(factory):
        return None
    try:
        path = inspect.getsourcefile(inspect.unwrap(factory))
        return None if path is None else file_digest(path)
    except (OSError, TypeError):  # typed into a notebook or a shell: there is no file
        return None


@dataclass(frozen=True)
class AgentSpec:
    """An agent to be evaluated.

    Attributes:
        label: its name in tables; several specs share one when they are training seeds of one agent.
        name: registry name or checkpoint folder; the class name of an agent given as an object.
        kwargs: keyword arguments of :func:`netllm_gym.make_agent`.
        training_seed: which training run it comes from.
        factory: its registered factory, so that a worker process knows agents registered in a notebook.
        instance: the agent itself, when an object was given; it is played in the calling process.
    """

    label: str
    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    training_seed: int = 0
    factory: Callable[..., Agent] | None = None
    instance: Agent | None = None

    @classmethod
    def of(cls, agent: str | Agent | Mapping[str, Any] | AgentSpec) -> AgentSpec:
        """Describe an agent given as a name, an object, or ``{"name": …, keyword arguments}``.

        Raises:
            ConfigError: a dict without a name, or something that is none of the three.
        """
        if isinstance(agent, AgentSpec):
            return agent
        if isinstance(agent, Agent):
            label = agent.name if agent.name != Agent.name else type(agent).__name__
            return cls(label, type(agent).__name__, instance=agent)
        if isinstance(agent, str | Path):
            agent = {"name": str(agent)}
        if not isinstance(agent, Mapping) or "name" not in agent:
            raise ConfigError(f"an agent is a name, an Agent or {{'name': …, arguments}}, got {agent!r}")
        name = agent["name"]
        kwargs = {key: value for key, value in agent.items() if key not in _RESERVED}
        arguments = ",".join(f"{key}={value}" for key, value in kwargs.items())
        label = agent.get("label") or (f"{name}({arguments})" if arguments else name)
        return cls(str(label), name, kwargs, int(agent.get("training_seed", 0)), registry.factory(name))

    def build(self) -> Agent:
        """Return the agent, built anew unless an object was given.

        Raises:
            UnknownNameError, CheckpointError, ConfigError: see :func:`netllm_gym.make_agent`.
        """
        if self.instance is not None:
            return self.instance
        if self.factory is not None and ":" not in self.name and registry.factory(self.name) is None:
            registry.register_agent(self.name)(self.factory)
        return registry.make_agent(self.name, **self.kwargs)

    @property
    def trained(self) -> bool:
        """Whether the agent comes out of a training: it has weights, or is a run with a seed of its own."""
        weights = zoo.content(self.name) is not None or exhibit(self.name) is not None
        return weights or bool(self._parts) or self.training_seed != 0

    @property
    def _parts(self) -> dict[str, str]:
        """Digests of the weights behind arguments: a forecast by name, a folder with a checkpoint."""
        named = {key: zoo.content(str(v)) for key, v in self.kwargs.items() if v and isinstance(v, str | Path)}
        return {key: content for key, content in named.items() if content}

    @property
    def key(self) -> dict[str, Any]:
        """What identifies the agent's behaviour: name, arguments, and the content of its weights."""
        own = {"name": self.name, "kwargs": canonical(self.kwargs), "checkpoint": zoo.content(self.name)}
        if parts := self._parts:
            own["parts"] = parts
        source = _source(self.factory)
        return own if source is None else {**own, "source": source}

    def describe(self) -> dict[str, Any]:
        """Return the spec as JSON for the manifest."""
        return {"label": self.label, "training_seed": self.training_seed, **self.key}


def agent_specs(agents: Iterable[Any], references: Iterable[str | None]) -> list[AgentSpec]:
    """Describe `agents`, and add those `references` (baseline, floor, oracle) that are not among them.

    Raises:
        ConfigError: no agent, or two that a table could not tell apart.
    """
    specs = [AgentSpec.of(agent) for agent in agents]
    labels = {spec.label for spec in specs}
    for name in dict.fromkeys(references):
        if name is not None and name not in labels:
            specs.append(AgentSpec.of(name))
    if not specs:
        raise ConfigError("name at least one agent to evaluate")
    runs: set[tuple[str, int]] = set()
    for spec in specs:
        if (spec.label, spec.training_seed) in runs:
            raise ConfigError(f"two agents are called {spec.label!r}; give one of them a label")
        runs.add((spec.label, spec.training_seed))
    return specs


@dataclass(frozen=True)
class EnvRecipe:
    """An environment and how to make copies of it, in this process or another."""

    spec: EnvSpec
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, env_id: str, kwargs: Mapping[str, Any] | None) -> EnvRecipe:
        """Describe the environment registered as `env_id`.

        Raises:
            UnknownNameError: no such environment.
        """
        return cls(spec_of(env_id), dict(kwargs or {}))

    def make(self) -> gym.Env:
        """Return a new copy of the environment.

        Raises:
            ConfigError: an argument that the environment does not take.
        """
        return make_env(self.spec, self.kwargs)


@dataclass(frozen=True)
class Episode:
    """One episode that every agent meets: its number, the trace it plays and the seeds of its draws."""

    index: int
    trace_index: int | None
    env_seed: int
    agent_seed: int

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``env.reset``."""
        return {} if self.trace_index is None else {"trace": self.trace_index}


MOST_EPISODES = 1_000_000


def plan_episodes(count: int | None, traces: int | None, seed: int) -> list[Episode]:
    """Return the episodes: every trace once, or `count` of them that walk over the traces again and again.

    Seeds are keyed by (seed, episode), so they depend neither on the number of episodes nor on who plays
    them.

    Raises:
        ConfigError: fewer than one episode, or no number although the environment has no traces to count.
    """
    if count is None:
        if traces is None:
            raise ConfigError("this environment has no trace set to go through; say how many episodes to play")
        count = traces
    if count < 1:
        raise ConfigError(f"episodes must be at least 1, got {count}")
    if count > MOST_EPISODES:
        raise ConfigError(f"episodes must be at most {MOST_EPISODES:,}, got {count:,}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    plans = []
    for index in range(count):
        state = np.random.SeedSequence(entropy=seed, spawn_key=(index,)).generate_state(2)
        plans.append(Episode(index, index % traces if traces else None, int(state[0]), int(state[1])))
    return plans
