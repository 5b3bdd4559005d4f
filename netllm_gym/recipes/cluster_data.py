"""Schedules of several rules, collected once: what the cluster's offline recipes learn from."""

from __future__ import annotations

from collections.abc import Callable

from netllm_gym.datasets.collect import CollectConfig
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.schedules import ENV
from netllm_gym.files import digest
from netllm_gym.recipes.data import collected as dataset

AGENTS = ("cluster/fair", "cluster/strict-fair", "cluster/tuned", "cluster/weighted-fair")
BOUNDS = {"max_stages": 512, "max_jobs": 128, "max_edges": 1024}


def collected(
    traces: str, split: str, sequences: int, jobs: int, executors: int, say: Callable[[str], None],
    agents: tuple[str, ...] = AGENTS, teacher: str = "", weights: str = "",
) -> Experience:  # fmt: skip
    """Return the episodes of `agents` on one split and cluster; `weights` tells students of one name apart."""
    kwargs = {"traces": traces, "split": split, "jobs": jobs, "executors": executors, "may_wait": True, **BOUNDS}
    config = CollectConfig(ENV, agents, sequences * len(agents), env_kwargs=kwargs, teacher=teacher)
    who = digest([repr((agents, teacher, weights)).encode()])[:6]
    name = f"netllm_gym/{traces.replace('/', '-')}/{split}-{sequences}x{jobs}-on-{executors}-{who}-v0"
    return dataset(config, name, say, f" by {', '.join(agents)}")
