"""Lessons for the streaming learners: states of randomised worlds with what every level earns there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from netllm_gym import traces, zoo
from netllm_gym.agents.abr.families import links_of
from netllm_gym.agents.abr.lessons import Teacher, lessons
from netllm_gym.agents.abr.row_agent import RowAgent
from netllm_gym.agents.abr.worlds import Worlds
from netllm_gym.agents.checkpoint import load_checkpoint
from netllm_gym.datasets.experience import Experience, merge
from netllm_gym.errors import ConfigError
from netllm_gym.files import digest
from netllm_gym.recipes.abr_actor_critic import VIDEOS, home_of
from netllm_gym.recipes.abr_episodes import played
from netllm_gym.traces import NetworkTrace

# Lessons are made in parts of so many worlds: memory stays small, and parts can be made anywhere.
PART = 64
VALID_SEED = 7_000
GAMMA = 0.985


@dataclass(frozen=True)
class LessonOptions:
    """How lessons are made.

    Attributes:
        teacher: checkpoint of an actor-critic with its critic; default: the one in the package.
        parts: of 64 worlds each, to learn from; a tenth as many, at least one, on valid links to choose by.
        chunks: played in each world.
        futures, horizon: over which a level is valued: futures drawn, chunks played before the critic is asked.
        episodes: whether episodes on one video are added, with what each level earns in the future that came
            (:mod:`netllm_gym.recipes.abr_episodes`).
        without: trace families that take no part.
        lesson_seed: of worlds and draws; the seed of a training is another, so that several can share their lessons.
    """

    teacher: str = ""
    parts: int = 12
    chunks: int = 64
    futures: int = 4
    horizon: int = 6
    episodes: bool = True
    without: tuple[str, ...] = ()
    lesson_seed: int = 0


def teacher_of(options: LessonOptions) -> Teacher:
    """Load who is followed.

    Raises:
        ConfigError: no actor-critic, or one without its critic.
    """
    agent = load_checkpoint(Path(options.teacher) if options.teacher else zoo.ROOT / "abr-actor-critic-any")
    if not isinstance(agent, RowAgent) or agent.critic is None:
        raise ConfigError(
            f"{options.teacher or 'abr/actor-critic-any'} is no actor-critic with a critic: it cannot teach"
        )
    return Teacher(agent.network, agent.critic, GAMMA)


def part_of(
    options: LessonOptions, teacher: Teacher, links: Mapping[str, Sequence[NetworkTrace]], number: int
) -> Experience:
    """Make one part of the lessons; the same part whatever else is made."""
    key = 10_000 * options.lesson_seed + number
    worlds = Worlds(PART, links, [traces.load_video(name) for name in VIDEOS], key, home=home_of(links))
    return lessons(worlds, teacher, options.chunks, key, 0.1, options.futures, options.horizon)


def lessons_on(options: LessonOptions, split: str, say: Callable[[str], None]) -> Experience:
    """Return lessons on the links of a split: all parts on ``train``, a tenth as many, at least one, on ``valid``."""
    teacher = teacher_of(options)
    families = links_of(split, options.without)
    first, count = (0, options.parts) if split == "train" else (VALID_SEED, max(options.parts // 10, 1))
    parts = []
    for number in range(count):
        parts.append(part_of(options, teacher, families, first + number))
        say(f"lessons on {split} links: part {number + 1}/{count}")
    return merge(parts)


def taught(options: LessonOptions, say: Callable[[str], None]) -> tuple[Experience, Experience]:
    """Return what is learnt on train links and what is chosen by on valid links."""
    splits = ("train", "valid")
    lessons = [lessons_on(options, split, say) for split in splits]
    if options.episodes:
        lessons = [beside(part, split, say, options.without) for part, split in zip(lessons, splits, strict=True)]
    return lessons[0], lessons[1]


def beside(lessons: Experience, split: str, say: Callable[[str], None], without: tuple[str, ...] = ()) -> Experience:
    """Return lessons and episodes played on the links of every family.

    The drawn worlds say what was trained on, since no episode lies outside of them.
    """
    episodes = played(split, say, links_of(split, without))
    both = digest([lessons.digest.encode(), episodes.digest.encode()])
    return replace(lessons, episodes=lessons.episodes + episodes.episodes, digest=both)
