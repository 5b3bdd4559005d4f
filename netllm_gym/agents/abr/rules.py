"""Throughput and buffer rules with their authors' constants: rate-based, FESTIVE, BOLA, BOLA-E and dynamic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.basic import RobustMPC
from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.abr.forecast import harmonic_mean
from netllm_gym.errors import ConfigError


def harmonic_mbps(throughputs: NDArray[np.floating]) -> float:
    """Harmonic mean of the last five measured throughputs (Mbit/s); 0 before the first."""
    return float(harmonic_mean(throughputs, len(throughputs)))


def highest_below(bitrates_kbps: NDArray[np.floating], mbps: float) -> int:
    """Highest level whose nominal bitrate is at most `mbps`; level 0 when none is."""
    return max(int(np.searchsorted(bitrates_kbps, mbps * 1000.0, side="right")) - 1, 0)


class _Ladder(Agent):
    """An agent that needs the ladder and the chunk length only."""

    def reset(self, env_info: EnvInfo) -> None:
        """Read the ladder of the episode's video."""
        video = env_info.static["video"]
        self._bitrates = np.asarray(video.bitrates_kbps, dtype=np.float64)
        self._chunk_s = float(video.chunk_s)


@register_agent("abr/rate-based")
class RateBased(_Ladder):
    """Highest nominal bitrate below the harmonic mean of the last five throughputs, times a safety factor.

    Args:
        safety: factor on the estimate; 1.0 as in Pensieve's player.
    """

    def __init__(self, safety: float = 1.0) -> None:
        if safety <= 0:
            raise ConfigError(f"safety must be positive, got {safety}")
        self.safety = safety

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level for the present estimate."""
        return highest_below(self._bitrates, self.safety * harmonic_mbps(observation["throughput_mbps"]))


@register_agent("abr/festive")
class Festive(_Ladder):
    """FESTIVE (Jiang et al., CoNEXT 2012) as Pensieve's player has it: gradual switching and a stability score.

    The target is the highest bitrate below 0.85 of the harmonic mean. Down moves go one level at once, up moves one
    level after the target lay above for more than `k` chunks, `k` the present level. The move is made only when its
    score, ``2 ** switches + 12 |b / min(c, b_ref) - 1|``, is below that of staying (switches of the last five
    chunks). Random scheduling and delayed starts of the paper have no counterpart in a chunk-level simulator.
    """

    DISCOUNT, EFFICIENCY, MEMORY = 0.85, 12.0, 5

    def reset(self, env_info: EnvInfo) -> None:
        """Begin a video with no switches remembered."""
        super().reset(env_info)
        self._switched: list[int] = []
        self._ups = 0
        self._before: int | None = None

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the present level or a neighbour of it."""
        last = int(observation["last_quality"])
        estimate = harmonic_mbps(observation["throughput_mbps"])
        if estimate <= 0:
            return 0
        target = highest_below(self._bitrates, self.DISCOUNT * estimate)
        reference = last
        self._ups = self._ups + 1 if target > last else 0
        if target > last and self._ups > last:
            reference = last + 1
        elif target < last:
            reference = last - 1
        switches = sum(self._switched[-self.MEMORY :])
        level = last
        if reference != last and self._score(reference, reference, estimate, switches + 1) < self._score(
            last, reference, estimate, switches
        ):
            level = reference
            self._ups = 0
        self._switched.append(int(level != last))
        return level

    def _score(self, level: int, reference: int, estimate: float, switches: int) -> float:
        fair = min(estimate * 1000.0, float(self._bitrates[reference]))
        return 2.0**switches + self.EFFICIENCY * abs(float(self._bitrates[level]) / fair - 1.0)


