"""``viewport-gru``, ``viewport-track`` and ``viewport-mlp``: small networks on head motion, for one reading of the
angles.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from netllm_gym import traces as trace_room
from netllm_gym.agents.base import Agent
from netllm_gym.agents.checkpoint import read_description
from netllm_gym.agents.viewport import networks
from netllm_gym.agents.viewport.recurrent import CELLS, NetworkConfig, load, save
from netllm_gym.agents.viewport.rules import training_windows
from netllm_gym.envs.viewport.windows import Windows, displacements, turned
from netllm_gym.errors import ConfigError
from netllm_gym.randomness import borrowed_generators
from netllm_gym.recipes.base import Training, narrowed, register_recipe
from netllm_gym.traces.head.geometry import unwrap_to_last


@dataclass(frozen=True)
class NetworkOptions(NetworkConfig):
    """Options of the recipes: those of the network, the windows, and the training.

    Attributes:
        traces: whose train split it learns on and whose valid split its epoch is chosen by.
        stride: samples between training windows.
        turns: copies of the training windows, each turned at random about the vertical (none with images).
        epochs, learning_rate, batch, seed: of Adam with a cosine decay.
    """

    traces: str = "viewport/jin2022/as-published"
    stride: int = 3
    turns: int = 4
    epochs: int = 5
    learning_rate: float = 2e-3
    batch: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.stride, self.epochs, self.batch) < 1 or self.turns < 0 or self.learning_rate <= 0:
            raise ConfigError("stride, epochs, batch and learning_rate must be positive and turns not negative")


@dataclass(frozen=True)
class TrackOptions(NetworkOptions):
    """Options of ``viewport-track``: other defaults; ``image`` adds the branch that reads the crowd's heatmap."""

    network: str = "track"
    turns: int = 2
    epochs: int = 4
    batch: int = 256


@dataclass(frozen=True)
class MLPOptions(NetworkOptions):
    """Options of ``viewport-mlp``: a wider network than a recurrent one of as many weights."""

    network: str = "mlp"
    hidden: int = 256


@register_recipe("viewport-gru", NetworkOptions, data=False, extra="llm", fixed={"network": "gru", "image": False})
def train_viewport_gru(training: Training) -> Agent:
    """Teach a GRU to predict viewports; ``viewport/gru`` plays it with ``checkpoint=FOLDER``."""
    return _train(training)


@register_recipe("viewport-track", TrackOptions, data=False, extra="llm", fixed={"network": "track"})
def train_viewport_track(training: Training) -> Agent:
    """Teach TRACK to predict viewports; ``viewport/track`` plays it with ``checkpoint=FOLDER``."""
    return _train(training)


@register_recipe("viewport-mlp", MLPOptions, data=False, extra="llm", fixed={"network": "mlp", "image": False})
def train_viewport_mlp(training: Training) -> Agent:
    """Teach a plain network without memory to predict viewports: what the others must beat; none ships."""
    return _train(training)


def _train(training: Training) -> Agent:
    options: NetworkOptions = training.config
    config = narrowed(NetworkConfig, options)
    rng = np.random.default_rng(options.seed)
    data = _samples(options, "train", options.stride, 0 if options.image else options.turns, rng)
    valid = _samples(options, "valid", 5, 0, rng)
    with borrowed_generators(options.seed):
        network = config.build()
        error = networks.train(
            network, data, valid, options.epochs, options.learning_rate, options.batch, options.seed,
            mirror=not options.image,
            report=lambda epoch, error: training.say(f"epoch {epoch + 1}/{options.epochs}: {error:.3f}° on valid"),
        )  # fmt: skip
    members = trace_room.load(options.traces, "train")
    description = {
        "traces": options.traces, "digest": members.digest, "valid_deg": round(error, 4), "windows": len(data[0]),
        **{key: value for key, value in asdict(options).items() if key not in (*asdict(config), "traces")},
    }  # fmt: skip
    save(training.out, config, network, members[0].reading, description)
    return load(training.out, read_description(training.out))


Samples = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]


def _samples(options: NetworkOptions, split: str, stride: int, turns: int, rng: np.random.Generator) -> Samples:
    """Return features, heatmaps and displacements of a split's windows, and of their copies turned at random."""
    windows = training_windows(options.traces, split, options.history, options.future, stride)
    parts = [windows, *(turned(windows, rng.uniform(0.0, 360.0, len(windows))) for _ in range(turns))]
    features = np.concatenate([networks.motion_and_place(unwrap_to_last(part.history_deg)) for part in parts])
    maps = _maps(options.traces, split, windows) if options.image else np.zeros((len(features), 0), np.float32)
    return features, maps, np.concatenate([displacements(part) for part in parts])


def _maps(traces: str, split: str, windows: Windows) -> NDArray[np.float32]:
    """Crowd heatmaps of windows, ``[N, cells]``; one map serves all windows of a second and video."""
    from netllm_gym.envs.viewport.prediction import crowd_of

    members = trace_room.load(traces, split)
    crowd = crowd_of(members)
    future = windows.future_deg.shape[1]
    result = np.empty((len(windows), CELLS), np.float32)
    for n, (index, anchor) in enumerate(zip(windows.trace, windows.anchor, strict=True)):
        trace = members[int(index)]
        start = trace.start_s + anchor / trace.hz
        result[n] = crowd(trace.video, trace.user, start, start + future / trace.hz).ravel()
    return result
