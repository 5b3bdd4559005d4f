"""Classical agents: rules and planners from the literature, none of which needs torch."""

from netllm_gym.agents.classical import abr, cluster_rules

__all__ = ["abr", "cluster_rules"]
