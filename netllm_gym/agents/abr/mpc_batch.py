"""RobustMPC for many episodes in one call, deciding as the single agent does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.mpc import MAX_HORIZON, RobustForecast, choose_many
from netllm_gym.agents.base import BatchAgent, EnvInfo
from netllm_gym.envs.abr.forecast import WINDOW
from netllm_gym.errors import ConfigError


class BatchedMPC(BatchAgent):
    """``abr/robust-mpc`` in lock-step: one compiled call decides for all episodes of a video.

    Args:
        horizon: chunks planned ahead.
        robust: divide the estimate by the largest recent error; ``False`` gives FastMPC's.
    """

    name = "abr/robust-mpc (batched)"

    def __init__(self, horizon: int = 5, robust: bool = True) -> None:
        if not 1 <= horizon <= MAX_HORIZON:
            raise ConfigError(f"horizon must lie in 1 to {MAX_HORIZON}, got {horizon}")
        self.horizon, self.robust = horizon, robust

    def reset_batch(self, env_infos: Sequence[EnvInfo]) -> None:
        """Begin the episodes, with no errors remembered; those of one video and QoE are planned together."""
        groups: dict[Any, list[int]] = {}
        for i, info in enumerate(env_infos):
            video, qoe = info.static["video"], info.static["qoe"]
            key = (video.chunk_bytes.tobytes(), video.chunk_s, qoe.quality.tobytes(), qoe.stall_weight)
            groups.setdefault((*key, qoe.switch_weight), []).append(i)
        self._groups: list[tuple[dict[str, Any], NDArray[np.int64]]] = [
            (env_infos[members[0]].static, np.array(members)) for members in groups.values()
        ]
        self._forecast = RobustForecast(len(env_infos), self.robust)
        self._begins = np.ones(len(env_infos), np.bool_)

    def act_batch(self, observations: Sequence[Any], infos: Sequence[Any]) -> list[Any]:
        """Return the first level of each best plan; 0 for episodes that are over."""
        alive = [i for i, observation in enumerate(observations) if observation is not None]
        told = [observations[i] for i in alive]
        throughputs = np.zeros((len(observations), WINDOW), np.float32)
        buffers, left = np.zeros((2, len(observations)))
        last = np.zeros(len(observations), np.int64)
        if alive:
            throughputs[alive] = [seen["throughput_mbps"][-WINDOW:] for seen in told]
            buffers[alive] = [seen["buffer_s"][0] for seen in told]
            left[alive] = [seen["chunks_left"][0] for seen in told]
            last[alive] = [seen["last_quality"] for seen in told]
        forecasts = self._forecast(throughputs, self._begins) * 1e6 / 8.0
        self._begins[:] = False
        levels = np.zeros(len(observations), np.int64)
        for static, members in self._groups:
            video, qoe = static["video"], static["qoe"]
            levels[members] = choose_many(
                video.chunk_bytes, video.chunks - np.rint(left[members]), self.horizon, qoe.quality, qoe.stall_weight,
                qoe.switch_weight, video.chunk_s, forecasts[members], buffers[members], last[members],
            )  # fmt: skip
        return levels.tolist()
