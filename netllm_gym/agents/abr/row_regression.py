"""Fit a row network to values: the small rival of the language model, on the same lessons and the same view."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import extras
from netllm_gym.agents.abr.lessons import UNIT
from netllm_gym.agents.abr.rows import RowConfig, RowNetwork, to_torch
from netllm_gym.agents.regret import check_decision, gap_loss
from netllm_gym.datasets.experience import Experience
from netllm_gym.errors import ConfigError, DatasetError

# Beyond this loss a level is simply bad; not nearer, or rare outages would count for little.
DEEPEST = -4.0


@dataclass(frozen=True)
class RegressionConfig:
    """Hyper-parameters.

    Attributes:
        hidden: width of the network.
        epochs, patience: at most so many; so many without a better validation regret end the training.
        batch_size, learning_rate, weight_decay: of AdamW.
        decision: weight of the expected regret of a drawn level (:mod:`netllm_gym.agents.regret`) beside the squared
            error; 0 leaves it out.
        decision_temperature: that the level is drawn at, in ranges of the ladder.
        seed: of initial weights and batches.
    """

    hidden: int = 128
    epochs: int = 40
    patience: int = 8
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    decision: float = 1.0
    decision_temperature: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.hidden, self.epochs, self.patience, self.batch_size) < 1:
            raise ConfigError("hidden, epochs, patience and batch_size must be at least 1")
        check_decision(self.decision, self.decision_temperature)


def _arrays(experience: Experience) -> tuple[NDArray[Any], ...]:
    """Rows, context, mask and gaps (in ranges of the ladder, cut at :data:`DEEPEST`) of all states."""
    episodes = experience.episodes
    if not episodes or any(e.action_values is None or e.action_mask is None for e in episodes):
        raise DatasetError(f"dataset {experience.name} holds no lessons: states with a value for every level")
    mask = np.concatenate([np.asarray(e.action_mask) for e in episodes])
    rows = np.concatenate([e.observations["levels"] for e in episodes]) * mask[..., None]
    values = np.where(mask, np.concatenate([np.asarray(e.action_values) for e in episodes]) / UNIT, -np.inf)
    gaps = np.maximum(values - values.max(1, keepdims=True), DEEPEST)
    context = np.concatenate([e.observations["context"] for e in episodes])
    return rows.astype(np.float32), context, mask, gaps.astype(np.float32)


def fit_rows(
    config: RegressionConfig, data: Experience, valid: Experience, say: Callable[[str], None] | None = None
) -> RowNetwork:
    """Learn each level's gap to the best, and to choose by it; the epoch whose choices lose least on `valid` is kept.

    Raises:
        DatasetError: no lessons.
        MissingExtraError: torch is not installed.
    """
    torch = extras.load("torch", "abr-regret-mlp")
    rows, context, mask, gaps = (torch.from_numpy(array) for array in _arrays(data))
    held = tuple(torch.from_numpy(array) for array in _arrays(valid))
    shape = RowConfig(hidden=config.hidden)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = to_torch(shape)
    with torch.no_grad():  # what plans lose together is about what a level loses
        network.trust.weight.div_(network.trust.weight.sum())
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(config.seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
    best, kept, waited = float("inf"), copy.deepcopy(network.state_dict()), 0
    for epoch in range(config.epochs):
        for part in torch.randperm(len(rows), generator=generator).split(config.batch_size):
            found = network(rows[part], context[part], mask[part])
            loss = gap_loss(found, gaps[part], mask[part], config.decision, config.decision_temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        with torch.inference_mode():
            chosen = network(*held[:3]).argmax(1, keepdim=True)
            regret = -float(held[3].gather(1, chosen).mean())
        waited = 0 if regret < best else waited + 1
        if regret < best:
            best, kept = regret, copy.deepcopy(network.state_dict())
        if say:
            say(f"epoch {epoch + 1}/{config.epochs}: valid regret {regret:.4f}")
        if waited >= config.patience:
            break
    return RowNetwork(shape, {key: value.numpy().copy() for key, value in kept.items()})
