"""Trained ABR agents of the zoo: specialists for one ladder, policies for any, and agents that choose between them.

``abr/llm``, ``abr/actor-critic`` and ``abr/regret-mlp`` play the specialist for six levels, 4 s chunks and a 60 s
buffer where an episode has them, and the policy for any ladder everywhere else. ``…-any`` is the latter alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netllm_gym import zoo
from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import load_checkpoint, read_description
from netllm_gym.agents.registry import register_agent

HOME_LEVELS, HOME_CHUNK_S, HOME_CHUNKS, HOME_CAP_S = 6, (3.5, 4.5), (30, 60), 60.0


def at_home(env_info: EnvInfo) -> bool:
    """Tell whether an episode has the kind of video and buffer that the specialists were trained on."""
    video = env_info.static["video"]
    return bool(
        video.levels == HOME_LEVELS
        and HOME_CHUNK_S[0] <= video.chunk_s <= HOME_CHUNK_S[1]
        and HOME_CHUNKS[0] <= video.chunks <= HOME_CHUNKS[1]
        and env_info.static["buffer_cap_s"] == HOME_CAP_S
        and getattr(env_info.action_space, "n", None) == HOME_LEVELS
    )


class HomeOrAny(BatchAgent):
    """Plays `home` in episodes :func:`at_home` and `away` in all others; what is played depends on the episode alone.

    Args:
        home: a specialist.
        away: a policy for any ladder.
    """

    serves = ("netllm_gym/ABR-v0",)

    def __init__(self, home: Any, away: Any) -> None:
        self.home, self.away = home, away
        self.memoryless = home.memoryless and away.memoryless

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes, each with the agent that fits it."""
        known = [at_home(info) for info in env_infos]
        self._places = [[i for i, here in enumerate(known) if here is wanted] for wanted in (True, False)]
        self.notice = ""
        for agent, places in zip((self.home, self.away), self._places, strict=True):
            if places:
                agent.reset_batch([env_infos[i] for i in places])
                self.notice = self.notice or agent.notice

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return a level for each episode still running."""
        actions: list[Any] = [0] * len(observations)
        for agent, known in zip((self.home, self.away), self._places, strict=True):
            # Who remembers nothing may be asked for fewer copies of an episode than were begun.
            places = [i for i in known if i < len(observations)]
            if any(observations[i] is not None for i in places):
                chosen = agent.act_batch([observations[i] for i in places], [infos[i] for i in places])
                for i, action in zip(places, chosen, strict=True):
                    actions[i] = action
        return actions


def _llm(folder: str, **kwargs: Any) -> Agent:
    merged = read_description(zoo.ROOT / folder)["config"].get("tuning") == "lora"
    return load_checkpoint(zoo.ROOT / folder, **{"merge": merged, **kwargs})


@register_agent("abr/llm")
def llm(**kwargs: Any) -> Agent:
    """Return SmolLM2's first four blocks with adapters, trained on what an actor-critic earns after each action.

    Keyword arguments are those of any LLM checkpoint (``temperature``); its adapters are merged, for speed.
    """
    return HomeOrAny(_llm("abr-llm", **kwargs), _llm("abr-llm-any", **kwargs))


@register_agent("abr/llm-any")
def llm_any(**kwargs: Any) -> Agent:
    """Return the language model for any ladder, which points at a level."""
    return _llm("abr-llm-any", **kwargs)


@register_agent("abr/actor-critic")
def actor_critic() -> Agent:
    """Return the policies trained by PPO, in the line of Pensieve (SIGCOMM 2017) and Genet (SIGCOMM 2022)."""
    return HomeOrAny(*(load_checkpoint(zoo.ROOT / name) for name in ("abr-actor-critic", "abr-actor-critic-any")))


@register_agent("abr/actor-critic-any")
def actor_critic_any() -> Agent:
    """Return the policy trained by PPO in randomised worlds, for any ladder."""
    return load_checkpoint(zoo.ROOT / "abr-actor-critic-any")


@register_agent("abr/regret-mlp")
def regret_mlp() -> Agent:
    """Return small networks trained on the same values as ``abr/llm``."""
    return HomeOrAny(*(load_checkpoint(zoo.ROOT / name) for name in ("abr-regret-mlp", "abr-regret-mlp-any")))


@register_agent("abr/regret-mlp-any")
def regret_mlp_any() -> Agent:
    """Return a small network regressed on the values that teach ``abr/llm-any``, for any ladder."""
    return load_checkpoint(zoo.ROOT / "abr-regret-mlp-any")
