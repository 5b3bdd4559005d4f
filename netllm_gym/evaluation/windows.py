"""How well viewports were predicted, window by window, with the intervals of the evaluation's bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.viewport.metrics import Array, great_circle, mae_published, mae_wrapped, tile_scores
from netllm_gym.envs.viewport.tiles import TileView
from netllm_gym.envs.viewport.windows import Windows
from netllm_gym.evaluation.bootstrap import DRAWS, Bootstrap
from netllm_gym.evaluation.moments import Part
from netllm_gym.traces.head import geometry


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(per_window: Array, cluster: NDArray[np.int64], seed: int = 0, draws: int = DRAWS) -> Interval:
    """Mean over windows with a studentised interval that resamples whole clusters (pairs of video and user).

    Windows of one viewer are alike; resampling windows would make the interval several times too narrow. Of several
    trainings of an agent, the trainings are resampled too.

    Args:
        per_window: error of each window, ``[N]``, or of each training and window, ``[S, N]``.
        cluster: cluster of each window, ``[N]``.
        seed: of the bootstrap.
        draws: bootstrap samples.
    """
    rows = np.atleast_2d(np.asarray(per_window, np.float64))
    _, index = np.unique(cluster, return_inverse=True)
    totals = np.stack([np.bincount(index, row) for row in rows]).astype(np.float64)
    counts = np.bincount(index).astype(np.float64)
    bootstrap = Bootstrap({"recording": np.arange(len(counts))}, draws, seed)
    estimate = bootstrap.estimate([Part(totals, counts, who="agent")])
    return Interval(estimate.value, *estimate.interval())


def score(
    prediction: Array,
    windows: Windows,
    hold: Array | None = None,
    view: TileView | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the predictions of every window.

    Args:
        prediction: shape ``[N, f, 3]``, degrees.
        windows: the windows.
        hold: predictions of hold-last, against which `skill` is measured; default: the windows' last samples.
        view: also score tiles (costs about 20 microseconds a step).
        seed: of the bootstrap.

    Returns:
        ``mae_deg`` and ``mae_published_deg`` and ``great_circle_deg`` (:class:`Interval`), ``skill`` = 1 -
        error / error of hold-last (on ``mae_deg``), ``mae_at_s`` (published, per horizon second),
        ``axes_deg``, and with `view` the mean tile scores and their course over the horizon (``…_by_step``).
    """
    truth = windows.future_deg
    if hold is None:
        hold = np.repeat(windows.history_deg[:, -1:], truth.shape[1], axis=1)
    wrapped, published = mae_wrapped(prediction, truth), mae_published(prediction, truth)
    circle = great_circle(prediction, truth, windows.reading)
    by_step = published.mean(axis=0)
    seconds = [1 / windows.hz, *range(1, int(truth.shape[1] / windows.hz) + 1)]
    result: dict[str, Any] = {
        "mae_deg": interval(wrapped.mean(axis=1), windows.trace, seed),
        "mae_published_deg": interval(published.mean(axis=1), windows.trace, seed),
        "great_circle_deg": interval(circle.mean(axis=1), windows.trace, seed),
        "skill": 1.0 - float(wrapped.mean() / mae_wrapped(hold, truth).mean()),
        "mae_at_s": {f"{s:g}": float(by_step[round(s * windows.hz) - 1]) for s in seconds},
        "axes_deg": np.abs(geometry.wrap_deg(prediction - truth)).mean(axis=(0, 1)).tolist(),
        "great_circle_at_s": {f"{s:g}": float(circle.mean(axis=0)[round(s * windows.hz) - 1]) for s in seconds},
    }
    if view is not None:
        for name, values in tile_scores(prediction, truth, view, windows.reading).items():
            result[name] = interval(values.mean(axis=1), windows.trace, seed)
            result[f"{name}_by_step"] = values.mean(axis=0).tolist()
    return result
