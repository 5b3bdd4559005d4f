"""The language model as a viewport predictor: one checkpoint for every history and horizon of the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.registry import make_agent, register_agent
from netllm_gym.errors import CheckpointError, ConfigError

ZOO = Path(__file__).parents[2] / "zoo" / "viewport-llm"


@register_agent("viewport/llm")
class ViewportLLM(BatchAgent):
    """A language model fine-tuned on head motion; one forward pass gives the whole horizon.

    It sees as many of the newest samples as it was trained with; of its answer the environment's horizon is kept, and
    beyond its own horizon the last displacement is held. It remembers the earlier windows of an episode, at most
    `memory` of them: then it begins anew, so that it never meets longer episodes than in training (Jin2022's have 14
    windows, Wu2017's 200).

    Args:
        checkpoint: folder of an agent trained on ``window_experience``; default: the one in the package.
        memory: windows of an episode it remembers at most.
    """

    def __init__(self, checkpoint: str | Path = ZOO, memory: int = 14) -> None:
        if memory < 1:
            raise ConfigError(f"memory must be at least 1 window, got {memory}")
        if not (Path(checkpoint) / "agent.json").is_file():
            raise CheckpointError(f"{checkpoint} is not a checkpoint: it has no agent.json")
        model: Any = make_agent(str(checkpoint))
        if getattr(model, "env_id", "") != "netllm_gym/ViewportPrediction-v0" or not hasattr(model, "about"):
            raise CheckpointError(f"{checkpoint} was not trained to predict viewports")
        self.model = model
        self.memory = memory

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes.

        Raises:
            CheckpointError: an environment that shows fewer samples than the model needs.
        """
        about = self.model.about
        self._reach = about["observation_space"]["history_deg"].shape[0]
        self._futures = []
        for info in env_infos:
            shown = info.static["protocol"].history
            if shown < self._reach:
                raise CheckpointError(
                    f"{self.name} needs {self._reach} samples of history, {info.env_id} shows {shown}"
                )
            self._futures.append(info.static["protocol"].future)
        spaces = {key: about[key] for key in ("observation_space", "action_space")}
        self._infos = [replace(info, **spaces) for info in env_infos]
        self._steps = 0
        self.model.reset_batch(self._infos)

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the motion from the last sample, shape ``[future, 3]`` per episode."""
        if self._steps and self._steps % self.memory == 0:
            self.model.reset_batch(self._infos)
        self._steps += 1
        keys = self.model.about["observation_space"].spaces
        seen = [o if o is None else {key: o[key][-self._reach :] for key in keys} for o in observations]
        answers = self.model.act_batch(seen, infos)
        return [a if a is None else _fit(a, n) for a, n in zip(answers, self._futures, strict=True)]


def _fit(motion: NDArray[np.float32], future: int) -> NDArray[np.float32]:
    """Cut or hold `motion` to `future` samples."""
    held = np.repeat(motion[-1:], max(future - len(motion), 0), axis=0)
    return np.concatenate([motion[:future], held])
