"""Synthetic network traces: a seeded regime-switching model, calibrated to real statistics.

Throughput of a trace with mean ``m`` at step ``t`` is ``m · exp(σ z_t − σ²/2)``, where
``z_t = √w r_t + √(1−w) a_t``. ``r`` is the regime: a standard normal level that is held and redrawn with
probability ``1/dwell`` per step (congestion, cell, queue); ``a`` is a first-order autoregression with coefficient
``rho`` (fast fading, cross traffic). Both have unit variance, so the coefficient of variation within a trace is
``√(exp(σ²) − 1)`` and the lag-1 autocorrelation of ``z`` is ``w (1 − 1/dwell) + (1−w) rho``. Means of traces are
log-normal: ``m = mean · exp(spread · g − spread²/2)``, clipped to ``[floor, ceiling]``.

Sets whose traces all change at the same second (Sabre's FCC traces: one slow minute, two fast ones) are several such
models one after the other, drawn independently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError
from netllm_gym.traces.network.trace import NetworkTrace

# Purpose keys of the seed sequence: one stream per trace, so that a set's first n traces never depend on n.
_STREAM = 0x7ACE
_SPLIT_KEYS = {"train": 0, "valid": 1, "test": 2}


@dataclass(frozen=True)
class RegimeModel:
    """Parameters of the regime-switching model.

    Attributes:
        mean_mbps: mean throughput over traces.
        spread: standard deviation of the log of the traces' means.
        cv: coefficient of variation within a trace (median over traces); sigma follows from it.
        cv_spread: standard deviation of the log of the traces' coefficients of variation.
        weight: share of the variance that belongs to the regimes, in [0, 1].
        dwell_steps: mean number of steps a regime lasts.
        rho: lag-1 autocorrelation of the fast part, in [0, 1).
        floor_mbps, ceiling_mbps: bounds on a trace's mean.
        step_s: seconds per step.
    """

    mean_mbps: float
    spread: float
    cv: float
    cv_spread: float
    weight: float
    dwell_steps: float
    rho: float
    floor_mbps: float = 0.2
    ceiling_mbps: float = 1e4
    step_s: float = 1.0

    def __post_init__(self) -> None:
        valid = (
            self.mean_mbps > 0
            and self.spread >= 0
            and self.cv >= 0
            and self.cv_spread >= 0
            and 0 <= self.weight <= 1
            and self.dwell_steps >= 1
            and 0 <= self.rho < 1
            and self.step_s > 0
        )
        if not valid:
            raise ConfigError(f"regime model out of range: {self}")

    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
        """Draw the throughput of one trace in Mbit/s, shape ``[steps]``."""
        mean = self.mean_mbps * np.exp(self.spread * rng.standard_normal() - self.spread**2 / 2)
        mean = float(np.clip(mean, self.floor_mbps, self.ceiling_mbps))
        cv = self.cv * np.exp(self.cv_spread * rng.standard_normal())
        sigma = float(np.sqrt(np.log1p(cv**2)))
        switch = rng.random(steps) < 1.0 / self.dwell_steps
        switch[0] = True
        levels = rng.standard_normal(steps)
        regime = levels[np.maximum.accumulate(np.where(switch, np.arange(steps), 0))]
        shocks = rng.standard_normal(steps)
        rho, keep = float(self.rho), float(np.sqrt(1 - self.rho**2))
        fast = [float(shocks[0])]
        for shock in shocks[1:].tolist():  # Python's floats are ten times as fast here as an array's elements
            fast.append(rho * fast[-1] + keep * shock)
        z = np.sqrt(self.weight) * regime + np.sqrt(1 - self.weight) * np.array(fast)
        return mean * np.exp(sigma * z - sigma**2 / 2)


@dataclass(frozen=True)
class PhasedModel:
    """Regime models one after the other, each with a mean and a variation of its own.

    Attributes:
        phases: the models, all of one step length.
        lengths_s: seconds each lasts.
    """

    phases: tuple[RegimeModel, ...]
    lengths_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.phases or len(self.phases) != len(self.lengths_s):
            raise ConfigError("a phased model needs a length for each of its phases")
        if len({model.step_s for model in self.phases}) != 1:
            raise ConfigError("the phases of a model must have steps of one length")
        if any(length < model.step_s for model, length in zip(self.phases, self.lengths_s, strict=True)):
            raise ConfigError("a phase must last a step at least")

    @property
    def step_s(self) -> float:
        """Seconds per step."""
        return self.phases[0].step_s

    @property
    def length_s(self) -> float:
        """Seconds of all phases together."""
        return sum(self.lengths_s)

    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
        """Draw the throughput of one trace in Mbit/s, shape ``[steps]``; the phases come around again if need be."""
        parts: list[NDArray[np.float64]] = []
        while sum(map(len, parts)) < steps:
            parts += [
                model.draw(rng, round(length / model.step_s))
                for model, length in zip(self.phases, self.lengths_s, strict=True)
            ]
        return np.concatenate(parts)[:steps]


def synthetic_traces(
    model: RegimeModel | PhasedModel, prefix: str, split: str, count: int, seed: int, length_s: float = 320.0
) -> tuple[NetworkTrace, ...]:
    """Draw `count` traces of `length_s` seconds; each has a stream of its own, keyed by (seed, split, index)."""
    if split not in _SPLIT_KEYS:
        raise ConfigError(f"unknown split {split!r}; known: train, valid, test")
    steps = max(2, round(length_s / model.step_s))
    traces = []
    for index in range(count):
        rng = np.random.default_rng(
            np.random.SeedSequence(entropy=seed, spawn_key=(_STREAM, _SPLIT_KEYS[split], index))
        )
        rates = np.round(model.draw(rng, steps), 6)
        traces.append(NetworkTrace(f"{prefix}-{split}-{index:03d}", np.full(steps, model.step_s), rates))
    return tuple(traces)
