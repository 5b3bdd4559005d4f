"""Agents of ``netllm_gym/ViewportStreaming-v0``: a view predictor, a budget rule, and an allocator between
them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import Agent, EnvInfo
from netllm_gym.agents.registry import make_agent, register_agent
from netllm_gym.agents.viewport.rules import PredictorAgent
from netllm_gym.envs.viewport.allocate import inside_outside, knapsack, region
from netllm_gym.envs.viewport.tiles import TileView
from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.geometry import lonlat_to_vector

ALLOCATORS = ("region", "knapsack", "in-out")


class TilesAgent(Agent):
    """An agent that chooses a level for every tile of a chunk.

    Where requests are of tiles (``requests="tiles"``), it asks once for each chunk: for the first of which nothing is
    there, as soon as it may be asked for. It never comes back to a chunk, so it upgrades nothing.
    """

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode."""
        mode = env_info.static["action_mode"]
        if mode != "tiles":
            raise ConfigError(f"this streaming agent chooses tiles; the environment has action_mode={mode!r}")
        self._slots = env_info.static["requests"] == "tiles"

    def levels(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return a level per tile of a chunk, 0 = skip, ``[T]``."""
        raise NotImplementedError

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return the levels; before them the chunk, where requests are of tiles."""
        if not self._slots:
            return self.levels(observation, info)
        empty = self._empty(observation, info)
        if not len(empty):
            return nothing(observation)
        return np.append(empty[0], self.levels(chunk_view(observation, int(empty[0])), info))

    @classmethod
    def _empty(cls, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return how many chunks ahead those are that may be asked for and of which nothing is there."""
        return np.flatnonzero((observation["held_levels"] < 0).all(axis=1) & cls._may_ask(observation, info))

    @staticmethod
    def _may_ask(observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.bool_]:
        return np.asarray(info["action_mask"][: len(observation["deadline_s"])]) > 0


def nothing(observation: dict[str, Any]) -> NDArray[np.int64]:
    """Return the action that asks for nothing, where requests are of tiles."""
    return np.zeros(1 + observation["held_levels"].shape[1], np.int64)


def chunk_view(observation: dict[str, Any], ahead: int) -> dict[str, Any]:
    """Return an observation of ``requests="tiles"`` as if the chunk `ahead` chunks ahead were the only one to fetch."""
    return {
        **observation,
        "horizon_steps": observation["horizon_steps"][ahead],
        "tile_bytes": observation["tile_bytes"][ahead],
        "buffer_s": observation["deadline_s"][ahead : ahead + 1],
        "chunks_left": observation["chunks_left"] - ahead,
    }


def rate_forecast(observation: dict[str, Any]) -> float | None:
    """Return the harmonic mean of the last five throughputs in bytes per second; ``None`` before the first."""
    past = observation["throughput_mbps"][-5:]
    past = past[past > 0].astype(np.float64)
    return len(past) / float(np.sum(1.0 / past)) * 125_000.0 if len(past) else None


class _Budget:
    """Bytes for the next chunk: forecast throughput times the time until the buffer would sink to a reserve.

    The forecast is the harmonic mean of the last five throughputs, times `safety`. The time is the chunk's
    length plus the buffer above the reserve (half the target), spread over three chunks; never less than half
    a chunk.
    """

    def __init__(self, static: dict[str, Any], safety: float) -> None:
        self._static, self._safety = static, safety

    def __call__(self, observation: dict[str, Any]) -> float:
        static = self._static
        forecast = rate_forecast(observation)
        if forecast is None:  # nothing measured: the lowest quality everywhere
            return float(observation["tile_bytes"][0].sum())
        rate = self._safety * forecast
        chunk_s = static["manifest"].chunk_s
        spare = float(observation["buffer_s"][0]) - 0.5 * static["buffer_target_s"]
        time = max(chunk_s + spare / 3.0, 0.5 * chunk_s) - static["rtt_s"]
        return rate * max(time, 0.1 * chunk_s)


class _AbrBudget:
    """Any ABR rule as the budget: it sees a ladder whose level l is the view at l and the rest at the
    lowest."""

    VIEW = 0.28  # share of the bytes of a frame that a 100° × 100° view covers on 8 × 8 tiles

    def __init__(self, env_info: EnvInfo, agent: Agent) -> None:
        from dataclasses import replace

        from netllm_gym.envs.abr.qoe import QoE
        from netllm_gym.traces.video.manifest import VideoManifest

        manifest = env_info.static["manifest"]
        full = manifest.tile_bytes.sum(axis=2)
        wider = env_info.static["view"].share_of_sphere / TileView().share_of_sphere
        view = min(self.VIEW * wider, 1.0)
        sizes = view * full + (1.0 - view) * full[:, :1]
        video = VideoManifest(manifest.name, manifest.ladder_kbps, manifest.chunk_s, sizes)
        self._agent, self._sizes = agent, sizes
        self._last, self._chunks = 0, 0
        static = {
            "video": video,
            "qoe": QoE.preset("lin", video, None, None),
            "rtt_s": env_info.static["rtt_s"],
            "buffer_cap_s": env_info.static["buffer_target_s"],
        }
        agent.reset(replace(env_info, static=static))

    def __call__(self, observation: dict[str, Any]) -> float:
        left = int(observation["chunks_left"][0])
        self._chunks = max(self._chunks, left)  # an episode may be shorter than the video
        n = self._chunks - left
        view = {
            "throughput_mbps": observation["throughput_mbps"],
            "download_time_s": observation["download_time_s"],
            "buffer_s": observation["buffer_s"],
            "last_quality": self._last,
            "next_chunk_bytes": self._sizes[n],
            "chunks_left": observation["chunks_left"],
        }
        self._last = int(self._agent.act(view, {}))
        return float(self._sizes[n, self._last])


@register_agent("streaming/whole-sphere")
class WholeSphere(TilesAgent):
    """Every tile at one quality, the highest the budget pays: no prediction needed, none used.

    Args:
        safety: factor on the throughput forecast.
    """

    def __init__(self, safety: float = 0.9) -> None:
        if not 0 < safety <= 2:
            raise ConfigError(f"safety must lie in (0, 2], got {safety}")
        self.safety = safety

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode."""
        super().reset(env_info)
        self._budget = _Budget(env_info.static, self.safety)

    def levels(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return one level for all tiles."""
        totals = observation["tile_bytes"].sum(axis=1)
        level = max(int(np.searchsorted(totals, self._budget(observation), side="right")) - 1, 0)
        return np.full(observation["tile_bytes"].shape[1], level + 1, np.int64)


@register_agent("streaming/predictive")
class Predictive(TilesAgent):
    """Predict the view, then spend the budget where it will be.

    Args:
        predictor: any viewport agent, by name or built (the `viewport/…` agents that need no crowd).
        allocator: ``region`` (one level where the view, blurred by its uncertainty, is likely), ``knapsack``
            (utility per byte over the blurred view; indifferent to patchwork), or ``in-out`` (one level
            inside the predicted view, the lowest outside, as MANSY's action).
        budget: ``rate`` (throughput and buffer), or the name of any ABR agent (``abr/robust-mpc``).
        safety: factor on the throughput forecast of ``rate``.
        blur_deg: standard deviation of the longitude error after one second; it grows with the square root of
            the horizon. 0 trusts the prediction.
        skip_outside: leave out the tiles that get nothing; else they get the lowest level (``region``
            always).
    """

    def __init__(
        self,
        predictor: str | PredictorAgent = "viewport/hold-last",
        allocator: str = "region",
        budget: str = "rate",
        safety: float = 0.9,
        blur_deg: float = 18.0,
        skip_outside: bool = False,
    ) -> None:
        if allocator not in ALLOCATORS:
            raise ConfigError(f"allocator must be one of {', '.join(ALLOCATORS)}, got {allocator!r}")
        if not 0 < safety <= 2 or blur_deg < 0:
            raise ConfigError("safety must lie in (0, 2] and blur_deg must not be negative")
        agent = make_agent(predictor)
        if not hasattr(agent, "forecast"):
            raise ConfigError(f"{predictor} does not predict viewports")
        self.predictor: Any = agent
        self.allocator, self.budget, self.safety = allocator, budget, safety
        self.blur_deg, self.skip_outside = blur_deg, skip_outside

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode, with the predictor and the budget rule."""
        super().reset(env_info)
        static = env_info.static
        self.predictor.reset(env_info)
        weights = static["qoe"]
        self._variation = weights.variation / max(weights.quality, 1e-9)
        self._view, self._utility, self._hz = static["view"], static["utility"], static["hz"]
        self._budget: Any
        if self.budget == "rate":
            self._budget = _Budget(static, self.safety)
        else:
            self._budget = _AbrBudget(env_info, make_agent(self.budget))

    def angles(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.float64]:
        """Return the views expected while the next chunk plays, degrees, ``[samples, 3]``."""
        last, first = (int(x) for x in observation["horizon_steps"])
        newest = np.asarray(observation["history_deg"], np.float64)[-1:]
        path = np.concatenate([newest, self.predictor.forecast(observation, info, max(last, 1))])
        return path[first : last + 1]

    def _interest(self, angles: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
        """Expected share of the view per tile, ``[T]``: the prediction, blurred along the equator."""
        angles = angles.copy()
        angles[:, 1] = np.clip(angles[:, 1], -90.0, 90.0)
        picked = angles[[0, len(angles) // 2, -1]]
        spread = self.blur_deg * np.sqrt(horizon / self._hz)
        if spread == 0.0:
            return self._view.weights(picked).mean(axis=0)
        shifts = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
        chance = np.exp(-0.5 * shifts**2)
        views = picked[None] + shifts[:, None, None] * np.array([spread, 0.0, 0.0])
        return np.tensordot(chance / chance.sum(), self._view.weights(views).mean(axis=1), axes=1)

    def levels(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return a level per tile (0 = skip)."""
        angles = self.angles(observation, info)
        budget = self._budget(observation)
        sizes = np.asarray(observation["tile_bytes"], np.float64)
        if self.allocator == "in-out":
            seen = self._view.visible(angles[[0, len(angles) // 2, -1]]).any(axis=0)
            rest = -1 if self.skip_outside else 0
            cost = sizes[:, seen].sum(axis=1) + (0.0 if self.skip_outside else sizes[0, ~seen].sum())
            level = max(int(np.searchsorted(cost, budget, side="right")) - 1, 0)
            return inside_outside(seen, level, rest) + 1
        interest = self._interest(angles, int(observation["horizon_steps"][0]))
        if self.allocator == "region":
            return region(interest, sizes, self._utility, budget, self._variation) + 1
        return knapsack(interest, sizes, self._utility, budget, -1 if self.skip_outside else 0) + 1


@register_agent("streaming/crowd")
class CrowdStreaming(Predictive):
    """Spend the budget where a forecast *and* the earlier viewers who looked alike will look.

    The interest in a tile is the forecast's, blurred, mixed with the views that the nearest earlier viewers had while
    the chunk played. Where nobody else is known, only the forecast is left. Needs an environment with ``crowd=N``.

    Args:
        predictor: a viewport agent; the default reads the crowd too.
        neighbours: how many earlier viewers count.
        share: weight of their views, between 0 and 1, after one second of horizon and more (0.3 to 0.5 were best on the
            validation split of Jin2022 among 0 to 0.7).
        kernel_deg: how fast a viewer's weight falls with his distance over the shown history.
        safety, blur_deg, budget: of :class:`Predictive`.
    """

    def __init__(
        self,
        predictor: str | PredictorAgent = "crowd/attention",
        neighbours: int = 12,
        share: float = 0.4,
        kernel_deg: float = 20.0,
        safety: float = 0.9,
        blur_deg: float = 12.0,
        budget: str = "rate",
    ) -> None:
        if neighbours < 1 or not 0 <= share <= 1 or kernel_deg <= 0:
            raise ConfigError("neighbours ≥ 1, 0 ≤ share ≤ 1 and kernel_deg > 0 are needed")
        super().__init__(predictor, "region", budget, safety, blur_deg)
        self.neighbours, self.share, self.kernel_deg = neighbours, share, kernel_deg

    def levels(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return a level per tile (0 = skip)."""
        self._crowd = self._views(observation)
        return super().levels(observation, info)

    def _views(self, observation: dict[str, Any]) -> NDArray[np.float64] | None:
        """Share of the view per tile of the nearest earlier viewers while the chunk plays, ``[T]``."""
        if "crowd_deg" not in observation:
            raise ConfigError("streaming/crowd follows a crowd: make the environment with crowd=N")
        history = np.asarray(observation["history_deg"], np.float64)
        crowd, known = np.asarray(observation["crowd_deg"], np.float64), observation["crowd_mask"].astype(bool)
        past = len(history)
        last, first = (int(x) for x in observation["horizon_steps"])
        wanted = past - 1 + np.array([first, (first + last) // 2, last])
        wanted = np.minimum(wanted, crowd.shape[1] - 1)
        there = known[:, :past].all(axis=1) & known[:, wanted].all(axis=1)
        if not there.any():
            return None
        ours = lonlat_to_vector(history[:, 0], history[:, 1])
        theirs = lonlat_to_vector(crowd[there, :past, 0], crowd[there, :past, 1])
        apart = np.degrees(np.arccos(np.clip(np.einsum("uhx,hx->uh", theirs, ours), -1.0, 1.0))).mean(axis=1)
        near = np.argsort(apart, kind="stable")[: self.neighbours]
        weight = np.exp(-apart[near] / self.kernel_deg)
        views = crowd[there][near][:, wanted]
        views[..., 1] = np.clip(views[..., 1], -90.0, 90.0)
        shares = self._view.weights(views.reshape(-1, 3)).reshape(len(near), len(wanted), -1).mean(axis=1)
        return weight @ shares / weight.sum()

    def _interest(self, angles: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
        own = super()._interest(angles, horizon)
        if self._crowd is None:
            return own
        share = self.share * min(horizon / self._hz, 1.0)
        return (1.0 - share) * own + share * self._crowd


@register_agent("streaming/oracle")
class Oracle(Predictive):
    """Knows where the viewer will look; budget and allocator are those of ``streaming/predictive``.

    It bounds what a better predictor can earn with this allocator; it does not know the network's future.
    """

    privileged = True

    def __init__(self, budget: str = "rate", safety: float = 0.9) -> None:
        super().__init__("viewport/hold-last", "region", budget, safety, blur_deg=0.0)

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode with sight of the head trace."""
        super().reset(env_info)
        self._simulator = env_info.simulator

    def levels(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return a level per tile (0 = skip)."""
        self._chunk = self._simulator.chunks - int(observation["chunks_left"][0])
        return super().levels(observation, info)

    def _interest(self, angles: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
        return self._simulator.share[self._chunk]
