"""Values of every action under a policy: take the action, let an agent go on to the end, add up what it earns.

The oracle's hindsight values assume that what comes later is decided with the future known, so they forgive an action
that only a clairvoyant could rescue. These assume a real agent instead: averaged over traces they are the agent's own
action values Q(s, a), and an agent that plays their maximum is at least as good as the one that was followed (policy
improvement; Sutton & Barto, 2nd ed., section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.errors import ConfigError


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
    forks = [inner.fork() for _ in legal]
    about = EnvInfo.of(env)
    if isinstance(agent, BatchAgent):
        agent.reset_batch([about] * len(forks))
    else:
        agent.reset(about)
    observations: list[Any] = [None] * len(forks)
    infos: list[Any] = [None] * len(forks)
    totals = np.zeros(len(forks))
    choices = [inner.action_space.start + action for action in legal]
    running = list(range(len(forks)))
    while running:
        for i in running:
            observations[i], reward, terminated, truncated, infos[i] = forks[i].step(choices[i])
            totals[i] += reward
            if terminated or truncated:
                observations[i] = None
        running = [i for i in running if observations[i] is not None]
        if running and isinstance(agent, BatchAgent):
            choices = agent.act_batch(observations, infos)
        else:
            for i in running:
                choices[i] = agent.act(observations[i], infos[i])
    values[legal] = totals
    return values
