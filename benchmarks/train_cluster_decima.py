"""Train the shipped scheduler: `python benchmarks/train_cluster_decima.py RUN --out FOLDER` (resumes RUN).

Learns on the train split of cluster/tpch and chooses on its valid split; `--set teacher= --set imitation=0` learns by
reinforcement alone. `--minutes 0 --out FOLDER` writes what RUN has reached.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np

from netllm_gym import traces
from netllm_gym.agents.learned.cluster_decima import save
from netllm_gym.agents.learned.cluster_decima_training import DecimaTraining, Trainer

CARD = """# cluster/decima

A scheduler for `netllm_gym/ClusterScheduling-v0` with Decima's architecture (Mao et al., SIGCOMM 2019): messages along
the jobs' DAGs, job and cluster summaries, a head that picks a stage and one that picks a number of executors;
{parameters:,} parameters.

{origin}

Trained on the train split of cluster/tpch ({executors} executors, episodes of {jobs} jobs), chosen on {checks}
sequences of its valid split: mean job completion time {score:.2f} s there ({check_jobs} jobs each, drawn decisions),
within {iterations} iterations. It never saw the test split, other numbers of executors or another workload. The inputs
are richer than the paper's five node features: logarithms, the fair share's room, the order by arrival and by work.

`netllm_gym.make_agent("cluster/decima")` draws its decisions (the episode's seed fixes the draws),
`"cluster/decima-greedy"` takes the most probable. Trained by `benchmarks/train_cluster_decima.py`; the options stand in
agent.json.
"""
CLONED = "**Not learnt from scratch**: its first {imitation} iterations imitate the rule `{teacher}` (DAgger)."
REINFORCED = "PPO with an input-dependent baseline over {rollouts} rollouts of the same jobs {verb}."


def origin(config: DecimaTraining, iterations: int) -> str:
    """Say where the weights come from."""
    parts = [CLONED.format(**asdict(config))] if config.imitation else []
    if iterations > config.imitation:
        verb = "went on from there" if parts else "taught it everything"
        parts.append(REINFORCED.format(rollouts=config.rollouts, verb=verb))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of the resumable state and log")
    parser.add_argument("--out", help="checkpoint folder to write")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="of DecimaTraining")
    given = parser.parse_args()
    kinds = {name: type(value) for name, value in asdict(DecimaTraining()).items()}
    options = {}
    for text in given.set:
        name, _, value = text.partition("=")
        if name not in kinds:
            parser.error(f"no option {name!r}; known: {', '.join(kinds)}")
        options[name] = kinds[name](value)
    config = DecimaTraining(**options)
    train, valid = traces.load("cluster/tpch", "train"), traces.load("cluster/tpch", "valid")
    trainer = Trainer(config, train, valid, given.run)
    agent = trainer.train(given.minutes, lambda line: print(line, flush=True))
    if given.out and not np.isfinite(trainer.best_score):
        print(f"{given.run} has no validation score yet: nothing is written", flush=True)
    elif given.out:
        recipe = asdict(config)
        card = CARD.format(
            parameters=sum(value.size for value in agent.weights.values()),
            origin=origin(config, trainer.iteration),
            executors=config.executors, jobs=config.jobs, checks=len(trainer.checks), check_jobs=config.check_jobs,
            score=trainer.best_score, iterations=trainer.iteration,
        )  # fmt: skip
        data = {"iterations_run": trainer.iteration, "train": "cluster/tpch", "valid": "cluster/tpch"}
        save(agent, given.out, {**recipe, **data}, card)


if __name__ == "__main__":
    main()
