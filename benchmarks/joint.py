"""One adapter for three tasks, against one adapter each: same backbone, data, and steps of every task.

    python benchmarks/joint.py --out runs/joint

Bitrates (hindsight values of `abr/fcc-hsdpa`), viewports (`viewport/jin2022`) and schedules (imitating
`cluster/strict-fair` on small synthetic job sequences). A joint step takes three times a single one's windows, a third
of each task, so that both see as many windows of a task. Checkpoints are chosen on `valid` (the joint one by the sum of
its tasks' losses), agents are compared on `test`. Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import netllm_gym
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.storage import save
from netllm_gym.agents.llm.together import Task, train_joint
from netllm_gym.agents.llm.trainer import train
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.store import load_experience
from netllm_gym.datasets.viewport_windows import window_experience

ABR = {"traces": "abr/fcc-hsdpa", "video": "envivio-dash3"}
HEADS = {"traces": "viewport/jin2022"}
CLUSTER = {"traces": "cluster/synthetic", "jobs": 8, "executors": 20}
CLUSTER |= {"max_stages": 256, "max_jobs": 16, "max_edges": 512, "on_illegal": "repair"}


@dataclass(frozen=True)
class Job:
    """A task: what to learn from, how, and how to test it."""

    name: str
    objective: str
    experience: Callable[[str], Experience]
    env: str
    test: dict[str, Any]
    baseline: str
    episodes: int


def _collected(env: str, agents: tuple[str, ...], sizes: dict[str, int], **kwargs: Any) -> Callable[[str], Experience]:
    def load(split: str) -> Experience:
        hindsight = env == "netllm_gym/ABR-v0"
        config = netllm_gym.CollectConfig(
            env, agents, sizes[split], 0.15 if hindsight else 0.0, 0, hindsight, {**kwargs, "split": split}
        )
        return load_experience(netllm_gym.collect(config, f"netllm_gym/joint/{config.key}_{split}-v0"))

    return load


JOBS = (
    Job(
        "bitrate", "regret",
        _collected("netllm_gym/ABR-v0", ("abr/robust-mpc", "abr/bba", "abr/oracle"), {"train": 300, "valid": 30},
                   **ABR, random_start=True),
        "netllm_gym/ABR-v0", {**ABR, "split": "test"}, "abr/robust-mpc", 58,
    ),
    Job(
        "viewport", "regression", lambda split: window_experience(split=split, **HEADS),
        "netllm_gym/ViewportPrediction-v0", {**HEADS, "split": "test"}, "viewport/hold-last", 126,
    ),
    Job(
        "cluster", "cloning",
        _collected("netllm_gym/ClusterScheduling-v0", ("cluster/strict-fair",), {"train": 60, "valid": 6}, **CLUSTER),
        "netllm_gym/ClusterScheduling-v0", {**CLUSTER, "split": "test"}, "cluster/strict-fair", 8,
    ),
)  # fmt: skip


def _train(out: Path, config: LLMConfig, seed: int) -> list[dict[str, Any]]:
    """Train everything for one seed, unless it is there already; return the agents to evaluate."""
    data = {job.name: (job.experience("train"), job.experience("valid")) for job in JOBS}
    agents = []
    for job in JOBS:
        place = out / f"alone-{job.name}-{seed}"
        if not (place / "agent.json").is_file():
            print(f"alone: {job.name}, seed {seed}", flush=True)
            single = replace(config, objective=job.objective, seed=seed)
            save(train(single, *data[job.name], place.with_suffix(".run"), progress=print), place)
        agents.append({"name": str(place), "label": "alone", "training_seed": seed, "task": job.name})
        agents.append({"name": str(out / f"joint-{job.name}-{seed}"), "label": "joint", "training_seed": seed,
                       "task": job.name})  # fmt: skip
    places = {job.name: out / f"joint-{job.name}-{seed}" for job in JOBS}
    if not all((place / "agent.json").is_file() for place in places.values()):
        print(f"joint, seed {seed}", flush=True)
        tasks = [Task(job.name, *data[job.name], job.objective) for job in JOBS]
        shared = replace(config, batch_size=len(JOBS) * config.batch_size, seed=seed)
        for name, agent in train_joint(shared, tasks, out / f"joint-{seed}.run", progress=print).items():
            save(agent, places[name])
    return agents


def main() -> None:
    """Train, evaluate, print a table per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/joint"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="windows of each task in a step")
    options = parser.parse_args()
    config = LLMConfig(
        layers=options.layers, steps=options.steps, eval_every=max(1, options.steps // 3), batch_size=options.batch,
        context=32, lora_dropout=0.0, regression_loss="absolute",
    )  # fmt: skip
    agents = [agent for seed in range(options.seeds) for agent in _train(options.out, config, seed)]
    for job in JOBS:
        own = [{k: v for k, v in agent.items() if k != "task"} for agent in agents if agent["task"] == job.name]
        result = netllm_gym.evaluate(
            env=job.env, agents=[*own, job.baseline], setting=job.test, episodes=job.episodes, baseline="alone",
            out=options.out / f"test-{job.name}", progress=False,
        )  # fmt: skip
        print(f"\n{job.name} ({result.manifest['metric']['name']})")
        shown = ["agent", "mean", "ci_low", "ci_high", "difference", "difference_low", "difference_high", "verdict"]
        table = result.summary().reset_index()[shown]
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"), flush=True)


if __name__ == "__main__":
    main()
