"""From few episodes of another task, does what the generalist knows help? `python benchmarks/few_shot.py OUT`.

Needs `third_party.py` of docs/tutorials/third_party.md in the working directory, `pip install mobile-env highway-env`
and `pip install -e examples/fourth_task`. Four episodes of a rule to learn from and four to choose weights by; the same
model begins at `any/generalist` or from scratch, once for every seed. What lies in OUT is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import netllm_gym
from netllm_gym.datasets.store import list_datasets
from netllm_gym.evaluation.formats import interval, number, table

WORDS = {
    "road": "A car drives on a highway with several lanes. The observation has a row per car: whether it is there, and "
    "its position and speed relative to ours; ours comes first. Choose to change lane, keep on, speed up or slow down.",
    "cells": "Base stations serve moving users. For each user the observation tells which stations it is connected to, "
    "how strong each station's signal is, and how content the user is. Choose a station to connect or disconnect.",
    "sender": "",
}
EPISODES, PLAYED = 4, 24


def tasks() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Name → environment, rule to learn from, arguments of the environment."""
    import third_party

    return {
        "road": ("netllm_gym/Dict-v0", "road/careful", third_party.ROAD),
        "cells": ("netllm_gym/Dict-v0", "cells/nearest", third_party.CELLS),
        "sender": ("congestion/Sender-v0", "congestion/bbr", {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    lines = []
    for task, (env, rule, kwargs) in tasks().items():
        data = {}
        for split, seed in (("few", 0), ("valid", 1)):
            data[split] = f"few-shot/{task}/{split}-v0"
            if data[split] not in list_datasets():
                own = {"split": "train" if split == "few" else split} if env.startswith("congestion") else {}
                config = netllm_gym.CollectConfig(env, (rule,), EPISODES, 0.0, seed, env_kwargs={**kwargs, **own})
                netllm_gym.collect(config, data[split])
        agents: list[Any] = [rule, "any/random"]
        for start, label in (("any/generalist", "from the generalist"), ("", "from scratch")):
            for seed in range(given.trainings):
                folder = given.out / f"{task}-{'few' if start else 'scratch'}-{seed}"
                if not (folder / "agent.json").is_file():
                    options = {
                        "steps": given.steps, "eval_every": 20, "start_from": start, "description": WORDS[task],
                    }  # fmt: skip
                    netllm_gym.train(
                        "few-shot", [data["few"]], folder, valid=[data["valid"]], seed=seed, options=options
                    )
                agents.append({"name": str(folder), "label": label, "training_seed": seed})
        test = {"split": "test"} if env.startswith("congestion") else {}
        played = netllm_gym.evaluate(
            env=env, setting={**kwargs, **test}, agents=agents, baseline="from scratch", episodes=PLAYED
        )
        for _, row in played.summary().iterrows():
            apart = f"{number(row['difference'], signed=True)} "
            apart += interval(row["difference_low"], row["difference_high"], True)
            mean = f"{number(row['mean'])} {interval(row['ci_low'], row['ci_high'])}"
            lines.append([task, row["agent"], str(row["seeds"]), mean, apart.strip(), str(row["verdict"])])
    print("\n".join(table(["task", "agent", "trainings", "mean", "minus from scratch", "verdict"], lines)))


if __name__ == "__main__":
    main()
