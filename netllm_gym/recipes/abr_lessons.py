"""Lessons for the streaming learners: what every level earns, in drawn worlds and on public links."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from netllm_gym import traces, zoo
from netllm_gym.agents.abr.actor_critic import ActorCritic
from netllm_gym.agents.abr.families import FAMILIES, RELATED, links_of
from netllm_gym.agents.abr.lessons import Teacher, lessons
from netllm_gym.agents.abr.row_agent import RowAgent
from netllm_gym.agents.abr.splices import spliced_links
from netllm_gym.agents.abr.teachers import home_or_any, of_rows
from netllm_gym.agents.abr.worlds import Worlds, drawn_link, log_uniform
from netllm_gym.agents.checkpoint import load_checkpoint, read_description
from netllm_gym.datasets.experience import Episode, Experience, merge
from netllm_gym.errors import ConfigError
from netllm_gym.files import digest
from netllm_gym.recipes.abr_actor_critic import VIDEOS, home_of
from netllm_gym.traces import NetworkTrace

# Lessons are made in parts of so many worlds: memory stays small, and parts can be made anywhere.
PART = 64
VALID_SEED, HOME_SEED, COPIED_SEED = 7_000, 500_000, 900_000
GAMMA = 0.985
# At home: one video at its own rates with the default player, every family, the default set's links most often. Half of
# the episodes are played by the plans: a student that has not seen low buffers runs into them.
HOME_VIDEO, HOME_CHUNKS, HOME_EPSILON, HOME_BY_PLANS = "envivio-dash3", 96, 0.15, 0.5
SPLICED, DRAWN = "spliced", "drawn"  # links at home that are no family's
COUNTS = {"train": 400, "valid": 100}  # of each of the two
COPIED_LINKS = 200  # in a part in which the teacher is copied
DRAWN_MBPS = (0.4, 8.0)  # means of drawn links at home
_STREAM = 0xD0
HOME_SHARES = {
    "abr/fcc-hsdpa": 7.0, "abr/pensieve-classic": 2.0, "abr/synthetic": 1.5, "abr/fcc-sd": 1.25, "abr/fcc-hd": 1.25,
    "abr/hsdpa": 1.5, "abr/irish-5g": 1.0, "abr/mahimahi-cellular": 1.25, "abr/ghent-4g": 0.25,
}  # fmt: skip


@dataclass(frozen=True)
class LessonOptions:
    """How lessons are made.

    Attributes:
        teacher: checkpoint of an actor-critic with its critic; default: the one in the package.
        parts: of 64 drawn worlds each, to learn from.
        chunks: played in each drawn world.
        futures, horizon: over which a level is valued there: futures drawn, chunks played before the critic is asked.
        home_parts: of 64 episodes on one video and public links, each level valued by the future that came, to the
            end.
        from_start: share of the drawn worlds' episodes on public links that begin where the recording begins, as the
            environment's do by default; at home half as many.
        spliced: share of the episodes at home on links spliced from pieces of the others
            (:mod:`netllm_gym.agents.abr.splices`).
        drawn_at_home: share of the episodes at home on drawn links. No public family is without memory: who learns from
            those alone takes every fast second for the first of many.
        copied_parts: of 64 episodes on links without memory, half of them on one video, in which the teacher is copied:
            the levels have its scores as values. What several futures say of such links is mostly noise, and learnt
            noise looks like a gain.
        memoryless: share of the drawn links, at home and elsewhere, whose past tells little of their future.
        valid_parts: on valid links, to choose by; of every kind that is learnt from.
        without: trace families that take no part; the teacher must not have learnt there either.
        lesson_seed: of worlds and draws; the seed of a training is another, so that several can share their lessons.
    """

    teacher: str = ""
    parts: int = 12
    chunks: int = 64
    futures: int = 4
    horizon: int = 6
    home_parts: int = 12
    from_start: float = 0.5
    spliced: float = 0.0
    drawn_at_home: float = 0.0
    copied_parts: int = 12
    memoryless: float = 0.0
    valid_parts: int = 3
    without: tuple[str, ...] = ()
    lesson_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.from_start <= 1:
            raise ConfigError(f"from_start must lie in 0 to 1, got {self.from_start}")
        if not 0 <= self.memoryless <= 1:
            raise ConfigError(f"memoryless must lie in 0 to 1, got {self.memoryless}")
        if min(self.spliced, self.drawn_at_home) < 0 or self.spliced + self.drawn_at_home >= 1:
            raise ConfigError(
                "spliced and drawn_at_home must not be negative, and together below 1, got "
                f"{self.spliced} and {self.drawn_at_home}"
            )
        counts = self.parts, self.home_parts, self.copied_parts
        if min(counts) < 0 or not sum(counts):
            raise ConfigError("parts, home_parts and copied_parts must not be negative, nor all 0")
        for name in ("valid_parts", "futures"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")


def teachers_of(options: LessonOptions) -> tuple[Teacher, Teacher]:
    """Load who is followed in drawn worlds, and who at home: there ``abr/actor-critic``, which asks a specialist.

    Raises:
        ConfigError: no actor-critic, or one without its critic, or one that learnt on a family to leave out.
    """
    name_of = options.teacher or "abr/actor-critic-any"
    source = Path(options.teacher) if options.teacher else zoo.ROOT / "abr-actor-critic-any"
    agent = load_checkpoint(source)
    if not isinstance(agent, RowAgent) or agent.critic is None:
        raise ConfigError(f"{name_of} is no actor-critic with a critic: it cannot teach")
    learnt = read_description(source).get("recipe", {}).get("families", FAMILIES)
    if seen := [name for name in options.without if name in learnt]:
        raise ConfigError(
            f"{', '.join(seen)} cannot be left out: the teacher {name_of} learnt there; name one as teacher that "
            f"netllm-gym train abr-actor-critic --set without={','.join(options.without)} made"
        )
    anywhere = of_rows(agent.network)
    if {*RELATED, "abr/synthetic"} & set(options.without):  # the specialist learnt there
        return Teacher(anywhere, agent.critic, GAMMA, agent.network), Teacher(anywhere, agent.critic, 1.0)
    specialist = load_checkpoint(zoo.ROOT / "abr-actor-critic")
    assert isinstance(specialist, ActorCritic)
    top_mbps = float(traces.load_video(HOME_VIDEO).bitrates_kbps[-1]) / 1000.0
    at_home = home_or_any(specialist, agent.network, top_mbps)
    return Teacher(anywhere, agent.critic, GAMMA, agent.network), Teacher(at_home, agent.critic, 1.0)


def part_of(
    options: LessonOptions, teacher: Teacher, links: Mapping[str, Sequence[NetworkTrace]], number: int
) -> Experience:
    """Make one part of the lessons in drawn worlds; the same part whatever else is made."""
    key = 10_000 * options.lesson_seed + number
    videos = [traces.load_video(name) for name in VIDEOS]
    worlds = Worlds(
        PART, links, videos, key, home=home_of(links), from_start=options.from_start, memoryless=options.memoryless
    )
    return lessons(worlds, teacher, options.chunks, key, 0.1, options.futures, options.horizon)


def home_part_of(
    options: LessonOptions, teacher: Teacher, links: Mapping[str, Sequence[NetworkTrace]], number: int
) -> Experience:
    """Make one part of the lessons at home: what each level earned to the end of the video, in the future that came.

    Futures that are drawn know nothing of what all links of a family share, such as a slow minute before two fast ones.
    """
    key = HOME_SEED + 10_000 * options.lesson_seed + number
    video, shares = traces.load_video(HOME_VIDEO), {name: HOME_SHARES[name] for name in links if name in HOME_SHARES}
    whole = sum(shares.values()) / (1.0 - options.spliced - options.drawn_at_home)
    shares |= {name: whole * share for name, share in _own(options).items()}
    worlds = Worlds(
        PART, links, [video], key, at_home=1.0, home=shares, drawn_videos=0, drawn_links=0,
        from_start=options.from_start / 2.0,
    )  # fmt: skip
    return lessons(
        worlds, teacher, HOME_CHUNKS, key, HOME_EPSILON, futures=1, horizon=video.chunks, by_plans=HOME_BY_PLANS
    )


def copied_part_of(
    options: LessonOptions, teacher: Teacher, links: Mapping[str, Sequence[NetworkTrace]], number: int
) -> Experience:
    """Make one part of the lessons on links without memory: the scores of the teacher, who is to be copied there."""
    key = COPIED_SEED + 10_000 * options.lesson_seed + number
    own = {DRAWN: _drawn_links(1.0, COPIED_LINKS, key)}
    videos = [traces.load_video(HOME_VIDEO)]
    worlds = Worlds(PART, own, videos, key, at_home=0.5, drawn_links=COPIED_LINKS, memoryless=1.0)
    return lessons(worlds, teacher, options.chunks, key, HOME_EPSILON, futures=0)


def _own(options: LessonOptions) -> dict[str, float]:
    """Return the links at home that are no family's, and their shares of the episodes."""
    shares = {SPLICED: options.spliced, DRAWN: options.drawn_at_home}
    return {name: share for name, share in shares.items() if share}


