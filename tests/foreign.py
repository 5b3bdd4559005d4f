"""An environment as others write them: registered by its address, promising and answering what its arguments say."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym import Agent

FOREIGN, WRAPPED, MEASURED = (f"netllm_gym_test/{name}-v0" for name in ("Foreign", "Wrapped", "Measured"))
ACTIONS: dict[str, gym.Space] = {
    "choice": spaces.Discrete(3),
    "factors": spaces.MultiDiscrete([3, 2]),
    "dict": spaces.Dict({"a": spaces.Discrete(3, start=1), "b": spaces.MultiBinary(2)}),
    "whole": spaces.Box(0, 255, (1,), np.uint8),
    "binary": spaces.MultiBinary(2),
    "numbers": spaces.Dict({"share": spaces.Box(0, 0.1, (1,), np.float64), "level": spaces.Box(0, 9, (1,), np.int64)}),
    "levels": spaces.Tuple((spaces.Box(0, 9, (1,), np.int64), spaces.Box(0, 9, (), np.int32))),
    "mixed": spaces.Dict({"path": spaces.Discrete(2), "share": spaces.Box(0, 1, (1,))}),
    "worded": spaces.Dict({"path": spaces.Discrete(2), "word": spaces.Text(3)}),
}


class Foreign(gym.Env):
    """Counts to four in one array that it writes into, and earns what it counted; `odd` is what it does wrong."""

    def __init__(self, odd: str = "", actions: str = "choice"):
        shown: Any = {
            "category": spaces.Discrete(3),
            "words": spaces.Box(0, 9, (2,)),
            "masked": spaces.Dict({"action_mask": spaces.MultiBinary(3), "x": spaces.Discrete(9)}),
            "other mask": spaces.Dict({"action_mask": spaces.MultiBinary(2)}),
            "lacks": spaces.Dict({"x": spaces.Discrete(9), "y": spaces.Discrete(9)}),
            "lacks deep": spaces.Dict({"in": spaces.Dict({"x": spaces.Discrete(9), "y": spaces.Discrete(9)})}),
            "text": spaces.Dict({"x": spaces.Discrete(9), "word": spaces.Text(5)}),
        }
        self.observation_space = shown.get(odd, spaces.Box(-np.inf, np.inf, (2,), np.float64))
        self.action_space = ACTIONS[actions]
        self.odd, self.seen, self.earned, self.played = odd, np.zeros(2), 0.0, []

    def _observation(self) -> Any:
        mask = np.array([0, 1, 0] if self.t % 2 else [0, 0, 1], np.int8)
        return {
            "words": np.array(["a", "b"]),
            "objects": np.array([None, 1.0]),
            "category": self.t,
            "masked": {"action_mask": mask, "x": self.t},
            "other mask": {"action_mask": mask[:2]},
            "lacks": {"x": 1},
            "lacks deep": {"in": {"x": 1}},
            "text": {"x": self.t, "word": "a"},
        }.get(self.odd, self.seen)

    def _info(self) -> dict[str, Any]:
        masks: dict[str, Any] = {
            "no mask": None,
            "short mask": np.ones(2, np.int8),
            "lists": [np.array([1, 0, 0]), np.array([0, 1])],
            "nothing": np.zeros(3, np.int8),
            "shares": np.array([0.0, 0.5, 0.5]),
        }
        if self.odd in masks:
            return {"action_mask": masks[self.odd]}
        if self.odd == "mask at times":
            return {"action_mask": np.array([1, 0, 1], np.int8)} if self.t % 2 else {}
        return {"trace": np.arange(3), "trace_group": {"a": 1}, "groups": {"a": [1]}} if self.odd == "names" else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.seen[:] = 0.0
        if self.odd == "fails":
            raise RuntimeError("the simulator\nis gone")
        if self.odd == "unseeded":
            self.seen[1] = np.random.default_rng().random()
        return self._observation() if self.odd == "old reset" else (self._observation(), self._info())

    def close(self):
        if self.odd == "stays open":
            raise OSError("the simulator does not answer")

    def step(self, action):
        self.t += 1
        self.played.append(action)
        self.seen[0] = self.t
        over = self.t >= 4 and self.odd != "endless"
        if self.odd == "old step":
            return self._observation(), 1.0, over, {}
        if self.odd == "carries over":  # as NormalizeReward does
            self.earned += 1.0
        if self.odd == "beyond":
            self.earned = 10**400
        return self._observation(), self.t + self.earned, over, False, self._info()


class Asking(Foreign):
    """Tells what is legal where it is asked, as sb3-contrib's MaskablePPO does; not after its end."""

    def action_masks(self) -> list[bool]:
        assert self.t < 4
        return [False, self.t % 2 == 1, self.t % 2 == 0]


class Fewer(gym.ActionWrapper):
    """Offers the first two of three actions."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.action_space = spaces.Discrete(2)

    def action(self, action):
        return int(action)


def wrapped(**kwargs: Any) -> gym.Env:
    """Another observation space and another action space than the environment inside."""
    box = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    return Fewer(gym.wrappers.TransformObservation(Foreign(**kwargs), lambda seen: np.append(seen, 1.0), box))


for name, entry in ((FOREIGN, "Foreign"), (WRAPPED, "wrapped")):
    if name not in gym.registry:
        gym.register(name, entry_point=f"tests.foreign:{entry}", disable_env_checker=True)


class Sloppy(Agent):
    """Writes into what it is shown, and answers with one array over and over."""

    name = "sloppy"

    def reset(self, env_info):
        self.env_info, self.heard, self.answer, self.turn = env_info, [], np.zeros(2, np.int64), 0

    def act(self, observation, info):
        self.heard.append(info.get("reward"))
        observation[0] = -1.0
        self.answer[0] = self.turn % 3
        self.turn += 1
        return self.answer


class Measured(Foreign):
    """Reports what its arguments say under its metric's name, and declares it in `metadata`."""

    def __init__(self, score: Any = 1.0, metadata: Any = None):
        super().__init__()
        self.score = score
        self.metadata = {"metric": {"name": "score", "aggregate": "mean"}} if metadata is None else metadata

    def _info(self):
        return {"score": self.score}


if MEASURED not in gym.registry:
    gym.register(MEASURED, entry_point="tests.foreign:Measured", disable_env_checker=True)
