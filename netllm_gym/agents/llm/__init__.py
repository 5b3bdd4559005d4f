"""The LLM agent: encoder, frozen decoder with adapters, networking head. Importing this package imports no torch."""

from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.registry import register_agent
from netllm_gym.errors import MissingExtraError

__all__ = ["LLMConfig"]


@register_agent("any/llm-text")
def _text(**options: Any) -> Agent:
    """A language model asked in words, untrained: what the networking head is compared with."""
    try:
        from netllm_gym.agents.llm.text import TextAgent
    except ImportError:
        raise MissingExtraError("llm", "any/llm-text") from None
    return TextAgent(**options)
