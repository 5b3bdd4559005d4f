"""From episodes to batches: windows of the context's length, those of like length padded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from netllm_gym.datasets.experience import Episode, pad


@dataclass
class Window(Episode):
    """A stretch of an episode.

    Attributes:
        later: sum of the rewards after the stretch, so that returns-to-go stay those of the episode.
        earlier: the action before the stretch, or ``None`` at the episode's beginning.
    """

    later: float = 0.0
    earlier: np.ndarray | None = None

    def returns_to_go(self) -> np.ndarray:
        """Sum of this and all later rewards of the whole episode, float64 ``[T]``."""
        return super().returns_to_go() + self.later


def windows(episodes: Sequence[Episode], context: int) -> list[Episode]:
    """Cut episodes into stretches of `context` steps, one after the other; 0 leaves them whole.

    A stretch trains the agent on every length of memory from one step to the whole context.
    """
    if not context:
        return list(episodes)
    found: list[Episode] = []
    for episode in episodes:
        to_go = np.append(episode.returns_to_go(), 0.0)
        for begin in range(0, len(episode), context):
            part = slice(begin, min(begin + context, len(episode)))
            found.append(
                Window(
                    {key: value[part] for key, value in episode.observations.items()},
                    episode.actions[part],
                    episode.rewards[part],
                    None if episode.action_values is None else episode.action_values[part],
                    episode.trace,
                    None if episode.action_mask is None else episode.action_mask[part],
                    later=float(to_go[part.stop]),
                    earlier=episode.actions[begin - 1] if begin else None,
                )
            )
    return found


def collate(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Pad episodes or windows into the tensors :meth:`DecisionModel.forward` takes."""
    batch = pad(episodes)
    batch.pop("rewards")
    observations = {key: torch.from_numpy(value) for key, value in batch.pop("observations").items()}
    earlier = [getattr(episode, "earlier", None) for episode in episodes]
    if any(action is not None for action in earlier):
        rows = [e.actions[0] if action is None else action for e, action in zip(episodes, earlier, strict=True)]
        batch["earlier"] = np.stack(rows)[:, None]
        batch["has_earlier"] = np.array([action is not None for action in earlier])
    return {"observations": observations, **{key: torch.from_numpy(value) for key, value in batch.items()}}


class ByLength(Sampler[int]):
    """A shuffled order in which batches hold rows of like length, so that little is padded.

    Rows are shuffled, sorted by length within stretches of `pool` batches, and the batches shuffled again. The order
    depends on the seed and the epoch alone, so a resumed training goes through the same batches.
    """

    pool = 32

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = np.asarray(lengths), batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw another order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        batches: list[np.ndarray] = []
        for begin in range(0, len(order), self.pool * self.batch):
            stretch = order[begin : begin + self.pool * self.batch]
            stretch = stretch[np.argsort(-self.lengths[stretch], kind="stable")]
            batches += [stretch[i : i + self.batch] for i in range(0, len(stretch), self.batch)]
        whole = [rows for rows in batches if len(rows) == self.batch]
        rest = [rows for rows in batches if len(rows) < self.batch]  # at the end, or later batches would straddle
        shuffled = [whole[i] for i in rng.permutation(len(whole))]
        return iter(np.concatenate([*shuffled, *rest]).tolist())