def _drawn_links(memoryless: float, count: int, seed: int) -> list[NetworkTrace]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM,)))
    found = []
    for number in range(count):
        link = drawn_link(rng, memoryless=memoryless)
        rates = np.maximum(link.throughput_mbps * log_uniform(rng, *DRAWN_MBPS), 1e-3)
        found.append(NetworkTrace(f"{DRAWN}-{number}", link.duration_s, rates))
    return found


def lessons_on(options: LessonOptions, split: str, say: Callable[[str], None]) -> Experience:
    """Return lessons on the links of a split."""
    (drawn, home), links = teachers_of(options), links_of(split, options.without)
    at_home: dict[str, Sequence[NetworkTrace]] = dict(links)
    makers = {SPLICED: partial(spliced_links, links), DRAWN: partial(_drawn_links, options.memoryless)}
    for name in _own(options):
        at_home[name] = makers[name](COUNTS[split], 2 * options.lesson_seed + (split == "valid"))
    kinds: list[tuple[str, Callable[..., Experience], Teacher, Mapping[str, Sequence[NetworkTrace]], int]] = [
        ("drawn", part_of, drawn, links, options.parts),
        ("home", home_part_of, home, at_home, options.home_parts),
        ("copied", copied_part_of, drawn, links, options.copied_parts),
    ]
    parts = []
    for where, make, teacher, there, count in kinds:
        if split == "valid":
            count = min(count, options.valid_parts)
        for number in range(count):
            parts.append(make(options, teacher, there, number + (VALID_SEED if split == "valid" else 0)))
            say(f"{where} lessons on {split} links: part {number + 1}/{count}")
    whole = merge(parts)
    return replace(whole, name=f"lessons on {split} links", digest=_content(whole.episodes))


def _content(episodes: Sequence[Episode]) -> str:
    """Return the digest of what learners are given, so that no training goes on with other lessons."""
    return digest(
        np.ascontiguousarray(array).tobytes()
        for one in episodes
        for array in (*one.observations.values(), one.actions, one.action_values)
    )


def taught(options: LessonOptions, say: Callable[[str], None]) -> tuple[Experience, Experience]:
    """Return what is learnt on train links and what is chosen by on valid links."""
    return lessons_on(options, "train", say), lessons_on(options, "valid", say)
