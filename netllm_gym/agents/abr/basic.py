"""Classical ABR rules, each with its paper's constants, and the oracle that bounds them all."""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym.agents.abr.mpc import choose
from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.abr.forecast import WINDOW, harmonic_mean
from netllm_gym.errors import ConfigError


@register_agent("abr/random")
class RandomAgent(Agent):
    """Every level with equal probability: the floor of the normalised score."""

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode with draws of its own."""
        self._rng = env_info.rng()
        self._levels = env_info.static["video"].levels

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return a level drawn uniformly."""
        return int(self._rng.integers(self._levels))


@register_agent("abr/constant")
class ConstantAgent(Agent):
    """Always the same level.

    Args:
        level: the level, 0 the lowest.
    """

    memoryless = True

    def __init__(self, level: int = 0) -> None:
        self.level = level

    def reset(self, env_info: EnvInfo) -> None:
        """Check the level against the video's ladder."""
        if not 0 <= self.level < env_info.static["video"].levels:
            raise ConfigError(f"level {self.level} is not on the ladder of {env_info.static['video'].name}")

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level."""
        return self.level


@register_agent("abr/bba")
class BBA(Agent):
    """Buffer-based adaptation (Huang et al., SIGCOMM 2014) in the form Pensieve evaluates.

    Lowest level below the reservoir, highest above reservoir + cushion, between them linear in the level's index.

    Args:
        reservoir_s: seconds of buffer kept back.
        cushion_s: seconds over which the level rises.
    """

    memoryless = True

    def __init__(self, reservoir_s: float = 5.0, cushion_s: float = 10.0) -> None:
        if reservoir_s < 0 or cushion_s <= 0:
            raise ConfigError("BBA needs reservoir_s ≥ 0 and cushion_s > 0")
        self.reservoir_s, self.cushion_s = reservoir_s, cushion_s

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode."""
        self._top = env_info.static["video"].levels - 1

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level for the present buffer."""
        buffer = float(observation["buffer_s"][0])
        if buffer < self.reservoir_s:
            return 0
        if buffer >= self.reservoir_s + self.cushion_s:
            return self._top
        return int(self._top * (buffer - self.reservoir_s) / self.cushion_s)


@register_agent("abr/robust-mpc")
class RobustMPC(Agent):
    """RobustMPC (Yin et al., SIGCOMM 2015): plan five chunks ahead on a discounted throughput estimate.

    The estimate is the harmonic mean of the last 5 throughputs, divided by one plus the largest of the last 5
    relative errors of earlier (undiscounted) estimates. All levels are open at every chunk, the plan's first chunk is
    the one about to be requested, and the errors are forgotten between videos (published code differs in all three).
    Of equally good plans the lexicographically last is taken, as Pensieve's code does.

    Args:
        horizon: chunks planned ahead.
        robust: divide by the error; ``False`` gives MPC's estimate.
    """

    def __init__(self, horizon: int = 5, robust: bool = True) -> None:
        if not 1 <= horizon <= 8:
            raise ConfigError(f"horizon must lie in 1 to 8, got {horizon}")
        self.horizon, self.robust = horizon, robust

    def reset(self, env_info: EnvInfo) -> None:
        """Begin a video with no errors remembered."""
        self._video = env_info.static["video"]
        self._qoe = env_info.static["qoe"]
        self._estimate = 0.0
        self._errors: list[float] = []

    def _forecast(self, throughputs: np.ndarray) -> float:
        found = float(harmonic_mean(throughputs, len(throughputs)))
        if found <= 0:
            return 0.0
        newest = float(throughputs[-1])
        self._errors.append(abs(self._estimate - newest) / newest if self._estimate > 0 else 0.0)
        self._estimate = found
        return self._estimate / (1.0 + max(self._errors[-WINDOW:])) if self.robust else self._estimate

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the first level of the best plan."""
        forecast = self._forecast(observation["throughput_mbps"])
        if forecast <= 0:  # nothing measured yet: the first chunk of a video
            return 0
        next_chunk = self._video.chunks - round(float(observation["chunks_left"][0]))
        return choose(
            self._video.chunk_bytes[next_chunk : next_chunk + self.horizon],
            self._qoe.quality,
            self._qoe.stall_weight,
            self._qoe.switch_weight,
            self._video.chunk_s,
            forecast * 1e6 / 8.0,
            float(observation["buffer_s"][0]),
            int(observation["last_quality"]),
        )


@register_agent("abr/oracle")
class Oracle(Agent):
    """The offline optimum: plans the whole video on the true trace and plays the plan.

    Args:
        beam: states the planner keeps per chunk, see :func:`netllm_gym.envs.abr.planner.optimum`.
    """

    privileged = True

    def __init__(self, beam: int = 1100) -> None:
        self.beam = beam

    def reset(self, env_info: EnvInfo) -> None:
        """Plan the episode."""
        from netllm_gym.envs.abr.planner import optimum

        self._plan = iter(optimum(env_info.simulator, self.beam)[1])

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the next level of the plan."""
        return int(next(self._plan))
