"""Viewport agents: a predictor behind the agent protocol, in both viewport environments' terms."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import traces as trace_room
from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.agents.viewport.linear import LinearMap
from netllm_gym.agents.viewport.predictors import (
    DampedVelocity,
    HistoryMean,
    HoldLast,
    LinearRegression,
    Predictor,
    Velocity,
)
from netllm_gym.envs.viewport.windows import WindowProtocol, Windows, cut
from netllm_gym.errors import ConfigError
from netllm_gym.traces import catalog
from netllm_gym.traces.head.geometry import lonlat_to_vector, vector_to_lonlat, wrap_deg

SYNTHETIC = "viewport/synthetic"  # needs no download


class PredictorAgent(Agent):
    """An agent of ``netllm_gym/ViewportPrediction-v0`` that asks a predictor.

    Subclasses set :attr:`predictor`, at the latest in :meth:`reset`. Streaming agents call :meth:`forecast`.
    """

    predictor: Predictor

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode."""
        self._future = env_info.static["protocol"].future

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the next `future` samples in degrees, shape ``[future, 3]``."""
        return self.predictor.predict(np.asarray(observation["history_deg"], np.float64)[None], future)[0]

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the motion from the last sample, shape ``[future, 3]``."""
        last = np.asarray(observation["history_deg"], np.float64)[-1]
        return (self.forecast(observation, info, self._future) - last).astype(np.float32)


def _simple(name: str, build: Any, text: str) -> None:
    """Register an agent around a predictor that needs no training."""

    class Simple(PredictorAgent):
        def __init__(self, **kwargs: Any) -> None:
            self.predictor = build(**kwargs)

    Simple.__doc__ = text
    Simple.__name__ = Simple.__qualname__ = build.__name__ if hasattr(build, "__name__") else "Simple"
    register_agent(name)(Simple)


def _velocity_as_published() -> Velocity:
    return Velocity(unwrap=False)


def _regression_as_published() -> LinearRegression:
    return LinearRegression(unwrap=False)


_simple("viewport/hold-last", HoldLast, "The head stays where it is.")
_simple("viewport/history-mean", HistoryMean, "The head returns to the mean of its history.")
_simple("viewport/velocity", Velocity, "The mean velocity of the unwrapped history goes on.")
_simple("viewport/velocity-as-published", _velocity_as_published, "NetLLM's velocity, fitted across the seam.")
_simple("viewport/damped-velocity", DampedVelocity, "The last step goes on and fades (γ = 0.6).")
_simple("viewport/linear-regression", LinearRegression, "A line through the unwrapped history.")
_simple("viewport/linear-regression-as-published", _regression_as_published, "NetLLM's regression, seam and all.")


def training_set(traces: str) -> str:
    """Return the set that fitted agents learn from when they play `traces`: the catalog's ``train_on``, or itself."""
    if traces not in (*catalog.entries(), *(f"{name}/as-published" for name in catalog.entries())):
        return traces
    base, as_published = catalog.split_name(traces)
    return str(catalog.describe(base).get("train_on", base)) + ("/as-published" if as_published else "")


def foreign(learnt: str, played: str) -> str:
    """Return the notice of an agent that `learnt` from another set than the one `played`."""
    return f"it learnt from {learnt}, the episode is of {played}"


@lru_cache(maxsize=32)
def training_windows(traces: str, split: str, history: int, future: int, stride: int) -> Windows:
    """Windows for training from a catalog set (cut once per process); margins grow with the horizon if
    they must."""
    base = WindowProtocol()
    protocol = WindowProtocol(
        history, future, first=max(base.first, history), margin=max(base.margin, future), stride=stride
    )
    with trace_room.training("fitting a predictor"):
        return cut(tuple(trace_room.load(traces, split)), protocol)


@register_agent("viewport/oracle")
class Oracle(PredictorAgent):
    """Knows where the viewer will look (until the log ends; then he stays). Error 0: the other end of the score."""

    privileged = True

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode with sight of the head trace."""
        super().reset(env_info)
        self._angles = env_info.simulator.trace.angles_deg

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the true samples from ``info["anchor"]`` on."""
        index = np.minimum(np.arange(info["anchor"], info["anchor"] + future), len(self._angles) - 1)
        return self._angles[index]


@lru_cache(maxsize=32)
def _fitted(traces: str, loss: str, place: bool, history: int, future: int, stride: int) -> LinearMap:
    return LinearMap(loss, place=place).fit(training_windows(traces, "train", history, future, stride))


