"""Small networks on head motion: a GRU, TRACK with a position and an image branch, and a plain perceptron.

The recipes ``viewport-gru``, ``viewport-track`` and ``viewport-mlp`` train them; nothing is trained while an agent
plays. The zoo holds a GRU and a TRACK for each reading of the angles (published, canonical), trained on the training
viewers of Jin2022.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import zoo
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.checkpoint import read_description, read_weights, rebuilding, write_checkpoint
from netllm_gym.agents.registry import register_agent
from netllm_gym.agents.viewport import networks
from netllm_gym.agents.viewport.readings import READINGS, through, to_horizon
from netllm_gym.agents.viewport.rules import PredictorAgent, foreign, training_set
from netllm_gym.envs.viewport.crowd import MAP_SHAPE
from netllm_gym.errors import CheckpointError, ConfigError

KIND = "viewport-network"
CELLS = MAP_SHAPE[0] * MAP_SHAPE[1]


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of a network.

    Attributes:
        network: ``gru``, ``track`` or ``mlp``.
        hidden: units.
        history: samples it reads at most.
        future: samples it answers; a longer horizon holds the last one.
        image: whether it reads the crowd's heatmap (``track`` only).
    """

    network: str = "gru"
    hidden: int = 64
    history: int = 10
    future: int = 30
    image: bool = False

    def __post_init__(self) -> None:
        if self.network not in ("gru", "track", "mlp"):
            raise ConfigError(f"network must be gru, track or mlp, got {self.network!r}")
        if min(self.hidden, self.history, self.future) < 1:
            raise ConfigError("hidden, history and future must be at least 1")
        if self.image and self.network != "track":
            raise ConfigError("only track reads an image")

    def build(self) -> Any:
        """Return the network, untrained."""
        if self.network == "gru":
            return networks.build_gru(self.hidden, 2, self.future)
        if self.network == "mlp":
            return networks.build_mlp(self.hidden, self.history, self.future)
        return networks.build_track(self.hidden, self.future, CELLS if self.image else 0)


class RecurrentAgent(PredictorAgent):
    """Plays trained networks, one for each reading of the angles; a reading is loaded when an environment shows it.

    Where there is no network for an environment's reading, its angles are translated.

    Args:
        folders: checkpoint folder per reading (``canonical``, ``published``).
    """

    def __init__(self, folders: dict[str, Path]) -> None:
        networks.require_torch()  # refused when it is built, not in the first episode
        self.folders = dict(folders)
        self._loaded: dict[str, tuple[NetworkConfig, Any, str]] = {}
        self._shown = self._reading = next(iter(folders))

    def use(self, reading: str) -> NetworkConfig:
        """Answer for angles of this reading from now on; return the shape of the network that does.

        Raises:
            CheckpointError: its folder is broken.
        """
        self._shown = reading
        self._reading = reading if reading in self.folders else next(iter(self.folders))
        if self._reading not in self._loaded:
            self._loaded[self._reading] = _read_network(self.folders[self._reading])
        return self._loaded[self._reading][0]

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode.

        Raises:
            ConfigError: the network reads an image and the environment shows none.
            CheckpointError: the network's folder is broken.
        """
        super().reset(env_info)
        config = self.use(env_info.static["reading"])
        if config.image and "image" not in getattr(env_info.observation_space, "spaces", {}):
            raise ConfigError(f'{self.name} reads the crowd\'s heatmap: make {env_info.env_id} with image="crowd"')
        learnt, played = self._loaded[self._reading][2], env_info.static["traces"]
        self.notice = "" if training_set(played) == learnt else foreign(learnt, played)

    def predict(
        self, history_deg: NDArray[np.float64], future: int, maps: NDArray[np.float32] | None = None
    ) -> NDArray[np.float64]:
        """Predict many windows at once; beyond the network's horizon the last displacement is held.

        Args:
            history_deg: ``[N, h, 3]``, degrees.
            future: samples.
            maps: heatmaps ``[N, 16, 32]`` for networks that read them.

        Returns:
            ``[N, future, 3]``, degrees.
        """
        torch = networks.require_torch()
        config = self.use(self._shown)

        def answer(history: NDArray[np.float64]) -> NDArray[np.float64]:
            history = history[:, -config.history :]
            features = torch.from_numpy(networks.motion_and_place(history))
            shown = maps if config.image and maps is not None else np.zeros((len(history), 0), np.float32)
            flat = shown.reshape(len(history), -1)
            path = self._loaded[self._reading][1](features, torch.from_numpy(flat)).numpy().astype(np.float64)
            return history[:, -1:] + path * networks.SCALE_DEG

        with torch.no_grad():
            path = through(answer, history_deg, self._shown, self._reading)
        return to_horizon(path, future)

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the next `future` samples in degrees, shape ``[future, 3]``."""
        maps = observation["image"][None] if self.use(self._shown).image else None
        return self.predict(np.asarray(observation["history_deg"], np.float64)[None], future, maps)[0]


