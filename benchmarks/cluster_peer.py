"""Fair in a checkout of spark-sched-sim or of NetLLM's cluster_job_scheduling: mean job completion time and seconds.

Usage: python benchmarks/cluster_peer.py CHECKOUT SEED ...   (CHECKOUT/data/tpch must hold the profiles)
Prints one JSON object. What the heuristics do not use (torch extensions) is replaced by empty modules.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

SETTINGS: dict[str, Any] = {
    "num_executors": 50, "job_arrival_cap": 200, "job_arrival_rate": 4e-5, "moving_delay": 2000.0,
    "warmup_delay": 1000.0, "data_sampler_cls": "TPCHDataSampler", "dataset": "tpch",
}  # fmt: skip


class _Empty(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _bypass(package: str, folder: Path) -> None:
    """Let modules of `package` be imported without its __init__, which pulls in every neural scheduler."""
    module = ModuleType(package)
    module.__path__ = [str(folder)]
    sys.modules[package] = module


def load_peer(checkout: Path) -> tuple[Any, Any]:
    """Return (environment, Fair scheduler) of a checkout."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    for name in ("torch", "torch_geometric", "torch_geometric.data", "torch_sparse", "torch_scatter", "pygame"):
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = _Empty(name)
    fork = (checkout / "spark_sched_sim" / "schedulers").is_dir()
    environment = importlib.import_module("spark_sched_sim.spark_sched_sim").SparkSchedSimEnv
    if fork:
        _bypass("spark_sched_sim.schedulers", checkout / "spark_sched_sim" / "schedulers")
        _bypass("spark_sched_sim.schedulers.heuristic", checkout / "spark_sched_sim" / "schedulers" / "heuristic")
        rules = importlib.import_module("spark_sched_sim.schedulers.heuristic.heuristic")
        sys.modules["spark_sched_sim.schedulers.heuristic"].HeuristicScheduler = rules.HeuristicScheduler  # type: ignore[attr-defined]
        rules = importlib.import_module("spark_sched_sim.schedulers.heuristic.round_robin")
        return environment(**SETTINGS), rules.RoundRobinScheduler(SETTINGS["num_executors"])
    _bypass("schedulers", checkout / "schedulers")
    rules = importlib.import_module("schedulers.heuristics.round_robin")
    return environment(SETTINGS), rules.RoundRobinScheduler(SETTINGS["num_executors"])


def main() -> None:
    env, fair = load_peer(Path(sys.argv[1]).resolve())
    jct, seconds, decisions = [], [], 0
    for seed in map(int, sys.argv[2:]):
        random.seed(seed)
        begin, over = time.process_time(), False
        observation, _ = env.reset(seed=seed)
        while not over:
            action = fair.schedule(observation)
            observation, _, over, _, _ = env.step(action[0] if isinstance(action, tuple) else action)
            decisions += 1
        seconds.append(time.process_time() - begin)
        jct.append(sum(j.t_completed - j.t_arrival for j in env.jobs.values()) / len(env.jobs) / 1000.0)
    print(json.dumps({"jct_s": jct, "cpu_s": seconds, "decisions": decisions / len(jct)}))


if __name__ == "__main__":
    main()
