"""Teach the language model to schedule: collect with several rules, label by the best one, train offline.

Usage: python benchmarks/train_cluster_llm.py OUT [--traces cluster/tpch] [--objective cloning|return-conditioned]
           [--teacher cluster/tuned] [--minutes 25] [--set layers=4 …]

States come from every collecting agent on the train split; with `cloning` the teacher's decision is copied in all of
them, with `return-conditioned` each agent's own decision, given the seconds its episode saved against Fair. Killed and
started again, it goes on where it was. Weights are chosen on the valid split.
"""

from __future__ import annotations

import argparse
import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import netllm_gym
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.storage import save
from netllm_gym.agents.llm.trainer import train
from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.schedules import ENV, advantages, viewed
from netllm_gym.datasets.store import load_experience

AGENTS = ("cluster/fair", "cluster/strict-fair", "cluster/tuned", "cluster/weighted-fair")
BOUNDS = {"max_stages": 192, "max_jobs": 32, "max_edges": 256}


def collected(traces: str, split: str, sequences: int, jobs: int) -> Experience:
    """Return the episodes of one split, collected once."""
    kwargs = {"traces": traces, "split": split, "jobs": jobs, **BOUNDS}
    config = CollectConfig(ENV, AGENTS, sequences * len(AGENTS), env_kwargs=kwargs)
    name = f"netllm_gym/{traces.replace('/', '-')}/{split}-{sequences}x{jobs}-v0"
    return load_experience(collect(config, name, progress=lambda i, n: print(f"{name}: {i}/{n}", flush=True)))


def experience(traces: str, split: str, sequences: int, jobs: int, objective: str, teacher: str) -> Experience:
    """Prepare the episodes of one split for learning."""
    found = collected(traces, split, sequences, jobs)
    if objective == "cloning":
        return viewed(found, netllm_gym.make_agent(teacher))
    fair = replace(found, episodes=found.episodes[:: len(AGENTS)])
    return viewed(advantages(found, fair))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--traces", default="cluster/tpch")
    parser.add_argument("--objective", default="cloning", choices=["cloning", "return-conditioned"])
    parser.add_argument("--teacher", default="cluster/tuned")
    parser.add_argument("--sequences", type=int, nargs=2, default=[8, 2], help="of train and valid")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="of LLMConfig")
    args = parser.parse_args()
    options: dict[str, Any] = {
        "layers": 4, "context": 1, "lora_rank": 8, "batch_size": 64, "steps": 4000, "eval_every": 200, "patience": 99,
        "learning_rate": 2e-3, "warmup": 50, "lora_dropout": 0.0,
    }  # fmt: skip
    options |= {key: ast.literal_eval(value) for key, _, value in (text.partition("=") for text in args.set)}
    config = LLMConfig(objective=args.objective, **options)
    data, valid = (
        experience(args.traces, split, sequences, args.jobs, args.objective, args.teacher)
        for split, sequences in zip(("train", "valid"), args.sequences, strict=True)
    )
    print(f"{len(data)} episodes, {data.steps} decisions; valid {valid.steps}", flush=True)
    run = args.out.with_name(f"{args.out.name}.run")
    agent = train(config, data, valid, run, minutes=args.minutes, progress=lambda text: print(text, flush=True))
    save(agent, args.out)
    print(f"wrote {args.out}: {agent.results}", flush=True)


if __name__ == "__main__":
    main()