class FittedAgent(PredictorAgent):
    """An agent whose predictor is fitted to a set's training split, once per process, history and horizon.

    Args:
        traces: catalog name, or a folder of other traces than those played; default: :func:`training_set` of what the
            environment plays, and where that has no training split (a folder), ``viewport/synthetic``, which its
            results say.
        future: samples to fit; default: the environment's.
    """

    def __init__(self, traces: str | None = None, future: int | None = None) -> None:
        self.traces, self._fit_future = traces, future

    def reset(self, env_info: EnvInfo) -> None:
        """Fit on the first call for a history and horizon."""
        super().reset(env_info)
        protocol, played = env_info.static["protocol"], str(env_info.static["traces"])
        own = training_set(played)
        # A set without splits would be learnt from and tested on at once.
        traces = self.traces or (own if catalog.split_name(own)[0] in catalog.entries() else SYNTHETIC)
        self.notice = "" if traces == own else foreign(traces, played)
        self.predictor = self.fit(traces, protocol.history, self._fit_future or protocol.future)

    def fit(self, traces: str, history: int, future: int) -> Predictor:
        """Return a fitted predictor."""
        raise NotImplementedError


@register_agent("viewport/ridge")
class Ridge(FittedAgent):
    """A ridge map (λ = 1000) from increments and place to displacements, fitted on windows every 5
    samples."""

    def fit(self, traces: str, history: int, future: int) -> Predictor:
        """Return the map."""
        return _fitted(traces, "l2", True, history, future, 5)


@register_agent("viewport/linear-l1")
class LinearL1(FittedAgent):
    """A map from increments to displacements under the absolute error: the honest linear baseline.

    Without place features it transfers to other data sets (chosen on the validation split of Jin2022).
    """

    def fit(self, traces: str, history: int, future: int) -> Predictor:
        """Return the map."""
        return _fitted(traces, "l1", False, history, future, 3)


@register_agent("viewport/crowd-knn")
class CrowdKNN(PredictorAgent):
    """Look where the k training users look who looked most alike during the history.

    Its information differs from the other agents': it needs logs of the *same video* (``image="crowd"``). The
    answer is the last sample, turned toward the neighbours' mean direction by a share that grows with the
    horizon.

    Args:
        neighbours: k (the default, and that of `blend_s`, was best on the validation split of Jin2022 among 5 and 15
            neighbours and 3, 6 and 12 s).
        blend_s: time constant of the turn: the share is ``1 - exp(-t / blend_s)``; 0 trusts the crowd at
            once.
    """

    def __init__(self, neighbours: int = 5, blend_s: float = 12.0) -> None:
        if neighbours < 1 or blend_s < 0:
            raise ConfigError("neighbours ≥ 1 and blend_s ≥ 0 are needed")
        self.neighbours, self.blend_s = neighbours, blend_s

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode and take the crowd of its video."""
        super().reset(env_info)
        static = env_info.static
        if static["crowd"] is None:
            raise ConfigError('viewport/crowd-knn needs the crowd: make the environment with image="crowd"')
        if static["reading"] != "canonical":
            raise ConfigError("viewport/crowd-knn needs the canonical reading, not as-published angles")
        self._crowd, self._video, self._user = static["crowd"], static["video"], static["user"]
        self._hz = static["hz"]

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Blend the last sample with the neighbours' mean direction; hold it when the crowd's logs have
        ended."""
        history = np.asarray(observation["history_deg"], np.float64)
        anchor = round(info["time_s"] * self._hz)
        past = lonlat_to_vector(history[:, 0], history[:, 1])
        others = self._crowd.directions(self._video, anchor - len(history), anchor + future, self._user)
        result = np.repeat(history[-1:], future, axis=0)
        if not len(others):
            return result
        alike = np.einsum("uhx,hx->u", others[:, : len(history)], past)
        near = np.argsort(-alike, kind="stable")[: self.neighbours]
        mean = others[near, len(history) :].mean(axis=0)
        time = np.arange(1, future + 1) / self._hz
        share = (1.0 - np.exp(-time / self.blend_s) if self.blend_s else np.ones(future))[:, None]
        target = vector_to_lonlat(mean)
        move = target - history[-1, :2]
        move[:, 0] = wrap_deg(move[:, 0])
        result[:, :2] += share * move
        return result
