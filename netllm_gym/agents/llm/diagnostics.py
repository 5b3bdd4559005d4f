"""Is the backbone driven as it was trained? What goes through its blocks, measured while a model learns.

On texts, attention rests on the first token and the residual stream stays small. Where inputs drive the model elsewhere
(every step a sink, the steps alike), these numbers leave the range of a text's by a factor of several.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netllm_gym.agents.llm.backbone import blocks
from netllm_gym.agents.llm.model import DecisionModel


def spread(hidden: Tensor) -> dict[str, float]:
    """How the energy of hidden states ``[…, width]`` is spread.

    Returns:
        ``effective_rank``: exp of the entropy of the normalised singular values (Roy and Vetterli, 2007).
        ``top_channel``: the largest channel's share of the energy. Neither where a state is no number.
    """
    flat = hidden.reshape(-1, hidden.shape[-1]).float()
    if not torch.isfinite(flat).all():
        return {}
    values = torch.linalg.svdvals(flat)
    shares = values / values.sum().clamp_min(1e-12)
    energy = flat.pow(2).mean(0)
    return {
        "effective_rank": float(torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum())),
        "top_channel": float(energy.max() / energy.sum().clamp_min(1e-12)),
    }


@torch.inference_mode()
def residuals(model: DecisionModel, tokens: Tensor) -> dict[str, float]:
    """What `tokens` ``[B, T, width]`` become inside a model's backbone; the prefix is not counted.

    Returns:
        ``residual_rms/i``: median root mean square of what enters block i. And :func:`spread` of the last states.
        Nothing for a stand-in without blocks.
    """
    entering: list[float] = []

    def note(block: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        states = arguments[0] if arguments else named["hidden_states"]
        entering.append(float(states[:, -tokens.shape[1] :].float().pow(2).mean(-1).sqrt().median()))

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks(model.backbone)]
    if not handles:
        return {}
    try:
        cache = model.primed(len(tokens)) if model.prefix_length else None
        entering.clear()
        last = model.read(tokens, cache)
    finally:
        for handle in handles:
            handle.remove()
    return {**{f"residual_rms/{i}": value for i, value in enumerate(entering)}, **spread(last)}


@torch.inference_mode()
def diagnose(model: DecisionModel, batch: dict[str, Any]) -> dict[str, float]:
    """:func:`residuals` of a batch as :meth:`DecisionModel.forward` takes it (padding included)."""
    previous = None
    if model.llm_config.show_actions:
        described = model.head.describe(batch["actions"])
        previous = torch.cat([torch.zeros_like(described[:, :1]), described[:, :-1]], dim=1)
    tokens, _ = model.embed(batch["observations"], batch["returns_to_go"], previous)
    return residuals(model, tokens)


def gradient_shares(model: torch.nn.Module) -> dict[str, float]:
    """Each part's share of the squared gradient norm: ``encoder``, ``block i``, ``head``, ``rest``; sums to 1."""
    found: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        words = name.split(".")
        number = next((word for word in words if word.isdigit()), "") if "backbone" in words else ""
        part = next((word for word in words if word in ("encoder", "head")), "rest")
        key = f"block {number}" if number else part
        found[key] = found.get(key, 0.0) + float(parameter.grad.float().pow(2).sum())
    total = sum(found.values())
    return {f"gradient_share/{key}": value / total for key, value in found.items()} if total else {}
