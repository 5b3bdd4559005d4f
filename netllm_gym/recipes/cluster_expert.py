"""``cluster-expert``: students of the rollouts, for workloads of any kind.

States come from random workloads and a named one; in each, rollouts tell what several decisions lead to; the student
learns from those costs. In every further round the states are also those that the student of the round before came to.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from netllm_gym.agents.base import Agent
from netllm_gym.agents.cluster.decima import save as save_decima
from netllm_gym.agents.cluster.expert import ExpertConfig, rule_score, train_decima
from netllm_gym.agents.cluster.labels import Labels, label
from netllm_gym.agents.registry import make_agent
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.files import make_folder, sweep
from netllm_gym.recipes.base import Training, register_recipe
from netllm_gym.traces.jobs.families import SHAPES

CARD = """# A scheduler taught by rollouts

Decima's network without units and with the advice of `cluster/adaptive`, for `netllm_gym/ClusterScheduling-v0`. Trained
by `netllm-gym train cluster-expert` on {states:,} states ({compared:,} with compared decisions) of random workloads
({shapes})
and {traces}. The rule's decisions have a score of {rule:.3f} on the valid states, the network's {score:.4f} (standard
errors above the best decision).
"""
STUDENTS = ("decima", "llm")


@dataclass(frozen=True)
class ExpertOptions:
    """Options of the recipe.

    Attributes:
        student: ``decima`` or ``llm``.
        states, valid_states: how many are labelled in each round, and to choose by.
        rounds: of labelling and learning.
        traces, known: a named workload, and the share of the episodes that are on it.
        shapes: of the random workloads' jobs.
        candidates, futures: of the rollouts.
        epochs: of Decima's network.
        steps, layers: of the language model.
        imitation: weight of copying the best decision beside the costs; where no decision is clearly better than the
            rule's, the rule's is the best.
        seed: of the labels, the weights and the order.
    """

    student: str = "decima"
    states: int = 1400
    valid_states: int = 300
    rounds: int = 1
    traces: str = "cluster/tpch"
    known: float = 0.4
    shapes: tuple[str, ...] = ("chain", "fork-join", "map-reduce", "layered", "tree", "wide")
    candidates: int = 7
    futures: int = 4
    epochs: int = 40
    steps: int = 200
    layers: int = 4
    imitation: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.student not in STUDENTS:
            raise UnknownNameError("student", self.student, STUDENTS)
        if min(self.states, self.valid_states, self.rounds, self.epochs, self.steps) < 1 or self.candidates < 2:
            raise ConfigError("states, valid_states, rounds, epochs and steps must be at least 1, candidates 2")
        if self.futures < 2 or not 0 <= self.known <= 1 or self.imitation < 0:
            raise ConfigError("futures must be at least 2, known in [0, 1], imitation not negative")
        if odd := [shape for shape in self.shapes if shape not in SHAPES]:
            raise UnknownNameError("shape of jobs", odd[0], SHAPES)


@register_recipe("cluster-expert", ExpertOptions, data=False, extra="llm", resumable=True)
def train_cluster_expert(training: Training) -> Agent:
    """Teach a scheduler by rollouts in random workloads: Decima's network or a language model (resumable)."""
    options: ExpertOptions = training.config
    draw = partial(
        label, seconds=float("inf"), traces=options.traces, known=options.known, shapes=options.shapes,
        candidates=options.candidates, futures=options.futures,
    )  # fmt: skip
    folder = training.run / "labels"
    make_folder(folder)
    sweep(training.run)
    sweep(folder)

    def labelled(name: str, seed: int, count: int, student: Path | None = None, others: float = 0.0) -> Labels:
        path = folder / f"{name}.npz"
        if not path.is_file():
            makers = [] if student is None else [partial(_played, options.student, student)]
            draw(seed, students=makers, limit=count, others=others).save(path)
            training.say(f"{name}: {count} states labelled")
        return Labels.load([path])

    valid = labelled("valid", 1_000_000 + options.seed, options.valid_states)
    parts: list[Labels] = []
    agent: Agent | None = None
    for k in range(options.rounds):
        before = training.run / f"student-{k - 1}" if k else None
        parts.append(labelled(f"round-{k}", 10_000 * (k + 1) + options.seed, options.states, before, 0.3))
        last = k == options.rounds - 1
        agent = _taught(training, Labels.join(parts), valid, training.out if last else training.run / f"student-{k}")
    assert agent is not None
    return agent


def _played(student: str, folder: Path) -> Agent:
    """Build a student from its checkpoint."""
    return make_agent("cluster/llm", checkpoint=str(folder)) if student == "llm" else make_agent(str(folder))


def _taught(training: Training, labels: Labels, valid: Labels, out: Path) -> Agent:
    """Train the student on what has been labelled so far, and write its checkpoint."""
    options: ExpertOptions = training.config
    if options.student == "decima":
        config = ExpertConfig(epochs=options.epochs, batch=128, imitation=options.imitation, seed=options.seed)
        student, score = train_decima(labels, valid, config, say=training.say)
        facts = {"states": len(labels), "compared": int(labels.compared.sum())}
        card = CARD.format(
            **facts, shapes=", ".join(options.shapes), traces=options.traces, rule=rule_score(valid), score=score
        )
        save_decima(student, out, {**asdict(options), **facts}, card)
        return student
    from netllm_gym.agents.cluster.expert_llm import train_llm
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.storage import save as save_llm

    config_llm = LLMConfig(
        objective="regret", layers=options.layers, context=1, lora_rank=8, lora_dropout=0.0, batch_size=64,
        steps=options.steps, eval_every=50, learning_rate=2e-3, warmup=20, seed=options.seed,
    )  # fmt: skip
    agent = train_llm(labels, valid, config_llm, (1.0, options.imitation), say=training.say)
    save_llm(agent, out)
    return _played("llm", out)
