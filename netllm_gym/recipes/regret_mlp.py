"""``regret-mlp``: small networks that regress action values, the language model's small rival."""

from __future__ import annotations

from netllm_gym.agents.base import Agent
from netllm_gym.agents.offline.checkpoint import save
from netllm_gym.agents.offline.regret_mlp import RegretMLPConfig, train_regret_mlp
from netllm_gym.recipes.base import Training, register_recipe


@register_recipe("regret-mlp", RegretMLPConfig, valid="needed", values=True, extra="llm")
def train_mlp(training: Training) -> Agent:
    """Regress what each action costs against the best one, on a dataset with action values."""
    assert training.valid is not None
    data = training.experience()
    agent = train_regret_mlp(training.config, data, training.valid, training.say)
    save(agent, data, training.out)
    return agent
