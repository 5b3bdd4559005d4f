"""``cluster-llm``: teach the language model to schedule.

States come from every collecting rule on the train split, on clusters of several sizes. With the objective ``cloning``
what the teacher would have done is copied in all of them (DAgger, Ross et al. 2011: ``student=FOLDER`` adds the states
that an agent trained before came to); with ``return-conditioned`` each rule's own decision, given the seconds its
episode saved against Fair. Weights are chosen on the valid split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from netllm_gym import zoo
from netllm_gym.agents.base import Agent
from netllm_gym.agents.cluster.llm import ClusterLLM
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.registry import register_agent
from netllm_gym.datasets.experience import Experience, as_taught, merge
from netllm_gym.datasets.schedules import advantages, viewed
from netllm_gym.errors import ConfigError
from netllm_gym.recipes.base import Training, narrowed, register_recipe
from netllm_gym.recipes.cluster_data import AGENTS, collected

STUDENT = "cluster/student"


@dataclass(frozen=True)
class ClusterLLMOptions(LLMConfig):
    """Options of the recipe: those of the LLM agent (with other defaults), and the data.

    Attributes:
        traces: job sequences.
        sequences: how many of the train and of the valid split.
        jobs: of an episode.
        executors: of the clusters; the largest is how far the agent can count.
        teacher: whose decisions are cloned.
        student: checkpoint of an agent trained before, whose states are added; empty: none.
    """

    objective: str = "cloning"
    layers: int = 4
    context: int = 1
    lora_rank: int = 8
    lora_dropout: float = 0.0
    batch_size: int = 64
    steps: int = 4000
    eval_every: int = 200
    patience: int = 99
    learning_rate: float = 2e-3
    warmup: int = 50
    traces: str = "cluster/tpch"
    sequences: tuple[int, ...] = (8, 2)
    jobs: int = 100
    executors: tuple[int, ...] = (50, 30)
    teacher: str = "cluster/tuned"
    student: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in ("cloning", "return-conditioned"):
            raise ConfigError(f"recipe cluster-llm takes cloning or return-conditioned, not {self.objective}")
        if len(self.sequences) != 2 or min(*self.sequences, self.jobs, *self.executors) < 1:
            raise ConfigError("sequences takes two counts (train, valid); they, jobs and executors are at least 1")


def _experience(training: Training, split: str, sequences: int) -> Experience:
    """Prepare the episodes of one split, on all clusters, for learning."""
    options: ClusterLLMOptions = training.config
    parts = []
    for executors in options.executors:
        place = (options.traces, split, sequences, options.jobs, executors, training.say)
        if options.objective == "return-conditioned":
            result = collected(*place)
            parts.append(advantages(result, replace(result, episodes=result.episodes[:: len(AGENTS)])))
            continue
        parts.append(as_taught(collected(*place, AGENTS, options.teacher)))
        if options.student:
            weights = zoo.content(options.student) or ""
            parts.append(as_taught(collected(*place, (STUDENT,), options.teacher, weights)))
    return merge([viewed(part, max(options.executors)) for part in parts])


@register_recipe("cluster-llm", ClusterLLMOptions, data=False, timed=True, extra="llm", resumable=True)
def train_cluster_llm(training: Training) -> Agent:
    """Teach a language model to schedule, from what rules do on several clusters (resumable)."""
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train

    options: ClusterLLMOptions = training.config
    if options.student:
        register_agent(STUDENT)(lambda: ClusterLLM(options.student))
    data, valid = (
        _experience(training, split, count) for split, count in zip(("train", "valid"), options.sequences, strict=True)
    )
    training.say(f"{len(data)} episodes, {data.steps} decisions; valid {valid.steps}")
    agent = train(
        narrowed(LLMConfig, options), data, valid, training.run, minutes=training.minutes, progress=training.say
    )
    save(agent, training.out)
    return agent
