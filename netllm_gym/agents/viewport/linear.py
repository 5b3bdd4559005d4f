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
                residual = np.abs(y - x @ weights)
                importance = 1.0 / np.maximum(residual, self.smoothing_deg)
                for column in range(y.shape[1]):
                    scaled = x * importance[:, column : column + 1]
                    # λ is per unit weight of a typical residual, so that it means the same as for l2.
                    system = scaled.T @ x + ridge * float(np.median(importance[:, column]))
                    weights[:, column] = np.linalg.solve(system, scaled.T @ y[:, column])
        self.weights = weights
        return self

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
