"""Predictors of head motion in closed form, vectorised over windows.

A predictor maps histories ``[N, h, 3]`` to futures ``[N, f, 3]``, degrees. Hold-last, velocity, regression
and the history's mean are all *linear in the history*: one matrix ``[f, h]`` per (h, f), computed once, so a
prediction is a matrix product. (NetLLM refits scikit-learn's regression after every step, 60 fits a window,
for the same
numbers: a point on the fitted line leaves the fit as it was.)

Every predictor but the two ``as published`` works on the unwrapped history, so that nothing is fitted across
±180°.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.geometry import unwrap_to_last, wrap_deg

Array = NDArray[np.float64]


class Predictor:
    """Predicts where a head will point."""

    def predict(self, history_deg: Array, future: int) -> Array:
        """Return the next `future` samples of each history.

        Args:
            history_deg: shape ``[N, h, 3]``, degrees, wrapped or not, newest last.
            future: samples to predict.

        Returns:
            Shape ``[N, future, 3]``, degrees, near the last sample and not wrapped.
        """
        raise NotImplementedError


class LinearPredictor(Predictor):
    """A predictor that is linear in the history, the same for all three angles.

    Args:
        unwrap: make the history continuous first; False keeps the jump at ±180° (as published).
    """

    def __init__(self, unwrap: bool = True) -> None:
        self.unwrap = unwrap
        self._kernel = lru_cache(maxsize=64)(self._build)

    def operator(self, history: int, future: int) -> Array:
        """Return the matrix ``[future, history]`` by which one angle's future follows from its past."""
        raise NotImplementedError

    def _build(self, history: int, future: int) -> Array:
        # The same matrix for each of the three interleaved angles: one product for everything.
        return np.ascontiguousarray(np.kron(self.operator(history, future).T, np.eye(3)))

    def predict(self, history_deg: Array, future: int) -> Array:
        """Return the product of operator and history, see :class:`Predictor`."""
        history = np.asarray(history_deg, dtype=np.float64)
        if self.unwrap:
            history = unwrap_to_last(history)
        elif np.abs(history).max(initial=0.0) > 180.0:
            history = wrap_deg(history)
        windows, length = history.shape[:2]
        kernel = self._kernel(length, future)
        return (history.reshape(windows, length * 3) @ kernel).reshape(windows, future, 3)


class HoldLast(Predictor):
    """The head stays where it is (persistence): the baseline that published comparisons leave out."""

    def predict(self, history_deg: Array, future: int) -> Array:
        """Repeat the last sample."""
        return np.repeat(np.asarray(history_deg, dtype=np.float64)[:, -1:], future, axis=1)


class HistoryMean(LinearPredictor):
    """The head returns to the mean of its history."""

    def operator(self, history: int, future: int) -> Array:
        """Return equal weights."""
        return np.full((future, history), 1.0 / history)


class Velocity(LinearPredictor):
    """The mean velocity of the history goes on (NetLLM's baseline when not unwrapped)."""

    def operator(self, history: int, future: int) -> Array:
        """Return ``x_h + k (x_h - x_1) / (h - 1)``."""
        matrix = np.zeros((future, history))
        steps = np.arange(1, future + 1) / (history - 1)
        matrix[:, -1] = 1.0 + steps
        matrix[:, 0] = -steps
        return matrix


class DampedVelocity(LinearPredictor):
    """The last step goes on and fades: ``x_h + (x_h - x_{h-1}) Σ_{i≤k} γ^i``.

    Args:
        damping: γ in [0, 1); 0 is hold-last.
    """

    def __init__(self, damping: float = 0.6) -> None:
        if not 0.0 <= damping < 1.0:
            raise ConfigError(f"damping must lie in [0, 1), got {damping}")
        super().__init__()
        self.damping = damping

    def operator(self, history: int, future: int) -> Array:
        """Return the geometric sums of the last difference."""
        sums = np.cumsum(self.damping ** np.arange(1, future + 1))
        matrix = np.zeros((future, history))
        matrix[:, -1] = 1.0 + sums
        matrix[:, -2] = -sums
        return matrix


class LinearRegression(LinearPredictor):
    """A least-squares line through the history, extrapolated.

    Args:
        last: fit only the last so many samples; ``None`` fits all (NetLLM's baseline when not unwrapped).
        unwrap: see :class:`LinearPredictor`.
    """

    def __init__(self, last: int | None = None, unwrap: bool = True) -> None:
        if last is not None and last < 2:
            raise ConfigError(f"a line needs at least 2 samples, got {last}")
        super().__init__(unwrap)
        self.last = last

    def operator(self, history: int, future: int) -> Array:
        """Return the hat matrix of the line at the future's times."""
        used = min(self.last or history, history)
        past = np.column_stack([np.ones(used), np.arange(used)])
        ahead = np.column_stack([np.ones(future), np.arange(used, used + future)])
        matrix = np.zeros((future, history))
        matrix[:, history - used :] = ahead @ np.linalg.pinv(past)
        return matrix
