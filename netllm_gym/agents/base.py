"""What an agent is: the protocol every room of the package relies on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.envs.actions import actions_of
from netllm_gym.envs.lookup import metadata_of, name_of
from netllm_gym.errors import ConfigError, NotResetError
from netllm_gym.plugins import plain_id


@dataclass(frozen=True)
class EnvInfo:
    """What an agent knows before an episode.

    Attributes:
        env_id: registered id of the environment, e.g. ``netllm_gym/ABR-v0``.
        observation_space, action_space: of the environment with its wrappers; composite actions are flat
            (:mod:`netllm_gym.envs.actions`).
        metadata: the environment's metadata (``modalities``, ``scales``).
        static: public facts of this episode that a deployed agent would know too (for ABR: the video's
            manifest, the QoE weights, the buffer cap).
        seed: entropy for the agent's own random draws in this episode.
        model: what the environment lets everybody imagine of its future (``env.planning_model()``), for agents that
            look ahead; ``None`` where it has no such model. It never holds the true future.
        simulator: the environment itself, for agents that declare ``privileged = True`` (the oracles); ``None``
            for everybody else, so that nobody sees the future by accident.
    """

    env_id: str
    observation_space: gym.Space
    action_space: gym.Space
    metadata: dict[str, Any]
    static: dict[str, Any]
    seed: int = 0
    simulator: Any = None
    model: Any = None

    @classmethod
    def of(cls, env: gym.Env, seed: int = 0, privileged: bool = False) -> EnvInfo:
        """Describe `env` after its ``reset`` (the static facts belong to the episode just begun)."""
        inner: Any = env.unwrapped
        static = inner.static_info() if hasattr(inner, "static_info") else {}
        return cls(
            env_id=name_of(env),
            observation_space=env.observation_space,
            action_space=actions_of(env),
            metadata=metadata_of(env),
            static=static,
            seed=seed,
            simulator=inner if privileged else None,
            model=inner.planning_model() if hasattr(inner, "planning_model") else None,
        )

    def rng(self) -> np.random.Generator:
        """Return a generator for this episode's random draws; the same seed gives the same draws."""
        return np.random.default_rng(np.random.SeedSequence(entropy=self.seed, spawn_key=(0xA6E47,)))


class Agent:
    """An agent that decides one step at a time.

    Subclasses implement :meth:`act` and, when they keep state over an episode, :meth:`reset`. An agent is built
    once and reset before every episode; after ``reset`` nothing of earlier episodes may matter.

    Attributes:
        name: registry name or checkpoint path, shown in tables.
        privileged: whether the agent may look into the simulator (an oracle). Privileged agents bound the others
            and are never ranked among them.
        memoryless: whether an action depends on nothing but the present observation and mask, so that the agent can
            take over an episode at any step.
        serves: ids of the environments that the agent decides in, empty: any. It also serves environments of other
            ids that are made of the same class (or a subclass).
        notice: what a reader of its results should know of the episode just begun, one phrase: that it lies outside
            what the agent was trained on. Set by :meth:`reset`; empty where there is nothing to say.
    """

    name: str = "agent"
    serves: tuple[str, ...] = ()
    notice: str = ""
    privileged: bool = False
    memoryless: bool = False

    def __getattr__(self, name: str) -> Any:
        """Explain what is missing: what an agent keeps over an episode (``_…``) is there only after ``reset``."""
        if name.startswith("_") and not name.startswith("__"):
            raise NotResetError(f"agent {self.name} has no {name} yet: call reset(env_info) before act")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode."""

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """Return a member of the action space."""
        raise NotImplementedError(f"{type(self).__name__} has no method act")


def check_serves(agent: Agent, env: gym.Env) -> None:
    """Refuse an agent in an environment that it does not serve, before anything is played.

    Raises:
        ConfigError: see :attr:`Agent.serves`.
    """
    inner, here = env.unwrapped, name_of(env)
    served = [plain_id(known) for known in agent.serves]
    if not served or plain_id(here) in served:
        return
    for known in served:
        entry: Any = gym.registry[known].entry_point if known in gym.registry else None
        creator = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
        if isinstance(creator, type) and isinstance(inner, creator):
            return
    raise ConfigError(f"agent {agent.name} serves {' and '.join(agent.serves)}, not {here}")


class BatchAgent(Agent):
    """An agent that decides for several episodes in lock-step (a neural network, where batching pays).

    :meth:`act_batch` receives one entry per episode of the last :meth:`reset_batch`; an episode that has ended is
    passed as ``None`` and its action is ignored. The single-episode protocol is derived from it.
    """

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin ``len(env_infos)`` episodes."""
        raise NotImplementedError

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return one action per episode."""
        raise NotImplementedError

    def reset(self, env_info: EnvInfo) -> None:
        """Begin one episode."""
        self.reset_batch([env_info])

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """Return a member of the action space."""
        return self.act_batch([observation], [info])[0]
