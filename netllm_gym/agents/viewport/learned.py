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
from netllm_gym import zoo
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.registry import register_agent
from netllm_gym.agents.viewport import networks
from netllm_gym.agents.viewport.rules import PredictorAgent, training_set, training_windows
from netllm_gym.envs.viewport.crowd import MAP_SHAPE, Crowd
from netllm_gym.envs.viewport.windows import Windows, displacements, turned
from netllm_gym.errors import ConfigError
from netllm_gym.randomness import borrowed_generators
from netllm_gym.traces.head.geometry import unwrap_to_last

CELLS = MAP_SHAPE[0] * MAP_SHAPE[1]
REACH = 10  # samples of history a network reads


class _NetworkAgent(PredictorAgent):
    """What both networks share: data, cache, and a forecast.

    One network serves every history and horizon: it reads at most ten samples and answers thirty (beyond them the last
    is held). Where the package ships the weights that training would give, it takes them.

    Args:
        traces: catalog name to train on; default: `training_set` of what the environment plays.
        future: samples to predict.
        stride: samples between training windows.
        turns: copies of the training windows, each turned at random about the vertical (none with images).
        hidden: units.
        epochs, learning_rate, batch, seed: of the training.
    """

    zoo = ""  # folder of shipped weights: `<zoo>/published.safetensors`, `<zoo>/canonical.safetensors`
    report: Callable[[int, float], None] | None = None  # told each epoch's error on the validation split

    def __init__(self, traces: str | None, future: int, seed: int, **training: Any) -> None:
        networks.require_torch()  # refused when it is built, not in the first episode
        options = {**training, "seed": seed}
        whole = [options[key] for key in ("stride", "hidden", "epochs", "batch")]
        if min(*whole, future) < 1 or options["turns"] < 0 or options["learning_rate"] <= 0:
            raise ConfigError(
                "future, stride, hidden, epochs, batch and learning_rate must be positive and turns not negative"
            )
        self.traces, self._horizon, self._options = traces, future, options
        self._ready: tuple[str, int, bool] | None = None

    def _build(self, image: bool) -> Any:
        raise NotImplementedError

    def _wants(self, env_info: EnvInfo) -> bool:
        """Whether to use the image this environment shows."""
        return False

    def reset(self, env_info: EnvInfo) -> None:
        """Train or load on the first call for a set."""
        super().reset(env_info)
        static = env_info.static
        self.fit(self.traces or training_set(static["traces"]), static["protocol"].history, self._wants(env_info))

    def fit(self, traces: str, history: int = REACH, image: bool = False) -> None:
        """Train on the training split of `traces`, or load what is shipped or was trained before."""
        wanted = (traces, min(history, REACH), image)
        if wanted == self._ready:
            return
        networks.require_torch()
        with borrowed_generators(self._options["seed"]):
            self._fit(wanted)

    def _fit(self, wanted: tuple[str, int, bool]) -> None:
        traces, _, image = wanted
        options = self._options
        self._network = self._build(image)
        self._ready = wanted
        if networks.shipped(self._shipped(), self._network):
            return
        key = {
            "agent": type(self).__name__,
            "version": 3,
            "traces": trace_room.load(traces, "train").digest,
            "history": wanted[1],
            "future": self._horizon,
            "image": image,
            **options,
        }
        networks.cached(key, self._network, self._train)

    def _train(self) -> float:
        assert self._ready is not None
        traces, history, image = self._ready
        options = self._options
        parts = []
        rng = np.random.default_rng(options["seed"])
        for split, stride in (("train", options["stride"]), ("valid", 5)):
            windows = training_windows(traces, split, history, self._horizon, stride)
            turns = options["turns"] if split == "train" and not image else 0
            cut = [windows, *(turned(windows, rng.uniform(0.0, 360.0, len(windows))) for _ in range(turns))]
            features = np.concatenate([networks.motion_and_place(unwrap_to_last(part.history_deg)) for part in cut])
            maps = _maps(traces, split, windows) if image else np.zeros((len(features), 0), np.float32)
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

    def _shipped(self) -> Path | None:
        """Where this package ships the weights that training would give; ``None``: nowhere."""
        assert self._ready is not None
        traces, history, image = self._ready
        kind: Any = type(self)
        default = kind()
        if image or (history, self._horizon, self._options) != (REACH, default._horizon, default._options):
            return None
        reading = {"viewport/jin2022": "canonical", "viewport/jin2022/as-published": "published"}.get(traces)
        return None if reading is None else zoo.ROOT / self.zoo / reading

    def ship(self, traces: str) -> Path:
        """Train on `traces`, whatever is shipped or cached, and write the weights to where the package ships them.

        Raises:
            ConfigError: the package ships nothing for these arguments.
        """
        self._ready = (traces, REACH, False)
        path = self._shipped()
        if path is None:
            raise ConfigError("the package ships weights for the default arguments on Jin2022 only")
        networks.require_torch()
        with borrowed_generators(self._options["seed"]):
            self._network = self._build(False)
            self._train()
        networks.ship(path, self._network)
        return path.with_suffix(".safetensors")

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
        history = unwrap_to_last(history_deg)[:, -REACH:]
        features = torch.from_numpy(networks.motion_and_place(history))
        flat = np.zeros((len(history), 0), np.float32) if maps is None else maps.reshape(len(history), -1)
        with torch.no_grad():
            motion = self._network(features, torch.from_numpy(flat)).numpy().astype(np.float64)
        motion = motion[:, :future] * networks.SCALE_DEG
        if motion.shape[1] < future:
            motion = np.concatenate([motion, np.repeat(motion[:, -1:], future - motion.shape[1], axis=1)], axis=1)
        return history[:, -1:] + motion

    def forecast(self, observation: dict[str, Any], info: dict[str, Any], future: int) -> NDArray[np.float64]:
        """Return the next `future` samples in degrees, shape ``[future, 3]``."""
        maps = observation["image"][None] if self._ready is not None and self._ready[2] else None
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
        start = trace.start_s + anchor / trace.hz
        result[n] = crowd(trace.video, trace.user, start, start + future / trace.hz).ravel()
    return result


