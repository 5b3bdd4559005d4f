"""``llm``: a language model's decoder with adapters, an encoder and a head, on any dataset."""

from __future__ import annotations

from netllm_gym.agents.base import Agent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.recipes.base import Training, register_recipe


@register_recipe("llm", LLMConfig, valid="needed", timed=True, values=True, extra="llm")
def train_llm(training: Training) -> Agent:
    """Adapt a language model to the decisions of a dataset (resumable)."""
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train

    agent = train(
        training.config, training.experience(), training.valid, training.run,
        minutes=training.minutes, progress=training.say,
    )  # fmt: skip
    save(agent, training.out)
    return agent
