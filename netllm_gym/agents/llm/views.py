"""How a generalist sees a task and answers it: the environment's own way, or the one its teachers' data were given in.

A view turns an environment's observation into what the model reads and the model's answer into an action. Most tasks
need none. Head motion is read as motion and answered as corrections to the damped velocity; a ladder is read by rows, a
cluster as its runnable graph. The spaces that a model was trained in say which view it learnt by.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.agents.base import EnvInfo
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.envs.abr.view import ABRView, Episode
from netllm_gym.envs.cluster.adaptive import waits
from netllm_gym.envs.cluster.cluster_view import ClusterView as AdvisedCluster
from netllm_gym.envs.cluster.view import CLUSTER_SCALES, ScheduleView, rows_of
from netllm_gym.envs.leaves import LeafView
from netllm_gym.errors import CheckpointError


class View:
    """The environment as it is, its observations flat (:class:`~netllm_gym.envs.leaves.LeafView`).

    Args:
        info: of the environment at hand.
        trained: the spaces it was trained in, by name.

    Raises:
        CheckpointError: it shows or asks for something else than what was trained on.
    """

    notice = ""  # what of the episode lies outside of what was trained on

    def __init__(self, info: EnvInfo, trained: dict[str, Any]) -> None:
        known: Any = trained["observation_space"]
        self._leaves = LeafView(info.observation_space, like=known)
        self.observation_space: gym.Space = self._leaves.space
        self.action_space: gym.Space = info.action_space
        if odd := sorted(set(self._leaves.space.spaces) ^ set(known.spaces)):
            raise CheckpointError(
                f"{info.env_id} is not what was trained on: observation {odd[0]!r} is only on one side"
            )
        if type(self.action_space) is not type(trained["action_space"]):
            raise CheckpointError(
                f"trained on actions {trained['action_space']}, {info.env_id} has {self.action_space}"
            )
        self.notice = self._news(trained)

    def _news(self, trained: dict[str, Any]) -> str:
        """Say which spaces have another size than those it was trained in; empty if none has."""
        known = {**trained["observation_space"].spaces, "action": trained["action_space"]}
        here = {**getattr(self.observation_space, "spaces", {}), "action": self.action_space}
        found = [
            f"{key} of {_size(space)} in place of {_size(known[key])}"
            for key, space in here.items()
            if key in known and _size(space) != _size(known[key])
        ]
        return ", ".join(found)

    def observe(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What the model reads, and what it is told beside (the mask)."""
        return self._leaves.checked(observation), info

    def settled(self) -> Any:
        """The environment's action where what was last observed leaves the model no choice, else ``None``."""
        return None

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


class LevelsView(View):
    """A ladder of any size, as `abr/llm` reads it: a row per level, without units."""

    def __init__(self, info: EnvInfo, trained: dict[str, Any]) -> None:
        self._facts = Episode(info.static)
        self._view = ABRView(max(self._facts.levels, 2))
        self.observation_space, self.action_space = self._view.observation_space, self._view.action_space
        self.notice = Ranges().outside(info.static)

    def observe(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Rows, and which of them are levels."""
        return self._view(self._facts, observation), {"action_mask": self._view.mask(self._facts.levels)}


class ClusterView(View):
    """A cluster of any size, as the first generalists read it."""

    def __init__(self, info: EnvInfo, trained: dict[str, Any]) -> None:
        self._view = ScheduleView(int(trained["action_space"].nvec[1]), *rows_of(info.observation_space))
        self.observation_space, self.action_space = self._view.observation_space, self._view.action_space

    def observe(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Runnable stages first, and which of them and how many executors are legal."""
        mask = self._view.mask(info["action_mask"], self._view.max_stages)
        return self._shown(observation), {"action_mask": mask}

    def _shown(self, observation: Any) -> Any:
        return self._view(observation)


class AdvisedView(ClusterView):
    """A cluster of any size and pace, as `cluster/llm` reads it: without units, with a rule's advice; waits with it."""

    def __init__(self, info: EnvInfo, trained: dict[str, Any]) -> None:
        self._view: Any = AdvisedCluster(float(info.static["moving_s"]), *rows_of(info.observation_space))
        self.observation_space, self.action_space = self._view.observation_space, self._view.action_space
        self._waits = False

    def observe(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The graph in units of its own, and what is legal."""
        self._advice = self._view.advice(observation)
        self._waits = waits(self._advice, info)
        return super().observe(observation, info)

    def _shown(self, observation: Any) -> Any:
        return self._view(observation, self._advice)

    def settled(self) -> Any:
        """The end of the round, where the rule waits."""
        return np.array([self._view.max_stages, 0]) if self._waits else None

    def answer(self, action: Any, observation: Any) -> Any:
        """The environment's stage and count."""
        return self._view.decode(action, observation, self._advice)


def _size(space: Any) -> str:
    if isinstance(space, gym.spaces.Discrete):
        return f"{space.n} choices"
    return " × ".join(map(str, space.shape or (1,)))


def view_of(env_id: str, info: EnvInfo, trained: dict[str, Any]) -> View:
    """Return the view of an episode that a model trained in the spaces `trained` learnt by."""
    spaces: Any = trained["observation_space"]
    if env_id == "netllm_gym/ViewportPrediction-v0":
        return MotionView(info, trained)
    if env_id == "netllm_gym/ABR-v0" and "levels" in spaces.spaces:
        return LevelsView(info, trained)
    if env_id == "netllm_gym/ClusterScheduling-v0":
        advised = spaces["cluster"].shape[0] > len(CLUSTER_SCALES)  # without units the cluster's row is longer
        return (AdvisedView if advised else ClusterView)(info, trained)
    return View(info, trained)
