"""Train the shipped scheduler: `python benchmarks/train_cluster_decima.py RUN --out FOLDER` (resumes RUN).

Learns on the train split of cluster/tpch and chooses on its valid split: imitation of `teacher` first, then
reinforcement; `--set teacher= --set imitation=0` learns by reinforcement alone. `--start FOLDER` goes on from the
network of a checkpoint. `--minutes 0 --out FOLDER` writes what RUN has reached.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from netllm_gym import traces
from netllm_gym.agents.checkpoint import read_description
from netllm_gym.agents.cluster.decima import load, save
from netllm_gym.agents.cluster.decima_training import DecimaTraining, Trainer

CARD = """# cluster/decima

A scheduler for `netllm_gym/ClusterScheduling-v0` with Decima's architecture (Mao et al., SIGCOMM 2019): messages along
the jobs' DAGs, job and cluster summaries, a head that picks a stage and one that picks a number of executors;
{parameters:,} parameters.

{origin}

Trained on the train split of cluster/tpch, chosen on {checks} sequences of its valid split: mean job completion time
{score:.2f} s there ({check_jobs} jobs each, {executors} executors, drawn decisions).
It never saw the test split or another workload. The inputs are richer than the paper's five node features: logarithms,
the fair share's room, the order by arrival and by work, what shorter jobs have left, the critical path.

`netllm_gym.make_agent("cluster/decima")` draws its decisions (the episode's seed fixes the draws),
`"cluster/decima-greedy"` takes the most probable. Trained by `benchmarks/train_cluster_decima.py`; the options stand in
agent.json.
"""
CLONED = "Imitation of the rule `{teacher}` (DAgger): {imitation} iterations of {rows} episodes of {jobs} jobs."
REINFORCED = (
    "{began}: PPO with an input-dependent baseline over {rollouts} rollouts of the same jobs, {passed} iterations of "
    "{rows} episodes of {jobs} jobs on {clusters} executors."
)


def origin(recipe: dict[str, Any]) -> list[str]:
    """Say where the weights come from, a line for each thing that was done."""
    lines = origin(recipe["start"]) if recipe.get("start") else []
    facts = {**recipe, "rows": recipe["sequences"] * recipe["rollouts"]}
    if recipe["imitation"]:
        lines.append(CLONED.format(**facts))
    passed = recipe["iterations_run"] - recipe["imitation"]
    if passed > 0:
        began = "Reinforcement from there" if lines else "Reinforcement from random weights, without a teacher"
        clusters = " or ".join(map(str, recipe["executors"]))
        lines.append(REINFORCED.format(**facts, began=began, passed=passed, clusters=clusters))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of the resumable state and log")
    parser.add_argument("--start", help="checkpoint folder to go on from")
    parser.add_argument("--out", help="checkpoint folder to write")
    parser.add_argument("--minutes", type=float)
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="of DecimaTraining (executors=50,30 mixes)"
    )
    given = parser.parse_args()
    kinds = {name: type(value) for name, value in asdict(DecimaTraining()).items()}
    options: dict[str, Any] = {}
    for text in given.set:
        name, _, value = text.partition("=")
        if name not in kinds:
            parser.error(f"no option {name!r}; known: {', '.join(kinds)}")
        options[name] = tuple(int(x) for x in value.split(",")) if kinds[name] is tuple else kinds[name](value)
    config = DecimaTraining(**options)
    train, valid = traces.load("cluster/tpch", "train"), traces.load("cluster/tpch", "valid")
    start = load(Path(given.start), read_description(given.start)) if given.start else None
    trainer = Trainer(config, train, valid, given.run, start)
    agent = trainer.train(given.minutes, lambda line: print(line, flush=True))
    if given.out and not np.isfinite(trainer.best_score):
        print(f"{given.run} has no validation score yet: nothing is written", flush=True)
    elif given.out:
        recipe: dict[str, Any] = {
            **asdict(config), "iterations_run": trainer.iteration, "train": "cluster/tpch", "valid": "cluster/tpch",
        }  # fmt: skip
        if given.start:
            recipe["start"] = read_description(given.start)["recipe"]
        card = CARD.format(
            parameters=sum(value.size for value in agent.weights.values()),
            origin="\n".join(
                fill(line, 120, initial_indent=f"{k}. ", subsequent_indent="   ")
                for k, line in enumerate(origin(recipe), start=1)
            ),
            executors=config.executors[0], checks=len(trainer.checks), check_jobs=config.check_jobs,
            score=trainer.best_score,
        )  # fmt: skip
        save(agent, given.out, recipe, card)


if __name__ == "__main__":
    main()
