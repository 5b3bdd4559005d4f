"""Small stand-ins for the language model, fed and read like one: rungs of the ladder "is the LLM needed?".

| name | what lies between encoder and head |
|---|---|
| `none` | nothing: the head sees this step alone |
| `linear` | one linear layer, this step alone |
| `attention` | one causal attention layer over the episode (as in Tan et al., NeurIPS 2024) |
| `transformer` | a small transformer of `layers` blocks, trained from scratch: a decision transformer |

All are random at first and learn every weight (``tuning="full"``). Encoder, tokens, head, data and budget stay those
of the language model.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from netllm_gym.agents.llm.smollm2 import llama_config

WIDTH = 128


class _PerToken(nn.Module):
    """A module applied to each token by itself, with the interface of a decoder of `transformers`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.config = SimpleNamespace(hidden_size=WIDTH)
        self.dtype = torch.float32

    def forward(self, inputs_embeds: Tensor, past_key_values: Any = None, use_cache: bool = False) -> Any:
        """Apply; there is nothing to cache."""
        return SimpleNamespace(last_hidden_state=self.inner(inputs_embeds))


class _Nothing(nn.Module):
    """Adds nothing to the residual stream."""

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(x)


def build(name: str, layers: int) -> nn.Module:
    """Build a rung of random weights."""
    from transformers import LlamaModel

    if name == "none":
        return _PerToken(nn.Identity())
    if name == "linear":
        return _PerToken(nn.Linear(WIDTH, WIDTH))
    depth = 1 if name == "attention" else layers or 3
    model = LlamaModel(llama_config(depth, WIDTH, 4, 4, 4 * WIDTH, 8192, 1e4))
    if name == "attention":
        model.layers[0].mlp = _Nothing()
    return model
