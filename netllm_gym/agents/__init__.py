"""Who decides: the agent protocol, the registry, and classical, offline-RL and LLM agents."""

from netllm_gym.agents.base import Agent, BatchAgent, EnvInfo
from netllm_gym.agents.registry import list_agents, make_agent, register_agent

__all__ = ["Agent", "BatchAgent", "EnvInfo", "list_agents", "make_agent", "register_agent"]
