"""Every choice of an LLM agent, as one JSON-able record."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from netllm_gym.agents.llm import parts
from netllm_gym.agents.regret import check_decision
from netllm_gym.errors import ConfigError, UnknownNameError

OBJECTIVES = ("return-conditioned", "regret", "regression", "cloning")
TOKENS = ("fused", "per-key")
WEIGHTS = ("pretrained", "random", "shuffled")
TUNING = ("lora", "frozen", "full")
DTYPES = ("auto", "fp32", "bf16")
STARTS = ("bos", "learnt", "none")
INPUT_SCALES = ("unit", "embedding")
FINAL_NORMS = ("frozen", "learnt")
# Small stand-ins for a language model; see netllm_gym.agents.llm.ladder.
LADDER = ("none", "linear", "attention", "transformer")
DEVICES = ("auto", "cpu", "cuda", "mps")
WIDEST_POINTER = 4096
REGRESSION_LOSSES = ("squared", "absolute")

# What checkpoints did that were written before these options existed.
BEFORE_START = {"start": "none", "input_scale": "unit", "final_norm": "frozen", "average": 0.0}


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
        decision: weight of the expected regret of a drawn choice (:mod:`netllm_gym.agents.regret`) beside the squared
            error of the objective ``regret``; 0 leaves it out.
        decision_temperature: that the choice is drawn at, in the unit of the action values.
        regression_loss: ``squared`` (each value standardised) or ``absolute`` (in the actions' own unit, so that
            values that vary more count more).
        start: what stands before the first step, so that no step becomes the attention's sink: ``bos`` (the frozen
            embedding of the token that the backbone's texts begin with; a family without one gets a learnt one),
            ``learnt`` or ``none``.
        input_scale: root mean square of the tokens that go in: ``unit``, or ``embedding`` (that of the backbone's own
            word embeddings).
        final_norm: the norm after the last block that is kept was trained after the last of all blocks: ``frozen``
            leaves it, ``learnt`` trains it.
        pointer_skip: whether a pointer's scores begin with a weighted sum of each node's own features: where these are
            forecasts of the scores, less is left to learn.
        pointer_hidden: width of the two layers in which a pointer's nodes meet the state; 0: one layer as wide as a
            node's embedding.
        tokens: ``fused`` (a step is one token) or ``per-key`` (one for each observation key, return and action).
        show_actions: whether a step's tokens include the previous action.
        context: how many steps the agent sees, this one included; 0 means the whole episode.
        lora_rank: rank of the adapters; 0 means ``tuning="frozen"``.
        lora_alpha, lora_dropout: of peft's LoraConfig.
        lora_targets: ``all-linear``, ``attention`` (the projections of attention, whatever the family calls them),
            or names of modules.
        dtype: of the frozen weights: ``fp32``, ``bf16`` or ``auto`` (bf16 on a CUDA device that computes in it, else
            fp32); encoder, head and adapters are always float32. With ``tuning="full"`` the weights stay float32 and
            bf16 is what they are computed in.
        device: where to train and act; ``auto`` takes CUDA, else MPS, else the CPU.
        four_bit: keep the frozen weights in 4 bits (NF4 by bitsandbytes; CUDA only).
        gradient_checkpointing: recompute the backbone's activations in the backward pass, for less memory.
        target_quantile: quantile of the dataset's returns that a return-conditioned agent asks for.
        learning_rate, weight_decay, warmup, batch_size, steps: of AdamW; batches are whole episodes.
        eval_every, patience: steps between validations; validations without improvement before stopping.
        average: decay of the running mean of the learnt weights, which is what is validated and kept; 0 keeps the
            weights themselves.
        seed: of initial weights, batches and dropout.
    """

    backbone: str = "smollm2-135m"
    layers: int = 6
    weights: str = "pretrained"
    tuning: str = "lora"
    objective: str = "regret"
    decision: float = 0.0
    decision_temperature: float = 0.4
    regression_loss: str = "squared"
    start: str = "bos"
    input_scale: str = "unit"
    final_norm: str = "frozen"
    pointer_skip: bool = False
    pointer_hidden: int = 0
    tokens: str = "fused"
    show_actions: bool = False
    context: int = 0
    lora_rank: int = 16
    lora_alpha: float = 32.0
    lora_dropout: float = 0.0
    lora_targets: str | tuple[str, ...] = "all-linear"
    dtype: str = "auto"
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
    average: float = 0.98
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.lora_targets, str):
            object.__setattr__(self, "lora_targets", tuple(self.lora_targets) or "all-linear")
        if self.backbone in LADDER:
            if self.four_bit or self.gradient_checkpointing or self.dtype == "bf16":
                raise ConfigError(f"backbone {self.backbone} is small: bf16, 4 bits and checkpointing are for decoders")
            object.__setattr__(self, "dtype", "fp32")
            object.__setattr__(self, "start", "none")
            object.__setattr__(self, "input_scale", "unit")
            object.__setattr__(self, "weights", "random")
            object.__setattr__(self, "tuning", "full")
        if self.lora_rank == 0 and self.tuning == "lora":
            object.__setattr__(self, "tuning", "frozen")
        for what, value, known in (
            ("objective", self.objective, (*OBJECTIVES, *parts.OBJECTIVES)),
            ("regression loss", self.regression_loss, REGRESSION_LOSSES),
            ("token layout", self.tokens, TOKENS),
            ("choice of weights", self.weights, WEIGHTS),
            ("tuning", self.tuning, TUNING),
            ("dtype", self.dtype, DTYPES),
            ("device", self.device, DEVICES),
            ("start", self.start, STARTS),
            ("input scale", self.input_scale, INPUT_SCALES),
            ("final norm", self.final_norm, FINAL_NORMS),
        ):
            if value not in known:
                raise UnknownNameError(what, str(value), known)
        if self.tuning == "full" and self.four_bit:
            raise ConfigError("tuning full learns every weight; four_bit is for weights that stay frozen")
        if self.four_bit and self.weights != "pretrained":
            raise ConfigError("four_bit reads pretrained weights; random and shuffled ones are float32 or bf16")
        check_decision(self.decision, self.decision_temperature)
        if min(self.batch_size, self.steps, self.eval_every, self.patience) < 1:
            raise ConfigError("batch_size, steps, eval_every and patience must be at least 1")
        if not 0 <= self.pointer_hidden <= WIDEST_POINTER:
            raise ConfigError(f"pointer_hidden must lie in 0 … {WIDEST_POINTER}, got {self.pointer_hidden}")
        if min(self.layers, self.lora_rank, self.warmup, self.context) < 0:
            raise ConfigError("layers, lora_rank, warmup and context must not be negative")
        if not 0 <= self.average < 1:
            raise ConfigError(f"average must lie in [0, 1), got {self.average:g}")
        if self.learning_rate <= 0 or not 0 <= self.target_quantile <= 1:
            raise ConfigError("learning_rate must be positive and target_quantile in [0, 1]")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict; :meth:`from_json` is its inverse."""
        targets = self.lora_targets if isinstance(self.lora_targets, str) else list(self.lora_targets)
        return {**asdict(self), "lora_targets": targets}

    @classmethod
    def of_checkpoint(cls, values: dict[str, Any]) -> LLMConfig:
        """Rebuild the configuration of a checkpoint: options that did not exist yet keep what was done then.

        Raises:
            UnknownNameError, ConfigError: as :meth:`from_json`.
        """
        return cls.from_json({**BEFORE_START, **values})

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
