"""Train d3rlpy's CQL (or BC) on the padded view of collected schedules and write a checkpoint folder.

Usage: python benchmarks/train_cluster_cql.py OUT [--algorithm cql] [--steps 6000] [--traces cluster/tpch]
       python benchmarks/cluster_table.py rows.jsonl cluster/fair "cluster/cql checkpoint='OUT'" --settings default
"""

from __future__ import annotations

import argparse
from pathlib import Path

from train_cluster_llm import AGENTS, collected

from netllm_gym.agents.offline.algorithms import OfflineConfig, train_offline
from netllm_gym.agents.offline.checkpoint import save
from netllm_gym.datasets.schedules import padded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--algorithm", default="cql", choices=["cql", "bcq", "bc"])
    parser.add_argument("--traces", default="cluster/tpch")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = padded(collected(args.traces, "train", args.sequences, args.jobs))
    print(f"{len(data)} episodes of {', '.join(AGENTS)}, {data.steps} decisions", flush=True)
    config = OfflineConfig(args.algorithm, steps=args.steps, seed=args.seed)
    save(train_offline(config, data, lambda text: print(text, flush=True)), data, args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
