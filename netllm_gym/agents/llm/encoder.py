"""From observations to tokens: one small network per key, chosen by the key's modality and space."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from netllm_gym.agents.llm.graph import Graph, Nodes
from netllm_gym.agents.llm.parts import ENCODERS
from netllm_gym.agents.llm.shared import Bank, with_gain
from netllm_gym.envs.leaves import clean
from netllm_gym.errors import ConfigError

CHANNELS = 16


def _features(x: Tensor) -> Tensor:
    """A value and its signed logarithm: magnitudes from far below to far above the scale stay distinguishable."""
    return torch.stack([x.clamp(-20.0, 20.0), x.sign() * x.abs().log1p()], dim=-1)


class Scalar(nn.Module):
    """Numbers without order: ``[N, …]`` to ``[N, width]``; `scale` is one number or one for each."""

    scale: Tensor

    def __init__(self, size: int, width: int, scale: Any) -> None:
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32).flatten(), persistent=False)
        self.linear = nn.Linear(2 * size, width)

    def forward(self, x: Tensor) -> Tensor:
        """Project values and logarithms."""
        return self.linear(_features(x.float().reshape(len(x), -1) / self.scale).flatten(1))


class Series(nn.Module):
    """A series of n steps and c channels, ``[N, n]`` or ``[N, n, c]``: 1-D convolution, then a projection."""

    scale: Tensor

    def __init__(self, length: int, channels: int, width: int, scale: Any) -> None:
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32).flatten(), persistent=False)
        self.conv = nn.Conv1d(2 * channels, CHANNELS, kernel_size=3, padding=1)
        self.linear = nn.Linear(CHANNELS * length, width)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve over time."""
        x = x.float().reshape(len(x), x.shape[1], -1) / self.scale
        x = _features(x).flatten(2).transpose(1, 2)
        return self.linear(nn.functional.gelu(self.conv(x)).flatten(1))


MOST_CATEGORIES = 2**20


class Category(nn.Module):
    """One or several categories, ``[N]`` or ``[N, k]``: the sum of their embeddings."""

    offsets: Tensor
    first: Tensor
    last: Tensor

    def __init__(self, sizes: list[int], starts: list[int], width: int) -> None:
        super().__init__()
        if sum(sizes) > MOST_CATEGORIES:
            raise ConfigError(
                f"an observation of {sum(sizes):,} categories; the encoder holds a row of weights for each of at most "
                f"{MOST_CATEGORIES:,} (offer it as a Box)"
            )
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        parts = {"offsets": first - np.array(starts), "first": first, "last": first + np.array(sizes) - 1}
        for name, values in parts.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.long), persistent=False)
        self.table = nn.Embedding(sum(sizes), width)

    def forward(self, x: Tensor) -> Tensor:
        """Look up."""
        found = x.long().reshape(len(x), -1) + self.offsets
        # Steps of padding hold zeros, which need be no category; nothing reads what comes of them.
        return self.table(found.clamp(self.first, self.last)).sum(1)


class Image(nn.Module):
    """An image ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` (channels are the short axis): a small CNN."""

    def __init__(self, shape: tuple[int, ...], width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.last = len(shape) == 3 and shape[2] <= shape[0]
        channels = 1 if len(shape) == 2 else shape[2] if self.last else shape[0]
        self.net = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * 16, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and project."""
        x = x.float() / self.scale
        if x.ndim == 3:
            x = x[:, None]
        elif self.last:
            x = x.permute(0, 3, 1, 2)
        return self.net(x)


def _module(key: str, space: gym.Space, modality: str, scale: Any, width: int) -> nn.Module:
    if modality in ENCODERS:
        found: nn.Module = ENCODERS[modality](space, scale, width)
        return found
    if isinstance(space, gym.spaces.Discrete):
        return Category([int(space.n)], [int(space.start)], width)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return Category([int(n) for n in space.nvec.ravel()], [int(s) for s in space.start.ravel()], width)
    if isinstance(space, gym.spaces.MultiBinary):
        return Scalar(int(np.prod(space.shape)), width, 1.0)
    if not isinstance(space, gym.spaces.Box):
        raise ConfigError(f"observation {key!r} is a {type(space).__name__}; Box, Discrete and Multi* have an encoder")
    if modality == "series" and len(space.shape) in (1, 2):
        channels = 1 if len(space.shape) == 1 else space.shape[1]
        return Series(space.shape[0], channels, width, scale or 1.0)
    if modality == "image" and len(space.shape) in (2, 3):
        return Image(space.shape, width, scale or (255.0 if space.dtype == np.uint8 else 1.0))
    if modality == "scalar":
        return Scalar(int(np.prod(space.shape)), width, scale or 1.0)
    raise ConfigError(f"observation {key!r} of shape {space.shape} has no encoder for modality {modality!r}")


def _attribute(key: str) -> str:
    """Name of a key's network among torch's modules: some names, such as ``values``, are taken by torch itself."""
    return f"{key}_key" if hasattr(nn.ModuleDict, key) else key


class Encoder(nn.Module):
    """One token per key of a Dict observation; the keys of a graph share one. With a `bank`, weights are shared.

    Raises:
        ConfigError: a space or modality without an encoder.
    """

    def __init__(
        self,
        space: gym.Space,
        modalities: dict[str, str],
        scales: dict[str, Any],
        width: int,
        bank: Bank | None = None,
        pointer_skip: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(space, gym.spaces.Dict):
            raise ConfigError(
                f"the LLM agent needs a Dict observation space, got {type(space).__name__}; "
                "wrap the environment: gym.make('netllm_gym/Dict-v0', env=…)"
            )
        if odd := [key for key in space.spaces if clean(key) != key]:
            raise ConfigError(f"observation key {odd[0]!r} must not hold '/' or '.'")
        self.keys = list(space.spaces)
        graph = {key: space.spaces[key] for key in self.keys if modalities.get(key) == "graph"}
        self.graph = Graph(graph, width, scales, pointer_skip) if graph else None
        self.parts = nn.ModuleDict(
            {
                _attribute(key): _module(key, member, modalities.get(key, "scalar"), scales.get(key), width)
                for key, member in space.spaces.items()
                if key not in graph
            }
        )

        self.gains = nn.ParameterList()
        if bank is not None:
            for key, part in [*self.parts.items(), *([("graph", self.graph)] if self.graph else [])]:
                bank.tie(part, type(part).__name__)
                self.gains.append(bank.gain(key, width))

    @property
    def count(self) -> int:
        """How many tokens an observation becomes."""
        return len(self.parts) + int(self.graph is not None)

    def forward(self, observations: dict[str, Any]) -> tuple[list[Tensor], Nodes | None]:
        """Encode ``[B, T, …]`` per key to a list of ``[B, T, width]``, in the order of the keys, the graph last.

        The nodes of the graph, ``[B, T, N, …]``, come beside it.
        """
        steps = observations[self.keys[0]].shape[:2]
        flat = {key: observations[key].flatten(0, 1) for key in self.keys}
        keys = [key for key in self.keys if _attribute(key) in self.parts]
        tokens = [self.parts[_attribute(key)](flat[key]).unflatten(0, steps) for key in keys]
        nodes = None
        if self.graph is not None:
            token, found = self.graph(flat)
            tokens.append(token.unflatten(0, steps))
            nodes = found.each(lambda part: part.unflatten(0, steps))
        if len(self.gains):
            tokens = [with_gain(token, gain) for token, gain in zip(tokens, self.gains, strict=True)]
        return tokens, nodes
