"""``viewport-llm``: the language model on head motion, as corrections to the damped velocity."""

from __future__ import annotations

from dataclasses import dataclass

from netllm_gym.agents.base import Agent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.viewport.llm import for_language_model
from netllm_gym.datasets.viewport_windows import window_experience
from netllm_gym.errors import ConfigError
from netllm_gym.recipes.base import Training, narrowed, register_recipe


@dataclass(frozen=True)
class ViewportLLMOptions(LLMConfig):
    """Options of the recipe: those of the LLM agent (with other defaults), and the windows.

    Attributes:
        traces: whose train split it learns on and whose valid split it chooses by.
        stride, spacing: samples between windows, and between the windows of one episode.
        turns: copies in which every viewer is turned about the vertical.
        mirror: also with left and right exchanged.
        future: samples to predict.
    """

    objective: str = "regression"
    regression_loss: str = "absolute"
    layers: int = 1
    context: int = 1
    lora_rank: int = 8
    batch_size: int = 256
    warmup: int = 20
    steps: int = 5000
    eval_every: int = 200
    patience: int = 99
    traces: str = "viewport/jin2022/as-published"
    stride: int = 3
    spacing: int = 15
    turns: int = 3
    mirror: bool = True
    future: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective != "regression":
            raise ConfigError(f"recipe viewport-llm predicts angles: its objective is regression, not {self.objective}")
        if min(self.stride, self.spacing, self.future) < 1 or self.turns < 0:
            raise ConfigError("stride, spacing and future must be at least 1 and turns not negative")


@register_recipe("viewport-llm", ViewportLLMOptions, data=False, timed=True, extra="llm", resumable=True)
def train_viewport_llm(training: Training) -> Agent:
    """Teach a language model to predict viewports (resumable); ``viewport/llm`` plays it with ``checkpoint=FOLDER``."""
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train

    options: ViewportLLMOptions = training.config
    data = window_experience(
        options.traces, "train", stride=options.stride, spacing=options.spacing, turns=options.turns,
        mirror=options.mirror, future=options.future,
    )  # fmt: skip
    valid = window_experience(options.traces, "valid", future=options.future)
    agent = train(
        narrowed(LLMConfig, options), for_language_model(data), for_language_model(valid), training.run,
        minutes=training.minutes, progress=training.say,
    )  # fmt: skip
    save(agent, training.out)
    return agent
