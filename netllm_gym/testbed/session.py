"""The books of one playback: measurements in; observations, rewards and the evaluation's row out.

This is what stands in the simulator's place. A player, whichever it is, reports each segment it has downloaded; the
observation made of it lies in the environment's own space, so that the agent cannot tell the difference.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.envs.abr.env import ABREnv
from netllm_gym.envs.abr.observation import Memory
from netllm_gym.errors import ConfigError
from netllm_gym.evaluation.rollout import Row
from netllm_gym.evaluation.rows import group_columns
from netllm_gym.play import legal_action
from netllm_gym.testbed.plan import SessionPlan

MAX_SECONDS = 1e6


@dataclass(frozen=True)
class Measured:
    """One downloaded segment as the player saw it, in seconds of the clock.

    Attributes:
        chunk, level: which.
        size: bytes of the body.
        asked_s: when it was asked for, since the first request.
        delay_s: from the request to the last byte.
        first_byte_s: from the request to the first byte.
        decision_s: what the decision before it took, as the player saw it.
        stall_s: playback stood still for so long since the segment before (start-up not counted).
        startup_s: wait for the first picture; of the first segment only.
        sleep_s: pause after it because the buffer was full.
        buffer_s: video waiting after all that.
        wall_s: the clock after all that, since the first request.
    """

    chunk: int
    level: int
    size: float
    asked_s: float
    delay_s: float
    first_byte_s: float
    decision_s: float
    stall_s: float
    startup_s: float
    sleep_s: float
    buffer_s: float
    wall_s: float

    @classmethod
    def of(cls, sent: Any) -> Measured:
        """Read what a player sent.

        Raises:
            ConfigError: something is missing, no number, negative or absurd.
        """
        if not isinstance(sent, dict):
            raise ConfigError("a measurement is a JSON object")
        values: dict[str, Any] = {}
        for item in fields(cls):
            value = sent.get(item.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
                raise ConfigError(f"measurement {item.name!r} must be a number that is not negative, got {value!r}")
            if item.name.endswith("_s") and value > MAX_SECONDS:
                raise ConfigError(f"measurement {item.name!r} of {value:g} s is no playback")
            values[item.name] = int(value) if item.name in ("chunk", "level") else float(value)
        if values["delay_s"] <= 0:
            raise ConfigError("measurement 'delay_s' must be positive")
        return cls(**values)


class Session:
    """One agent's playback.

    Args:
        plan: what is played.
        env: the simulated twin; only its video, QoE and spaces are read.
        agent: who decides; ``None`` when the player decides by itself (dash.js's own rules).
    """

    def __init__(self, plan: SessionPlan, env: ABREnv, agent: Agent | None) -> None:
        self.plan, self.agent, self.env = plan, agent, env
        self.memory = Memory(env.video)
        self.quality = env.qoe.per_chunk(env.video.chunks)
        self.measured: list[Measured] = []
        self.rewards: list[float] = []
        self.terms: list[dict[str, float]] = []
        self.latencies_ms: list[float] = []
        self.repeats = 0
        self.reason = ""
        self.notice = ""
        self.extra: dict[str, float] = {}
        self._info: dict[str, Any] = {}

    def begin(self) -> dict[str, Any]:
        """Reset the agent; return what a player needs to know."""
        trace = self.plan.trace
        self._info = {
            "trace": trace.name,
            "trace_group": trace.group,
            "groups": {"recording": trace.group},
            "video": self.env.video.name,
            "action_mask": np.ones(self.env.video.levels, np.int8),
        }
        if self.agent is not None:
            inner = self.env
            self.agent.reset(
                EnvInfo(
                    "netllm_gym/ABR-v0",
                    inner.observation_space,
                    inner.action_space,
                    dict(inner.metadata),
                    inner.static_info(),
                    self.plan.episode.agent_seed,
                )
            )
            self.notice = self.agent.notice
        return {
            "chunks": self.env.video.chunks,
            "levels": self.env.video.levels,
            "chunk_s": self.env.video.chunk_s,
            "first_level": self.env.first_quality,
            "buffer_cap_s": self.env.buffer_cap_s,
            "sleep_quantum_s": self.env.sleep_quantum_s,
        }

    def arrived(self, segment: Measured) -> None:
        """Enter a segment.

        Raises:
            ConfigError: it is not the next one, or not of this video.
        """
        video = self.env.video
        if segment.chunk != len(self.measured) or segment.chunk >= video.chunks or segment.level >= video.levels:
            raise ConfigError(f"segment {segment.chunk} at level {segment.level} is not the next of {video.name}")
        before = self.measured[-1].level if self.measured else 0
        self.measured.append(segment)
        throughput = segment.size * 8e-6 / segment.delay_s
        self.memory.add(segment.chunk, throughput, segment.delay_s)
        self._info.update(wall_time_s=segment.wall_s, startup_s=self.measured[0].startup_s)
        if segment.chunk == 0 and self.env.first_quality is not None:
            return
        quality = float(self.quality[segment.chunk][segment.level])
        stall, switch = segment.stall_s + segment.startup_s, 0.0
        if segment.chunk > 0:
            qoe = self.env.qoe
            switch = qoe.switch_weight * abs(quality - float(self.quality[segment.chunk - 1][before]))
            self.repeats += bool(segment.level == before and len(self.rewards) > 0)
        reward = quality - self.env.qoe.stall_weight * stall - switch
        self.rewards.append(reward)
        self.terms.append({"quality": quality, "stall_s": stall, "switch": switch})
        self._info.update(
            reward=reward,
            quality=quality,
            stall_s=stall,
            switch=switch,
            level=segment.level,
            bitrate_mbps=float(video.bitrates_kbps[segment.level]) / 1000.0,
            buffer_s=segment.buffer_s,
            sleep_s=segment.sleep_s,
            download_time_s=segment.delay_s,
            throughput_mbps=throughput,
            chunk=segment.chunk,
        )

    def decide(self, chunk: int, buffer_s: float) -> int:
        """Ask the agent for the level of `chunk`; whatever it does wrong fails the episode.

        Raises:
            ValueError: the agent raised, or its action is illegal; the reason is kept.
        """
        assert self.agent is not None
        if chunk != len(self.measured):
            raise ConfigError(f"a decision for segment {chunk} was asked, segment {len(self.measured)} is next")
        last = self.measured[-1].level if self.measured else 0
        observation = self.memory.observe(chunk, buffer_s, last)
        info = {**self._info, "action_mask": self._info["action_mask"].copy()}
        begin = time.perf_counter()
        try:
            action = self.agent.act(observation, info)
            level = int(legal_action(self.env.action_space, action, info))
        except Exception as error:  # an agent's mistake is its episode's failure, never the testbed's
            self.fail(f"{type(error).__name__}: {' '.join(str(error).split())[:80]}")
            raise ValueError(self.reason) from None
        self.latencies_ms.append((time.perf_counter() - begin) * 1000.0)
        return level

    def fail(self, reason: str) -> None:
        """Record why the episode does not count; the first reason stays."""
        self.reason = self.reason or reason

    def row(self) -> Row:
        """Return the episode as a row of the evaluation, with the testbed's own columns behind."""
        if len(self.measured) < self.env.video.chunks:
            self.fail(f"ended after {len(self.measured)} of {self.env.video.chunks} segments")
        plan, trace, failed = self.plan, self.plan.trace, bool(self.reason)
        steps = len(self.rewards)
        total = math.fsum(self.rewards)
        mean = math.nan if failed or not steps else total / steps
        row: Row = {
            "agent": plan.spec.label,
            "training_seed": plan.spec.training_seed,
            "episode": plan.episode.index,
            "trace_index": plan.episode.trace_index,
            "trace": trace.name,
            **group_columns({"recording": trace.group}),
            "seed": plan.episode.env_seed,
            "steps": steps,
            "return": math.nan if failed else total,
            "mean_reward": mean,
            "qoe": mean,
        }
        for name, term in self.env.metadata["reward_terms"].items():
            value = math.fsum(entry[name] for entry in self.terms)
            row[name] = math.nan if failed or not steps else value / (steps if term["aggregate"] == "mean" else 1)
        row["repeat_rate"] = self.repeats / (steps - 1) if steps > 1 and not failed else math.nan
        for percent in (50, 99):
            row[f"latency_p{percent}_ms"] = _percentile(self.latencies_ms, percent)
        row |= {"lockstep": 1, "failed": failed, "reason": self.reason, "notice": self.notice}
        row["startup_s"] = self.measured[0].startup_s if self.measured else math.nan
        waits = [entry.decision_s * 1000.0 for entry in self.measured[1:]]
        for percent in (50, 99):
            row[f"decision_p{percent}_ms"] = _percentile(waits, percent)
        return row | self.extra

    def segments(self) -> list[dict[str, float]]:
        """Return the segments as rows of numbers, each with its reward (0 for a first one that is never rewarded)."""
        rewards = [0.0] * (len(self.measured) - len(self.rewards)) + self.rewards
        return [{**asdict(entry), "reward": reward} for entry, reward in zip(self.measured, rewards, strict=True)]


def _percentile(values: list[float], percent: int) -> float:
    return float(np.percentile(values, percent)) if values else math.nan
