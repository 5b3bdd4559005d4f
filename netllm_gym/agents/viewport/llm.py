"""The language model as a viewport predictor: one checkpoint for every history and horizon of the task.

The model sees what the GRU sees (`motion_and_place`: motion from the last sample, increments, sine and cosine of the
angles), as one token a window, and answers what must be *added to the damped velocity*: so what it learns is small, and
an answer of zero is already a fair forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from netllm_gym import zoo
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.registry import make_agent, register_agent
from netllm_gym.agents.viewport.networks import motion_and_place
from netllm_gym.agents.viewport.predictors import DampedVelocity
from netllm_gym.agents.viewport.readings import READINGS, at_least, through, to_horizon
from netllm_gym.agents.viewport.rules import PredictorAgent, foreign, training_set
from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.errors import CheckpointError
from netllm_gym.traces.head.geometry import unwrap_to_last

ZOO = zoo.ROOT / "viewport-llm"
KEY = "motion"  # the model's only observation: [reach, 12]
BASE = DampedVelocity()


def for_language_model(data: Experience) -> Experience:
    """Translate windows (of ``window_experience``) into what the model sees and answers.

    Args:
        data: experience of ``netllm_gym/ViewportPrediction-v0``, whose actions are displacements.

    Returns:
        The same windows with the observation ``motion`` ``[history, 12]`` and, as actions, the displacement minus that
        of the damped velocity.
    """
    reach, future = data.observation_space["history_deg"].shape[0], data.action_space.shape[0]  # type: ignore[index]
    episodes = []
    for episode in data.episodes:
        history = episode.observations["history_deg"].astype(np.float64)
        answer = (episode.actions - _base(history, future)).astype(np.float32)
        episodes.append(Episode({KEY: motion_and_place(history)}, answer, episode.rewards, trace=episode.trace))
    space = gym.spaces.Dict({KEY: gym.spaces.Box(-np.inf, np.inf, (reach, 12), np.float32)})
    return replace(data, episodes=episodes, observation_space=space, modalities={KEY: "series"}, scales={KEY: 1.0})


def _base(history_deg: NDArray[np.float64], future: int) -> NDArray[np.float64]:
    """Displacement by damped velocity, ``[N, future, 3]``."""
    return BASE.predict(history_deg, future) - history_deg[:, -1:]


class _Network:
    """One trained model, and the reading of the angles that it was trained on.

    Raises:
        CheckpointError: a folder that holds no such model.
    """

    def __init__(self, folder: Path) -> None:
        trained: Any = make_agent(str(folder))
        metadata = getattr(trained, "metadata", {})
        if list(metadata.get("observation_space", ())) != [KEY] or trained.config.objective != "regression":
            raise CheckpointError(f"{folder} was not trained to predict viewports")
        self.agent, self.model = trained, trained.model
        self.reach = int(metadata["observation_space"][KEY].shape[0])
        self.learnt = metadata["dataset"]["name"].rpartition("/")[0]
        self.reading = "published" if self.learnt.endswith("/as-published") else "canonical"

    def predict(self, history_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Histories ``[N, h, 3]`` to as many samples as the model answers, ``[N, f, 3]``, degrees."""
        import torch

        history = at_least(unwrap_to_last(history_deg), self.reach)[:, -self.reach :]
        head, motion = self.model.head, []
        with torch.inference_mode():
            for begin in range(0, len(history), 1024):
                rows = history[begin : begin + 1024]
                seen = torch.from_numpy(motion_and_place(rows)).to(self.model.device)
                tokens, _ = self.model.embed({KEY: seen[:, None]}, None, None)
                values = head(self.agent.read_alone(tokens)) * head.std + head.mean
                answer = values.cpu().numpy().astype(np.float64).reshape(len(rows), -1, 3)
                motion.append(answer + _base(rows, answer.shape[1]))
        return history[:, -1:] + np.concatenate(motion)


@register_agent("viewport/llm")
class ViewportLLM(BatchAgent, PredictorAgent):
    """A language model fine-tuned on head motion; one forward pass gives the whole horizon.

    It reads as many of the newest samples as it was trained with (a shorter history is taken as a head at rest before);
    of its answer the environment's horizon is kept, and beyond its own horizon the last displacement is held. Each
    window is answered for itself, as the GRU answers it. One model answers for one reading of the angles; where there
    is none for an environment's, its angles are translated.

    Args:
        checkpoint: folder of an agent trained on :func:`for_language_model`'s windows, or of several such folders
            named by their reading; default: those in the package.

    Raises:
        CheckpointError: a folder that is or holds none.
    """

    def __init__(self, checkpoint: str | Path = ZOO) -> None:
        folder = Path(checkpoint)
        self.networks: dict[str, _Network] = {}
        for place in (folder, *(folder / reading for reading in READINGS)):
            if (place / "agent.json").is_file():
                network = _Network(place)
                self.networks[network.reading] = network
        if not self.networks:
            raise CheckpointError(f"{folder} is not a checkpoint: it has no agent.json")
        self._reading = next(iter(self.networks))
        self._futures: list[int] = []

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes."""
        self._reading = env_infos[0].static["reading"]
        self._futures = [info.static["protocol"].future for info in env_infos]
        learnt = {network.learnt for network in self.networks.values()}
        played = [info.static["traces"] for info in env_infos if training_set(info.static["traces"]) not in learnt]
        self.notice = foreign(", ".join(sorted(learnt)), played[0]) if played else ""

    def use(self, reading: str) -> None:
        """Answer for angles of this reading from now on (:meth:`reset` takes the environment's)."""
        self._reading = reading

    def predict(self, history_deg: NDArray[np.float64], future: int) -> NDArray[np.float64]:
        """Predict many windows at once, of angles in the reading of the present episode or of :meth:`use`.

        Args:
            history_deg: ``[N, h, 3]``, degrees.
            future: samples.

        Returns:
            ``[N, future, 3]``, degrees.
        """
        shown = self._reading
        network = self.networks.get(shown) or next(iter(self.networks.values()))
        path = through(network.predict, history_deg, shown, network.reading)
        return to_horizon(path, future)

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the next `future` samples in degrees, shape ``[future, 3]``."""
        return self.predict(np.asarray(observation["history_deg"], np.float64)[None], future)[0]

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the motion from the last sample, shape ``[future, 3]`` per episode; ``None`` where one has ended."""
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        actions: list[Any] = [None] * len(observations)
        if alive:
            history = np.stack([np.asarray(observations[i]["history_deg"], np.float64) for i in alive])
            path = self.predict(history, max(self._futures)) - history[:, -1:]
            for i, motion in zip(alive, path.astype(np.float32), strict=True):
                actions[i] = motion[: self._futures[i]]
        return actions
