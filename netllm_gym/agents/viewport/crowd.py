"""Agents that follow earlier viewers of a video: attention over their paths, or a language model that reads them.

They play environments that show a crowd (``crowd=42``). Their information differs from that of agents which see one
head alone, so they are compared in a track of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import zoo
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.agents.checkpoint import WEIGHTS, read_description, read_weights, rebuilding, write_checkpoint
from netllm_gym.agents.registry import register_agent
from netllm_gym.agents.viewport.networks import require_torch
from netllm_gym.agents.viewport.readings import READINGS, through, to_horizon, translate
from netllm_gym.agents.viewport.rules import PredictorAgent
from netllm_gym.errors import CheckpointError, ConfigError

KIND = "crowd"


class CrowdAgent(BatchAgent, PredictorAgent):
    """Plays crowd networks, one for each reading of the angles; a reading is loaded when an environment shows it.

    Where there is no network for an environment's reading, its angles are translated.

    Args:
        networks: checkpoint folder per reading (``canonical``, ``published``).
    """

    memoryless = True

    def __init__(self, networks: dict[str, Path]) -> None:
        require_torch()
        self._folders = dict(networks)
        self._loaded: dict[str, Any] = {}
        self._reading, self._futures = "", [1]

    def network(self, reading: str) -> Any:
        """Return the network for angles of one reading: of another one where there is none.

        Raises:
            CheckpointError: its folder is broken.
        """
        reading = self.known(reading)
        if reading not in self._loaded:
            self._loaded[reading] = read_network(self._folders[reading])
        return self._loaded[reading]

    def known(self, reading: str) -> str:
        """Return the reading of the network that answers for angles of `reading`."""
        return reading if reading in self._folders else next(iter(self._folders))

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin episodes.

        Raises:
            ConfigError: an environment that shows no crowd.
        """
        for info in env_infos:
            if "crowd_deg" not in getattr(info.observation_space, "spaces", {}):
                raise ConfigError(f"{self.name} follows a crowd: make {info.env_id} with crowd=N")
        self._reading = env_infos[0].static["reading"]
        self.network(self._reading)
        self._futures = [info.static["protocol"].future for info in env_infos]

    def predict(
        self, history_deg: NDArray, crowd_deg: NDArray, crowd_mask: NDArray, future: int, reading: str = ""
    ) -> NDArray[np.float64]:
        """Predict many windows at once; beyond the network's own horizon the last displacement is held.

        Args:
            history_deg: ``[N, h, 3]``, degrees.
            crowd_deg, crowd_mask: ``[N, K, h + f, 3]`` and ``[N, K, h + f]``, as the environment shows them.
            future: samples.
            reading: of the angles; default: that of the present episode.

        Returns:
            ``[N, future, 3]``, degrees.
        """
        import torch

        from netllm_gym.agents.viewport.crowd_network import rows_of

        shown = reading or self._reading
        network, wanted = self.network(shown), self.known(shown)
        crowd = translate(crowd_deg, shown, wanted)

        def answer(history: NDArray[np.float64]) -> NDArray[np.float64]:
            motion = []
            for begin in range(0, len(history), 512):
                piece = slice(begin, begin + 512)
                rows = rows_of(
                    torch.from_numpy(history[piece].astype(np.float32)),
                    torch.from_numpy(crowd[piece].astype(np.float32)),
                    torch.from_numpy(np.asarray(crowd_mask[piece])),
                    network.config.history,
                    network.config.future,
                )
                motion.append(network(rows).numpy().astype(np.float64))
            return history[:, -1:] + np.concatenate(motion)

        with torch.inference_mode():
            path = through(answer, history_deg, shown, wanted)
        return to_horizon(path, future)

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the next `future` samples in degrees, shape ``[future, 3]``."""
        parts = [observation[key][None] for key in ("history_deg", "crowd_deg", "crowd_mask")]
        return self.predict(parts[0], parts[1], parts[2], future)[0]

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the motion from the last sample, shape ``[future, 3]`` per episode; ``None`` where one has ended."""
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        actions: list[Any] = [None] * len(observations)
        if alive:
            history, crowd, mask = (
                np.stack([observations[i][key] for i in alive]) for key in ("history_deg", "crowd_deg", "crowd_mask")
            )
            path = self.predict(history, crowd, mask, max(self._futures)) - history[:, -1:].astype(np.float64)
            for i, motion in zip(alive, path.astype(np.float32), strict=True):
                actions[i] = motion[: self._futures[i]]
        return actions


def save_network(folder: str | Path, network: Any, reading: str, training: dict[str, Any]) -> Path:
    """Write a trained network as a checkpoint folder: ``agent.json`` and half-precision safetensors.

    Args:
        folder: where; replaced when it is a checkpoint.
        network: a :class:`CrowdNetwork`.
        reading: of the angles it was trained on.
        training: what it was trained on, recorded as it is.
    """
    description = {
        "kind": KIND,
        "env_id": "netllm_gym/ViewportPrediction-v0",
        "config": network.config.to_json(),
        "reading": reading,
        "training": training,
    }
    return write_checkpoint(folder, description, weights={k: v.half() for k, v in network.weights().items()})


def read_network(folder: str | Path) -> Any:
    """Rebuild the network of a checkpoint folder, in evaluation mode.

    Raises:
        CheckpointError: incomplete, broken, or of another kind.
    """
    from netllm_gym.agents.viewport.crowd_config import CrowdConfig
    from netllm_gym.agents.viewport.crowd_network import CrowdNetwork

    description = read_description(folder)
    if description["kind"] != KIND:
        raise CheckpointError(f"{folder} holds a {description['kind']} agent, not a crowd network")
    with rebuilding(Path(folder)):
        network = CrowdNetwork(CrowdConfig(**description["config"]))
        wanted = network.weights()
        stored = {key: value.float() for key, value in read_weights(Path(folder), torch=True).items()}
        if sorted(wanted) != sorted(stored):
            raise CheckpointError(f"{folder}: {WEIGHTS} holds other weights than agent.json describes")
        network.load_state_dict(stored, strict=False)
    return network.eval()


def load(folder: Path, description: dict[str, Any]) -> CrowdAgent:
    """Rebuild the agent of one checkpoint folder (called by :func:`netllm_gym.agents.checkpoint.load_checkpoint`).

    Raises:
        CheckpointError: a reading that does not exist.
    """
    if description.get("reading") not in READINGS:
        raise CheckpointError(f"{folder}: reading {description.get('reading')!r} is none of {', '.join(READINGS)}")
    agent = CrowdAgent({description["reading"]: folder})
    agent.network(description["reading"])
    return agent


def _from_zoo(name: str) -> CrowdAgent:
    return CrowdAgent(
        {reading: zoo.ROOT / name / reading for reading in READINGS if (zoo.ROOT / name / reading).is_dir()}
    )


@register_agent("crowd/attention")
def attention() -> CrowdAgent:
    """Attention over the paths of earlier viewers, trained on the training viewers of Jin2022."""
    return _from_zoo("crowd-attention")


@register_agent("crowd/llm")
def llm() -> CrowdAgent:
    """A language model that reads earlier viewers as tokens, trained on the training viewers of Jin2022."""
    return _from_zoo("crowd-llm")
