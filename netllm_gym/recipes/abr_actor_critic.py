"""``abr-actor-critic``: the streaming policy that ships, by PPO in randomised worlds.

Links are the train splits of the public families and synthetic ones, videos Envivio-Dash3 and drawn ones; QoE, chunk
length, buffer cap and latency are drawn too (:mod:`netllm_gym.agents.abr.worlds`). ``without`` leaves families out, for
tests on links of a kind that was never seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from netllm_gym import traces
from netllm_gym.agents.abr.families import links_of
from netllm_gym.agents.abr.ppo import PPOConfig, Trainer
from netllm_gym.agents.abr.row_agent import RowAgent, save
from netllm_gym.agents.abr.worlds import Worlds
from netllm_gym.agents.base import Agent
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.recipes.base import Training, narrowed, register_recipe

VIDEOS = ("envivio-dash3", "synthetic")
# How often an episode at home plays a family: those on whose links such a video is no foregone conclusion.
HOME = {
    "abr/fcc-hsdpa": 4.0, "abr/pensieve-classic": 2.0, "abr/synthetic": 2.0, "abr/fcc-sd": 1.5, "abr/hsdpa": 1.0,
    "abr/mahimahi-cellular": 0.5,
}  # fmt: skip

CARD = """# abr/actor-critic

A two-layer policy for `netllm_gym/ABR-v0` that scores the rows of a view, one per level, so it plays any ladder.
Trained by PPO in randomised worlds:

- links: the train splits of {families}, and 400 synthetic ones
- videos: Envivio-Dash3, and 400 drawn ones of 3 to 10 levels, 1 to 6 s chunks, 30 to 300 chunks
- QoE, buffer cap and latency drawn for every episode; the ranges are in `agent.json`
- {iterations} iterations of {episodes} × {steps} chunks, seed {seed}
- it never saw netllm-video2, or a link of abr/synthetic-volatile or abr/synthetic-mahimahi-cellular

Load it with `netllm_gym.make_agent("abr/actor-critic-any")`; trained by `netllm-gym train abr-actor-critic`.
The critic beside it knows a link's future and only serves to teach others (recipes `abr-llm`, `abr-regret-mlp`).
"""


@dataclass(frozen=True)
class ActorCriticOptions(PPOConfig):
    """Options of the recipe.

    Attributes:
        without: trace families that take no part.
    """

    without: tuple[str, ...] = ()


def home_of(families: Mapping[str, object]) -> dict[str, float]:
    """The shares of :data:`HOME` for the families there are."""
    return {name: share for name, share in HOME.items() if name in families}


@register_recipe("abr-actor-critic", ActorCriticOptions, data=False, timed=True, extra="llm", resumable=True)
def train_actor_critic(training: Training) -> Agent:
    """Train a streaming policy for any ladder by PPO in randomised worlds (resumable)."""
    options: ActorCriticOptions = training.config
    families = links_of("train", options.without)
    videos = [traces.load_video(name) for name in VIDEOS]
    worlds = Worlds(options.episodes, families, videos, options.seed, home=home_of(families))
    trainer = Trainer(narrowed(PPOConfig, options), worlds, training.run)
    agent = RowAgent(trainer.train(training.minutes, training.say), Ranges(), trainer.foresight())
    card = CARD.format(families=", ".join(families), **asdict(options))
    save(agent, training.out, {**asdict(options), "families": list(families), "videos": list(VIDEOS)}, card)
    return agent
