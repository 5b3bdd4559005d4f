"""What the batched environment says beside observations and rewards, in Gymnasium's form for vectors.

Arrays, one entry per environment, and under ``_key`` which environments have the key at this step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.abr.vector_arrays import STALL, TERMS, WALL, Written
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest

# Keys under which the infos say where a chunk was downloaded in this step.
_STEPPED = tuple("_" + name for name in (*TERMS[:WALL], "level", "chunk"))
# Keys that every environment has at every step.
_ALWAYS = ("_action_mask", "_wall_time_s")


class Teller:
    """Write the infos of `num_envs` episodes.

    Args:
        num_envs: number of episodes.
        traces: which they play on.
        video: which they play.
        decision_s: latency of a decision; where there is any, its terms are told too.
    """

    def __init__(self, num_envs: int, traces: TraceSet[NetworkTrace], video: VideoManifest, decision_s: float) -> None:
        self.num_envs, self.video, self.decision_s = num_envs, video, decision_s
        self._every = np.ones(num_envs, np.bool_)
        self._all_legal = np.ones((num_envs, video.levels), np.int8)
        self._names = np.array([trace.name for trace in traces], dtype=object)
        self._groups = np.array([trace.group for trace in traces], dtype=object)

    def stepped(self, out: Written, begins: NDArray[np.bool_], begun: int, traces: NDArray[Any]) -> dict[str, Any]:
        """Return the infos of a step in which `begun` episodes, those of `begins`, began on `traces`, ``[n]``."""
        every = self._every.copy()
        infos: dict[str, Any] = {
            "action_mask": self._all_legal.copy(),
            "_action_mask": every,
            "wall_time_s": out.terms[WALL],
            "_wall_time_s": every,
        }
        if begun < self.num_envs:
            stepped = ~begins if begun else every
            infos.update(zip(TERMS[:WALL], out.terms, strict=False))
            infos.update(dict.fromkeys(_STEPPED, stepped))
            infos["level"], infos["chunk"] = out.level, out.chunk
            if self.decision_s:
                self._options(infos, stepped)
        if begun:
            self._beginnings(infos, out.terms, begins, traces)
        return infos

    def renewed(
        self, infos: dict[str, Any], over: NDArray[np.bool_], terms: NDArray[np.float64], traces: NDArray[Any]
    ) -> dict[str, Any]:
        """Return the infos of a step in which the episodes `over` ended with `infos` and began anew with `terms`."""
        final, going = {}, ~over
        told = dict(infos)
        for key, value in infos.items():
            if key.startswith("_"):
                final[key] = value & over
                told[key] = value if key in _ALWAYS else value & going
            else:
                final[key] = value
        told["wall_time_s"] = np.where(over, terms[WALL], infos["wall_time_s"])
        self._beginnings(told, terms, over, traces)
        return {**told, "final_info": final, "_final_info": over.copy()}

    def _options(self, infos: dict[str, Any], stepped: NDArray[np.bool_]) -> None:
        """What the single environment says when an option is on; the decision's latency is the only one here."""
        for name in ("startup_s", "wait_s", "wasted_bytes", "penalty"):
            infos[name], infos["_" + name] = np.zeros(self.num_envs), stepped
        infos["decision_latency_s"] = np.where(stepped, self.decision_s, 0.0)
        infos["abandoned"] = np.zeros(self.num_envs, np.int64)
        infos["_decision_latency_s"] = infos["_abandoned"] = stepped

    def _beginnings(
        self, infos: dict[str, Any], terms: NDArray[np.float64], begins: NDArray[np.bool_], traces: NDArray[Any]
    ) -> None:
        which = np.flatnonzero(begins)
        startup = np.zeros(self.num_envs)
        stall = terms[STALL]
        startup[which] = stall[which]
        stall[which] = 0.0
        own = traces[which]
        for name, values in (("trace", self._names[own]), ("trace_group", self._groups[own])):
            infos[name] = np.full(self.num_envs, None, dtype=object)
            infos[name][which] = values
        infos["video"] = np.full(self.num_envs, None, dtype=object)
        infos["video"][which] = self.video.name
        infos["_startup_s"] = begins | infos["_startup_s"] if "_startup_s" in infos else begins
        infos["startup_s"] = startup
        infos["groups"] = {"recording": infos["trace_group"].copy(), "_recording": begins.copy()}
        for name in ("trace", "trace_group", "groups", "video"):
            infos["_" + name] = begins
