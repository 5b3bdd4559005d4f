"""Learned viewport agents: a GRU on motion, and TRACK with a position and an image branch.

Both are trained on the training split of a set on first use (a minute or two on one CPU core) and kept in the
cache; the epoch is chosen on the validation split, never on test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import traces as trace_room
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.classical.viewport_agents import PredictorAgent, training_set, training_windows
from netllm_gym.agents.learned import viewport_networks as networks
from netllm_gym.agents.registry import register_agent
from netllm_gym.envs.viewport.crowd import MAP_SHAPE, Crowd
from netllm_gym.envs.viewport.windows import Windows, displacements, turned
from netllm_gym.errors import ConfigError
from netllm_gym.traces.head_geometry import unwrap_to_last

ZOO = Path(__file__).parents[2] / "zoo" / "viewport-gru"
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
    reach = 10**6  # samples of history the network looks at
    report: Callable[[int, float], None] | None = None  # told each epoch's error on the validation split
    turns = 0  # copies of the training windows, each turned at random about the vertical

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

    def _features(self, history_deg: NDArray[np.float64]) -> NDArray[np.float32]:
        return networks.motion_features(history_deg)

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
        self._ready = (traces, history, future, image)
        if networks.shipped(self._zoo(traces, history, future), self._network):
            return
        key = {
            "agent": type(self).__name__,
            "version": 2,
            "traces": trace_room.load(traces, "train").digest,
            "history": history,
            "future": future,
            "image": image,
            **options,
        }

        def run() -> float:
            parts = []
            rng = np.random.default_rng(options["seed"])
            for split, stride in (("train", options["stride"]), ("valid", 5)):
                windows = training_windows(traces, split, history, future, stride)
                turns = self.turns if split == "train" else 0
                cut = [windows, *(turned(windows, rng.uniform(0.0, 360.0, len(windows))) for _ in range(turns))]
                features = np.concatenate([self._features(unwrap_to_last(part.history_deg)) for part in cut])
                maps = (
                    _maps(traces, split, windows)
                    if image
                    else np.zeros((len(features), CELLS if self.needs_image else 0), np.float32)
                )
                parts.append((features, maps, np.concatenate([displacements(part) for part in cut])))
            return networks.train(
                self._network,
                parts[0],
                parts[1],
                options["epochs"],
                options["learning_rate"],
                options["batch"],
                options["seed"],
                mirror=not image,
                report=self.report,
            )

        networks.cached(key, self._network, run)

    def _zoo(self, traces: str, history: int, future: int) -> Path | None:
        """Where this package ships the weights that training would give; ``None``: nowhere."""
        return None

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
        history = unwrap_to_last(history_deg)[:, -self.reach :]
        features = torch.from_numpy(self._features(history))
        flat = (
            np.zeros((len(history), CELLS if self.needs_image else 0), np.float32)
            if maps is None
            else maps.reshape(len(history), -1)
        )
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
    """A two-layer GRU on the last two seconds of motion; one pass gives six seconds. Uses no image.

    One network serves every history and horizon: it reads at most ten samples and answers thirty (beyond them the last
    is held). For environments on Jin2022 and on sets whose ``train_on`` is Jin2022 the weights come with the package
    (`zoo/viewport-gru`); elsewhere, or with other arguments, it is trained on first use.
    """

    reach = 10
    turns = 4

    def __init__(
        self,
        traces: str | None = None,
        future: int = 30,
        stride: int = 3,
        hidden: int = 64,
        epochs: int = 5,
        learning_rate: float = 2e-3,
        batch: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__(traces, future, stride, hidden, epochs, learning_rate, batch, seed)

    def _features(self, history_deg: NDArray[np.float64]) -> NDArray[np.float32]:
        return networks.motion_and_place(history_deg)

    def fit(self, traces: str, history: int, future: int, image: bool = False) -> None:
        """Take the shipped weights for `traces`, or train."""
        super().fit(traces, min(history, self.reach), future, image)

    def _zoo(self, traces: str, history: int, future: int) -> Path | None:
        defaults = type(self)()
        if (history, future, self._options) != (self.reach, defaults._fit_future, defaults._options):
            return None
        return {"viewport/jin2022": ZOO / "canonical", "viewport/jin2022/as-published": ZOO / "published"}.get(traces)

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
