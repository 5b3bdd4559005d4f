"""Encoder, frozen decoder with LoRA, head: the trainable network and its losses.

Tokens of a step, in order: previous action (if shown), return-to-go (if conditioned), one per observation key. The
decision is read at the step's last token, so what is predicted there has seen this step and all earlier ones, and
nothing else: appending steps never changes an earlier hidden state, which is what makes a KV cache exact.
"""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from netllm_gym.agents.llm.backbone import fingerprint, load_backbone, width
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.encoder import Encoder
from netllm_gym.agents.llm.head import Head
from netllm_gym.errors import ConfigError, DatasetError

# Beyond this loss an action is simply bad; how bad no longer matters.
GAP_FLOOR = -8.0
MIXER = 192


def _with_lora(backbone: nn.Module, config: LLMConfig) -> nn.Module:
    from peft import LoraConfig, TaskType, get_peft_model

    options: dict[str, Any] = {"lora_alpha": config.lora_alpha}
    lora = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=config.lora_rank,
        **options,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_targets) or "all-linear",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a renamed property
            return get_peft_model(backbone, lora)
    except ValueError as error:
        raise ConfigError(f"backbone {config.backbone}: {str(error).splitlines()[0]}") from None


class DecisionModel(nn.Module):
    """The network of an LLM agent.

    Args:
        config: its choices.
        observation_space, action_space, modalities, scales: of the environment.

    Raises:
        ConfigError: a space, backbone or objective that do not fit together.
    """

    return_scale: Tensor
    target_return: Tensor

    def __init__(
        self,
        config: LLMConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
        modalities: dict[str, str],
        scales: dict[str, float],
    ) -> None:
        super().__init__()
        continuous = isinstance(action_space, gym.spaces.Box)
        if (config.objective == "regression") != continuous and config.objective in ("regression", "regret"):
            raise ConfigError(f"objective {config.objective} does not fit actions of {type(action_space).__name__}")
        if config.objective == "regret" and not isinstance(action_space, gym.spaces.Discrete):
            raise ConfigError("objective regret needs a Discrete action space")
        self.llm_config = config
        backbone = load_backbone(config)
        self.fingerprint = fingerprint(backbone)
        size = width(backbone)
        self.context = int(getattr(backbone.config, "max_position_embeddings", 0) or 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.backbone = _with_lora(backbone, config) if config.lora_rank else backbone
            self.encoder = Encoder(observation_space, modalities, scales, size)
            self.head = Head(action_space, size)
            self.norm = nn.LayerNorm(size)
            if config.tokens == "fused":
                # Separate tokens meet in attention; fused ones must meet before the sum is all that is left.
                self.mixer = nn.Sequential(nn.Linear(size, MIXER), nn.GELU(), nn.Linear(MIXER, size))
            self.conditioned = config.objective == "return-conditioned"
            if self.conditioned:
                self.return_token = nn.Linear(1, size)
            if config.show_actions:
                self.action_token = nn.Linear(self.head.action_tokens(), size)
        self.register_buffer("return_scale", torch.ones(()))
        self.register_buffer("target_return", torch.zeros(()))

    @property
    def tokens_per_step(self) -> int:
        """How many tokens of the backbone a step takes."""
        if self.llm_config.tokens == "fused":
            return 1
        return len(self.encoder.keys) + int(self.conditioned) + int(self.llm_config.show_actions)

    def trainable(self) -> dict[str, Tensor]:
        """Learnt parameters and the statistics they rely on, by name; the frozen backbone is left out."""
        names = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            name: value
            for name, value in self.state_dict().items()
            if name in names or not name.startswith("backbone.")
        }

    def tokens(self, observations: dict[str, Tensor], returns: Tensor | None, previous: Tensor | None) -> Tensor:
        """Embed steps: ``[B, T · tokens_per_step, width]``.

        Args:
            observations: key → ``[B, T, …]``.
            returns: return-to-go ``[B, T]``, if conditioned.
            previous: description of each step's previous action ``[B, T, action_tokens]`` (zeros before the first).
        """
        parts = []
        if self.llm_config.show_actions:
            parts.append(self.action_token(previous))
        if self.conditioned:
            assert returns is not None
            parts.append(self.return_token((returns / self.return_scale)[..., None]))
        parts += self.encoder(observations)
        if self.llm_config.tokens == "fused":
            token = self.norm(torch.stack(parts).sum(0))
            return token + self.mixer(token)
        stacked = self.norm(torch.stack(parts, dim=2))
        return stacked.flatten(1, 2)

    def decide(self, tokens: Tensor, cache: Any = None) -> Tensor:
        """Head outputs at each step's last token, ``[B, T, outputs]``; `cache` holds the earlier steps."""
        past = cache.get_seq_length() if cache is not None else 0
        if self.context and past + tokens.shape[1] > self.context:
            raise ConfigError(
                f"an episode of {past + tokens.shape[1]} tokens exceeds the backbone's context of {self.context}"
            )
        out = self.backbone(inputs_embeds=tokens, past_key_values=cache, use_cache=cache is not None)
        return self.head(out.last_hidden_state[:, self.tokens_per_step - 1 :: self.tokens_per_step])

    def outputs(self, observations: dict[str, Tensor], actions: Tensor, returns_to_go: Tensor) -> Tensor:
        """Head outputs of whole episodes, ``[B, T, outputs]``."""
        previous = None
        if self.llm_config.show_actions:
            described = self.head.describe(actions)
            previous = torch.cat([torch.zeros_like(described[:, :1]), described[:, :-1]], dim=1)
        return self.decide(self.tokens(observations, returns_to_go, previous))

    def forward(
        self,
        observations: dict[str, Tensor],
        actions: Tensor,
        returns_to_go: Tensor,
        mask: Tensor,
        action_values: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Loss (mean over decisions) and `score`, the mean of what validation minimises.

        The score of `regret` is the true gap of the chosen action, else it is the loss.
        """
        outputs = self.outputs(observations, actions, returns_to_go)[mask]
        objective = self.llm_config.objective
        if objective == "regret":
            if action_values is None:
                raise DatasetError("objective regret needs hindsight action values; collect with --hindsight")
            values = action_values[mask]
            gaps = (values - values.max(-1, keepdim=True).values).clamp_min(GAP_FLOOR)
            loss = nn.functional.mse_loss(outputs, gaps)
            score = -gaps.gather(-1, outputs.argmax(-1, keepdim=True)).mean()
        elif self.head.sizes:
            chosen = actions.reshape(*actions.shape[:2], -1)[mask].long()
            chosen = chosen - torch.from_numpy(self.head.starts).to(chosen.device)
            parts = outputs.split(self.head.sizes, dim=-1)
            losses = [nn.functional.cross_entropy(part, chosen[:, i]) for i, part in enumerate(parts)]
            loss = score = torch.stack(losses).mean()
        else:
            wanted = self.head.describe(actions)[mask]
            if self.llm_config.regression_loss == "absolute":
                loss = score = ((outputs - wanted).abs() * self.head.std).mean() / self.head.std.mean()
            else:
                loss = score = nn.functional.mse_loss(outputs, wanted)
        return {"loss": loss, "score": score.detach()}
