"""How a generalist sees a task and answers it: the environment's own way, or the one its teachers' data were given in.

A view turns an environment's observation into what the model reads and the model's answer into an action. Most tasks
need none; head motion is read as motion and answered as corrections to the damped velocity, a cluster is read as its
runnable graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.agents.base import EnvInfo


class View:
    """The environment as it is.

    Args:
        info: of the environment at hand.
        trained: the spaces it was trained in, by name.
    """

    def __init__(self, info: EnvInfo, trained: dict[str, Any]) -> None:
        self.observation_space: gym.Space = info.observation_space
        self.action_space: gym.Space = info.action_space

    def observe(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What the model reads, and what it is told beside (the mask)."""
        return observation, info

    def answer(self, action: Any, observation: Any) -> Any:
        """The environment's action for the model's."""
        return action


class MotionView(View):
    """Head motion, as `viewport/llm` reads and answers it: in the reading of the angles that it learnt."""

    def __init__(self, info: EnvInfo, trained: dict[str, Any]) -> None:
        self.observation_space, self.action_space = trained["observation_space"], trained["action_space"]
        self._reach = trained["observation_space"]["motion"].shape[0]
        self._future, self._shown = info.static["protocol"].future, info.static["reading"]
        name = trained.get("dataset", {}).get("name", "/as-published/")  # the first generalists did not say
        self._known = "published" if "/as-published/" in name else "canonical"

    def _history(self, history_deg: np.ndarray) -> np.ndarray:
        from netllm_gym.agents.viewport.readings import at_least
        from netllm_gym.traces.head.geometry import unwrap_to_last

        return at_least(unwrap_to_last(history_deg), self._reach)[:, -self._reach :]

    def observe(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Motion and place."""
        from netllm_gym.agents.viewport.networks import motion_and_place
        from netllm_gym.agents.viewport.readings import translate

        history = translate(np.asarray(observation["history_deg"], np.float64)[None], self._shown, self._known)
        return {"motion": motion_and_place(self._history(history))[0]}, {}

    def answer(self, action: Any, observation: Any) -> Any:
        """The damped velocity, corrected; beyond the trained horizon the last displacement is held."""
        from netllm_gym.agents.viewport.llm import BASE
        from netllm_gym.agents.viewport.readings import through, to_horizon

        def corrected(history: np.ndarray) -> np.ndarray:
            return action[None] + BASE.predict(self._history(history), len(action))

        shown = np.asarray(observation["history_deg"], np.float64)[None]
        path = to_horizon(through(corrected, shown, self._shown, self._known), self._future)
        return (path - shown[:, -1:])[0].astype(np.float32)


class ClusterView(View):
    """A cluster of any size, as `cluster/llm` reads it."""

    def __init__(self, info: EnvInfo, trained: dict[str, Any]) -> None:
        from netllm_gym.envs.cluster.view import ScheduleView

        shapes: Any = info.observation_space
        sizes = [shapes[key].shape[0] for key in ("stages", "jobs", "edges")]
        self._view = ScheduleView(int(trained["action_space"].nvec[1]), *sizes)
        self.observation_space, self.action_space = self._view.observation_space, self._view.action_space

    def observe(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Runnable stages first, and which of them and how many executors are legal."""
        mask = self._view.mask(info["action_mask"], self._view.max_stages)
        return self._view(observation), {"action_mask": mask}


VIEWS: dict[str, Callable[[EnvInfo, dict[str, Any]], View]] = {
    "netllm_gym/ViewportPrediction-v0": MotionView,
    "netllm_gym/ClusterScheduling-v0": ClusterView,
}
