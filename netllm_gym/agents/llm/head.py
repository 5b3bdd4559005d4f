"""From the backbone's last hidden state to an action: one forward pass, and the answer is always valid."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from netllm_gym.errors import ConfigError


class Head(nn.Module):
    """A linear layer read according to the action space.

    Discrete and MultiDiscrete give one score per choice (for the objective `regret`, the predicted gap to the best
    action); Box gives standardised values, mapped back and clipped to the bounds.

    Raises:
        ConfigError: an action space without a head.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, space: gym.Space, width: int) -> None:
        super().__init__()
        self.space = space
        self.sizes: list[int] = []
        if isinstance(space, gym.spaces.Discrete):
            self.sizes, self.starts = [int(space.n)], np.array([int(space.start)])
        elif isinstance(space, gym.spaces.MultiDiscrete):
            self.sizes, self.starts = [int(n) for n in space.nvec.ravel()], np.asarray(space.start).ravel()
        elif isinstance(space, gym.spaces.Box):
            size = int(np.prod(space.shape))
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("std", torch.ones(size))
        else:
            raise ConfigError(f"action space {type(space).__name__} has no head; Discrete, MultiDiscrete, Box have one")
        self.linear = nn.Linear(width, sum(self.sizes) or size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores or standardised values, ``[…, outputs]``."""
        return self.linear(hidden)

    def action_tokens(self) -> int:
        """Size of the input that describes one action to the encoder (one-hot choices, or standardised values)."""
        return self.linear.out_features

    def describe(self, actions: Tensor) -> Tensor:
        """Actions ``[B, T, …]`` as float ``[B, T, action_tokens]``."""
        flat = actions.reshape(*actions.shape[:2], -1)
        if not self.sizes:
            return (flat.float() - self.mean) / self.std
        choices = flat.long() - torch.from_numpy(self.starts).to(flat.device)
        parts = [nn.functional.one_hot(choices[..., i], n) for i, n in enumerate(self.sizes)]
        return torch.cat(parts, dim=-1).float()

    def decode(self, outputs: Tensor, mask: Any = None) -> Any:
        """Return the best member of the action space for one row of outputs.

        Args:
            outputs: ``[outputs]``.
            mask: which choices are legal (all factors concatenated), or ``None``.
        """
        values = outputs.detach().float().cpu().numpy()
        if not self.sizes:
            space: Any = self.space
            action = values * self.std.cpu().numpy() + self.mean.cpu().numpy()
            return np.clip(action.reshape(space.shape), space.low, space.high).astype(space.dtype)
        if mask is not None:
            parts = [np.ravel(part) for part in mask] if isinstance(mask, tuple | list) else [np.ravel(mask)]
            legal = np.concatenate(parts).astype(bool)
            if legal.size == values.size:
                values = np.where(legal, values, -np.inf)
        chosen = [int(part.argmax()) for part in np.split(values, np.cumsum(self.sizes)[:-1])]
        if isinstance(self.space, gym.spaces.Discrete):
            return chosen[0] + int(self.starts[0])
        space = self.space
        return (np.array(chosen) + self.starts).reshape(space.shape).astype(space.dtype)
