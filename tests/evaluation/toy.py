"""A tiny environment and agents for the evaluation's tests: guess the trace's number, with noise from the
env's seed.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.agents.registry import register_agent

TOY = "netllm_gym_test/Toy-v0"


class Traces(list):
    """Twenty targets, cut from eight recordings."""

    name, split, licence, citation, digest = "toy", "test", "MIT", "", "0" * 64


class ToyEnv(gym.Env):
    metadata = {  # noqa: RUF012
        "metric": {"name": "score", "aggregate": "mean", "better": "higher"},
        "reward_terms": {
            "error": {"aggregate": "mean", "unit": "levels", "better": "lower"},
            "noise": {"aggregate": "sum", "unit": "", "better": "higher"},
        },
    }

    def __init__(self, steps: int = 6, noise: float = 0.1, count: int = 20):
        self.observation_space = spaces.Dict({"hint": spaces.Box(-10, 10, (1,), np.float32)})
        self.action_space = spaces.Discrete(4)
        self.traces = Traces(range(count))
        self.steps, self.noise = steps, noise

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.trace = (options or {})["trace"]
        self.target = self.trace % 4
        self.t = 0
        return self._observe(), {"trace": f"t{self.trace}", "trace_group": f"g{self.trace % 8}"}

    def _observe(self):
        return {"hint": np.array([self.target + 0.4 * self.np_random.standard_normal()], np.float32)}

    def step(self, action):
        self.t += 1
        error = abs(int(action) - self.target)
        noise = self.noise * float(self.np_random.standard_normal())
        info = {"error": error, "noise": noise, "action_mask": np.ones(4, np.int8)}
        return self._observe(), 1.0 - error + noise, self.t >= self.steps, False, info


if TOY not in gym.registry:
    gym.register(TOY, entry_point="tests.evaluation.toy:ToyEnv")


@register_agent("toy/hint")
class Hint(Agent):
    def __init__(self, bias: float = 0.0):
        self.bias = bias

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        return int(np.clip(np.rint(observation["hint"][0] + self.bias), 0, 3))


@register_agent("toy/random")
class Random(Agent):
    def reset(self, env_info: EnvInfo) -> None:
        self.rng = env_info.rng()

    def act(self, observation, info):
        return int(self.rng.integers(4))


@register_agent("toy/oracle")
class Oracle(Agent):
    privileged = True

    def reset(self, env_info: EnvInfo) -> None:
        self.target = env_info.simulator.target

    def act(self, observation, info):
        return self.target


@register_agent("toy/batch")
class Batch(BatchAgent):
    """Decides like ``toy/hint``, for many at once, and notes how many."""

    def reset_batch(self, env_infos):
        assert all(info.simulator is None for info in env_infos)
        self.count = len(env_infos)

    def act_batch(self, observations, infos):
        assert len(observations) == self.count
        return [None if o is None else Hint().act(o, {}) for o in observations]


@register_agent("toy/faulty")
class Faulty(Hint):
    """Raises on trace 3, returns an illegal action on trace 5."""

    def __init__(self):
        super().__init__()
        self.number = -1

    def reset(self, env_info: EnvInfo) -> None:
        self.number += 1

    def act(self, observation, info):
        if self.number == 3:
            raise RuntimeError("no <b>idea</b>")
        return 17 if self.number == 5 else super().act(observation, info)


@register_agent("toy/killer")
class Killer(Hint):
    """Kills its process by SIGKILL in the second block, as long as `flag` does not exist."""

    def __init__(self, flag: str):
        super().__init__()
        self.flag, self.number = Path(flag), 0

    def reset(self, env_info: EnvInfo) -> None:
        self.number += 1
        if self.number > 16 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
