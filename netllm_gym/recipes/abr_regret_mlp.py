"""``abr-regret-mlp``: the small rival of ``abr-llm``: the same lessons, a network of two layers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from netllm_gym.agents.abr.row_agent import RowAgent, save
from netllm_gym.agents.abr.row_regression import RegressionConfig, fit_rows
from netllm_gym.agents.base import Agent
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.recipes.abr_lessons import LessonOptions, taught
from netllm_gym.recipes.base import Training, narrowed, register_recipe

CARD = """# abr/regret-mlp

A network of two layers that predicts what each level of the ladder loses against the best one when
`abr/actor-critic` goes on from there; it plays the least loss, on any ladder. Lessons: {parts} times 64
randomised worlds of {chunks} chunks, {futures} futures each, {home_parts} times 64 episodes on one video and public
links, and {copied_parts} times 64 on links without memory, where it copies `abr/actor-critic-any`; seed {seed}.

Load it with `netllm_gym.make_agent("abr/regret-mlp")`; trained by `netllm-gym train abr-regret-mlp`.
"""


@dataclass(frozen=True)
class RegretOptions(LessonOptions, RegressionConfig):
    """Options of the recipe: those of the regression, and of the lessons."""

    def __post_init__(self) -> None:
        LessonOptions.__post_init__(self)
        RegressionConfig.__post_init__(self)


@register_recipe("abr-regret-mlp", RegretOptions, data=False, extra="llm")
def train_abr_regret_mlp(training: Training) -> Agent:
    """Regress what each level costs against the best one, on lessons in randomised worlds."""
    options: RegretOptions = training.config
    data, valid = taught(narrowed(LessonOptions, options), training.say)
    network = fit_rows(narrowed(RegressionConfig, options), data, valid, training.say)
    agent = RowAgent(network, Ranges())
    save(agent, training.out, asdict(options), CARD.format(**asdict(options)))
    return agent
