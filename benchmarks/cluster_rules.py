"""Rules of cluster scheduling on settings and families, by their compiled twins: seconds instead of minutes.

Usage: python benchmarks/cluster_rules.py CELL … [--split test] [--episodes 30] [--rule FOLDER]

A cell is a setting (default, unseen1, …), a catalog name or a shape of random jobs (50 jobs on 50 executors at load
0.7). Prints the mean completion time of `cluster/adaptive` and differences of logarithms with 95 % intervals
(Student's t) to other rules, the same rule without patience among them. --rule takes a folder that
`netllm-gym train cluster-adaptive` wrote in its place.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from cluster_table import family, interval

import netllm_gym
from netllm_gym.agents.cluster.rollout import compiled_rule
from netllm_gym.agents.cluster.search import Episode
from netllm_gym.envs.cluster.adaptive import NEVER
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.evaluation import load_setting

OTHERS = ("cluster/fair", "cluster/strict-fair", "cluster/tuned")


def cell(name: str, split: str) -> dict[str, Any]:
    """Return the arguments of the environment."""
    if name == "default" or name.startswith("unseen"):
        return {**load_setting("cluster", name, "paper").kwargs, "split": split}
    return {"traces": family(name, split), "split": split, "jobs": 50, "executors": 50, "load": 0.7}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="+", metavar="CELL")
    parser.add_argument("--split", default="test")
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--rule", default="cluster/adaptive")
    args = parser.parse_args()
    mine = netllm_gym.make_agent(args.rule)
    hasty = netllm_gym.make_agent("cluster/adaptive", coefficients=mine.coefficients[: -len(NEVER)].tolist())
    rules = {"mine": mine, "without patience": hasty, **{name: netllm_gym.make_agent(name) for name in OTHERS}}
    twins = {name: compiled_rule(rule) for name, rule in rules.items()}
    against = [*OTHERS, "without patience"]
    print("| on | sequences | mean, s |" + "".join(f" minus {name}, % |" for name in against))
    print("|---" * (3 + len(against)) + "|")
    for name in args.cells:
        env = ClusterSchedulingEnv(**cell(name, args.split))
        count = min(args.episodes, len(env.traces))
        found: dict[str, list[float]] = {key: [] for key in twins}
        for k in range(count):
            env.reset(seed=k, options={"trace": k})
            episode = Episode.of(env)
            for key, twin in twins.items():
                found[key].append(episode.mean_jct_s(*twin))
        own = np.array(found["mine"])
        less = (interval(100.0 * np.log(own / np.array(found[key]))) for key in against)
        print(f"| {name} | {count} | {own.mean():.2f} |" + "".join(f" {text} |" for text in less), flush=True)


if __name__ == "__main__":
    main()
