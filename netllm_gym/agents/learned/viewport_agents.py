"""Learned viewport agents: a GRU on motion, and TRACK with a position and an image branch.

Both are trained on the training split of a set on first use (a minute or two on one CPU core) and kept in the
cache; the epoch is chosen on the validation split, never on test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import traces as trace_room
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.classical.viewport_agents import PredictorAgent, training_set, training_windows
from netllm_gym.agents.learned import viewport_networks as networks
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.viewport.crowd import MAP_SHAPE, Crowd
from netllm_gym.envs.viewport.windows import Windows, displacements
from netllm_gym.errors import ConfigError
from netllm_gym.traces.head_geometry import unwrap_to_last

CELLS = MAP_SHAPE[0] * MAP_SHAPE[1]


class _NetworkAgent(PredictorAgent):
    """What both networks share: data, cache, and a forecast.

    Args:
        traces: catalog name to train on; default: `training_set` of what the environment plays.
        future: samples to predict; default: the environment's horizon.
        stride: samples between training windows.
        hidden: units.
        epochs, learning_rate, batch, seed: of the training.
    """

    needs_image = False

    def __init__(
        self,
        traces: str | None = None,
        future: int | None = None,
        stride: int = 3,
        hidden: int = 64,
        epochs: int = 15,
        learning_rate: float = 2e-3,
        batch: int = 512,
        seed: int = 0,
    ) -> None:
        if min(stride, hidden, epochs, batch) < 1 or learning_rate <= 0:
            raise ConfigError("stride, hidden, epochs, batch and learning_rate must be positive")
        self.traces, self._fit_future = traces, future
        self._options: dict[str, Any] = {
            "stride": stride,
            "hidden": hidden,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "batch": batch,
            "seed": seed,
        }
        self._ready: tuple[Any, ...] | None = None

    def _build(self, future: int) -> Any:
        raise NotImplementedError

    def reset(self, env_info: EnvInfo) -> None:
        """Train or load on the first call for a set, history and horizon."""
        super().reset(env_info)
        protocol = env_info.static["protocol"]
        image = "image" in env_info.observation_space.spaces  # type: ignore[attr-defined]
        wanted = (
            self.traces or training_set(env_info.static["traces"]),
            protocol.history,
            self._fit_future or protocol.future,
            self.needs_image and image,
        )
        if wanted != self._ready:
            self.fit(*wanted)

    def fit(self, traces: str, history: int, future: int, image: bool = False) -> None:
        """Train on the training split of `traces`, or load what was trained before."""
        torch = networks.require_torch()
        options = self._options
        torch.manual_seed(options["seed"])
        self._network = self._build(future)
        self._horizon = future
        key = {
            "agent": type(self).__name__,
            "version": 1,
            "traces": trace_room.load(traces, "train").digest,
            "history": history,
            "future": future,
            "image": image,
            **options,
        }

        def run() -> float:
            parts = []
            for split, stride in (("train", options["stride"]), ("valid", 5)):
                windows = training_windows(traces, split, history, future, stride)
                features = networks.motion_features(unwrap_to_last(windows.history_deg))
                maps = _maps(traces, split, windows) if image else np.zeros((len(windows), CELLS), np.float32)
                parts.append((features, maps, displacements(windows)))
            return networks.train(
                self._network,
                parts[0],
                parts[1],
                options["epochs"],
                options["learning_rate"],
                options["batch"],
                options["seed"],
                mirror=not image,
            )

        networks.cached(key, self._network, run)
        self._ready = (traces, history, future, image)

    def predict(
        self, history_deg: NDArray[np.float64], future: int, maps: NDArray[np.float32] | None = None
    ) -> NDArray[np.float64]:
        """Predict many windows at once, degrees, ``[N, future, 3]``; beyond the fitted horizon the last is
        held.

        Args:
            history_deg: ``[N, h, 3]``.
            future: samples.
            maps: heatmaps ``[N, 16, 32]`` for networks trained with them.
        """
        torch = networks.require_torch()
        history = unwrap_to_last(history_deg)
        features = torch.from_numpy(networks.motion_features(history))
        flat = np.zeros((len(history), CELLS), np.float32) if maps is None else maps.reshape(len(history), -1)
        with torch.no_grad():
            motion = self._network(features, torch.from_numpy(flat)).numpy().astype(np.float64)
        motion = motion[:, :future] * networks.SCALE_DEG
        if motion.shape[1] < future:
            motion = np.concatenate([motion, np.repeat(motion[:, -1:], future - motion.shape[1], axis=1)], axis=1)
        return history[:, -1:] + motion

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the next `future` samples in degrees, shape ``[future, 3]``."""
        maps = observation["image"][None] if self._ready is not None and self._ready[3] else None
        return self.predict(np.asarray(observation["history_deg"], np.float64)[None], future, maps)[0]


def _maps(traces: str, split: str, windows: Windows) -> NDArray[np.float32]:
    """Crowd heatmaps of windows, ``[N, cells]``; one map serves all windows of a second and video."""
    from netllm_gym.envs.viewport.prediction import crowd_of

    members = trace_room.load(traces, split)
    crowd: Crowd = crowd_of(members)
    future = windows.future_deg.shape[1]
    result = np.empty((len(windows), CELLS), np.float32)
    for n, (index, anchor) in enumerate(zip(windows.trace, windows.anchor, strict=True)):
        trace = members[int(index)]
        start = (trace.start_s if trace.start_s < 30.0 else 0.0) + anchor / trace.hz
        result[n] = crowd(trace.video, trace.user, start, start + future / trace.hz).ravel()
    return result


@register_agent("viewport/gru")
class GRU(_NetworkAgent):
    """A two-layer GRU on recent motion; one pass gives the whole horizon. Uses no image."""

    def _build(self, future: int) -> Any:
        return networks.build_gru(self._options["hidden"], 2, future)


@register_agent("viewport/track")
class Track(_NetworkAgent):
    """TRACK (Romero Rondón et al., PAMI 2022) without the published port's view of the first future sample.

    With ``image="crowd"`` its image branch reads the crowd's heatmap; without, it is the position-only
    network.
    """

    needs_image = True

    def __init__(
        self,
        traces: str | None = None,
        future: int | None = None,
        stride: int = 5,
        hidden: int = 128,
        epochs: int = 6,
        learning_rate: float = 1e-3,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(traces, future, stride, hidden, epochs, learning_rate, batch, seed)

    def _build(self, future: int) -> Any:
        return networks.build_track(self._options["hidden"], future, CELLS)
