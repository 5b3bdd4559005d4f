"""Every choice of a crowd network, as one JSON-able record (no torch)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from netllm_gym.errors import ConfigError

PIECE = 5  # samples that share one pair of gates: a second at 5 Hz


@dataclass(frozen=True)
class CrowdConfig:
    """Sizes and training of a crowd network.

    Attributes:
        history, future: samples it reads and answers. Shorter histories are filled with their oldest sample.
        width, heads: of the attention.
        backbone: ``plain``, or a backbone of :class:`netllm_gym.agents.llm.config.LLMConfig`.
        layers, lora_rank, weights: of the backbone.
        steps, batch_size, learning_rate, weight_decay, average: of AdamW with one cycle of the learning rate; `average`
            is the decay of the running mean of the weights that is kept.
        eval_every: steps between validations; the best one is kept.
        seed: of weights, batches, mirroring and left-out viewers.
    """

    history: int = 30
    future: int = 30
    width: int = 128
    heads: int = 8
    backbone: str = "plain"
    layers: int = 1
    lora_rank: int = 8
    weights: str = "pretrained"
    steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    average: float = 0.995
    eval_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        whole = (self.history, self.future, self.width, self.heads, self.steps, self.batch_size, self.eval_every)
        if min(whole) < 1 or self.history < 2 or self.future % PIECE or self.width % self.heads:
            raise ConfigError(
                f"a crowd network needs history ≥ 2, a future that is a multiple of {PIECE} samples, a width that is a "
                "multiple of its heads, and at least one step"
            )
        if self.learning_rate <= 0 or not 0 <= self.average < 1:
            raise ConfigError("learning_rate must be positive and average in [0, 1)")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return asdict(self)
