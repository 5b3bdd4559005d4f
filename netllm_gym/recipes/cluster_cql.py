"""``cluster-cql``: d3rlpy's CQL (or BCQ, or cloning) on the padded view of collected schedules."""

from __future__ import annotations

from dataclasses import dataclass

from netllm_gym.agents.base import Agent
from netllm_gym.agents.cluster.cql import KIND, ClusterCQL
from netllm_gym.agents.offline.algorithms import OfflineConfig, train_offline
from netllm_gym.agents.offline.checkpoint import save
from netllm_gym.datasets.schedules import padded
from netllm_gym.errors import ConfigError
from netllm_gym.recipes.base import Training, narrowed, register_recipe
from netllm_gym.recipes.cluster_data import collected


@dataclass(frozen=True)
class ClusterCQLOptions(OfflineConfig):
    """Options of the recipe: those of the algorithm, and the data (``sequences`` of ``jobs`` jobs of ``traces``)."""

    steps: int = 6000
    traces: str = "cluster/tpch"
    sequences: int = 8
    jobs: int = 100
    executors: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.algorithm == "decision-transformer":
            raise ConfigError("recipe cluster-cql takes cql, bcq or bc")
        if min(self.sequences, self.jobs, self.executors) < 1:
            raise ConfigError("sequences, jobs and executors must be at least 1")


@register_recipe("cluster-cql", ClusterCQLOptions, data=False, extra="rl")
def train_cluster_cql(training: Training) -> Agent:
    """Train conservative Q-learning to schedule; the folder plays as it is, or as ``cluster/cql checkpoint=FOLDER``."""
    options: ClusterCQLOptions = training.config
    data = padded(collected(options.traces, "train", options.sequences, options.jobs, options.executors, training.say))
    training.say(f"{len(data)} episodes, {data.steps} decisions")
    agent = train_offline(narrowed(OfflineConfig, options), data, training.say)
    save(agent, data, training.out, KIND)
    return ClusterCQL(training.out)
