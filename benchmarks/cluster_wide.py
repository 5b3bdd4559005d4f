"""CPU time of a decision (observation, agent and step) with many runnable stages, and below a stage with many children.

Usage: python benchmarks/cluster_wide.py [--stages 250 2000] [agent ...]
"""

from __future__ import annotations

import argparse
import time

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload

AGENTS = ("cluster/fair", "cluster/tuned", "cluster/adaptive", "cluster/decima")
DECISIONS = 150


def job(stages: int, star: bool) -> JobTemplate:
    """Return a job of independent stages, or of one stage and its children."""
    durations = {50: (1.0, 2.0, 3.0)}
    profiles = tuple(StageProfile(1, durations, durations, durations) for _ in range(stages + star))
    return JobTemplate("job", profiles, tuple((0, child) for child in range(1, stages + 1)) if star else ())


def milliseconds(name: str, template: JobTemplate) -> float:
    """Return the CPU milliseconds of one decision of an agent, a mean of 150."""
    env = ClusterSchedulingEnv(Workload("w", (template,), 1000.0), jobs=1, executors=50)
    agent = netllm_gym.make_agent(name)
    observation, info = env.reset(seed=0, options={"trace": 0})
    agent.reset(EnvInfo.of(env, seed=0))
    over, count, begin = False, -3, time.process_time()  # the first three are warm-up
    while not over and count < DECISIONS:
        if count == 0:
            begin = time.process_time()
        observation, _, over, _, info = env.step(agent.act(observation, info))
        count += 1
    return 1e3 * (time.process_time() - begin) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agents", nargs="*", default=AGENTS)
    parser.add_argument("--stages", type=int, nargs="+", default=[250, 2000])
    args = parser.parse_args()
    for kind in ("independent", "children"):
        for stages in args.stages:
            costs = (f"{name} {milliseconds(name, job(stages, kind == 'children')):.2f}" for name in args.agents)
            print(f"{stages} {kind}: {', '.join(costs)} ms a decision", flush=True)


if __name__ == "__main__":
    main()
