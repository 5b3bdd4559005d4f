"""``abr-actor-critic``: the streaming policy that ships, by PPO on public and synthetic links.

It learns on the train splits of abr/fcc-hsdpa and abr/synthetic and, with a curriculum, on links drawn from a space of
families; the valid split of abr/fcc-hsdpa scores the policy.
"""

from __future__ import annotations

from dataclasses import asdict

from netllm_gym import traces
from netllm_gym.agents.abr.actor_critic import save
from netllm_gym.agents.abr.ppo import PPOConfig, Trainer
from netllm_gym.agents.base import Agent
from netllm_gym.recipes.base import Training, register_recipe

CARD = """# abr/actor-critic

A two-layer policy for `netllm_gym/ABR-v0` (six levels, QoE lin), trained by PPO:

- links: the train splits of abr/fcc-hsdpa and abr/synthetic{drawn}
- videos: Envivio-Dash3 and 32 synthetic ones
- {iterations} iterations, seed {seed}, curriculum "{curriculum}"
- mean QoE per chunk on the valid split of abr/fcc-hsdpa: {score:.4f}
- it never saw netllm-video2 or a link of abr/synthetic-volatile

Load it with `netllm_gym.make_agent("abr/actor-critic")`; trained by `netllm-gym train abr-actor-critic`.
"""


@register_recipe("abr-actor-critic", PPOConfig, data=False, timed=True, extra="llm")
def train_actor_critic(training: Training) -> Agent:
    """Train a streaming policy by PPO on the compiled simulator (resumable)."""
    config: PPOConfig = training.config
    train = [*traces.load("abr/fcc-hsdpa", "train"), *traces.load("abr/synthetic", "train")]
    valid = list(traces.load("abr/fcc-hsdpa", "valid"))
    trainer = Trainer(config, train, valid, traces.load_video("envivio-dash3"), training.run)
    agent = trainer.train(training.minutes, training.say)
    drawn = "" if config.curriculum == "none" else ", and links drawn from families of 0.35 to 8 Mbit/s"
    card = CARD.format(score=trainer.score(), drawn=drawn, **asdict(config))
    data = {"train": ["abr/fcc-hsdpa", "abr/synthetic"], "valid": ["abr/fcc-hsdpa"], "video": "envivio-dash3"}
    save(agent, training.out, {**asdict(config), "promoted": trainer.curriculum.state(), **data}, card)
    return agent
