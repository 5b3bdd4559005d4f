"""``few-shot``: teach a generalist another task, from few episodes; or the same model from scratch, to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.descriptions import description_of
from netllm_gym.agents.registry import make_agent
from netllm_gym.envs.lookup import make_env
from netllm_gym.errors import ConfigError
from netllm_gym.recipes.base import Training, narrowed, register_recipe


@dataclass(frozen=True)
class FewShotOptions(LLMConfig):
    """Options of the recipe: those of the LLM agent (with other defaults), where to start and the words.

    Attributes:
        start_from: a generalist, by name or folder; empty: a pretrained backbone with a fresh encoder, adapter and
            head. What is the generalist's (backbone, layers, adapter, tokens) is taken from it.
        description: the task in words; by default the environment's own (``metadata["description"]``).
    """

    objective: str = "cloning"
    layers: int = 4
    lora_rank: int = 8
    lora_alpha: float = 16.0
    context: int = 1
    batch_size: int = 32
    steps: int = 100
    eval_every: int = 25
    warmup: int = 5
    start_from: str = "any/generalist"
    description: str = ""


@register_recipe("few-shot", FewShotOptions, valid="needed", timed=True, values=True, extra="llm", resumable=True)
def train_few_shot(training: Training) -> Agent:
    """Teach a generalist another task from few episodes (resumable)."""
    from netllm_gym.agents.llm.generalist import Generalist, Lesson, train_generalist
    from netllm_gym.agents.llm.generalist_storage import save_generalist

    options: FewShotOptions = training.config
    data: Any = training.experience()
    valid: Any = training.valid
    words = options.description or description_of(data.env_id, make_env(data.env_id, data.env_kwargs).metadata)
    start: Any = make_agent(options.start_from) if options.start_from else None
    if start is not None and not isinstance(start, Generalist):
        raise ConfigError(f"start_from={options.start_from} is no generalist (recipe generalist makes one)")
    lesson = Lesson(data, valid, options.objective, options.batch_size, options.context, options.regression_loss, words)
    agent = train_generalist(
        narrowed(LLMConfig, options), [lesson], training.run, start, minutes=training.minutes, progress=training.say
    )
    save_generalist(agent, training.out)
    return agent
