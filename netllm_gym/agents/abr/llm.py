"""The language model as a streaming policy: one checkpoint for ladders of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netllm_gym import extras
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import read_description, rewrite_description, space_to_json
from netllm_gym.deprecation import renamed
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.envs.abr.view import ABRView, Episode
from netllm_gym.errors import CheckpointError, ConfigError

KIND = "abr-llm"
ENV = "netllm_gym/ABR-v0"


class ABRLLM(BatchAgent):
    """A language model that points at a level: trained on :class:`~netllm_gym.envs.abr.view.ABRView` experience.

    The encoder of the rows and the pointer know no sizes, so one checkpoint serves any ladder.

    Args:
        checkpoint: folder of an agent trained by the recipe ``abr-llm``.
        **kwargs: of any LLM checkpoint (``temperature``, ``device``); adapters are merged, for speed.
    """

    serves = (ENV,)
    about = renamed("about", "metadata")

    def __init__(self, checkpoint: str | Path, **kwargs: Any) -> None:
        self.folder, self.kwargs = Path(checkpoint), {"merge": True, **kwargs}
        extras.require("llm", "abr/llm")
        description = read_description(self.folder)
        if (
            description["kind"] not in ("llm", KIND)
            or description["env_id"] != ENV
            or "levels" not in description.get("modalities", {})
        ):
            raise CheckpointError(f"{checkpoint} was not trained on the row view of {ENV}")
        if description["config"].get("tuning") != "lora":
            self.kwargs["merge"] = False
        try:
            self.ranges = Ranges.from_json(description["dataset"]["setting"]["ranges"])
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(f"{checkpoint}: it does not say what it was trained on ({error})") from None
        self.metadata = description
        self._models: dict[int, Any] = {}

    def _model(self, levels: int) -> Any:
        """Return the network for a view of `levels` rows; its weights are the same for all."""
        if levels not in self._models:
            from netllm_gym.agents.llm.storage import load

            view = ABRView(levels)
            spaces = {key: space_to_json(getattr(view, key)) for key in ("observation_space", "action_space")}
            self._models = {levels: load(self.folder, {**self.metadata, **spaces}, **self.kwargs)}
        return self._models[levels]

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes."""
        self._episodes = [Episode(info.static) for info in env_infos]
        self._view = ABRView(max(episode.levels for episode in self._episodes))
        self._network = self._model(self._view.max_levels)
        spaces: Any = {"observation_space": self._view.observation_space, "action_space": self._view.action_space}
        self._network.reset_batch([replace(info, **spaces) for info in env_infos])
        self.notice = self.ranges.outside(env_infos[0].static)

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return a level per episode."""
        return self._network.act_batch(*self._shown(observations, infos))

    def _shown(self, observations: Sequence[Any], infos: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        seen: list[Any] = []
        for episode, observation in zip(self._episodes, observations, strict=True):
            seen.append(None if observation is None else self._view(episode, observation))
        known = [
            {**(info or {}), "action_mask": self._view.mask(episode.levels)}
            for episode, info in zip(self._episodes, infos, strict=True)
        ]
        return seen, known


def mark(folder: Path) -> None:
    """Say in a checkpoint just written that it plays through the row view, so that any loader makes it an ABRLLM."""
    rewrite_description(folder, {**read_description(folder), "kind": KIND})


def load(folder: Path, description: dict[str, Any], **kwargs: Any) -> ABRLLM:
    """Rebuild the agent of a checkpoint folder; `kwargs` as for :class:`ABRLLM`.

    Raises:
        CheckpointError: it is of another kind, or broken.
    """
    return ABRLLM(folder, **kwargs)
