"""Train the ABR policy: `python benchmarks/train_abr_actor_critic.py RUN --out FOLDER` (resumes RUN).

Learns on the train splits of abr/fcc-hsdpa and abr/synthetic and, with a curriculum, on links drawn from a space of
families (netllm_gym/agents/abr/curriculum.py). The valid split of abr/fcc-hsdpa scores the policy.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from netllm_gym import traces
from netllm_gym.agents.abr.actor_critic import save
from netllm_gym.agents.abr.ppo import CURRICULA, PPOConfig, Trainer

CARD = """# abr/actor-critic

A two-layer policy for `netllm_gym/ABR-v0` (six levels, QoE lin), trained by PPO:

- links: the train splits of abr/fcc-hsdpa and abr/synthetic{drawn}
- videos: Envivio-Dash3 and 32 synthetic ones
- {iterations} iterations, seed {seed}, curriculum "{curriculum}"
- mean QoE per chunk on the valid split of abr/fcc-hsdpa: {score:.4f}
- it never saw netllm-video2 or a link of abr/synthetic-volatile

Load it with `netllm_gym.make_agent("abr/actor-critic")`; trained by `benchmarks/train_abr_actor_critic.py`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the resumable state and log")
    parser.add_argument("--out", help="checkpoint folder to write")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--iterations", type=int, default=PPOConfig.iterations)
    parser.add_argument("--average", type=float, default=PPOConfig.average)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curriculum", choices=CURRICULA, default="none")
    given = parser.parse_args()
    config = PPOConfig(iterations=given.iterations, average=given.average, seed=given.seed, curriculum=given.curriculum)
    train = [*traces.load("abr/fcc-hsdpa", "train"), *traces.load("abr/synthetic", "train")]
    valid = list(traces.load("abr/fcc-hsdpa", "valid"))
    trainer = Trainer(config, train, valid, traces.load_video("envivio-dash3"), given.run)
    agent = trainer.train(given.minutes, print)
    if given.out:
        drawn = "" if config.curriculum == "none" else ", and links drawn from families of 0.35 to 8 Mbit/s"
        card = CARD.format(score=trainer.score(), drawn=drawn, **asdict(config))
        data = {"train": ["abr/fcc-hsdpa", "abr/synthetic"], "valid": ["abr/fcc-hsdpa"], "video": "envivio-dash3"}
        save(agent, given.out, {**asdict(config), "promoted": trainer.curriculum.state(), **data}, card)


if __name__ == "__main__":
    main()
