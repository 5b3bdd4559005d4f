"""Train the ABR policy: `python benchmarks/train_abr_actor_critic.py RUN --out FOLDER` (resumes RUN).

Learns on the train splits of abr/fcc-hsdpa and abr/synthetic, chooses on the valid split of abr/fcc-hsdpa. Many test
traces of abr/fcc-hsdpa are pieces of recordings that stand whole in train or valid; those recordings are left out of
both. The volatile synthetic family stays out too: it is what the unseen settings test.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from netllm_gym import traces
from netllm_gym.agents.learned.abr_actor_critic import save
from netllm_gym.agents.learned.abr_ppo import CURRICULA, PPOConfig, Trainer

CARD = """# abr/actor-critic

A two-layer policy for `netllm_gym/ABR-v0` (six levels, QoE lin), trained by PPO on the train splits of abr/fcc-hsdpa
and abr/synthetic with Envivio-Dash3 and 32 synthetic videos, chosen on the valid split of abr/fcc-hsdpa (mean QoE per
chunk {score:.4f} within {iterations} iterations). Recordings of which a piece stands in the test split of abr/fcc-hsdpa
were left out of both. It never saw abr/synthetic-volatile or netllm-video2.

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
    tested = {trace.group for trace in traces.load("abr/fcc-hsdpa", "test")}
    train = [trace for trace in traces.load("abr/fcc-hsdpa", "train") if trace.group not in tested]
    valid = [trace for trace in traces.load("abr/fcc-hsdpa", "valid") if trace.group not in tested]
    print(f"{len(train)} real traces to learn on, {len(valid)} to choose by", flush=True)
    train += traces.load("abr/synthetic", "train")
    trainer = Trainer(config, train, valid, traces.load_video("envivio-dash3"), given.run)
    agent = trainer.train(given.minutes, print)
    if given.out:
        card = CARD.format(score=trainer.best_score, iterations=trainer.iteration)
        data = {
            "train": ["abr/fcc-hsdpa (no recording of test)", "abr/synthetic"],
            "valid": ["abr/fcc-hsdpa (no recording of test)"],
            "video": "envivio-dash3",
        }
        save(agent, given.out, {**asdict(config), "promoted": trainer.curriculum.state(), **data}, card)


if __name__ == "__main__":
    main()
