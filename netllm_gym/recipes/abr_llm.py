"""``abr-llm``: the language model that streams any video, taught by what each level earns in randomised worlds."""

from __future__ import annotations

from dataclasses import dataclass

from netllm_gym.agents.abr.llm import ABRLLM, mark
from netllm_gym.agents.base import Agent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.recipes.abr_lessons import LessonOptions, taught
from netllm_gym.recipes.base import Training, narrowed, register_recipe


@dataclass(frozen=True)
class ABRLLMOptions(LessonOptions, LLMConfig):
    """Options of the recipe: those of the LLM agent (with other defaults), and of its lessons.

    It sees one state at a time: the view holds what was measured before. So a batch holds states of many episodes,
    and learns in a third of the steps what one of whole episodes does, whose states are much alike.
    """

    context: int = 1
    pointer_skip: bool = True
    pointer_hidden: int = 128
    decision: float = 1.0
    layers: int = 4
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    batch_size: int = 512
    steps: int = 1600
    eval_every: int = 200
    patience: int = 99
    warmup: int = 20

    def __post_init__(self) -> None:
        LessonOptions.__post_init__(self)
        LLMConfig.__post_init__(self)


@register_recipe("abr-llm", ABRLLMOptions, data=False, timed=True, extra="llm", resumable=True)
def train_abr_llm(training: Training) -> Agent:
    """Teach the language model to stream, on lessons it makes itself (resumable)."""
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train

    options: ABRLLMOptions = training.config
    data, valid = taught(narrowed(LessonOptions, options), training.say)
    agent = train(
        narrowed(LLMConfig, options), data, valid, training.run, minutes=training.minutes, progress=training.say
    )
    save(agent, training.out)
    mark(training.out)
    return ABRLLM(training.out)
