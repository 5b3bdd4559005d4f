"""``cluster-expert``: students of the rollouts, for workloads of any kind.

States come from random workloads and a named one; in each, rollouts tell what several decisions lead to; the student
learns from those costs. In every further round the states are also those that a Decima network comes to that was
taught on the rounds before.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from netllm_gym.agents.base import Agent
from netllm_gym.agents.cluster.decima import save as save_decima
from netllm_gym.agents.cluster.expert import ExpertConfig, rule_score, train_decima
from netllm_gym.agents.cluster.labels import Labels, label
from netllm_gym.agents.registry import make_agent
from netllm_gym.errors import ConfigError, UnknownNameError
from netllm_gym.files import finite, make_folder, sweep, write_json
from netllm_gym.recipes.base import Training, register_recipe
from netllm_gym.traces.jobs.families import SHAPES

CARD = """# A scheduler taught by rollouts

Decima's network without units, for `netllm_gym/ClusterScheduling-v0`. It sees the advice of `cluster/adaptive`;
while it learnt, it saw that of `{advice}`. Trained by `netllm-gym train cluster-expert` on {states:,} states
({compared:,} with compared decisions) of random workloads ({shapes}) and {traces}. The rule's decisions have a score
of {rule:.3f} on the valid states, the network's {score:.4f} (standard errors above the best decision). It waits where
the rule does and takes the most probable decision.
"""
STUDENTS = ("decima", "llm")
RULES = ("cluster/hasty", "cluster/adaptive")
# What the labels depend on; the other options say what is learnt from them.
LABELLING = ("part", "traces", "known", "shapes", "candidates", "futures", "horizon", "until", "share", "others",
             "labelled", "rule")  # fmt: skip


@dataclass(frozen=True)
class ExpertOptions:
    """Options of the recipe.

    Attributes:
        student: ``decima`` or ``llm``.
        states, valid_states: how many are labelled in each round, and to choose by.
        part: states in a file of labels; a stopped labelling goes on behind the last whole file.
        rounds: of labelling and learning.
        traces, known: a named workload, and the share of the episodes that are on it.
        shapes: of the random workloads' jobs.
        candidates, futures, horizon, until: of the rollouts (:func:`~netllm_gym.agents.cluster.labels.label`).
        share: of an episode's decisions that are labelled.
        others: share of its other decisions that are kept as the rule took them, to be copied.
        labels: folder where labels are looked for and kept, so that several trainings share them; default: beside the
            checkpoint.
        labelled: seed of the labels.
        rule: whose decisions are compared with others, who plays on in the rollouts and whose advice the student sees
            while it learns: ``cluster/hasty`` or ``cluster/adaptive``. Playing, it sees the advice of
            ``cluster/adaptive``.
        without: shapes, or the named workload, whose states are left out of learning and of choosing.
        epochs: of Decima's network.
        steps, layers: of the language model.
        imitation: weight of copying the best decision beside the costs; where no decision is clearly better than the
            rule's, the rule's is the best.
        seed: of the weights and the order.
    """

    student: str = "decima"
    states: int = 2500
    valid_states: int = 1000
    part: int = 250
    rounds: int = 2
    traces: str = "cluster/tpch-unseen-queries"
    known: float = 0.4
    shapes: tuple[str, ...] = ("chain", "fork-join", "map-reduce", "layered", "tree", "wide")
    candidates: int = 7
    futures: int = 4
    horizon: float = 2.0
    until: float = 3.0
    share: float = 0.12
    others: float = 0.02
    labels: str = ""
    labelled: int = 0
    rule: str = "cluster/hasty"
    without: tuple[str, ...] = ()
    epochs: int = 20
    steps: int = 500
    layers: int = 4
    imitation: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.student not in STUDENTS:
            raise UnknownNameError("student", self.student, STUDENTS)
        if self.rule not in RULES:
            raise UnknownNameError("rule", self.rule, RULES)
        least = min(self.states, self.valid_states, self.part, self.rounds, self.epochs, self.steps)
        if least < 1 or self.candidates < 2:
            raise ConfigError("states, valid_states, part, rounds, epochs and steps must be at least 1, candidates 2")
        if self.futures < 2 or not 0 <= self.known <= 1 or self.imitation < 0 or self.labelled < 0:
            raise ConfigError("futures must be at least 2, known in [0, 1], imitation and labelled not negative")
        if not 0 < self.horizon <= self.until:
            raise ConfigError("horizon must be positive, and until at least as much")
        if not 0 < self.share <= 1 or not 0 <= self.others <= 1:
            raise ConfigError("share must be in (0, 1], others in [0, 1]")
        if odd := [shape for shape in self.shapes if shape not in SHAPES]:
            raise UnknownNameError("shape of jobs", odd[0], SHAPES)
        if odd := [name for name in self.without if name not in (self.traces, *self.shapes)]:
            raise UnknownNameError("family to leave out", odd[0], (self.traces, *self.shapes))


@register_recipe("cluster-expert", ExpertOptions, data=False, extra="llm", resumable=True)
def train_cluster_expert(training: Training) -> Agent:
    """Teach a scheduler by rollouts in random workloads: Decima's network or a language model (resumable)."""
    options: ExpertOptions = training.config
    folder = _folder(training)
    valid = _labelled(training, folder, "valid", 1_000_000_000, options.valid_states)
    rounds: list[Labels] = []
    for k in range(options.rounds):
        before = folder / f"student-{k - 1}" if k else None
        if before is not None and not before.is_dir():
            _decima(training, Labels.join(rounds), valid, before)
        rounds.append(_labelled(training, folder, f"round-{k}", 1_000_000 * (k + 1), options.states, before))
    labels = Labels.join(rounds)
    if options.without:
        left_out = sum(1 << i for i, shape in enumerate(SHAPES) if shape in options.without)
        named = options.traces in options.without
        labels, valid = (
            part.select(((part.world & left_out) == 0) & ~((part.world == 0) & named)) for part in (labels, valid)
        )
        if not len(labels) or not valid.compared.any():
            raise ConfigError("without leaves no labels to learn on, or none to choose by")
    return (_llm if options.student == "llm" else _decima)(training, labels, valid, training.out)


