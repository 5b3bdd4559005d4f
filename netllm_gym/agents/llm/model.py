"""Encoder, frozen decoder with LoRA, head: the trainable network and its losses.

Before the first step stands the prefix: the backbone's start token, then the task in words where there are any. Tokens
of a step, in order: previous action (if shown), return-to-go (if conditioned), one per observation key. The
decision is read at the step's last token, so what is predicted there has seen this step and all earlier ones, and
nothing else: appending steps never changes an earlier hidden state, which is what makes a KV cache exact.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from netllm_gym.agents.llm.backbone import (
    dtype_of,
    final_norm,
    load_backbone,
    longest_context,
    lora_targets,
    width,
)
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.decode import Memory
from netllm_gym.agents.llm.encoder import Encoder
from netllm_gym.agents.llm.fingerprint import Fingerprint
from netllm_gym.agents.llm.graph import Nodes
from netllm_gym.agents.llm.head import make_head
from netllm_gym.agents.llm.parts import OBJECTIVES
from netllm_gym.agents.llm.shared import Bank
from netllm_gym.agents.llm.words import Words
from netllm_gym.agents.regret import gap_loss
from netllm_gym.errors import ConfigError, DatasetError

# Beyond this loss an action is simply bad; how bad no longer matters.
GAP_FLOOR = -8.0
MIXER = 192
# A start token is read with the steps of a row where these are at least so many times as long.
PRIMED = 4


def with_lora(backbone: nn.Module, config: LLMConfig, adapter: str = "default") -> nn.Module:
    """Put adapters called `adapter` into a decoder, beside those it has.

    Raises:
        ConfigError: targets the decoder has not.
    """
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model

    options: dict[str, Any] = {"lora_alpha": config.lora_alpha}
    lora = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=config.lora_rank,
        **options,
        lora_dropout=config.lora_dropout,
        target_modules=lora_targets(backbone, config),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a renamed property
            if isinstance(backbone, PeftModel):
                backbone.add_adapter(adapter, lora)
                return backbone
            return get_peft_model(backbone, lora, adapter_name=adapter)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"backbone {config.backbone}: {str(error).splitlines()[0]}") from None


class DecisionModel(nn.Module):
    """The network of an LLM agent.

    Args:
        config: its choices.
        observation_space, action_space, modalities, scales: of the environment.
        backbone: shared with other models, with its adapters in; by default this model loads its own.
        adapter: name of this model's adapter in it.
        description: the task in words, read by the backbone before the first step.
        bank: encoders and heads shared with the models of other tasks.

    Raises:
        ConfigError: a space, backbone or objective that do not fit together.
    """

    return_scale: Tensor
    target_return: Tensor
    words: Tensor

    def __init__(
        self,
        config: LLMConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
        modalities: dict[str, str],
        scales: dict[str, Any],
        backbone: nn.Module | None = None,
        adapter: str = "default",
        description: str = "",
        bank: Bank | None = None,
    ) -> None:
        super().__init__()
        continuous = isinstance(action_space, gym.spaces.Box)
        if (config.objective == "regression") != continuous and config.objective in ("regression", "regret"):
            raise ConfigError(f"objective {config.objective} does not fit actions of {type(action_space).__name__}")
        several = isinstance(action_space, gym.spaces.MultiDiscrete) and len(action_space.nvec) <= 2
        if config.objective == "regret" and not (isinstance(action_space, gym.spaces.Discrete) or several):
            raise ConfigError("objective regret needs a Discrete action space, or a pointer with one other factor")
        self.llm_config = config
        self.adapter = adapter
        own = load_backbone(config) if backbone is None else backbone
        self.fingerprint: Fingerprint = getattr(own, "fingerprint", None) or Fingerprint.of(own)
        size = width(own)
        self.longest = longest_context(own)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.backbone = own
            if backbone is None and config.tuning == "lora":
                self.backbone = with_lora(own, config)
            elif config.tuning == "full":
                self.backbone.requires_grad_(True)
            self.encoder = Encoder(observation_space, modalities, scales, size, bank, config.pointer_skip)
            nodes = self.encoder.graph.count if self.encoder.graph else 0
            self.head = make_head(action_space, size, nodes, config.pointer_hidden)
            # Of several tasks that share one configuration, some may point.
            wanted = bank is None and (config.pointer_skip or config.pointer_hidden)
            if wanted and not getattr(self.head, "points", False):
                raise ConfigError("pointer_skip and pointer_hidden need a graph and an action that points at its nodes")
            self.norm = nn.LayerNorm(size)
            if config.tokens == "fused":
                # Separate tokens meet in attention; fused ones must meet before the sum is all that is left.
                self.mixer = nn.Sequential(nn.Linear(size, MIXER), nn.GELU(), nn.Linear(MIXER, size))
            self.conditioned = config.objective == "return-conditioned"
            if self.conditioned:
                self.return_token = nn.Linear(1, size)
            if config.show_actions:
                self.action_token = nn.Linear(self.head.outputs, size)
            vocabulary: Any = getattr(self.backbone, "words", None) or Words()
            first = None if config.start == "none" else vocabulary.start
            if config.start == "learnt" or (config.start == "bos" and first is None):
                drawn = vocabulary.rms * torch.randn(size) if first is None else first
                self.start_token = nn.Parameter(drawn)
                first = None
            if bank is not None:
                self._share(bank, type(action_space).__name__)
        if config.final_norm == "learnt":
            norm = final_norm(self.backbone)
            if norm is None:
                raise ConfigError(f"backbone {config.backbone} has no final norm to learn")
            norm.requires_grad_(True)
        self.description = description
        said = vocabulary.embed(description) if description else torch.zeros(0, size)
        prefix = said if first is None else torch.cat([first[None], said])
        self.register_buffer("words", prefix, persistent=False)  # follows from the backbone: never stored
        self.gain = vocabulary.rms if config.input_scale == "embedding" else 1.0
        self.register_buffer("return_scale", torch.ones(()))
        self.register_buffer("target_return", torch.zeros(()))
        needed = self.prefix_length + max(1, config.context) * self.tokens_per_step
        if self.longest and self.prefix_length >= self.longest:
            raise ConfigError(
                f"the description of the task is {self.prefix_length} tokens with the start token, backbone "
                f"{config.backbone} holds {self.longest}; shorten it"
            )
        if self.longest and config.context and needed > self.longest:
            ahead = f" after {self.prefix_length} of start and description" if self.prefix_length else ""
            raise ConfigError(
                f"context {config.context} is {config.context * self.tokens_per_step} tokens{ahead}, "
                f"backbone {config.backbone} holds {self.longest}"
            )

    def _share(self, bank: Bank, kind: str) -> None:
        """Take what other tasks' models have of the same kind and shape."""
        named = {"norm": self.norm, f"head {kind}": getattr(self.head, "pointer" if self.head.points else "linear")}
        named |= {
            name: getattr(self, name) for name in ("mixer", "return_token", "action_token") if hasattr(self, name)
        }
        for name, module in named.items():
            bank.tie(module, name)
        if hasattr(self, "start_token"):
            self.start_token = bank.gains.setdefault("start", self.start_token)

    @property
    def device(self) -> torch.device:
        """Where encoder and head are."""
        return self.return_scale.device

    @property
    def tokens_per_step(self) -> int:
        """How many tokens of the backbone a step takes."""
        if self.llm_config.tokens == "fused":
            return 1
        return self.encoder.count + int(self.conditioned) + int(self.llm_config.show_actions)

    @property
    def prefix_length(self) -> int:
        """How many tokens stand before the first step."""
        return len(self.words) + int(hasattr(self, "start_token"))

    def prefix(self) -> Tensor:
        """What stands before the first step, ``[prefix_length, width]``."""
        return torch.cat([self.start_token[None], self.words]) if hasattr(self, "start_token") else self.words

    def primed(self, rows: int) -> Any:
        """A cache that holds the prefix, read once, for `rows` episodes; empty without a prefix."""
        from transformers import DynamicCache

        cache = DynamicCache()
        if self.prefix_length:
            self._pass(self.prefix()[None], cache)
            if rows > 1:
                cache.batch_repeat_interleave(rows)
        return cache

    def activate(self) -> None:
        """Put this model's adapter to work, where the backbone holds several."""
        backbone: Any = self.backbone
        if self.llm_config.tuning == "lora" and backbone.active_adapter != self.adapter:
            backbone.set_adapter(self.adapter)

    def trainable(self) -> dict[str, Tensor]:
        """Learnt parameters and the statistics they rely on, by name; the frozen backbone is left out."""
        self.activate()
        names = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            name: value
            for name, value in self.state_dict().items()
            if name in names or not name.startswith("backbone.")
        }

    def embed(
        self, observations: dict[str, Tensor], returns: Tensor | None, previous: Tensor | None
    ) -> tuple[Tensor, Nodes | None]:
        """Embed steps: tokens ``[B, T · tokens_per_step, width]`` and the nodes a pointer may point at.

        Args:
            observations: key → ``[B, T, …]``.
            returns: return-to-go ``[B, T]``, if conditioned.
            previous: description of each step's previous action ``[B, T, outputs]`` (zeros before the first).
        """
        parts = []
        if self.llm_config.show_actions:
            parts.append(self.action_token(previous))
        if self.conditioned:
            assert returns is not None
            parts.append(self.return_token((returns / self.return_scale)[..., None]))
        seen, nodes = self.encoder(observations)
        parts += seen
        if self.llm_config.tokens == "fused":
            token = self.norm(torch.stack(parts).sum(0))
            return self.gain * (token + self.mixer(token)), nodes
        stacked = self.norm(torch.stack(parts, dim=2))
        return self.gain * stacked.flatten(1, 2), nodes

    def _pass(self, tokens: Tensor, cache: Any = None) -> Tensor:
        """Hidden states of the backbone, ``[B, tokens, width]``."""
        if isinstance(cache, Memory):
            return cache.decoder(tokens, cache)
        self.activate()
        backbone: Any = self.backbone
        mixed = self.llm_config.tuning == "full" and dtype_of(self.llm_config) == torch.bfloat16
        with torch.autocast(tokens.device.type, torch.bfloat16) if mixed else nullcontext():
            out = backbone(inputs_embeds=tokens.to(backbone.dtype), past_key_values=cache, use_cache=cache is not None)
        return out.last_hidden_state

    def read(self, tokens: Tensor, cache: Any = None) -> Tensor:
        """Hidden state at each step's last token, float32 ``[B, T, width]``.

        `cache` holds the earlier steps, and the prefix once anything was read; otherwise the prefix goes in first.

        Raises:
            ConfigError: more tokens than the backbone's context.
        """
        past = cache.get_seq_length() if cache is not None else 0
        ahead = 0 if past else self.prefix_length
        if self.longest and past + ahead + tokens.shape[1] > self.longest:
            raise ConfigError(
                f"an episode of {past + ahead + tokens.shape[1]} tokens exceeds the backbone's context of "
                f"{self.longest}; set context to see only the last steps"
            )
        # A text is read once for all rows, and so is a start that would be much of what each row holds.
        much = ahead > 1 or PRIMED * ahead > tokens.shape[1]
        if ahead and much and cache is None and not self.llm_config.gradient_checkpointing:
            cache, ahead = self.primed(len(tokens)), 0
        if ahead:
            tokens = torch.cat([self.prefix().expand(len(tokens), -1, -1), tokens], dim=1)
        found = self._pass(tokens, cache)[:, ahead:]
        return found[:, self.tokens_per_step - 1 :: self.tokens_per_step].float()

    def outputs(
        self,
        observations: dict[str, Tensor],
        actions: Tensor,
        returns_to_go: Tensor,
        earlier: Tensor | None = None,
        has_earlier: Tensor | None = None,
    ) -> tuple[Tensor, Nodes | None]:
        """Head outputs of whole windows, ``[B, T, outputs]``, and the nodes they point at.

        `earlier` is the action before each window, ``[B, 1, …]``, which counts where `has_earlier` ``[B]`` says so.
        """
        previous = None
        if self.llm_config.show_actions:
            described = self.head.describe(actions)
            first = torch.zeros_like(described[:, :1])
            if earlier is not None and has_earlier is not None:
                first = self.head.describe(earlier) * has_earlier[:, None, None]
            previous = torch.cat([first, described[:, :-1]], dim=1)
        tokens, nodes = self.embed(observations, returns_to_go, previous)
        return self.head(self.read(tokens), nodes, actions), nodes

    def forward(
        self,
        observations: dict[str, Tensor],
        actions: Tensor,
        returns_to_go: Tensor,
        mask: Tensor,
        action_values: Tensor | None = None,
        earlier: Tensor | None = None,
        has_earlier: Tensor | None = None,
        action_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Loss (mean over decisions) and `score`, the mean of what validation minimises.

        What `action_mask` ``[B, T, choices]`` forbids takes no part in the loss, as it takes none in acting.
        The score of `regret` is the true gap of the chosen action, else it is the loss.
        """
        found, nodes = self.outputs(observations, actions, returns_to_go, earlier, has_earlier)
        outputs = found[mask]
        objective = self.llm_config.objective
        if objective in OBJECTIVES:
            given = {
                "actions": actions, "returns_to_go": returns_to_go, "action_values": action_values,
                "action_mask": action_mask,
            }  # fmt: skip
            decisions = {key: None if value is None else value[mask] for key, value in given.items()}
            loss, score = OBJECTIVES[objective](self, outputs, decisions)
        elif objective == "regret":
            if action_values is None:
                raise DatasetError("objective regret needs action values; collect with --hindsight or --values-of")
            # An action that is not there now has no value, and nothing is learnt of it.
            values = action_values[mask]
            there = values.isfinite()
            values = values.masked_fill(~there, -torch.inf)
            gaps = (values - values.max(-1, keepdim=True).values).clamp_min(GAP_FLOOR)
            config = self.llm_config
            loss = gap_loss(outputs, gaps, there, config.decision, config.decision_temperature)
            chosen = outputs.masked_fill(~there, -torch.inf).argmax(-1, keepdim=True)
            score = -gaps.gather(-1, chosen).mean()
        elif self.head.sizes:
            chosen = self.head.choices(actions)[mask]
            parts = list(outputs.split(self.head.sizes, dim=-1))
            if self.head.points and nodes is not None:
                parts[0] = parts[0].masked_fill(~self.head.pointer.candidates(nodes).mask[mask], -1e4)
            if action_mask is not None:
                legal = list(action_mask[mask].split(self.head.sizes, dim=-1))
                # What was played counts as legal: an environment may have repaired it.
                legal = [allowed.scatter(-1, chosen[:, [i]], True) for i, allowed in enumerate(legal)]
                parts = [part.masked_fill(~allowed, -1e4) for part, allowed in zip(parts, legal, strict=True)]
            losses = [nn.functional.cross_entropy(part, chosen[:, i]) for i, part in enumerate(parts)]
            loss = score = torch.stack(losses).mean()
        else:
            wanted = self.head.describe(actions)[mask]
            if self.llm_config.regression_loss == "absolute":
                loss = score = ((outputs - wanted).abs() * self.head.std).mean() / self.head.std.mean()
            else:
                loss = score = nn.functional.mse_loss(outputs, wanted)
        return {"loss": loss, "score": score.detach()}
