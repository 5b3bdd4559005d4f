"""The LLM agent: encoder from the observation space, a decoder with LoRA, a head from the action space."""

from netllm_gym.agents.llm.config import LLMConfig

__all__ = ["LLMConfig"]
