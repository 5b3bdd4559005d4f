"""Networks that several tasks share: encoders by modality and shape, heads by action space, one gain per key.

A task's model is built as ever; then what another task's model has of the same kind and shape takes its place. So two
tasks that both see eight throughputs learn one convolution over them, and an environment of another size (more stages,
more jobs) gets the weights that know no sizes.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from netllm_gym.files import digest


class Bank(nn.Module):
    """Weights by kind and shape; :meth:`tie` puts them into a model's parts."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        self.gains = nn.ParameterDict()

    def tie(self, module: nn.Module, kind: str) -> None:
        """Give `module` the weights of its kind and shapes, or let its own become them."""
        shapes = repr([(name, tuple(value.shape)) for name, value in module.named_parameters()])
        key = f"{re.sub(r'[^A-Za-z0-9]', '_', kind)}-{digest([shapes.encode()])[:8]}"
        if key not in self.parts:
            holder = nn.Module()
            holder._modules.update(module._modules)
            holder._parameters.update(module._parameters)
            self.parts[key] = holder
        else:
            kept = self.parts[key]
            module._modules.update(kept._modules)
            module._parameters.update(kept._parameters)

    def gain(self, key: str, width: int) -> nn.Parameter:
        """What tells the keys of one shape apart in a sum: a random direction each, ``[2, width]`` (factor, shift)."""
        name = re.sub(r"[^A-Za-z0-9]", "_", key)
        if name not in self.gains:
            seed = int(digest([name.encode()])[:8], 16)
            drawn = torch.randn(2, width, generator=torch.Generator().manual_seed(seed))
            self.gains[name] = nn.Parameter(drawn * torch.tensor([[1.0], [0.02]]))
        found: Any = self.gains[name]
        return found


def with_gain(token: Tensor, gain: Tensor) -> Tensor:
    """Scale and shift a key's token ``[…, width]``."""
    return token * gain[0] + gain[1]
