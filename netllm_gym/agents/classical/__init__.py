"""Classical agents: rules and planners from the literature, none of which needs torch."""

from netllm_gym.agents.classical import (
    abr,
    abr_published,
    abr_rules,
    anything,
    cluster_packing,
    cluster_rules,
    cluster_tuned,
    fast_mpc,
    streaming_agents,
    viewport_agents,
)

__all__ = [
    "abr",
    "abr_published",
    "abr_rules",
    "anything",
    "cluster_packing",
    "cluster_rules",
    "cluster_tuned",
    "fast_mpc",
    "streaming_agents",
    "viewport_agents",
]
