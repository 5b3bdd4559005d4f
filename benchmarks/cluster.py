"""Mean job completion time and CPU seconds an episode, over job sequences; `--peer` times published simulators too.

Usage: python benchmarks/cluster.py [--traces cluster/tpch] [--split test] [--episodes 30] agent ...
       python benchmarks/cluster.py --traces cluster/tpch/as-published --legacy --episodes 3 cluster/fair \
           --peer spark-sched-sim --peer NetLLM/cluster_job_scheduling
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

import netllm_gym
from netllm_gym import play
from netllm_gym.envs.cluster.bounds import mean_jct_bounds


def mean_ci(values: list[float]) -> str:
    """Return mean and half-width of the 95 % interval (normal)."""
    error = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{np.mean(values):8.2f} ± {error:5.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agents", nargs="*", default=["cluster/fair", "cluster/strict-fair"])
    parser.add_argument("--traces", default="cluster/tpch")
    parser.add_argument("--split", default="test")
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--legacy", action="store_true", help="as the published simulators")
    parser.add_argument("--executors", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--peer", action="append", default=[], help="a checkout of a published simulator")
    args = parser.parse_args()
    env = gym.make(
        "netllm_gym/ClusterScheduling-v0", disable_env_checker=True,
        traces=args.traces, split=args.split, legacy=args.legacy, executors=args.executors, jobs=args.jobs,
    )  # fmt: skip
    first: list[float] = []
    bounds: list[dict[str, float]] = []
    own = float("nan")
    print(f"{'agent':24s} {'mean JCT, s':>16s} {'- first':>16s} {'worst 1 %':>10s} decisions  CPU s/episode")
    env.reset(seed=0, options={"trace": 0})  # resolves the duration tables once
    for name in args.agents:
        agent, jct, tail, seconds, decisions = netllm_gym.make_agent(name), [], [], [], 0
        for episode in range(args.episodes):
            begin = time.process_time()
            played = play(env, agent, episode, {"trace": episode % len(env.unwrapped.traces)}).run()
            decisions += played.steps
            seconds.append(time.process_time() - begin)
            jct.append(played.info["mean_jct_s"])
            if name == args.agents[0]:
                bounds.append(mean_jct_bounds(env.unwrapped.sim))
            tail.append(float(np.percentile([end - at for _, at, end in env.unwrapped.sim.finished], 99)))
        first = first or jct
        paired = mean_ci([a - b for a, b in zip(jct, first, strict=True)])
        if name == "cluster/fair":
            own = float(np.mean(seconds))
        print(
            f"{name:24s} {mean_ci(jct)} {paired} {np.mean(tail):10.1f} {decisions / args.episodes:9.0f}"
            f"  {np.mean(seconds):.2f}", flush=True,
        )  # fmt: skip
    for kind in bounds[0]:
        print(f"{'bound: ' + kind:24s} {mean_ci([bound[kind] for bound in bounds])}")
    seeds = [str(trace.seed) for trace in env.unwrapped.traces[: args.episodes]]
    for peer in args.peer:
        script = Path(__file__).with_name("cluster_peer.py")
        done = subprocess.run([sys.executable, script, peer, *seeds], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        cpu = float(np.mean(found["cpu_s"]))
        print(
            f"{'Fair in ' + Path(peer).name:24.24s} {mean_ci(found['jct_s'])} {'':27s} {found['decisions']:9.0f}"
            f"  {cpu:.2f} ({cpu / own:.1f} times ours)", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
