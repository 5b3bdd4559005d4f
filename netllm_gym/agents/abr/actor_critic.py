"""Small policies for one ladder, in the line of Pensieve (SIGCOMM 2017) and Genet (SIGCOMM 2022): checkpoints of 0.3.

The state is Pensieve's (past throughputs and delays, buffer, last level, sizes of the next chunk, chunks left) plus
what a player would compute from it: a throughput forecast (harmonic mean of five) and how far the buffer would cover
each level's download at that speed. Since then policies score a row per level, of any ladder
(:mod:`netllm_gym.agents.abr.row_agent`); this module plays what was trained before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import read_weights, rebuilding, write_checkpoint
from netllm_gym.errors import CheckpointError, ConfigError

KIND = "actor-critic"
WINDOW = 5

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ActorConfig:
    """Shape of the policy network.

    Attributes:
        levels: quality levels it chooses among.
        history: past chunks in the observation.
        hidden: width of the two hidden layers.
    """

    levels: int = 6
    history: int = 8
    hidden: int = 128

    def __post_init__(self) -> None:
        if min(self.levels, self.history, self.hidden) < 1:
            raise ConfigError("levels, history and hidden must be at least 1")

    @property
    def inputs(self) -> int:
        """Number of features."""
        return 2 * self.history + 3 * self.levels + 6


def features(
    throughput_mbps: Floats,
    download_time_s: Floats,
    buffer_s: Floats,
    last_quality: NDArray[np.int64],
    next_chunk_bytes: Floats,
    chunks_left: Floats,
) -> Floats:
    """Return the policy's input for `n` states, float32 ``[n, ActorConfig.inputs]``.

    Args:
        throughput_mbps, download_time_s: ``[n, history]``, newest last.
        buffer_s, last_quality, chunks_left: ``[n]``.
        next_chunk_bytes: ``[n, L]``.
    """
    n, levels = next_chunk_bytes.shape
    recent = throughput_mbps[:, -WINDOW:]
    seen = recent > 0
    count = np.maximum(seen.sum(1), 1)
    inverse = np.where(seen, 1.0 / np.where(seen, recent, 1.0), 0.0)
    # Nothing measured yet: 1 Mbit/s, about what these links carry.
    forecast = np.where(seen.any(1), count / np.maximum(inverse.sum(1), 1e-6), 1.0)
    logs = np.where(seen, np.log(np.where(seen, recent, 1.0)), np.log(forecast)[:, None])
    needed = next_chunk_bytes * 8e-6 / forecast[:, None]
    out = np.concatenate(
        [
            np.log1p(throughput_mbps),
            np.log1p(download_time_s) / 2.0,
            np.eye(levels)[last_quality],
            next_chunk_bytes / 1e6,
            np.tanh((buffer_s[:, None] - needed) / 8.0),
            np.stack(
                [
                    buffer_s / 20.0,
                    np.log1p(buffer_s) / 2.0,
                    chunks_left / 48.0,
                    np.minimum(chunks_left, 5.0) / 5.0,
                    np.log(forecast),
                    logs.std(1),
                ],
                axis=1,
            ),
        ],
        axis=1,
    )
    assert out.shape[0] == n
    return out.astype(np.float32)


class ActorCritic(BatchAgent):
    """Plays the most probable level of a trained policy.

    Args:
        config: shape of the network.
        weights: of the three layers by torch's names, ``0.weight [hidden, inputs]`` … ``4.bias [levels]``.

    Raises:
        ConfigError: weights that do not fit the shape.
    """

    kind = KIND
    memoryless = True

    def __init__(self, config: ActorConfig, weights: Mapping[str, Floats]) -> None:
        sizes = (config.inputs, config.hidden, config.hidden, config.levels)
        expected: dict[str, tuple[int, ...]] = {}
        for number, (before, after) in zip((0, 2, 4), pairwise(sizes), strict=True):
            expected |= {f"{number}.weight": (after, before), f"{number}.bias": (after,)}
        found = {key: value.shape for key, value in weights.items()}
        if found != expected:
            raise ConfigError(f"weights of shape {found} do not fit {config}")
        self.config, self.weights = config, dict(weights)

    def logits(self, inputs: Floats) -> Floats:
        """Unnormalised log probabilities of the levels, ``[n, levels]``, from features ``[n, inputs]``."""
        w = self.weights
        x = np.maximum(inputs @ w["0.weight"].T + w["0.bias"], 0.0)
        x = np.maximum(x @ w["2.weight"].T + w["2.bias"], 0.0)
        return x @ w["4.weight"].T + w["4.bias"]

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Check that the ladder fits; nothing is remembered between steps."""
        for info in env_infos:
            video = info.static.get("video")
            if video is None or video.levels != self.config.levels:
                found = "no video" if video is None else f"{video.levels} levels"
                raise ConfigError(f"{self.name} was trained for {self.config.levels} levels, the episode has {found}")

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the most probable level for each episode still running."""
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        stacked = {key: np.stack([np.asarray(observations[i][key]) for i in alive]) for key in observations[alive[0]]}
        inputs = features(
            stacked["throughput_mbps"],
            stacked["download_time_s"],
            stacked["buffer_s"][:, 0],
            stacked["last_quality"],
            stacked["next_chunk_bytes"],
            stacked["chunks_left"][:, 0],
        )
        best = self.logits(inputs).argmax(axis=1)
        actions: list[Any] = [0] * len(observations)
        for i, level in zip(alive, best, strict=True):
            actions[i] = int(level)
        return actions


def save(agent: ActorCritic, folder: str | Path, recipe: dict[str, Any], card: str) -> Path:
    """Write the checkpoint folder: weights, description with the training `recipe`, and `card` as its README."""
    description = {"kind": KIND, "env_id": "netllm_gym/ABR-v0", "config": asdict(agent.config), "recipe": recipe}
    return write_checkpoint(folder, description, weights=agent.weights, card=card)


def load(folder: Path, description: dict[str, Any], **kwargs: Any) -> ActorCritic:
    """Rebuild the agent of a checkpoint folder.

    Raises:
        CheckpointError: the weights are missing, corrupt or do not fit the description.
    """
    if kwargs:
        raise CheckpointError(f"{folder}: an {KIND} checkpoint takes no option {next(iter(kwargs))!r}")
    with rebuilding(folder):
        return ActorCritic(ActorConfig(**description["config"]), read_weights(folder))
