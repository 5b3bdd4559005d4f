"""Small learned ABR policies for any ladder: `abr/actor-critic` (PPO) and `abr/regret-mlp` (regressed values).

Both are one network (:mod:`netllm_gym.agents.abr.rows`) over one view (:mod:`netllm_gym.envs.abr.view`) and play the
row that scores highest. Playing needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.rows import RowConfig, RowNetwork
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import read_weights, rebuilding, write_checkpoint, write_weights
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.envs.abr.view import CONTEXT_FEATURES, ROW_FEATURES, Episode
from netllm_gym.errors import CheckpointError

KIND = "abr-rows"
CRITIC = "critic.safetensors"


class RowAgent(BatchAgent):
    """Plays the level whose row scores highest.

    Args:
        network: scores the rows.
        ranges: what it was trained on; an episode outside is played, and said so in :attr:`notice`.
        critic: that goes with the network, for those who learn from it; not asked when playing.
    """

    kind = KIND
    serves = ("netllm_gym/ABR-v0",)
    memoryless = True

    def __init__(self, network: RowNetwork, ranges: Ranges, critic: RowNetwork | None = None) -> None:
        self.network, self.ranges, self.critic = network, ranges, critic

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Lay out the videos; nothing is remembered between steps."""
        shared: dict[tuple[int, int], Episode] = {}  # episodes of one environment share their facts
        self._episodes = []
        for info in env_infos:
            key = id(info.static["video"]), id(info.static["qoe"])
            if key not in shared:
                shared[key] = Episode(info.static)
            self._episodes.append(shared[key])
        self.notice = self.ranges.outside(env_infos[0].static)

    def gaps(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[NDArray[Any] | None]:
        """Return the score of every level, ``[L]``, of each episode still running; ``None`` of the others.

        The scores of a network that was regressed on values are predicted gaps to the best level, in ranges of the
        ladder's quality.
        """
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        levels = max(self._episodes[i].levels for i in alive)
        rows = np.empty((len(alive), levels, ROW_FEATURES), np.float32)
        context = np.empty((len(alive), CONTEXT_FEATURES), np.float32)
        mask = np.zeros((len(alive), levels), np.bool_)
        for k, i in enumerate(alive):
            self._episodes[i].see(observations[i], rows[k], context[k])
            mask[k, : self._episodes[i].levels] = True
        found: list[NDArray[Any] | None] = [None] * len(observations)
        for i, scores in zip(alive, self.network.scores(rows, context, mask), strict=True):
            found[i] = scores[: self._episodes[i].levels]
        return found

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the best level for each episode still running."""
        return [0 if scores is None else int(scores.argmax()) for scores in self.gaps(observations, infos)]


def save(agent: RowAgent, folder: str | Path, recipe: dict[str, Any], card: str) -> Path:
    """Write the checkpoint folder: weights, description with ranges and the training `recipe`, `card` as its README."""

    def fill(target: Path) -> None:
        if agent.critic is not None:
            write_weights(target / CRITIC, agent.critic.weights)

    description: dict[str, Any] = {"kind": KIND, "env_id": "netllm_gym/ABR-v0", "config": asdict(agent.network.config)}
    if agent.critic is not None:
        description["critic"] = asdict(agent.critic.config)
    description |= {"ranges": agent.ranges.to_json(), "recipe": recipe}
    return write_checkpoint(folder, description, fill, weights=agent.network.weights, card=card)


def load(folder: Path, description: dict[str, Any], **kwargs: Any) -> RowAgent:
    """Rebuild the agent of a checkpoint folder.

    Raises:
        CheckpointError: the weights are missing, corrupt or do not fit the description.
    """
    if kwargs:
        raise CheckpointError(f"{folder}: an {KIND} checkpoint takes no option {next(iter(kwargs))!r}")
    with rebuilding(folder):
        ranges = Ranges.from_json(description["ranges"])
        critic = None
        if "critic" in description:
            critic = RowNetwork(RowConfig(**description["critic"]), read_weights(folder, CRITIC))
        return RowAgent(RowNetwork(RowConfig(**description["config"]), read_weights(folder)), ranges, critic)