@register_agent("abr/bola")
class Bola(_Ladder):
    """BOLA basic (Spiteri et al., INFOCOM 2016), with the constants of the published per-chunk logs.

    Maximises ``(V (u + g) - B) / size`` with ``u = ln(b / b_0)``, ``g = 1 + u_max / (30 / 10 - 1)`` and
    ``V = 10 / (g - 1)``; the size is that of the next chunk, ties go to the higher level.
    """

    MINIMUM_S, TARGET_S = 10.0, 30.0

    def reset(self, env_info: EnvInfo) -> None:
        """Derive V and g from the ladder."""
        super().reset(env_info)
        self._utility = np.log(self._bitrates / self._bitrates[0])
        self._g = 1.0 + float(self._utility[-1]) / (self.TARGET_S / self.MINIMUM_S - 1.0)
        # A ladder of one level has no utility to gain: any V gives the same choice.
        self._v = self.MINIMUM_S / (self._g - 1.0) if self._g > 1.0 else 1.0

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level of the highest score."""
        gain = self._v * (self._utility + self._g) - float(observation["buffer_s"][0])
        scores = gain / observation["next_chunk_bytes"].astype(np.float64)
        return len(scores) - 1 - int(np.argmax(scores[::-1]))


@register_agent("abr/bola-e")
class BolaE(_Ladder):
    """BOLA-E (Spiteri et al., MMSys 2018), the rule of dash.js: BOLA with a placeholder buffer and an upward limit.

    While less than a chunk is buffered the throughput rule decides and the placeholder is filled until BOLA would
    choose the same level. Later an upward move is limited to the level the throughput sustains; seconds of buffer
    that BOLA would have waited for are taken from the placeholder. No insufficient-buffer rule, no abandonment.

    Args:
        buffer_s: buffer the player aims for; at least ``10 + 2 * levels`` is used.
        safety: factor on the throughput estimate.
    """

    MINIMUM_S, PER_LEVEL_S, DECAY = 10.0, 2.0, 0.99

    def __init__(self, buffer_s: float = 18.0, safety: float = 0.9) -> None:
        if buffer_s <= 0 or safety <= 0:
            raise ConfigError("BOLA-E needs buffer_s > 0 and safety > 0")
        self.buffer_s, self.safety = buffer_s, safety

    def reset(self, env_info: EnvInfo) -> None:
        """Derive V and g, empty the placeholder."""
        super().reset(env_info)
        self._utility = np.log(self._bitrates / self._bitrates[0]) + 1.0
        target = max(self.buffer_s, self.MINIMUM_S + self.PER_LEVEL_S * len(self._bitrates))
        self._g = (float(self._utility[-1]) - 1.0) / (target / self.MINIMUM_S - 1.0)
        self._v = self.MINIMUM_S / self._g if self._g > 0 else 1.0
        self._placeholder = 0.0
        self._steady = False

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level."""
        buffer = float(observation["buffer_s"][0])
        sustained = highest_below(self._bitrates, self.safety * harmonic_mbps(observation["throughput_mbps"]))
        # The first chunk leaves exactly one chunk in the buffer: steady only beyond it.
        self._steady = self._steady or buffer > self._chunk_s
        if not self._steady:
            self._placeholder = max(0.0, self._least_buffer(sustained) - buffer)
            return sustained
        self._placeholder *= self.DECAY
        scores = (self._v * (self._utility - 1.0 + self._g) - buffer - self._placeholder) / self._bitrates
        level = len(scores) - 1 - int(np.argmax(scores[::-1]))
        last = int(observation["last_quality"])
        if level > max(sustained, last):
            level = max(sustained, last)
        surplus = buffer + self._placeholder - self._v * (float(self._utility[level]) - 1.0 + self._g)
        self._placeholder -= min(max(surplus, 0.0), self._placeholder)
        return level

    def _least_buffer(self, level: int) -> float:
        """Smallest buffer at which no lower level scores above `level` (the largest of the pairwise crossings)."""
        crossings = [0.0]
        rate, utility = self._bitrates[level], self._utility[level] - 1.0
        for lower in range(level):
            other, worth = self._bitrates[lower], self._utility[lower] - 1.0
            crossings.append(float(self._v * (self._g + (rate * worth - other * utility) / (rate - other))))
        return max(crossings)


@register_agent("abr/dynamic")
class Dynamic(Agent):
    """Sabre's dynamic rule (Spiteri et al., MMSys 2018): throughput rule at low buffer, BOLA at high.

    To BOLA at 10 s or more once its level is at least the throughput rule's; back below 10 s when it is lower.
    """

    THRESHOLD_S = 10.0

    def __init__(self) -> None:
        self._rate, self._bola = RateBased(0.9), Bola()

    def reset(self, env_info: EnvInfo) -> None:
        """Begin with the throughput rule."""
        self._rate.reset(env_info)
        self._bola.reset(env_info)
        self._buffer_based = False

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        """Return the level of the rule in charge."""
        rate, bola = self._rate.act(observation, info), self._bola.act(observation, info)
        full = float(observation["buffer_s"][0]) >= self.THRESHOLD_S
        if self._buffer_based:
            self._buffer_based = full or bola >= rate
        else:
            self._buffer_based = full and bola >= rate
        return bola if self._buffer_based else rate


@register_agent("abr/mpc")
class MPC(RobustMPC):
    """MPC (Yin et al., SIGCOMM 2015): as RobustMPC, without the discount by earlier errors.

    Args:
        horizon: chunks planned ahead.
    """

    def __init__(self, horizon: int = 5) -> None:
        super().__init__(horizon, robust=False)
