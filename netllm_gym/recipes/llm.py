"""``llm``: a language model's decoder with adapters, an encoder and a head, on any dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from netllm_gym.agents.base import Agent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.datasets.experience import Experience
from netllm_gym.recipes.base import Training, narrowed, register_recipe


@dataclass(frozen=True)
class LLMOptions(LLMConfig):
    """An `LLMConfig` whose objective may be left to the dataset.

    Attributes:
        objective: as in `LLMConfig`; empty takes ``regret`` where every episode stores action values, else
            ``return-conditioned``, which any dataset allows.
    """

    objective: str = ""

    def __post_init__(self) -> None:
        self.config()  # refuses what does not fit together before any dataset is read

    def config(self, *data: Experience) -> LLMConfig:
        """The configuration for these datasets."""
        if self.objective:
            return narrowed(LLMConfig, self)
        valued = all(episode.action_values is not None for part in data for episode in part.episodes)
        return narrowed(LLMConfig, replace(self, objective="regret" if valued else "return-conditioned"))


@register_recipe("llm", LLMOptions, valid="needed", timed=True, values=True, extra="llm", resumable=True)
def train_llm(training: Training) -> Agent:
    """Adapt a language model to the decisions of a dataset (resumable)."""
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train

    experience, valid = training.experience(), training.valid
    config = training.config.config(*(part for part in (experience, valid) if part is not None))
    if not training.config.objective:
        held = "hold" if config.objective == "regret" else "lack"
        training.say(f"objective {config.objective}: the datasets {held} action values")
    agent = train(
        config, experience, valid, training.run, minutes=training.minutes, progress=training.say,
    )  # fmt: skip
    save(agent, training.out)
    return agent
