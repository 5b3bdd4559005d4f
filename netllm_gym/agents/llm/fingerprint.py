"""Which backbone an agent was trained on: a digest that is the same in float32, bf16 and 4 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def _digest(parameters: Iterable[Tensor], rounded: bool) -> str:
    sha = hashlib.sha256()
    for parameter in parameters:
        first = parameter.detach().flatten()[:64]
        first = (first.to(torch.bfloat16) if rounded else first).float()
        sha.update(str(tuple(parameter.shape)).encode())
        sha.update(first.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


@dataclass(frozen=True)
class Fingerprint:
    """Digests of the first weights of every matrix and vector: enough to tell another model or another random draw.

    Attributes:
        weights: of all, rounded to bf16; empty where 4 bits have changed the matrices.
        vectors: of norms and biases alone, rounded to bf16: those stay as they are in 4 bits.
        exact: of all, unrounded: what the first checkpoints of float32 backbones held.
    """

    weights: str
    vectors: str
    exact: str

    @classmethod
    def of(cls, model: nn.Module) -> Fingerprint:
        """Fingerprint of a decoder without adapters."""
        found = [value for name, value in model.named_parameters() if "lora_" not in name]
        vectors = [value for value in found if value.ndim == 1]
        whole = all(value.is_floating_point() for value in found)
        weights, exact = (_digest(found, True), _digest(found, False)) if whole else ("", "")
        return cls(weights, _digest(vectors, True), exact)

    def __str__(self) -> str:
        """What a checkpoint stores."""
        return f"{self.weights}.{self.vectors}"

    def fits(self, stored: Any) -> bool:
        """Whether a checkpoint that holds `stored` was trained on this backbone."""
        weights, _, vectors = str(stored).partition(".")
        if not vectors:  # an older checkpoint
            return weights in (self.weights, self.exact) and weights != ""
        return vectors == self.vectors and (weights == self.weights or not weights or not self.weights)