def save(folder: str | Path, config: NetworkConfig, network: Any, reading: str, training: dict[str, Any]) -> Path:
    """Write a trained network as a checkpoint folder, in half precision.

    Args:
        folder: where; replaced when it is a checkpoint.
        config, network: its shape, and the network.
        reading: of the angles it was trained on.
        training: what it was trained on, and how; needs ``traces``.
    """
    description = {
        "kind": KIND,
        "env_id": "netllm_gym/ViewportPrediction-v0",
        "config": asdict(config),
        "reading": reading,
        "training": training,
    }
    weights = {key: value.half() for key, value in network.state_dict().items()}
    lines = [f"# {config.network} on head motion, {reading} angles", "", *(f"- {k}: {v}" for k, v in training.items())]
    lines += ["", 'Load it with `netllm_gym.make_agent("this folder")`.']
    return write_checkpoint(folder, description, weights=weights, card="\n".join(lines) + "\n")


def _read_network(folder: Path) -> tuple[NetworkConfig, Any, str]:
    description = read_description(folder)
    if description["kind"] != KIND:
        raise CheckpointError(f"{folder} holds a {description['kind']} agent, not a viewport network")
    with rebuilding(folder):
        config = NetworkConfig(**description["config"])
        torch = networks.require_torch()
        with torch.random.fork_rng(devices=[]):  # its first weights are replaced; the caller's generator stays
            network = config.build()
        network.load_state_dict({key: value.float() for key, value in read_weights(folder, torch=True).items()})
        training = description["training" if "training" in description else "about"]  # the latter: older checkpoints
        return config, network.eval(), str(training["traces"])


def load(folder: Path, description: dict[str, Any]) -> RecurrentAgent:
    """Rebuild the agent of one checkpoint folder (called by :func:`netllm_gym.agents.checkpoint.load_checkpoint`).

    Raises:
        CheckpointError: a reading that does not exist, or a broken folder.
    """
    if description.get("reading") not in READINGS:
        raise CheckpointError(f"{folder}: reading {description.get('reading')!r} is none of {', '.join(READINGS)}")
    agent = RecurrentAgent({description["reading"]: folder})
    agent.use(description["reading"])
    return agent


def _agent(network: str, folder: Path) -> RecurrentAgent:
    """Return the agent of one checkpoint folder, or of a folder that holds one for each reading."""
    readings = {reading: folder / reading for reading in READINGS if (folder / reading).is_dir()}
    agent = RecurrentAgent(readings) if readings else load(folder, read_description(folder))
    for reading, source in agent.folders.items():
        if (kind := agent.use(reading).network) != network:
            raise CheckpointError(f"{source} holds a {kind} network, not a {network} network")
    return agent


@register_agent("viewport/gru")
def gru(checkpoint: str | Path = zoo.ROOT / "viewport-gru") -> RecurrentAgent:
    """A two-layer GRU on the last two seconds of motion; one pass gives six seconds. Uses no image.

    Args:
        checkpoint: folder that ``netllm-gym train viewport-gru`` wrote, or one with such a folder for each reading;
            default: the networks in the package.
    """
    return _agent("gru", Path(checkpoint))


@register_agent("viewport/track")
def track(checkpoint: str | Path = zoo.ROOT / "viewport-track") -> RecurrentAgent:
    """TRACK (Romero Rondón et al., PAMI 2022) without the published port's view of the first future sample.

    The networks in the package read positions only; ``netllm-gym train viewport-track --set image=true`` trains one
    with an image branch, for environments made with ``image="crowd"``.

    Args:
        checkpoint: folder that ``netllm-gym train viewport-track`` wrote, or one with such a folder for each reading;
            default: the networks in the package.
    """
    return _agent("track", Path(checkpoint))
