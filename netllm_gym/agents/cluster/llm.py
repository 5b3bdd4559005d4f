"""The language model as a scheduler: one checkpoint for clusters and job counts of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym import extras, zoo
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import read_description, space_to_json
from netllm_gym.agents.registry import register_agent
from netllm_gym.deprecation import renamed
from netllm_gym.envs.cluster.adaptive import waits
from netllm_gym.envs.cluster.cluster_view import ClusterView
from netllm_gym.envs.cluster.view import ScheduleView, rows_of
from netllm_gym.errors import CheckpointError, ConfigError

ZOO = zoo.ROOT / "cluster-llm"
MARGIN = 4.0  # of the model in the package: 2 and 4 were played on valid
ENV = "netllm_gym/ClusterScheduling-v0"


class ClusterLLM(BatchAgent):
    """A language model that points at a runnable stage and counts executors, legal by construction.

    The graph's encoder and the pointer know no sizes, so an agent trained on few stages serves any bound of the
    environment. One that was trained on :class:`~netllm_gym.envs.cluster.cluster_view.ClusterView` sees no units and
    the advice of ``cluster/adaptive``, and waits where that rule does; others count up to the executors of their
    training.

    Args:
        checkpoint: folder of an agent trained on :func:`netllm_gym.datasets.schedules.viewed` experience; default: the
            one in the package.
        temperature: 0 takes the best choice; above, choices are drawn.
        may_wait: let it end rounds where the environment obeys that; by default only where the mask has it.
        margin: logarithm of how many times more probable than the rule's its own decision must be; else the rule's is
            taken. Of no effect on an agent that does not see the rule's advice.
    """

    about = renamed("about", "metadata")

    def __init__(
        self, checkpoint: str | Path = ZOO, temperature: float = 0.0, may_wait: bool = False, margin: float = 0.0
    ) -> None:
        extras.require("llm", "cluster/llm")
        if margin < 0:
            raise ConfigError("margin must not be negative")
        self.margin = margin
        self.folder, self.temperature, self.may_wait = Path(checkpoint), temperature, may_wait
        description = read_description(self.folder)
        if (
            description["kind"] != "llm"
            or description["env_id"] != ENV
            or "cluster" not in description.get("modalities", {})
        ):
            raise CheckpointError(f"{checkpoint} was not trained to schedule a cluster")
        self.metadata = description
        self._models: dict[tuple[int, ...], Any] = {}

    def _model(self, view: ScheduleView) -> Any:
        """Return the network for the sizes of `view`; its weights are the same for all."""
        size = (view.max_stages, view.max_jobs, view.max_edges)
        if size not in self._models:
            import torch

            from netllm_gym.agents.llm.storage import load

            spaces = {key: space_to_json(getattr(view, key)) for key in ("observation_space", "action_space")}
            merge = self.metadata["config"].get("tuning") == "lora"
            description = {**self.metadata, **spaces}
            agent = load(self.folder, description, temperature=self.temperature, merge=merge)
            if self.margin and isinstance(view, ClusterView):
                with torch.no_grad():  # the first choice of a count is the rule's
                    agent.model.head.pointer.other.bias[0] += self.margin
            self._models = {size: agent}
        return self._models[size]

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes (on clusters of one size)."""
        counts = int(self.metadata["action_space"]["nvec"][1])
        sizes = rows_of(env_infos[0].observation_space)
        # What it was shown in training tells the views apart: without units the cluster's row is longer.
        relative = ClusterView(float(env_infos[0].static["moving_s"]), *sizes)
        learned = self.metadata["observation_space"]["subspaces"]["cluster"]["shape"]
        same = learned == list(relative.observation_space["cluster"].shape or ())
        self._view: ScheduleView = relative if same else ScheduleView(counts, *sizes)
        self._network = self._model(self._view)
        spaces: Any = {"observation_space": self._view.observation_space, "action_space": self._view.action_space}
        self._network.reset_batch([replace(info, **spaces) for info in env_infos])

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return (row, count - 1) per episode."""
        view, pairs = self._view, list(zip(observations, infos, strict=True))
        known = [info if o is None else {"action_mask": self._mask(info)} for o, info in pairs]
        if not isinstance(view, ClusterView):
            return self._network.act_batch([o if o is None else view(o) for o in observations], known)
        advices = [o if o is None else view.advice(o) for o in observations]
        asked = [
            advice is not None and not (self._network.memoryless and waits(advice, info))
            for info, advice in zip(infos, advices, strict=True)
        ]
        seen = [view(o, advice) if ask else None for ask, o, advice in zip(asked, observations, advices, strict=True)]
        chosen = self._network.act_batch(seen, known)
        scores = iter(self._network.model.head.scores if any(asked) else [])
        return [
            None if o is None else self._decided(view, a, o, info, advice, next(scores) if ask else None)
            for ask, a, (o, info), advice in zip(asked, chosen, pairs, advices, strict=True)
        ]

    def _decided(self, view: ClusterView, action: Any, observation: Any, info: Any, advice: Any, scores: Any) -> Any:
        """Return the decision: the rule's where it waits, or where the stage is not preferred by the margin."""
        if waits(advice, info):
            return np.array([view.max_stages, 0])
        row = int(action[0])
        if self.margin and 0 <= advice.row != row and scores[row] - scores[advice.row] < self.margin:
            return np.array([advice.row, advice.executors - 1])
        return view.decode(action, observation, advice)

    def _mask(self, info: Any) -> Any:
        mask = self._view.mask(info["action_mask"], self._view.max_stages)
        if self.may_wait:
            mask[self._view.max_stages] = info.get("may_wait", False)
        return mask


@register_agent("cluster/llm")
def cluster_llm(checkpoint: str | Path | None = None, **kwargs: Any) -> ClusterLLM:
    """Return the language model of the package, taught by rollouts on any workload, or the one in `checkpoint`.

    Keyword arguments are those of :class:`ClusterLLM`; the model of the package has a margin of its own.
    """
    if checkpoint is None:
        return ClusterLLM(ZOO, **{"margin": MARGIN, **kwargs})
    return ClusterLLM(checkpoint, **kwargs)
