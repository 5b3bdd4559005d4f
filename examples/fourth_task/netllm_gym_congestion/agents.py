"""Rules for the sender, and an oracle that sees the link."""

from __future__ import annotations

from typing import Any

import numpy as np

from netllm_gym import Agent, EnvInfo, register_agent
from netllm_gym_congestion.env import FACTORS, STEP_S

SERVES = ("congestion/Sender-v0",)


def nearest(rate: float, wanted: float) -> int:
    """Return the factor that brings `rate` closest to `wanted`, in ratio."""
    return int(np.argmin([abs(np.log(rate * factor / wanted)) for factor in FACTORS]))


@register_agent("congestion/constant", serves=SERVES)
class Constant(Agent):
    """Keep the first rate, whatever happens: the floor."""

    memoryless = True

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        """Change nothing."""
        return FACTORS.index(1.0)


@register_agent("congestion/aimd", serves=SERVES)
class AIMD(Agent):
    """Ten per cent more until something is lost, then half (after Chiu and Jain, 1989)."""

    memoryless = True

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        """Look at the last step's loss."""
        return FACTORS.index(0.5 if observation["lost"][-1] > 0 else 1.1)


@register_agent("congestion/bbr", serves=SERVES)
class BBR(Agent):
    """Send what was delivered at best lately: probe up for one step in eight, drain when the queue grows.

    After BBR (Cardwell et al., 2016): model the path by its bottleneck rate and its round trip, not by losses.
    """

    def __init__(self, patience: float = 1.25) -> None:
        self.patience = patience

    def reset(self, env_info: EnvInfo) -> None:
        """Learn the empty path's delay, and begin a cycle."""
        self.base_ms, self.step = float(env_info.static["base_ms"]), 0

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        """Match the best recent delivery rate."""
        self.step += 1
        rate, best = float(observation["rate_mbps"][0]), float(observation["delivered_mbps"].max())
        if best == 0.0:
            return FACTORS.index(1.5)
        if observation["delay_ms"][-1] > self.patience * self.base_ms:
            return nearest(rate, 0.75 * float(observation["delivered_mbps"][-3:].mean()) + 1e-6)
        return nearest(rate, best * (1.25 if self.step % 8 == 0 or rate > 0.95 * best else 1.0))


@register_agent("congestion/oracle", serves=SERVES)
class Oracle(Agent):
    """Send what the link can carry in the coming step, less what waits in the queue. It sees the link."""

    privileged = True

    def reset(self, env_info: EnvInfo) -> None:
        """Take hold of the simulator."""
        self.env = env_info.simulator

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        """Fill the link and nothing more."""
        room = max(self.env.capacity_mbit(self.env.t) - self.env.queue_mbit, 1e-3)
        return nearest(self.env.rate, room / STEP_S)
