"""Teach the language model to schedule: collect with several rules on several clusters, a teacher beside them, train.

Usage: python benchmarks/train_cluster_llm.py OUT [--traces cluster/tpch] [--objective cloning|return-conditioned]
           [--teacher cluster/tuned] [--student FOLDER] [--executors 50 30] [--minutes 25] [--set layers=4 …]

States come from every collecting agent on the train split; with `cloning` what the teacher would have done is copied in
all of them (DAgger, Ross et al. 2011: `--student` adds the states that an agent trained before came to), with
`return-conditioned` each agent's own decision, given the seconds its episode saved against Fair. Killed and started
again, it goes on where it was. Weights are chosen on the valid split.
"""

from __future__ import annotations

import argparse
import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

from netllm_gym import zoo
from netllm_gym.agents.cluster.llm import ClusterLLM
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.storage import save
from netllm_gym.agents.llm.trainer import train
from netllm_gym.agents.registry import register_agent
from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.experience import Experience, as_taught, merge
from netllm_gym.datasets.schedules import ENV, advantages, viewed
from netllm_gym.datasets.store import load_experience
from netllm_gym.files import digest

AGENTS = ("cluster/fair", "cluster/strict-fair", "cluster/tuned", "cluster/weighted-fair")
STUDENT = ("cluster/student",)
BOUNDS = {"max_stages": 512, "max_jobs": 128, "max_edges": 1024}


def collected(
    traces: str, split: str, sequences: int, jobs: int, executors: int = 50,
    agents: tuple[str, ...] = AGENTS, teacher: str = "", weights: str = "",
) -> Experience:  # fmt: skip
    """Return the episodes of `agents` on one split and cluster, collected once; `weights` tells students apart."""
    kwargs = {"traces": traces, "split": split, "jobs": jobs, "executors": executors, **BOUNDS}
    config = CollectConfig(ENV, agents, sequences * len(agents), env_kwargs=kwargs, teacher=teacher)
    who = digest([repr((agents, teacher, weights)).encode()])[:6]
    name = f"netllm_gym/{traces.replace('/', '-')}/{split}-{sequences}x{jobs}-on-{executors}-{who}-v0"
    say = f"{name} by {', '.join(agents)}"
    return load_experience(collect(config, name, progress=lambda i, n: print(f"{say}: {i}/{n}", flush=True)))


def experience(args: argparse.Namespace, split: str, sequences: int) -> Experience:
    """Prepare the episodes of one split, on all clusters, for learning."""
    parts = []
    for executors in args.executors:
        place = (args.traces, split, sequences, args.jobs, executors)
        if args.objective == "return-conditioned":
            found = collected(*place)
            parts.append(advantages(found, replace(found, episodes=found.episodes[:: len(AGENTS)])))
            continue
        parts.append(as_taught(collected(*place, AGENTS, args.teacher)))
        if args.student:
            parts.append(as_taught(collected(*place, STUDENT, args.teacher, zoo.content(str(args.student)) or "")))
    return merge([viewed(part, max(args.executors)) for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--traces", default="cluster/tpch")
    parser.add_argument("--objective", default="cloning", choices=["cloning", "return-conditioned"])
    parser.add_argument("--teacher", default="cluster/tuned")
    parser.add_argument("--student", type=Path, help="an agent trained before, whose states are added")
    parser.add_argument("--sequences", type=int, nargs=2, default=[8, 2], help="of train and valid")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--executors", type=int, nargs="+", default=[50, 30], help="of the clusters")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="of LLMConfig")
    args = parser.parse_args()
    options: dict[str, Any] = {
        "layers": 4, "context": 1, "lora_rank": 8, "batch_size": 64, "steps": 4000, "eval_every": 200, "patience": 99,
        "learning_rate": 2e-3, "warmup": 50, "lora_dropout": 0.0,
    }  # fmt: skip
    options |= {key: ast.literal_eval(value) for key, _, value in (text.partition("=") for text in args.set)}
    if args.student:
        register_agent(*STUDENT)(lambda: ClusterLLM(args.student))
    config = LLMConfig(objective=args.objective, **options)
    data, valid = (
        experience(args, split, sequences) for split, sequences in zip(("train", "valid"), args.sequences, strict=True)
    )
    print(f"{len(data)} episodes, {data.steps} decisions; valid {valid.steps}", flush=True)
    run = args.out.with_name(f"{args.out.name}.run")
    agent = train(config, data, valid, run, minutes=args.minutes, progress=lambda text: print(text, flush=True))
    save(agent, args.out)
    print(f"wrote {args.out}: {agent.results}", flush=True)


if __name__ == "__main__":
    main()
