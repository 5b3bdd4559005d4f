"""Students of the rollouts: Decima's network learns to take the decisions that cost least (expert iteration).

The loss of a state is the mean cost of a decision that the network would draw among those compared: a sum that is
linear in the costs, so that the noise of a label averages out over states instead of biasing the choice, as the best of
noisy values would. Costs count in their own standard errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.cluster.decima import Decima
from netllm_gym.agents.cluster.decima_network import DecimaConfig, Network, States, count_options, read_states
from netllm_gym.agents.cluster.decima_training import _drawn, log_chances, torch_operations
from netllm_gym.agents.cluster.labels import Labels
from netllm_gym.envs.cluster.adaptive import COEFFICIENTS, advise
from netllm_gym.errors import ConfigError

CLIP = 6.0  # standard errors beyond which a decision is simply bad, or good


@dataclass(frozen=True)
class ExpertConfig:
    """How a student learns from labels.

    Attributes:
        embedding, hidden: widths of Decima's network.
        epochs, batch, learning_rate: of Adam; the rate falls along half a cosine.
        imitation: weight of copying the best decision (by one standard error, else the rule's) beside the costs.
        seed: of weights and order.
    """

    embedding: int = 16
    hidden: int = 32
    epochs: int = 12
    batch: int = 512
    learning_rate: float = 3e-3
    imitation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.epochs, self.batch) < 1 or self.learning_rate <= 0:
            raise ConfigError("widths, epochs, batch and learning_rate must be positive")


def scores(costs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return costs ``[k, 2]`` (mean, error) in standard errors above the least: ``[k]``, 0 for the best."""
    error = float(np.sqrt(np.mean(costs[1:, 1] ** 2))) if len(costs) > 1 else 1.0
    values = costs[:, 0] / max(error, 1e-6)
    return np.clip(values - values.min(), 0.0, CLIP).astype(np.float32)


def best(costs: NDArray[np.float32]) -> int:
    """Return the position of the decision to copy: the cheapest that is better than the rule's by a standard error."""
    gain = costs[:, 0] + costs[:, 1]
    gain[0] = 0.0
    return int(gain.argmin())


@dataclass
class _Batch:
    """States as one graph, with `[s, k]` tables: position in `choice`, number, score, which exist, the one to copy."""

    states: States
    picked: NDArray[np.int64]
    number: NDArray[np.int64]
    score: NDArray[np.float32]
    exists: NDArray[np.bool_]
    copy: NDArray[np.int64]


def _batch(labels: Labels, rows: Sequence[int] | NDArray[Any], advised: NDArray[np.float64] = COEFFICIENTS) -> _Batch:
    """Read states, with the advice of a rule with the coefficients `advised`, for a network that never waits."""
    found = [labels.state(int(k)) for k in rows]
    moving_s = [float(labels.moving_s[int(k)]) for k in rows]
    advices = [advise(state, delay, advised) for (state, _, _), delay in zip(found, moving_s, strict=True)]
    states = read_states([state for state, _, _ in found], moving_s, advices)
    starts = np.searchsorted(states.choice_state, np.arange(len(rows)))
    most = max(len(choices) for _, choices, _ in found)
    shape = len(rows), most
    picked, number = np.repeat(starts[:, None], most, 1), np.ones(shape, np.int64)
    score, exists, copied = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(len(rows), np.int64)
    ends = np.append(starts[1:], len(states.row))
    for i, (_, choices, costs) in enumerate(found):
        act = choices[:, 0] >= 0
        if not act.any():
            continue
        kept = choices[act]
        place = starts[i] + np.searchsorted(states.row[starts[i] : ends[i]], kept[:, 0])
        n = len(kept)
        picked[i, :n], exists[i, :n] = place, True
        number[i, :n] = np.minimum(kept[:, 1], states.limit[place])
        score[i, :n] = scores(costs)[act]
        copied[i] = int(np.argmin(score[i, :n])) if not act[best(costs)] else int(np.sum(act[: best(costs)]))
    return _Batch(states, picked, number, score, exists, copied)


def _chances(network: Network, batch: _Batch) -> Any:
    """Return log probabilities of the decisions compared, ``[s, k]``."""
    import torch

    states, count = batch.states, len(batch.states.free)
    contexts = network.contexts(states)
    stages = log_chances(network.picks(contexts), states.choice_state, count)
    found = []
    for k in range(batch.picked.shape[1]):
        picked = batch.picked[:, k]
        options, owner, numbers = count_options(states, picked)
        amounts = log_chances(network.amounts(contexts[torch.from_numpy(picked)], options, owner), owner, count)
        chosen = torch.from_numpy(np.flatnonzero(numbers == batch.number[owner, k]))
        found.append(stages[torch.from_numpy(picked)] + amounts[chosen])
    return torch.stack(found, dim=1).masked_fill(torch.from_numpy(~batch.exists), -1e4)


def objective(log_p: Any, score: Any, copied: Any, imitation: float) -> tuple[Any, Any]:
    """Return the loss and the mean score of the decision that would be taken.

    Args:
        log_p: log probabilities of the decisions compared among all, ``[s, k]``; -1e4 where there is none.
        score: their costs in standard errors above the least, ``[s, k]``.
        copied: position of the one to copy, ``[s]``.
        imitation: weight of copying.
    """
    import torch

    among = torch.log_softmax(log_p, dim=1)
    regret = (among.exp() * score).sum(1).mean()
    clone = -log_p.gather(1, copied[:, None]).clamp_min(-20.0).mean()
    outside = -torch.logsumexp(log_p, dim=1).clamp_min(-20.0).mean()
    chosen = log_p.argmax(1, keepdim=True)
    return regret + imitation * (clone + outside), score.gather(1, chosen).mean().detach()


def train_decima(
    labels: Labels, valid: Labels, config: ExpertConfig, start: Decima | None = None,
    say: Callable[[str], None] | None = None, advised: NDArray[np.float64] = COEFFICIENTS,
) -> tuple[Decima, float]:  # fmt: skip
    """Train Decima's network (without units) on labels; return the weights with the least score on `valid`, and it.

    Args:
        labels, valid: what to learn on and to choose by.
        config: how.
        start: a network of the same widths to begin with.
        say: receives a line an epoch.
        advised: coefficients of the rule whose advice the network sees.
    """
    import torch

    shape = DecimaConfig(config.embedding, config.hidden, relative=True)
    drawn = _drawn(shape, config.seed) if start is None else start.weights
    weights = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in drawn.items()}
    network = Network(weights, torch_operations())
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(0xE8,)))
    steps = config.epochs * max(1, len(labels) // config.batch)
    optimiser = torch.optim.Adam(list(weights.values()), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: 0.02 + 0.49 * (1 + np.cos(np.pi * k / steps)))
    least, kept = float("inf"), drawn
    valid = valid.select(valid.compared)
    held = [_batch(valid, rows, advised) for rows in np.array_split(np.arange(len(valid)), max(1, len(valid) // 512))]
    cuts = np.array_split(rng.permutation(len(labels)), max(1, len(labels) // config.batch))
    batches = [_batch(labels, rows, advised) for rows in cuts]  # reading states costs more than learning from them
    for epoch in range(config.epochs):
        losses = []
        for k in rng.permutation(len(batches)).tolist():
            batch = batches[k]
            loss, _ = objective(
                _chances(network, batch), torch.from_numpy(batch.score), torch.from_numpy(batch.copy), config.imitation
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            values = []
            for b in held:
                score_of, copied = torch.from_numpy(b.score), torch.from_numpy(b.copy)
                values.append(float(objective(_chances(network, b), score_of, copied, 0.0)[1]))
        score = float(np.average(values, weights=[len(b.exists) for b in held]))
        if score < least:
            least, kept = score, {name: value.detach().numpy().copy() for name, value in weights.items()}
        if say:
            say(f"epoch {epoch + 1}/{config.epochs}: loss {np.mean(losses):.4f}, valid score {score:.4f}")
    return Decima(shape, kept, greedy=True), least


def rule_score(labels: Labels) -> float:
    """Return the score of the rule that every state was compared with: what a student must fall below."""
    return float(np.mean([scores(labels.state(int(k))[2])[0] for k in np.flatnonzero(labels.compared)]))
