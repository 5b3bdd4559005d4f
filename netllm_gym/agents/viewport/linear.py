"""Linear maps of recent motion, fitted to training windows: the one-second baseline every network must beat.

Features are the increments of the unwrapped history, and for ``place=True`` sine and cosine of the last
angles (which lets the map pull the head to where people usually look, at the price of transferring worse to
other data sets). Targets are displacements from the last sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.viewport.predictors import Predictor
from netllm_gym.envs.viewport.windows import Windows, displacements
from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.geometry import unwrap_to_last

Array = NDArray[np.float64]
_LOSSES = ("l2", "l1")
_ROWS = 2048  # windows whose products of features are held at once


class LinearMap(Predictor):
    """A fitted linear map from recent motion to future displacements.

    Args:
        loss: ``l2`` (ridge, closed form) or ``l1`` (least absolute deviations by iteratively reweighted least
            squares, which is what the metric asks for).
        penalty: ridge penalty λ on the weights; the intercept is free.
        place: also use the last angles.
        iterations: of the reweighting.
        smoothing_deg: residuals below this count as equally good (keeps the weights of ``l1`` finite).
    """

    def __init__(
        self,
        loss: str = "l2",
        penalty: float = 1e3,
        place: bool = True,
        iterations: int = 20,
        smoothing_deg: float = 0.1,
    ) -> None:
        if loss not in _LOSSES:
            raise ConfigError(f"loss must be one of {', '.join(_LOSSES)}, got {loss!r}")
        if penalty < 0 or iterations < 1 or smoothing_deg <= 0:
            raise ConfigError("penalty ≥ 0, iterations ≥ 1 and smoothing_deg > 0 are needed")
        self.loss, self.penalty, self.place = loss, penalty, place
        self.iterations, self.smoothing_deg = iterations, smoothing_deg
        self.weights: Array | None = None

    def _features(self, history_deg: Array) -> Array:
        history = unwrap_to_last(history_deg)
        parts = [np.diff(history, axis=1).reshape(len(history), -1)]
        if self.place:
            last = np.radians(history[:, -1])
            parts += [np.sin(last), np.cos(last)]
        return np.concatenate([*parts, np.ones((len(history), 1))], axis=1)

    def fit(self, windows: Windows) -> LinearMap:
        """Fit to training windows and return itself."""
        x = self._features(windows.history_deg)
        y = displacements(windows).reshape(len(windows), -1)
        ridge = self.penalty * np.eye(x.shape[1])
        ridge[-1, -1] = 0.0
        weights = np.asarray(np.linalg.solve(x.T @ x + ridge, x.T @ y), dtype=np.float64)
        if self.loss == "l1":
            for _ in range(self.iterations):
                weights = self._reweighted(x, y, weights, ridge)
        self.weights = weights
        return self

    def _reweighted(self, x: Array, y: Array, weights: Array, ridge: Array) -> Array:
        """One step of the reweighting: each output's normal equations, windows weighted by 1 / residual.

        The products of features are the same for all outputs, so all systems are sums of one matrix product.
        """
        features, outputs = x.shape[1], y.shape[1]
        upper = np.triu_indices(features)
        halves, right = np.zeros((outputs, len(upper[0]))), np.zeros((features, outputs))
        importance = np.empty_like(y)
        for first in range(0, len(x), _ROWS):
            part = slice(first, first + _ROWS)
            importance[part] = 1.0 / np.maximum(np.abs(y[part] - x[part] @ weights), self.smoothing_deg)
            halves += importance[part].T @ (x[part][:, upper[0]] * x[part][:, upper[1]])
            right += x[part].T @ (importance[part] * y[part])
        systems = np.empty((outputs, features, features))
        systems[:, upper[0], upper[1]] = systems[:, upper[1], upper[0]] = halves
        # λ is per unit weight of a typical residual, so that it means the same as for l2.
        systems += ridge * np.median(importance, axis=0)[:, None, None]
        solved: Array = np.asarray(np.linalg.solve(systems, right.T[..., None])[..., 0].T, dtype=np.float64)
        return solved

    def predict(self, history_deg: Array, future: int) -> Array:
        """Return the last sample plus the fitted displacement; beyond the fitted horizon the last one is
        held.

        Raises:
            ConfigError: not fitted, or fitted to another length of history.
        """
        if self.weights is None:
            raise ConfigError("this linear map has not been fitted")
        history = np.asarray(history_deg, dtype=np.float64)
        x = self._features(history)
        if x.shape[1] != len(self.weights):
            raise ConfigError(f"the map was fitted to another history than {history.shape[1]} samples")
        motion = (x @ self.weights).reshape(len(history), -1, 3)[:, :future]
        if motion.shape[1] < future:
            motion = np.concatenate([motion, np.repeat(motion[:, -1:], future - motion.shape[1], axis=1)], axis=1)
        return history[:, -1:] + motion
