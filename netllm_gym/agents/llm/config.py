"""Every choice of an LLM agent, as one JSON-able record."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from netllm_gym.errors import ConfigError, UnknownNameError

OBJECTIVES = ("return-conditioned", "regret", "regression", "cloning")
TOKENS = ("fused", "per-key")
REGRESSION_LOSSES = ("squared", "absolute")


@dataclass(frozen=True)
class LLMConfig:
    """Hyper-parameters of the LLM agent.

    Attributes:
        backbone: ``smollm2-135m``, ``tiny-random``, or a name or folder `transformers` knows.
        layers: keep the first n blocks; 0 keeps all.
        pretrained: false keeps the architecture and draws its weights at random.
        objective: ``regret`` (hindsight action values), ``return-conditioned`` (decision transformer),
            ``cloning`` (imitate the actions) or ``regression`` (continuous actions).
        regression_loss: ``squared`` (each value standardised) or ``absolute`` (in the actions' own unit, so that
            values that vary more count more).
        tokens: ``fused`` (a step is one token) or ``per-key`` (one for each observation key, return and action).
        show_actions: whether a step's tokens include the previous action.
        lora_rank: rank of the adapters; 0 freezes the backbone.
        lora_alpha, lora_dropout, lora_targets: of peft's LoraConfig; no targets means every linear layer.
        target_quantile: quantile of the dataset's returns that a return-conditioned agent asks for.
        learning_rate, weight_decay, warmup, batch_size, steps: of AdamW; batches are whole episodes.
        eval_every, patience: steps between validations; validations without improvement before stopping.
        seed: of initial weights, batches and dropout.
    """

    backbone: str = "smollm2-135m"
    layers: int = 6
    pretrained: bool = True
    objective: str = "regret"
    regression_loss: str = "squared"
    tokens: str = "fused"
    show_actions: bool = False
    lora_rank: int = 16
    lora_alpha: float = 32.0
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = ()
    target_quantile: float = 0.95
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 10
    batch_size: int = 16
    steps: int = 400
    eval_every: int = 25
    patience: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        if self.objective not in OBJECTIVES:
            raise UnknownNameError("objective", self.objective, OBJECTIVES)
        if self.regression_loss not in REGRESSION_LOSSES:
            raise UnknownNameError("regression loss", self.regression_loss, REGRESSION_LOSSES)
        if self.tokens not in TOKENS:
            raise UnknownNameError("token layout", self.tokens, TOKENS)
        if min(self.batch_size, self.steps, self.eval_every, self.patience) < 1:
            raise ConfigError("batch_size, steps, eval_every and patience must be at least 1")
        if self.layers < 0 or self.lora_rank < 0 or self.warmup < 0:
            raise ConfigError("layers, lora_rank and warmup must not be negative")
        if self.learning_rate <= 0 or not 0 <= self.target_quantile <= 1:
            raise ConfigError("learning_rate must be positive and target_quantile in [0, 1]")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict; :meth:`from_json` is its inverse."""
        return {**asdict(self), "lora_targets": list(self.lora_targets)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LLMConfig:
        """Rebuild a configuration.

        Raises:
            UnknownNameError: an option that does not exist.
            ConfigError: a value of the wrong type.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise UnknownNameError("option", name, known)
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"LLM configuration: {error}") from None
