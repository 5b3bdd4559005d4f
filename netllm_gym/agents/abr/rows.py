"""A network that scores the rows of :mod:`netllm_gym.envs.abr.view`: any number of levels, in NumPy or in torch.

Each row meets the context in a first layer, all rows of the ladder (their mean and maximum) in a second; one number a
row comes out. To it are added the losses of the plans, weighted: a fresh network already plays what its plans say, and
training only moves it from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.abr.view import CONTEXT_FEATURES, LOSSES, ROW_FEATURES
from netllm_gym.errors import ConfigError

Floats = NDArray[np.float32]
# How much a fresh network trusts each plan (see view.SPEEDS): mostly RobustMPC's.
TRUST = (6.0, 1.0, 2.0, 3.0, 2.0, 0.5)
ABSENT = -1e9


@dataclass(frozen=True)
class RowConfig:
    """Shape of the network.

    Attributes:
        hidden: width of the two layers.
        more_context: numbers in the context beyond the view's (a critic's look at the future).
        pooled: give one number a state instead of one a row (a critic).
    """

    hidden: int = 64
    more_context: int = 0
    pooled: bool = False

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.more_context < 0:
            raise ConfigError("hidden must be at least 1 and more_context not negative")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every weight."""
        h = self.hidden
        found: dict[str, tuple[int, ...]] = {
            "row.weight": (h, ROW_FEATURES),
            "context.weight": (h, CONTEXT_FEATURES + self.more_context),
            "context.bias": (h,),
            "own.weight": (h, h),
            "own.bias": (h,),
            "ladder.weight": (h, 2 * h),
            "out.weight": (1, h),
            "out.bias": (1,),
        }
        if not self.pooled:
            found["trust.weight"] = (1, LOSSES.stop - LOSSES.start)
        return found


class RowNetwork:
    """The network in NumPy, for playing.

    Args:
        config: its shape.
        weights: by name, see :meth:`RowConfig.shapes`.

    Raises:
        ConfigError: weights that do not fit.
    """

    def __init__(self, config: RowConfig, weights: Mapping[str, Floats]) -> None:
        found = {key: tuple(value.shape) for key, value in weights.items()}
        if found != config.shapes():
            raise ConfigError(f"weights of shape {found} do not fit {config}")
        if not all(np.isfinite(value).all() for value in weights.values()):
            raise ConfigError("weights are not finite")
        self.config, self.weights = config, {key: np.asarray(value, np.float32) for key, value in weights.items()}

    def scores(self, rows: Floats, context: Floats, mask: NDArray[np.bool_] | None = None) -> Floats:
        """One score a row, ``[n, L]``, from rows ``[n, L, F]`` and context ``[n, C]``; absent rows score lowest.

        A pooled network gives one number a state, ``[n]``.
        """
        w = self.weights
        x = rows @ w["row.weight"].T + (context @ w["context.weight"].T + w["context.bias"])[:, None]
        x = np.maximum(x, 0.0)
        if mask is None:
            mean, highest = x.mean(1), x.max(1)
        else:
            x = x * mask[..., None]
            mean, highest = x.sum(1) / mask.sum(1, keepdims=True), x.max(1)
        ladder = np.concatenate([mean, highest], axis=1) @ w["ladder.weight"].T
        x = np.maximum(x @ w["own.weight"].T + w["own.bias"] + ladder[:, None], 0.0)
        if self.config.pooled:
            x = x.mean(1) if mask is None else (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            return (x @ w["out.weight"].T + w["out.bias"])[:, 0]
        found = (x @ w["out.weight"].T)[..., 0] + w["out.bias"] + (rows[..., LOSSES] @ w["trust.weight"].T)[..., 0]
        return found if mask is None else np.where(mask, found, ABSENT)


def to_torch(config: RowConfig) -> Any:
    """Return the network as a fresh torch module ``(rows, context, mask) -> [n, L]``, or ``[n]`` where pooled."""
    import torch
    from torch import Tensor, nn

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            h = config.hidden
            self.row = nn.Linear(ROW_FEATURES, h, bias=False)
            self.context = nn.Linear(CONTEXT_FEATURES + config.more_context, h)
            self.own = nn.Linear(h, h)
            self.ladder = nn.Linear(2 * h, h, bias=False)
            self.out = nn.Linear(h, 1)
            if not config.pooled:
                self.trust = nn.Linear(len(TRUST), 1, bias=False)
                with torch.no_grad():
                    self.trust.weight.copy_(torch.tensor([TRUST]))
                    self.out.weight.mul_(0.01)

        def forward(self, rows: Tensor, context: Tensor, mask: Tensor) -> Tensor:
            present = mask[..., None].float()
            x = torch.relu(self.row(rows) + self.context(context)[:, None]) * present
            share = present / present.sum(1, keepdim=True)
            pooled = torch.cat([(x * share).sum(1), x.amax(1)], 1)
            x = torch.relu(self.own(x) + self.ladder(pooled)[:, None])
            if config.pooled:
                return self.out((x * share).sum(1))[:, 0]
            found = self.out(x)[..., 0] + self.trust(rows[..., LOSSES])[..., 0]
            return found.masked_fill(~mask, ABSENT)

    return Rows()
