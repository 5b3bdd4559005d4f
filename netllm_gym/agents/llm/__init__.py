"""The LLM agent: encoder, frozen decoder with adapters, networking head. Importing this package imports no torch."""

from typing import Any

from netllm_gym import zoo
from netllm_gym.agents.base import Agent
from netllm_gym.agents.checkpoint import load_checkpoint
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.registry import call, register_agent
from netllm_gym.extras import guarded, require

__all__ = ["LLMConfig"]


@register_agent("any/llm-text")
def _text(**options: Any) -> Agent:
    """A language model asked in words, untrained: what the networking head is compared with."""
    with guarded("any/llm-text"):
        from netllm_gym.agents.llm.text import TextAgent
    agent: Agent = call(TextAgent, "agent any/llm-text", **options)
    return agent


@register_agent(
    "any/generalist",
    serves=(
        "netllm_gym/ABR-v0",
        "netllm_gym/ViewportPrediction-v0",
        "netllm_gym/ViewportStreaming-v0",
        "netllm_gym/ClusterScheduling-v0",
    ),
)
def _generalist(**options: Any) -> Agent:
    """One language model with one adapter for bitrates, head motion, tiles and schedules; options: ``device``."""
    require("llm", "any/generalist")
    return load_checkpoint(zoo.ROOT / "any-generalist", **options)
