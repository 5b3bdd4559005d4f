"""One episode of one agent, recorded as arrays."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.answers import ObservationError, named
from netllm_gym.datasets.continuation import continuation_values
from netllm_gym.envs.actions import flat_mask
from netllm_gym.envs.leaves import LeafView
from netllm_gym.play import Play

# Purpose keys: one independent stream per use, so that a draw more in one changes no other.
_ENV, _AGENT, _NOISE, _START, _TEACHER = range(5)


def episode_seed(seed: int, episode: int, purpose: int) -> int:
    """Return the seed of one purpose in one episode; independent of how many episodes or workers there are."""
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(episode, purpose)).generate_state(1)[0])


@dataclass
class Record:
    """What happened in an episode of T steps.

    Attributes:
        observations: key → array ``[T + 1, …]`` (the last one is what the episode ended with).
        actions: array ``[T, …]``.
        rewards: float64 ``[T]``.
        terminated: whether the episode ended by itself (else it was cut off).
        action_values: the oracle's or an agent's values float64 ``[T, A]``, or ``None``.
        action_mask: which choices were legal, all factors of the action one after the other, bool ``[T, A]``, or
            ``None`` where the environment does not say.
        propensity: probability with which the collecting policy took each action, float64 ``[T]``.
        agent, trace, group: who played what.
        taught: what a teacher would have done in each state, array ``[T, …]``, or ``None``.
        notice: what the environment showed that its spaces do not declare, one phrase.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    action_values: np.ndarray | None
    propensity: np.ndarray
    agent: str
    trace: str
    group: str
    action_mask: np.ndarray | None = None
    taught: np.ndarray | None = None
    notice: str = ""

    def arrays(self) -> dict[str, np.ndarray]:
        """Flatten to plain arrays for an ``.npz``."""
        flat = {f"observation/{key}": value for key, value in self.observations.items()}
        flat |= {"actions": self.actions, "rewards": self.rewards, "propensity": self.propensity}
        flat |= {"terminated": np.array(self.terminated)}
        flat |= {key: np.array(getattr(self, key)) for key in ("agent", "trace", "group")}
        for key in ("action_values", "action_mask", "taught"):
            if getattr(self, key) is not None:
                flat[key] = getattr(self, key)
        if self.notice:
            flat["notice"] = np.array(self.notice)
        return flat

    @classmethod
    def from_arrays(cls, flat: dict[str, np.ndarray]) -> Record:
        """Rebuild what :meth:`arrays` flattened."""
        prefix = "observation/"
        return cls(
            {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)},
            flat["actions"],
            flat["rewards"],
            bool(flat["terminated"]),
            flat.get("action_values"),
            flat["propensity"],
            str(flat["agent"]),
            str(flat["trace"]),
            str(flat["group"]),
            flat.get("action_mask"),
            flat.get("taught"),
            str(flat.get("notice", "")),
        )


def rollout(
    env: gym.Env,
    agent: Agent,
    episode: int,
    seed: int,
    trace: int | None,
    epsilon: float = 0.0,
    hindsight: bool = False,
    followed: Agent | None = None,
    teacher: Agent | None = None,
) -> Record:
    """Play one episode and record it.

    Args:
        env: any environment; its observations are recorded flat (:class:`~netllm_gym.envs.leaves.LeafView`).
        agent: who decides.
        episode: index of the episode: keys every random draw together with `seed`.
        seed: of the collection.
        trace: index of the trace to play; ``None`` for an environment without traces.
        epsilon: probability of replacing the agent's action by a uniformly drawn legal one (discrete actions only).
        hindsight: record ``env.action_values()`` before each step.
        followed: record what each action earns when this agent goes on from there.
        teacher: record what this agent would have done in each state (DAgger's labels, Ross et al. 2011). It only
            watches, so it must not remember; it may be privileged.
    """
    inner: Any = env.unwrapped
    noise = np.random.default_rng(episode_seed(seed, episode, _NOISE))
    propensity, values, taught = [], [], []
    masks: list[np.ndarray | None] = []

    def watch(play: Play, chosen: Any) -> Any:
        """Note what belongs to the state that the agent decided on, and explore."""
        if hindsight:
            values.append(inner.action_values())
        elif followed is not None:
            values.append(continuation_values(env, play.info, followed))
        if teacher is not None:
            taught.append(play.played(teacher.act(play.observation, play.info)))
        mask = play.info.get("action_mask")
        mask = None if mask is None else flat_mask(mask)
        masks.append(mask)
        if epsilon <= 0:
            propensity.append(1.0)
            return chosen
        discrete: Any = env.action_space
        legal = discrete.start + np.flatnonzero(np.ones(discrete.n) if mask is None else mask)
        action = int(noise.choice(legal)) if noise.random() < epsilon else chosen
        propensity.append(epsilon / len(legal) + (1 - epsilon) * (action == chosen))
        return action

    options = None if trace is None else {"trace": trace}
    played = Play(
        env, agent, episode_seed(seed, episode, _ENV), options,
        agent_seed=episode_seed(seed, episode, _AGENT), override=watch,
    )  # fmt: skip
    if teacher is not None:
        teacher.reset(EnvInfo.of(env, episode_seed(seed, episode, _TEACHER), teacher.privileged))
    view = LeafView(env.observation_space)
    # Copies: an environment may write into the arrays that it showed, and so may an agent.
    observations, actions = [copy.deepcopy(view(played.observation))], []
    for step in played:
        observations.append(copy.deepcopy(view(step.next_observation)))
        actions.append(step.action)
    if not math.isfinite(played.total_reward):
        raise ObservationError(f"the return became {played.total_reward}: the rewards are too large")
    trace_name = named(played.first_info.get("trace")) or f"episode {episode}"
    return Record(
        view.stack(observations),
        np.stack([np.asarray(a) for a in actions]),
        np.array(played.rewards),
        played.terminated,
        np.stack(values) if values else None,
        np.array(propensity),
        agent.name,
        trace_name,
        named(played.first_info.get("trace_group")) or trace_name,
        _joined(masks),
        np.stack([np.asarray(a) for a in taught]) if taught else None,
        played.notice,
    )


def _joined(masks: list[np.ndarray | None]) -> np.ndarray | None:
    """Stack the masks of an episode; where one step has none, all is legal.

    Raises:
        ObservationError: masks of several sizes.
    """
    sizes = sorted({mask.size for mask in masks if mask is not None})
    if len(sizes) > 1:
        raise ObservationError(f"info['action_mask'] had {sizes[0]} entries, then {sizes[-1]}")
    return np.stack([np.ones(sizes[0], bool) if mask is None else mask for mask in masks]) if sizes else None
