"""Published agents, replayed with the weights that their authors released."""

from __future__ import annotations

from netllm_gym.agents.museum.archive import Exhibit

__all__ = ["Exhibit", "exhibit"]


def exhibit(agent: str) -> Exhibit | None:
    """Return the weights behind a replayed agent's name, ``None`` for any other agent."""
    from netllm_gym.agents.museum import abr, cluster

    task, _, name = agent.partition("/")
    name = name.removesuffix("-greedy").removesuffix("-as-published")
    if "-as-published" not in agent:
        return None
    return abr.EXHIBITS.get(name) if task == "abr" else cluster.EXHIBITS.get(name) if task == "cluster" else None
