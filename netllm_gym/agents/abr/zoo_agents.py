"""Trained ABR agents of the zoo: specialists for one ladder, policies for any, and agents that use both.

``abr/llm``, ``abr/actor-critic`` and ``abr/regret-mlp`` ask the specialist for six levels, 4 s chunks and a 60 s buffer
where an episode has them and its link is no faster than the ladder, and the policy for any ladder everywhere else.
``…-any`` is the latter alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import zoo
from netllm_gym.agents.abr.lessons import UNIT
from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import load_checkpoint, read_description
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.abr.forecast import harmonic_mean
from netllm_gym.errors import ConfigError

HOME_LEVELS, HOME_CHUNK_S, HOME_CHUNKS, HOME_CAP_S = 6, (3.5, 4.5), (30, 60), 60.0
# Range of the ladder (Mbit/s) in whose QoE the specialists' gaps are learned.
HOME_RANGE = 4.0
# Weight of the other policy's predicted gaps beside the specialist's. Chosen on valid links of eight families, among 0,
# 0.25, 0.5, 1 and 2 (docs/abr-baselines.md).
SHARE = 0.5


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
    """Asks `home` in episodes :func:`at_home` while the link is slower than the top level, and `away` otherwise.

    The specialists met links of a few Mbit/s only; on faster ones their scores mean nothing. What is played depends on
    the episode alone.

    Args:
        home: a specialist.
        away: a policy for any ladder.
        share: at home, add so much of the gaps that `away` predicts to the specialist's; 0 leaves it alone. Both need
            a method ``gaps``.
    """

    serves = ("netllm_gym/ABR-v0",)

    def __init__(self, home: Any, away: Any, share: float = 0.0) -> None:
        if share < 0:
            raise ConfigError(f"share must not be negative, got {share:g}")
        self.home, self.away, self.share = home, away, share
        self.memoryless = home.memoryless and away.memoryless

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes; whoever remembers hears all of an episode."""
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
        alone = self.away.memoryless and not self.share
        asked = [None if alone and i in slow else observation for i, observation in enumerate(observations)]
        actions: list[Any] = [0] * len(observations)
        theirs: list[Any] = []
        if any(observation is not None for observation in asked):
            if self.share and slow:
                theirs = self.away.gaps(asked, infos)
                actions = [0 if gap is None else int(np.argmax(gap)) for gap in theirs]
            else:
                actions = list(self.away.act_batch(asked, infos))
        if not here or all(observations[i] is None for i in here):
            return actions
        own = [observations[i] if not self.home.memoryless or i in slow else None for i in here]
        if any(observation is not None for observation in own):
            told = [infos[i] for i in here]
            gaps = self.home.gaps(own, told) if self.share else []
            chosen = [] if self.share else self.home.act_batch(own, told)
            for place, i in enumerate(here):
                if i in slow:
                    actions[i] = int(np.argmax(gaps[place] + self.share * theirs[i])) if self.share else chosen[place]
        return actions


class InRanges:
    """An agent whose gaps are divided by `unit`, so that they count ranges of a ladder's quality."""

    def __init__(self, agent: Any, unit: float) -> None:
        self.agent, self.unit = agent, unit

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    def gaps(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[NDArray[Any] | None]:
        """Return the gaps of each episode still running."""
        return [None if gap is None else gap / self.unit for gap in self.agent.gaps(observations, infos)]


def _llm(folder: str | Path, **kwargs: Any) -> Agent:
    merged = read_description(folder)["config"].get("tuning") == "lora"
    return load_checkpoint(folder, **{"merge": merged, **kwargs})


@register_agent("abr/llm")
def llm(home: str | Path = zoo.ROOT / "abr-llm", away: str | Path = zoo.ROOT / "abr-llm-any", **kwargs: Any) -> Agent:
    """Return SmolLM2's first four blocks with adapters, trained on what an actor-critic earns after each action.

    `home` and `away` are folders of the specialist and of the model for any ladder; default: those in the package.
    Other keyword arguments are those of any LLM checkpoint (``temperature``); its adapters are merged, for speed.
    """
    pair = InRanges(_llm(home, **kwargs), HOME_RANGE), InRanges(_llm(away, **kwargs), UNIT)
    # Where levels are drawn, each model draws by itself: a sum of gaps is taken at its best only.
    return HomeOrAny(*pair, 0.0 if kwargs.get("temperature") else SHARE)


@register_agent("abr/llm-any")
def llm_any(**kwargs: Any) -> Agent:
    """Return the language model for any ladder, which points at a level."""
    return _llm(zoo.ROOT / "abr-llm-any", **kwargs)


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
def regret_mlp(
    home: str | Path = zoo.ROOT / "abr-regret-mlp", away: str | Path = zoo.ROOT / "abr-regret-mlp-any"
) -> Agent:
    """Return small networks trained on the same values as ``abr/llm``.

    `home` and `away` are folders of the specialist and of the networks for any ladder.
    """
    return HomeOrAny(InRanges(load_checkpoint(home), HOME_RANGE), load_checkpoint(away), SHARE)


@register_agent("abr/regret-mlp-any")
def regret_mlp_any() -> Agent:
    """Return a small network regressed on the values that teach ``abr/llm-any``, for any ladder."""
    return load_checkpoint(zoo.ROOT / "abr-regret-mlp-any")
