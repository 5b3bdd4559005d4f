"""Trained ABR agents of the zoo that any checkpoint loader reads: the language model and its small rivals."""

from __future__ import annotations

from typing import Any

from netllm_gym import zoo
from netllm_gym.agents.base import Agent
from netllm_gym.agents.checkpoint import load_checkpoint, read_description
from netllm_gym.agents.registry import register_agent


@register_agent("abr/llm")
def llm(**kwargs: Any) -> Agent:
    """Return SmolLM2's first four blocks with adapters, trained on what the actor-critic earns after each action.

    Keyword arguments are those of any LLM checkpoint (``temperature``); its adapters are merged, for speed.
    """
    merged = read_description(zoo.ROOT / "abr-llm")["config"].get("tuning") == "lora"
    return load_checkpoint(zoo.ROOT / "abr-llm", **{"merge": merged, **kwargs})


@register_agent("abr/actor-critic")
def actor_critic() -> Agent:
    """Return the policy trained by PPO, in the line of Pensieve (SIGCOMM 2017) and Genet (SIGCOMM 2022)."""
    return load_checkpoint(zoo.ROOT / "abr-actor-critic")


@register_agent("abr/regret-mlp")
def regret_mlp() -> Agent:
    """Return small networks trained on the same values as ``abr/llm``."""
    return load_checkpoint(zoo.ROOT / "abr-regret-mlp")
