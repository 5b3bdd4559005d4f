"""``cluster-decima``: the scheduler that ships: imitation of a rule first, then reinforcement.

It learns on the train split of a set of job sequences and chooses on its valid split. ``teacher="" imitation=0`` learns
by reinforcement alone; ``start=FOLDER`` goes on from the network of a checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from netllm_gym import traces
from netllm_gym.agents.base import Agent
from netllm_gym.agents.checkpoint import read_description
from netllm_gym.agents.cluster.decima import load, save
from netllm_gym.agents.cluster.decima_training import DecimaTraining, Trainer
from netllm_gym.errors import ConfigError
from netllm_gym.recipes.base import Training, narrowed, register_recipe

CARD = """# cluster/decima

A scheduler for `netllm_gym/ClusterScheduling-v0` with Decima's architecture (Mao et al., SIGCOMM 2019): messages along
the jobs' DAGs, job and cluster summaries, a head that picks a stage and one that picks a number of executors;
{parameters:,} parameters.

{origin}

Trained on the train split of {traces}, chosen on {checks} sequences of its valid split: mean job completion time
{score:.2f} s there ({check_jobs} jobs each, {executors} executors, drawn decisions).
It never saw the test split or another workload. The inputs are richer than the paper's five node features: logarithms,
the fair share's room, the order by arrival and by work, what shorter jobs have left, the critical path.

`netllm_gym.make_agent("cluster/decima")` draws its decisions (the episode's seed fixes the draws),
`"cluster/decima-greedy"` takes the most probable. Trained by `netllm-gym train cluster-decima`; the options stand in
agent.json.
"""
CLONED = "Imitation of the rule `{teacher}` (DAgger): {imitation} iterations of {rows} episodes of {jobs} jobs."
REINFORCED = (
    "{began}: PPO with an input-dependent baseline over {rollouts} rollouts of the same jobs, {passed} iterations of "
    "{rows} episodes of {jobs} jobs on {clusters} executors."
)


@dataclass(frozen=True)
class DecimaOptions(DecimaTraining):
    """Options of the recipe.

    Attributes:
        traces: job sequences to learn on (split train) and to choose by (split valid).
        start: checkpoint folder to go on from; empty: new weights.
    """

    traces: str = "cluster/tpch"
    start: str = ""


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


@register_recipe("cluster-decima", DecimaOptions, data=False, timed=True, extra="llm", resumable=True)
def train_decima(training: Training) -> Agent:
    """Train a scheduler with Decima's architecture, by imitation and reinforcement (resumable)."""
    options: DecimaOptions = training.config
    config = narrowed(DecimaTraining, options)
    begin = read_description(options.start) if options.start else None
    start = load(Path(options.start), begin) if begin else None
    train, valid = traces.load(options.traces, "train"), traces.load(options.traces, "valid")
    trainer = Trainer(config, train, valid, training.run, start)
    agent = trainer.train(training.minutes, training.say)
    if not np.isfinite(trainer.best_score):
        raise ConfigError(f"{training.run} has no validation score yet: train longer; nothing is written")
    recipe: dict[str, Any] = {
        **asdict(config), "iterations_run": trainer.iteration, "train": options.traces, "valid": options.traces,
    }  # fmt: skip
    if begin:
        recipe["start"] = begin["recipe"]
    card = CARD.format(
        parameters=sum(value.size for value in agent.weights.values()),
        origin="\n".join(
            fill(line, 120, initial_indent=f"{k}. ", subsequent_indent="   ")
            for k, line in enumerate(origin(recipe), start=1)
        ),
        traces=options.traces, executors=config.executors[0], checks=len(trainer.checks), check_jobs=config.check_jobs,
        score=trainer.best_score,
    )  # fmt: skip
    save(agent, training.out, recipe, card)
    return agent
