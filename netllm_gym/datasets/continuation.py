"""Values of every action under a policy: take the action, let an agent go on to the end, add up what it earns.

The oracle's hindsight values assume that what comes later is decided with the future known, so they forgive an action
that only a clairvoyant could rescue. These assume a real agent instead: averaged over traces they are the agent's own
action values Q(s, a), and an agent that plays their maximum is at least as good as the one that was followed (policy
improvement; Sutton & Barto, 2nd ed., section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.errors import ConfigError
from netllm_gym.play import Decide, Play, lockstep


def require_continuation(env: gym.Env, agent: Agent) -> None:
    """Refuse a pair that :func:`continuation_values` cannot serve.

    Raises:
        ConfigError: actions that are not one discrete choice, an environment that cannot fork an episode, or an agent
            that remembers earlier steps (nobody could tell it what a fork has not seen).
    """
    inner: Any = env.unwrapped
    if not isinstance(inner.action_space, gym.spaces.Discrete):
        raise ConfigError("action values need discrete actions")
    if not hasattr(inner, "fork"):
        raise ConfigError(f"{type(inner).__name__} has no fork(), which action values of an agent need")
    if not agent.memoryless or agent.privileged:
        raise ConfigError(f"{agent.name} does not decide from the present observation alone; choose an agent that does")


def continuation_values(env: gym.Env, info: Mapping[str, Any], agent: Agent) -> np.ndarray:
    """Return the undiscounted return of each action now when `agent` decides everything after it.

    Args:
        env: an episode in progress; it is not advanced.
        info: of its last step, for ``action_mask``.
        agent: who goes on; see :func:`require_continuation`.

    Returns:
        float64 ``[A]``; NaN where the action is illegal.
    """
    inner: Any = env.unwrapped
    count = int(inner.action_space.n)
    values = np.full(count, np.nan)
    legal = [int(a) for a in np.flatnonzero(info.get("action_mask", np.ones(count)))]
    plays = [Play.going_on(inner.fork(), None, {}) for _ in legal]
    for play, action in zip(plays, legal, strict=True):
        play.advance(inner.action_space.start + action)
    for _ in lockstep(plays, _follower(agent, EnvInfo.of(env), len(plays))):
        pass
    values[legal] = [play.total_reward for play in plays]
    return values


def _follower(agent: Agent, env_info: EnvInfo, forks: int) -> Decide:
    """Let an agent that remembers nothing decide in `forks` copies of one episode."""
    if isinstance(agent, BatchAgent):
        agent.reset_batch([env_info] * forks)
        return agent.act_batch
    agent.reset(env_info)

    def decide(observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        pairs = zip(observations, infos, strict=True)
        return [None if observation is None else agent.act(observation, info) for observation, info in pairs]

    return decide
