"""Trained ABR agents of the zoo that any checkpoint loader reads: the language model and its small rival."""

from __future__ import annotations

from typing import Any

from netllm_gym import zoo
from netllm_gym.agents.base import Agent
from netllm_gym.agents.checkpoint import load_checkpoint
from netllm_gym.agents.registry import register_agent


@register_agent("abr/llm")
def llm(**kwargs: Any) -> Agent:
    """Return SmolLM2's first four blocks with adapters, trained on what the actor-critic earns after each action.

    Keyword arguments are those of any LLM checkpoint (``temperature``); its adapters are merged, for speed. It knows
    six levels.
    """
    return load_checkpoint(zoo.ROOT / "abr-llm", **{"merge": True, **kwargs})


@register_agent("abr/regret-mlp")
def regret_mlp() -> Agent:
    """Return four small networks trained on the same values as ``abr/llm``. They know six levels."""
    return load_checkpoint(zoo.ROOT / "abr-regret-mlp")