def _folder(training: Training) -> Path:
    """Return the folder of labels, which remembers the options that they were made with.

    Raises:
        ConfigError: it was begun with other options.
    """
    options: ExpertOptions = training.config
    folder = Path(options.labels) if options.labels else training.run / "labels"
    make_folder(folder)
    sweep(folder)
    made = {name: getattr(options, name) for name in LABELLING}
    wanted = finite(made)
    path = folder / "labels.json"
    if not path.is_file():
        write_json(path, made)
        return folder
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ConfigError(f"{path} cannot be read; give labels= another folder") from None
    if other := [name for name in wanted if not isinstance(held, dict) or held.get(name) != wanted[name]]:
        raise ConfigError(f"{folder} holds labels made with another {other[0]}; give labels= another folder")
    return folder


def _labelled(
    training: Training, folder: Path, name: str, seed: int, count: int, student: Path | None = None
) -> Labels:
    """Return so many labelled states, part by part; those that lie in the folder are not made again."""
    options: ExpertOptions = training.config
    paths = []
    for number, begin in enumerate(range(0, count, options.part)):
        path = folder / f"{name}-{number:03d}.npz"
        paths.append(path)
        limit = min(options.part, count - begin)
        if path.is_file() and len(Labels.load([path])) >= limit:
            continue
        makers: Any = [] if student is None else [partial(make_agent, str(student), greedy=True)]
        labels = label(
            seed + 1000 * options.labelled + number, float("inf"), students=makers, traces=options.traces,
            known=options.known, shapes=options.shapes, share=options.share, candidates=options.candidates,
            futures=options.futures, others=0.0 if name == "valid" else options.others, limit=limit,
            horizon=options.horizon, until=options.until, rule=options.rule,
        )  # fmt: skip
        labels.save(path)
        training.say(f"{name}: {begin + limit} of {count} states labelled")
    labels = Labels.load(paths)
    return labels.select(np.arange(len(labels)) < count)


def _decima(training: Training, labels: Labels, valid: Labels, out: Path) -> Agent:
    """Train Decima's network and write its checkpoint."""
    options: ExpertOptions = training.config
    advised = make_agent(options.rule).coefficients
    config = ExpertConfig(epochs=options.epochs, batch=128, imitation=options.imitation, seed=options.seed)
    student, score = train_decima(labels, valid, config, say=training.say, advised=advised)
    facts = {"states": len(labels), "compared": int(labels.compared.sum())}
    card = CARD.format(
        **facts,
        advice=options.rule,
        shapes=", ".join(options.shapes),
        traces=options.traces,
        rule=rule_score(valid),
        score=score,
    )
    made = {name: value for name, value in asdict(options).items() if name != "labels"}
    save_decima(student, out, {**made, **facts, "valid_score": round(score, 4)}, card)
    return student


def _llm(training: Training, labels: Labels, valid: Labels, out: Path) -> Agent:
    """Train the language model and write its checkpoint."""
    from netllm_gym.agents.cluster.expert_llm import train_llm
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.storage import save

    options: ExpertOptions = training.config
    advised = make_agent(options.rule).coefficients
    config = LLMConfig(
        objective="regret", layers=options.layers, context=1, lora_rank=8, lora_dropout=0.0, batch_size=64,
        steps=options.steps, eval_every=max(1, min(100, options.steps // 4)), learning_rate=2e-3, warmup=20,
        seed=options.seed,
    )  # fmt: skip
    agent = train_llm(labels, valid, config, (1.0, options.imitation), say=training.say, advised=advised)
    save(agent, out)
    return make_agent("cluster/llm", checkpoint=str(out))
