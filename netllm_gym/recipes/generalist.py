"""``generalist``: one model for bitrates, head motion, tiles and schedules, from data that it collects itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from netllm_gym.agents.base import Agent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.viewport.llm import for_language_model
from netllm_gym.datasets.collect import CollectConfig
from netllm_gym.datasets.experience import Experience, as_taught
from netllm_gym.datasets.schedules import advised
from netllm_gym.datasets.viewport_windows import window_experience
from netllm_gym.envs.lookup import make_env
from netllm_gym.errors import UnknownNameError
from netllm_gym.files import digest
from netllm_gym.recipes.abr_lessons import LessonOptions, lessons_on
from netllm_gym.recipes.base import Training, narrowed, register_recipe
from netllm_gym.recipes.cluster_data import AGENTS
from netllm_gym.recipes.data import collected

TASKS = ("abr", "viewport", "streaming", "cluster")
LESSONS = 4  # parts of 64 worlds
BOUNDS = {"max_stages": 512, "max_jobs": 64, "max_edges": 1024}
CLUSTERS = (("cluster/tpch-unseen-queries", 50), ("cluster/tpch-unseen-queries", 30), ("cluster/random", 50))


@dataclass(frozen=True)
class GeneralistOptions(LLMConfig):
    """Options of the recipe: those of the LLM agent (with other defaults), and the tasks.

    Attributes:
        tasks: which of ``abr``, ``viewport``, ``streaming`` and ``cluster``.
        words: whether the model reads each task in words.
    """

    layers: int = 4
    lora_rank: int = 8
    lora_alpha: float = 16.0
    pointer_skip: bool = True
    pointer_hidden: int = 128
    decision: float = 1.0
    warmup: int = 30
    steps: int = 1500
    eval_every: int = 500
    patience: int = 99
    tasks: tuple[str, ...] = TASKS
    words: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "tasks", tuple(self.tasks))
        for name in self.tasks:
            if name not in TASKS:
                raise UnknownNameError("task of the generalist", name, TASKS)


def _abr(split: str, say: Callable[[str], None]) -> Experience:
    """What each level earns: on one video and many families of links, and in worlds of any ladder."""
    return lessons_on(LessonOptions(parts=LESSONS, copied_parts=0), split, say)


def _streaming(split: str, say: Callable[[str], None]) -> Experience:
    kwargs = {"traces": "viewport/jin2022", "split": split}
    episodes = 192 if split == "train" else 24
    config = CollectConfig("netllm_gym/ViewportStreaming-v0", ("streaming/predictive",), episodes, env_kwargs=kwargs)
    return collected(config, f"netllm_gym/generalist/streaming-{split}-{config.key}-v0", say)


def _cluster(split: str, say: Callable[[str], None]) -> Experience:
    """Some decisions of four rules' episodes, as the teacher would have taken them: queries and random shapes."""
    sequences, count = (2, 4500) if split == "train" else (1, 400)
    parts = []
    for number, (traces, executors) in enumerate(CLUSTERS):
        kwargs = {"traces": traces, "split": split, "jobs": 20, "executors": executors, "load": 0.7, **BOUNDS}
        config = CollectConfig(
            "netllm_gym/ClusterScheduling-v0", AGENTS, sequences * len(AGENTS), env_kwargs=kwargs,
            teacher="cluster/adaptive",
        )  # fmt: skip
        whole = as_taught(collected(config, f"netllm_gym/generalist/cluster-{split}-{config.key}-v0", say))
        env: Any = make_env(config.env, kwargs).unwrapped
        parts.append(advised(_some(whole, count, number), env.moving_s))
    episodes = [episode for part in parts for episode in part.episodes]
    return replace(parts[0], episodes=episodes, digest=digest([part.digest.encode() for part in parts]))


def _some(whole: Experience, count: int, seed: int) -> Experience:
    """Draw single decisions."""
    rows = [(i, t) for i, episode in enumerate(whole.episodes) for t in range(len(episode))]
    by_episode: dict[int, list[int]] = {}
    for number in sorted(np.random.default_rng(seed).permutation(len(rows))[:count]):
        by_episode.setdefault(rows[number][0], []).append(rows[number][1])
    episodes = []
    for i, steps in by_episode.items():
        one = whole.episodes[i]
        mask = None if one.action_mask is None else one.action_mask[steps]
        observed = {key: value[steps] for key, value in one.observations.items()}
        rewards = np.zeros(len(steps))  # what an episode earned tells nothing of single decisions
        episodes.append(
            replace(one, observations=observed, actions=one.actions[steps], rewards=rewards, action_mask=mask)
        )
    return replace(whole, episodes=episodes, digest=digest([whole.digest.encode(), str(count).encode()]))


def _viewport(split: str, say: Callable[[str], None]) -> Experience:
    """Windows; turned and mirrored to learn from, or the model learns where the training videos' objects are."""
    stride, turns = (4, 2) if split == "train" else (15, 0)
    say(f"cutting {split} windows")
    return for_language_model(
        window_experience(
            "viewport/jin2022/as-published",
            split,
            stride=stride,
            spacing=stride,
            turns=turns,
            mirror=turns > 0,
            future=30,
        )
    )


@register_recipe("generalist", GeneralistOptions, data=False, timed=True, extra="llm", resumable=True)
def train(training: Training) -> Agent:
    """Teach one language model several tasks at once, each described in words (resumable)."""
    from netllm_gym.agents.llm.generalist import Lesson, train_generalist
    from netllm_gym.agents.llm.generalist_storage import save_generalist

    options: GeneralistOptions = training.config
    makers = {"abr": _abr, "viewport": _viewport, "streaming": _streaming, "cluster": _cluster}
    ways = {
        "abr": ("regret", 256, 1),
        "viewport": ("regression", 256, 1),
        "streaming": ("cloning", 2, 0),
        "cluster": ("cloning", 16, 1),
    }
    lessons = []
    for name in options.tasks:
        objective, count, context = ways[name]
        parts = [makers[name](split, training.say) for split in ("train", "valid")]
        words = None if options.words else ""
        lessons.append(Lesson(parts[0], parts[1], objective, count, context, description=words))
    agent = train_generalist(
        narrowed(LLMConfig, options), lessons, training.run, minutes=training.minutes, progress=training.say
    )
    save_generalist(agent, training.out)
    return agent
