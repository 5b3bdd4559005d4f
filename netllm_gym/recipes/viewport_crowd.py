"""``viewport-crowd``: learn which earlier viewers of a video to follow."""

from __future__ import annotations

from dataclasses import dataclass

from netllm_gym.agents.base import Agent
from netllm_gym.agents.viewport.crowd_config import CrowdConfig
from netllm_gym.errors import ConfigError
from netllm_gym.recipes.base import Training, narrowed, register_recipe

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class CrowdOptions(CrowdConfig):
    """Options of the recipe: those of the network, and the windows.

    Attributes:
        traces: whose train split it learns on and whose valid split it chooses by.
        stride: samples between training windows.
        device: ``cpu``, ``cuda``, or ``auto``.
    """

    traces: str = "viewport/jin2022/as-published"
    stride: int = 3
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 1:
            raise ConfigError(f"stride must be at least 1, got {self.stride}")
        if self.device not in DEVICES:
            raise ConfigError(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")


@register_recipe("viewport-crowd", CrowdOptions, data=False, extra="llm")
def train_viewport_crowd(training: Training) -> Agent:
    """Teach a crowd network; ``backbone=smollm2-135m`` lets a language model read the viewers."""
    import torch

    from netllm_gym import traces as trace_room
    from netllm_gym.agents.checkpoint import read_description
    from netllm_gym.agents.viewport.crowd import load, save_network
    from netllm_gym.agents.viewport.crowd_training import crowd_windows, train_crowd

    options: CrowdOptions = training.config
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    config = narrowed(CrowdConfig, options)
    data = crowd_windows(options.traces, "train", config.history, config.future, options.stride)
    valid = crowd_windows(options.traces, "valid", config.history, config.future, 15)
    network, error = train_crowd(config, data, valid, device, training.say)
    members = trace_room.load(options.traces, "train")
    description = {
        "traces": options.traces,
        "digest": members.digest,
        "valid_deg": round(error, 4),
        "stride": options.stride,
    }
    save_network(training.out, network, members[0].reading, description)
    return load(training.out, read_description(training.out))
