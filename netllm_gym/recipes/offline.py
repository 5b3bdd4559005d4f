"""``cql``, ``bcq``, ``bc`` and ``decision-transformer``: d3rlpy's discrete algorithms on the flat view of a dataset."""

from __future__ import annotations

from netllm_gym.agents.base import Agent
from netllm_gym.agents.offline.algorithms import ALGORITHMS, OfflineConfig, train_offline
from netllm_gym.agents.offline.checkpoint import save
from netllm_gym.recipes.base import Training, register_recipe


def train_d3rlpy(training: Training) -> Agent:
    """Run one of d3rlpy's offline algorithms."""
    data = training.experience()
    agent = train_offline(training.config, data, training.say)
    save(agent, data, training.out)
    return agent


for _name in ALGORITHMS:
    register_recipe(_name, OfflineConfig, extra="rl", fixed={"algorithm": _name})(train_d3rlpy)
