"""A rule that upgrades: the whole sphere early and cheaply, the view late and well."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.agents.viewport.rules import PredictorAgent
from netllm_gym.agents.viewport.streaming import Predictive, chunk_view, nothing, rate_forecast
from netllm_gym.envs.viewport.allocate import upgrade
from netllm_gym.errors import ConfigError


@register_agent("streaming/two-tier")
class TwoTier(Predictive):
    """A base tier far ahead, an enhancement tier near the deadline (Sun et al., JETCAS 2019).

    The lowest level of the whole sphere is fetched as soon as a chunk may be asked for: it protects from stalls and
    from wrong predictions. The rest of the link upgrades chunks that play soon, the nearest first, for the view
    predicted *then*, and again where a newer prediction finds tiles worth their bytes. Needs ``requests="tiles"``. The
    paper sizes both tiers by a model of link and viewer; here their sizes are arguments, chosen on the training split
    of Jin2022, and the tiles are those of :func:`~netllm_gym.envs.viewport.allocate.upgrade`.

    Args:
        predictor: of ``streaming/predictive``.
        safety: factor on the throughput forecast.
        blur_deg: of ``streaming/predictive``.
        window_s: chunks that begin to play within so many seconds are upgraded.
        share: of a chunk's length, the most that one upgrade may take of the link: more makes some chunks better and
            leaves no time for others.
    """

    def __init__(
        self,
        predictor: str | PredictorAgent = "viewport/hold-last",
        safety: float = 0.9,
        blur_deg: float = 9.0,
        window_s: float = 3.0,
        share: float = 0.6,
    ) -> None:
        if window_s <= 0 or share <= 0:
            raise ConfigError(f"window_s and share must be positive, got {window_s} and {share}")
        super().__init__(predictor, "region", "rate", safety, blur_deg)
        self.window_s, self.share = window_s, share

    def reset(self, env_info: EnvInfo) -> None:
        """Begin an episode."""
        super().reset(env_info)
        if not self._slots:
            raise ConfigError("streaming/two-tier upgrades tiles: make the environment with requests='tiles'")
        self._rtt_s = env_info.static["rtt_s"]
        self._longest_s = self.share * env_info.static["manifest"].chunk_s

    def act(self, observation: dict[str, Any], info: dict[str, Any]) -> NDArray[np.int64]:
        """Return the chunk and, for every tile, the level to fetch (0 = nothing)."""
        empty = self._empty(observation, info)
        if len(empty):
            return np.append(empty[0], np.ones(observation["held_levels"].shape[1], np.int64))
        soon = observation["deadline_s"] <= self.window_s
        for ahead in np.flatnonzero(self._may_ask(observation, info) & soon):
            levels = self.upgrade(observation, info, int(ahead))
            if levels.any():
                return np.append(ahead, levels)
        return nothing(observation)

    def upgrade(self, observation: dict[str, Any], info: dict[str, Any], ahead: int) -> NDArray[np.int64]:
        """Return the levels of the tiles to fetch of a chunk before its deadline, 0 = leave, ``[T]``."""
        held = observation["held_levels"][ahead].astype(np.int64)
        time = min(float(observation["deadline_s"][ahead]) - self._rtt_s, self._longest_s)
        rate = rate_forecast(observation)
        if rate is None or time <= 0:
            return np.zeros(len(held), np.int64)
        view = chunk_view(observation, ahead)
        interest = self._interest(self.angles(view, info), int(view["horizon_steps"][0]))
        sizes = np.asarray(view["tile_bytes"], np.float64)
        return upgrade(interest, sizes, self._utility, held, self.safety * rate * time, self._variation) + 1