@register_agent("viewport/gru")
class GRU(_NetworkAgent):
    """A two-layer GRU on the last two seconds of motion; one pass gives six seconds. Uses no image.

    For environments on Jin2022 and on sets whose ``train_on`` is Jin2022 the weights come with the package
    (`zoo/viewport-gru`); elsewhere, or with other arguments, it is trained on first use.
    """

    zoo = "viewport-gru"

    def __init__(
        self,
        traces: str | None = None,
        future: int = 30,
        stride: int = 3,
        turns: int = 4,
        hidden: int = 64,
        epochs: int = 5,
        learning_rate: float = 2e-3,
        batch: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__(
            traces, future, seed, stride=stride, turns=turns, hidden=hidden, epochs=epochs,
            learning_rate=learning_rate, batch=batch,
        )  # fmt: skip

    def _build(self, image: bool) -> Any:
        return networks.build_gru(self._options["hidden"], 2, self._horizon)


@register_agent("viewport/track")
class Track(_NetworkAgent):
    """TRACK (Romero Rondón et al., PAMI 2022) without the published port's view of the first future sample.

    With ``image="crowd"`` its image branch reads the crowd's heatmap; without, it has none and is TRACK's position-only
    network, whose weights for Jin2022's published angles come with the package (`zoo/viewport-track`).
    """

    zoo = "viewport-track"

    def __init__(
        self,
        traces: str | None = None,
        future: int = 30,
        stride: int = 3,
        turns: int = 2,
        hidden: int = 64,
        epochs: int = 4,
        learning_rate: float = 2e-3,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(
            traces, future, seed, stride=stride, turns=turns, hidden=hidden, epochs=epochs,
            learning_rate=learning_rate, batch=batch,
        )  # fmt: skip

    def _wants(self, env_info: EnvInfo) -> bool:
        return "image" in env_info.observation_space.spaces  # type: ignore[attr-defined]

    def _build(self, image: bool) -> Any:
        return networks.build_track(self._options["hidden"], self._horizon, CELLS if image else 0)
