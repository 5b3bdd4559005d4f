"""Classical agents: rules and planners from the literature, none of which needs torch."""

from netllm_gym.agents.classical import abr

__all__ = ["abr"]
