"""Every choice of an LLM agent, as one JSON-able record."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from netllm_gym.errors import ConfigError, UnknownNameError

OBJECTIVES = ("return-conditioned", "regret", "regression", "cloning")
TOKENS = ("fused", "per-key")
WEIGHTS = ("pretrained", "random", "shuffled")
TUNING = ("lora", "frozen", "full")
DTYPES = ("fp32", "bf16")
# Small stand-ins for a language model; see netllm_gym.agents.llm.ladder.
LADDER = ("none", "linear", "attention", "transformer")
DEVICES = ("auto", "cpu", "cuda", "mps")
REGRESSION_LOSSES = ("squared", "absolute")


@dataclass(frozen=True)
class LLMConfig:
    """Hyper-parameters of the LLM agent.

    Attributes:
        backbone: ``smollm2-135m``, ``tiny-random``, a name or folder `transformers` knows, or a stand-in for a
            language model: ``none``, ``linear``, ``attention``, ``transformer`` (random, every weight learns).
        layers: keep the first n blocks; 0 keeps all.
        weights: ``pretrained``; ``random`` keeps the architecture and draws its weights; ``shuffled`` keeps the
            pretrained numbers of each matrix but permutes them, so that only their distribution is left.
        tuning: ``lora``, ``frozen`` (only encoder and head learn) or ``full`` (every weight of the backbone learns).
        objective: ``regret`` (hindsight action values), ``return-conditioned`` (decision transformer),
            ``cloning`` (imitate the actions) or ``regression`` (continuous actions).
        regression_loss: ``squared`` (each value standardised) or ``absolute`` (in the actions' own unit, so that
            values that vary more count more).
        tokens: ``fused`` (a step is one token) or ``per-key`` (one for each observation key, return and action).
        show_actions: whether a step's tokens include the previous action.
        context: how many steps the agent sees, this one included; 0 means the whole episode.
        lora_rank: rank of the adapters; 0 means ``tuning="frozen"``.
        lora_alpha, lora_dropout: of peft's LoraConfig.
        lora_targets: ``all-linear``, ``attention`` (the projections of attention, whatever the family calls them),
            or names of modules.
        dtype: of the frozen weights; encoder, head and adapters are always float32.
        device: where to train and act; ``auto`` takes CUDA, else MPS, else the CPU.
        four_bit: keep the frozen weights in 4 bits (NF4 by bitsandbytes; CUDA only).
        gradient_checkpointing: recompute the backbone's activations in the backward pass, for less memory.
        target_quantile: quantile of the dataset's returns that a return-conditioned agent asks for.
        learning_rate, weight_decay, warmup, batch_size, steps: of AdamW; batches are whole episodes.
        eval_every, patience: steps between validations; validations without improvement before stopping.
        seed: of initial weights, batches and dropout.
    """

    backbone: str = "smollm2-135m"
    layers: int = 6
    weights: str = "pretrained"
    tuning: str = "lora"
    objective: str = "regret"
    regression_loss: str = "squared"
    tokens: str = "fused"
    show_actions: bool = False
    context: int = 0
    lora_rank: int = 16
    lora_alpha: float = 32.0
    lora_dropout: float = 0.05
    lora_targets: str | tuple[str, ...] = "all-linear"
    dtype: str = "fp32"
    device: str = "auto"
    four_bit: bool = False
    gradient_checkpointing: bool = False
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
        if not isinstance(self.lora_targets, str):
            object.__setattr__(self, "lora_targets", tuple(self.lora_targets) or "all-linear")
        if self.backbone in LADDER:
            if self.four_bit or self.gradient_checkpointing or self.dtype != "fp32":
                raise ConfigError(f"backbone {self.backbone} is small: bf16, 4 bits and checkpointing are for decoders")
            object.__setattr__(self, "weights", "random")
            object.__setattr__(self, "tuning", "full")
        if self.lora_rank == 0 and self.tuning == "lora":
            object.__setattr__(self, "tuning", "frozen")
        for what, value, known in (
            ("objective", self.objective, OBJECTIVES),
            ("regression loss", self.regression_loss, REGRESSION_LOSSES),
            ("token layout", self.tokens, TOKENS),
            ("choice of weights", self.weights, WEIGHTS),
            ("tuning", self.tuning, TUNING),
            ("dtype", self.dtype, DTYPES),
            ("device", self.device, DEVICES),
        ):
            if value not in known:
                raise UnknownNameError(what, str(value), known)
        if self.tuning == "full" and (self.dtype != "fp32" or self.four_bit):
            raise ConfigError("tuning full needs float32 weights; bf16 and 4 bits are for weights that stay frozen")
        if self.four_bit and self.weights != "pretrained":
            raise ConfigError("four_bit reads pretrained weights; random and shuffled ones are float32 or bf16")
        if min(self.batch_size, self.steps, self.eval_every, self.patience) < 1:
            raise ConfigError("batch_size, steps, eval_every and patience must be at least 1")
        if min(self.layers, self.lora_rank, self.warmup, self.context) < 0:
            raise ConfigError("layers, lora_rank, warmup and context must not be negative")
        if self.learning_rate <= 0 or not 0 <= self.target_quantile <= 1:
            raise ConfigError("learning_rate must be positive and target_quantile in [0, 1]")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict; :meth:`from_json` is its inverse."""
        targets = self.lora_targets if isinstance(self.lora_targets, str) else list(self.lora_targets)
        return {**asdict(self), "lora_targets": targets}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LLMConfig:
        """Rebuild a configuration.

        Raises:
            UnknownNameError: an option that does not exist.
            ConfigError: a value of the wrong type.
        """
        values = dict(values)
        if "pretrained" in values:  # what `weights` was called in the first checkpoints
            values["weights"] = "pretrained" if values.pop("pretrained") else "random"
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise UnknownNameError("option", name, known)
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"LLM configuration: {error}") from None
