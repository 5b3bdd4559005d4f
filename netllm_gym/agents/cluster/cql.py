"""d3rlpy's conservative Q-learning as a scheduler, on the padded view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import read_description
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.cluster.padded import PaddedView
from netllm_gym.envs.cluster.view import rows_of
from netllm_gym.errors import CheckpointError, ConfigError
from netllm_gym.extras import guarded

KIND = "cluster-cql"


@register_agent("cluster/cql")
class ClusterCQL(BatchAgent):
    """Greedy among the legal actions of the padded view; of more stages than that holds, it sees the oldest jobs'.

    Args:
        checkpoint: folder of a d3rlpy agent trained on :func:`netllm_gym.datasets.schedules.padded` experience
            (``netllm-gym train cluster-cql --out FOLDER``); none is in the package.
    """

    def __init__(self, checkpoint: str | Path | None = None) -> None:
        if checkpoint is None:
            raise ConfigError("cluster/cql needs checkpoint=FOLDER; netllm-gym train cluster-cql makes one")
        facts = read_description(checkpoint)
        if facts["kind"] not in (KIND, "d3rlpy"):  # the latter: folders that did not say so yet
            raise CheckpointError(f"{checkpoint} holds a {facts['kind']} agent, not one of cluster-cql")
        with guarded(f"the {KIND} agent of {checkpoint}"):
            from netllm_gym.agents.offline import checkpoint as flat

            self.model: Any = flat.load(Path(checkpoint), facts)
        if "candidates" not in self.model.view.space.spaces:
            raise CheckpointError(f"{checkpoint} was not trained on the padded view of a cluster")

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes (on clusters of one size)."""
        actions: Any = env_infos[0].action_space
        sizes = rows_of(env_infos[0].observation_space)
        rows = self.model.view.space["candidates"].shape[0]
        self._view = PaddedView(rows, int(actions.nvec[1]), *sizes, oldest_only=True)
        spaces: Any = {"observation_space": self._view.observation_space, "action_space": self._view.action_space}
        self.model.reset_batch([replace(info, **spaces) for info in env_infos])

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return (row, count - 1) per episode."""
        view = self._view
        pairs = list(zip(observations, infos, strict=True))
        masks = [i if o is None else {"action_mask": view.mask(o, i["action_mask"])} for o, i in pairs]
        chosen = self.model.act_batch([o if o is None else view(o) for o in observations], masks)
        return [None if o is None else view.decode(a, o) for o, a in zip(observations, chosen, strict=True)]


def load(folder: Path, description: dict[str, Any], **kwargs: Any) -> ClusterCQL:
    """Rebuild the scheduler of a checkpoint folder.

    Raises:
        CheckpointError: an option is given, or the folder is damaged.
    """
    if kwargs:
        raise CheckpointError(f"{folder}: a {KIND} checkpoint takes no option {next(iter(kwargs))!r}")
    return ClusterCQL(folder)
