"""Mean job completion time and seconds an episode, over paired seeds.

Usage: python benchmarks/cluster.py [--workload cluster/tpch] [--seeds 30] [--legacy] agent ...
"""

from __future__ import annotations

import argparse
import time

import gymnasium as gym
import numpy as np

import netllm_gym
from netllm_gym.agents.base import EnvInfo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", nargs="*", default=["cluster/fair", "cluster/strict-fair"])
    parser.add_argument("--workload", default="cluster/tpch")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--executors", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=200)
    args = parser.parse_args()
    env = gym.make(
        "netllm_gym/ClusterScheduling-v0",
        traces=args.workload, legacy=args.legacy, executors=args.executors, jobs=args.jobs,
    )  # fmt: skip
    for name in args.agents:
        agent, jct, start, decisions = netllm_gym.make_agent(name), [], time.perf_counter(), 0
        for seed in range(args.seeds):
            observation, info = env.reset(seed=seed)
            agent.reset(EnvInfo.of(env))
            over = False
            while not over:
                observation, _, terminated, truncated, info = env.step(agent.act(observation, info))
                over = terminated or truncated
                decisions += 1
            jct.append(info["mean_jct_s"])
        seconds = (time.perf_counter() - start) / args.seeds
        error = 1.96 * np.std(jct, ddof=1) / np.sqrt(len(jct)) if len(jct) > 1 else float("nan")
        rate = decisions / args.seeds
        print(f"{name:24s} {np.mean(jct):8.2f} ± {error:.2f} s  {rate:8.0f} decisions  {seconds:.2f} s/episode")


if __name__ == "__main__":
    main()
