"""Trained ABR agents of the zoo: policies for any ladder, and an actor-critic that asks a specialist at home.

``abr/actor-critic`` asks a specialist for six levels, 4 s chunks and a 60 s buffer where an episode has them and its
link is no faster than the ladder, and the policy for any ladder everywhere else. ``abr/actor-critic-any`` is the latter
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym import zoo
from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import load_checkpoint
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.abr.forecast import harmonic_mean

HOME_LEVELS, HOME_CHUNK_S, HOME_CHUNKS, HOME_CAP_S = 6, (3.5, 4.5), (30, 60), 60.0


def at_home(env_info: EnvInfo) -> bool:
    """Tell whether an episode has the kind of video and buffer that the specialist was trained on."""
    video = env_info.static["video"]
    return bool(
        video.levels == HOME_LEVELS
        and HOME_CHUNK_S[0] <= video.chunk_s <= HOME_CHUNK_S[1]
        and HOME_CHUNKS[0] <= video.chunks <= HOME_CHUNKS[1]
        and env_info.static["buffer_cap_s"] == HOME_CAP_S
        and getattr(env_info.action_space, "n", None) == HOME_LEVELS
    )


class HomeOrAny(BatchAgent):
    """Asks `home` in episodes :func:`at_home` while the link is slower than the top level, and `away` otherwise.

    The specialist met links of a few Mbit/s only; on faster ones its scores mean nothing. What is played depends on
    the episode alone.

    Args:
        home: a specialist.
        away: a policy for any ladder. Neither remembers anything between steps.
    """

    serves = ("netllm_gym/ABR-v0",)
    memoryless = True

    def __init__(self, home: Any, away: Any) -> None:
        self.home, self.away = home, away

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes."""
        self._home = [i for i, info in enumerate(env_infos) if at_home(info)]
        self._top = [float(info.static["video"].bitrates_kbps[-1]) / 1000.0 for info in env_infos]
        self.away.reset_batch(env_infos)
        if self._home:
            self.home.reset_batch([env_infos[i] for i in self._home])
        self.notice = "" if len(self._home) == len(env_infos) else self.away.notice

    def _fast(self, place: int, observation: Any) -> bool:
        """Tell whether the link's forecast exceeds the ladder's top."""
        past = np.asarray(observation["throughput_mbps"], np.float64)
        return bool(harmonic_mean(past, len(past)) > self._top[place])

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return a level for each episode still running."""
        # Who remembers nothing may be asked for fewer copies of an episode than were begun.
        here = [i for i in self._home if i < len(observations)]
        slow = {i for i in here if observations[i] is not None and not self._fast(i, observations[i])}
        elsewhere = [None if i in slow else observation for i, observation in enumerate(observations)]
        actions: list[Any] = [0] * len(observations)
        if any(observation is not None for observation in elsewhere):
            actions = list(self.away.act_batch(elsewhere, infos))
        if slow:
            own = [observations[i] if i in slow else None for i in here]
            for i, action in zip(here, self.home.act_batch(own, [infos[i] for i in here]), strict=True):
                if i in slow:
                    actions[i] = action
        return actions


@register_agent("abr/llm")
def llm(checkpoint: str | Path = zoo.ROOT / "abr-llm", **kwargs: Any) -> Agent:
    """Return the language model for any ladder: SmolLM2's first four blocks with adapters, which point at a level.

    `checkpoint` is a folder of another training; other keyword arguments are those of any LLM checkpoint
    (``temperature``). Its adapters are merged, for speed.
    """
    return load_checkpoint(checkpoint, **kwargs)


@register_agent("abr/actor-critic")
def actor_critic(
    home: str | Path = zoo.ROOT / "abr-actor-critic", away: str | Path = zoo.ROOT / "abr-actor-critic-any"
) -> Agent:
    """Return the policies trained by PPO, in the line of Pensieve (SIGCOMM 2017) and Genet (SIGCOMM 2022).

    `home` and `away` are folders of the specialist and of the policy for any ladder.
    """
    return HomeOrAny(load_checkpoint(home), load_checkpoint(away))


@register_agent("abr/actor-critic-any")
def actor_critic_any() -> Agent:
    """Return the policy trained by PPO in randomised worlds, for any ladder."""
    return load_checkpoint(zoo.ROOT / "abr-actor-critic-any")


@register_agent("abr/regret-mlp")
def regret_mlp(checkpoint: str | Path = zoo.ROOT / "abr-regret-mlp") -> Agent:
    """Return a small network regressed on the values that teach ``abr/llm``, for any ladder.

    `checkpoint` is a folder of another training.
    """
    return load_checkpoint(checkpoint)
