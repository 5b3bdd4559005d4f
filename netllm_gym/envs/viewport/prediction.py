"""Viewport prediction as an environment: one viewer, one video, a window at every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym import traces as trace_room
from netllm_gym.envs.actions import finite_numbers
from netllm_gym.envs.arguments import checked
from netllm_gym.envs.rendering import Rendered, check_render_mode
from netllm_gym.envs.reset_options import reset_options
from netllm_gym.envs.viewport import metrics
from netllm_gym.envs.viewport.crowd import Crowd, FolderMaps
from netllm_gym.envs.viewport.crowd_paths import MAX_CROWD, CrowdPaths
from netllm_gym.envs.viewport.tiles import TileView
from netllm_gym.envs.viewport.windows import WindowProtocol
from netllm_gym.errors import ConfigError, NetLLMGymError
from netllm_gym.files import on_disk
from netllm_gym.traces import HeadTrace, TraceSet
from netllm_gym.traces.head.geometry import (
    published_to_quaternion,
    quaternion_to_canonical,
    unwrap_to_last,
    wrap_deg,
)
from netllm_gym.traces.user import ImportOptions, read_user_path

MAX_MOTION_DEG = 3600.0  # extrapolations may turn several times


def load_head_traces(traces: str | Path | TraceSet, split: str) -> TraceSet[HeadTrace]:
    """Load a head-motion set by name, by path (``<video>/<user>.csv``, time and yaw, pitch, roll) or as it
    is."""
    if not isinstance(traces, TraceSet) and "/" in str(traces) and on_disk(str(traces)):
        return read_user_path(traces, ImportOptions("head"))
    found = trace_room.load(traces, split)
    if not isinstance(found[0], HeadTrace):
        raise ConfigError(f"{found.name} holds {type(found[0]).__name__}s, head traces are needed")
    return found


def other_viewers(traces: TraceSet[HeadTrace]) -> tuple[HeadTrace, ...]:
    """Return logs of other viewers of a set's videos.

    Of a set with splits: the training users' logs (``train`` itself, else part ``crowd``). Of a user's own set
    without them: all its logs; whoever is being predicted is left out of his own crowd later.

    Raises:
        ConfigError: the set knows no other viewers of its videos.
    """
    if traces.split in ("train", "all"):
        return tuple(traces)
    try:
        return tuple(trace_room.load(traces.name, "crowd"))
    except NetLLMGymError:
        if traces.name.startswith("user/"):  # imported without a crowd: the other viewers of the same split
            return tuple(traces)
        raise ConfigError(f"{traces.name} has no training users who watched the same videos") from None


def earlier_viewers(traces: TraceSet[HeadTrace], crowd: int, gap_s: float) -> CrowdPaths | None:
    """Return the paths of up to `crowd` earlier viewers, ``None`` where nobody is to be shown.

    Raises:
        ConfigError: a number that is no size, or a set that knows no other viewers of its videos.
    """
    if not 0 <= crowd <= MAX_CROWD:
        raise ConfigError(f"crowd is a number of viewers up to {MAX_CROWD}, got {crowd}")
    return CrowdPaths(other_viewers(traces), crowd, gap_s) if crowd else None


def crowd_of(traces: TraceSet[HeadTrace]) -> Crowd:
    """Return the heatmaps of :func:`other_viewers`."""
    return Crowd(other_viewers(traces))


class ViewportPredictionEnv(Rendered, gym.Env[dict[str, Any], np.ndarray]):
    """Predict where a viewer of a 360-degree video will look.

    ## Description
    Every step shows a window of head motion and asks for the next `future` samples; then the true motion is
    revealed and the next window follows. The action does not change what comes next (a contextual bandit; γ =
    0). Windows are NetLLM's (5 Hz, from sample 30 to 60 before the end, every 15), so that an episode's
    windows are its published ones.

    ## Action Space
    `Box[future, 3]`, degrees: *motion from the last sample* to each future one. Zero is "the head stays"
    (hold-last), so an untrained agent begins at the baseline. Absolute angles a are the action `a -
    history_deg[-1]`.

    ## Observation Space
    `Dict`:

    | key | shape | unit | meaning |
    |---|---|---|---|
    | `history_deg` | [history, 3] | degrees | the last samples, newest last, continuous (whole turns added) |
    | `motion_deg` | [history, 3] | degrees | the same, relative to the newest sample |
    | `crowd_deg` | [crowd, history + future, 3] | degrees | only with `crowd`: earlier viewers, same moments |
    | `crowd_mask` | [crowd, history + future] | | 1 where a sample of `crowd_deg` is known, else both are 0 |
    | `image` | [H, W] | | only with `image`: the crowd's heatmap over the future, or a map from disk |

    The three angles are (lon, lat, roll), or (roll, pitch, yaw) in a set's `as-published` reading.

    ## Rewards
    `-mae_deg`: minus the mean error over angles and samples, differences folded into ±180°.

    ## Starting State
    The first window of the trace, or the first at or after `start_s`.

    ## Episode End
    Termination after the last window of the trace. Never truncated.

    ## Information
    Always: `trace`, `trace_group`, `groups`, `user`, `video`, and of the window *shown*: `anchor` (first sample of its
    future) and `time_s` (its place in the video). `step` adds, of the window just *scored*: `scored_anchor`, `mae_deg`,
    `mae_published_deg` (NetLLM's fold, which forgives one turn only), `great_circle_deg`, `hold_last_mae_deg`,
    `truth_deg` [future, 3], and `hit_rate`, `tile_iou` (with `tiles`).

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `traces` | `"viewport/synthetic"` | catalog name (`…/as-published`: NetLLM's angles), path, `TraceSet` |
    | `split` | `"test"` | split of the entry |
    | `history`, `future`, `stride` | 10, 20, 15 | samples seen, predicted, and between windows |
    | `image` | None | `"crowd"`, or a folder of `<video>.npy` maps. Never compare agents with and without |
    | `image_hz` | 5.0 | frames per second of maps from disk |
    | `crowd` | 0 | how many earlier viewers of the video to show. Never compare agents with and without |
    | `crowd_gap_s` | 0.0 | seconds between viewers' starts: the i-th has looked i gaps ahead; 0: all have finished |
    | `tiles` | False | also score tiles: rectilinear 100° × 100° on 8 × 8 |

    `reset(options={"trace": i, "start_s": t})` picks a trace and the first window at or after t.

    ## Version History
    * v0: initial version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's convention)
        "render_modes": ["rgb_array", "human"],
        "render_fps": 2,
        "modalities": {
            "history_deg": "series",
            "motion_deg": "series",
            "image": "image",
            "crowd_deg": "series",
            "crowd_mask": "image",
        },
        "scales": {"history_deg": 90.0, "motion_deg": 20.0, "image": 1.0, "crowd_deg": 90.0, "crowd_mask": 1.0},
        "metric": {"name": "mae_deg", "aggregate": "mean", "better": "lower"},
        "reward_terms": {
            "mae_deg": {"aggregate": "mean", "unit": "°", "better": "lower"},
            "mae_published_deg": {"aggregate": "mean", "unit": "°", "better": "lower"},
            "great_circle_deg": {"aggregate": "mean", "unit": "°", "better": "lower"},
        },
    }

    @checked
    def __init__(
        self,
        traces: str | Path | TraceSet = "viewport/synthetic",
        split: str = "test",
        history: int = 10,
        future: int = 20,
        stride: int = 15,
        image: str | Path | None = None,
        image_hz: float = 5.0,
        crowd: int = 0,
        crowd_gap_s: float = 0.0,
        tiles: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_render_mode(render_mode)
        self._scored: tuple[int, np.ndarray] | None = None  # anchor and prediction of the window scored last
        self.traces = load_head_traces(traces, split)
        self.protocol = WindowProtocol(history, future, stride=stride)
        self._anchors = [self.protocol.anchors(trace) for trace in self.traces]
        short = [trace.name for trace, found in zip(self.traces, self._anchors, strict=True) if not len(found)]
        if short:
            raise ConfigError(f"{short[0]} is too short for a window; filter it from the set")
        self.crowd: Crowd | None = None
        self.maps: Crowd | FolderMaps | None = None
        if image == "crowd":
            self.crowd = self.maps = crowd_of(self.traces)
        elif image is not None:
            self.maps = FolderMaps(image, image_hz)
        self.paths = earlier_viewers(self.traces, crowd, crowd_gap_s)
        self.view = TileView() if tiles else None
        space: dict[str, spaces.Space] = {
            "history_deg": spaces.Box(-np.inf, np.inf, (history, 3), np.float32),
            "motion_deg": spaces.Box(-np.inf, np.inf, (history, 3), np.float32),
        }
        if self.maps is not None:
            space["image"] = spaces.Box(-np.inf, np.inf, self.maps.shape, np.float32)
        if self.paths is not None:
            space |= self.paths.spaces(history + future)
        self.observation_space = spaces.Dict(space)
        self.action_space = spaces.Box(-MAX_MOTION_DEG, MAX_MOTION_DEG, (future, 3), np.float32)
        self.metadata = {
            **self.metadata,
            "modalities": {key: self.metadata["modalities"][key] for key in space},
            "scales": {key: self.metadata["scales"][key] for key in space},
        }

    def static_info(self) -> dict[str, Any]:
        """Public facts: the set, the reading, the protocol, and the crowd when the environment shows it."""
        return {
            "traces": self.traces.name,
            "reading": self.trace.reading,
            "hz": self.trace.hz,
            "protocol": self.protocol,
            "user": self.trace.user,
            "video": self.trace.video,
            "crowd": self.crowd,
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; see the class for `options`."""
        super().reset(seed=seed)
        options = reset_options(options, ("trace", "start_s"))
        drawn = int(self.np_random.integers(len(self.traces)))
        index = int(options.get("trace", drawn))
        if not 0 <= index < len(self.traces):
            raise ConfigError(f"trace {index} is out of range: {self.traces.name} has {len(self.traces)}")
        self.trace_index, self.trace = index, self.traces[index]
        self._at = int(np.searchsorted(self._anchors[index], float(options.get("start_s", 0.0)) * self.trace.hz))
        if self._at >= len(self._anchors[index]):
            raise ConfigError(f"start_s {options['start_s']:g} lies beyond the last window of {self.trace.name}")
        self._scored = None
        self.show()
        return self._observe(), self._info()

    def _info(self) -> dict[str, Any]:
        trace = self.trace
        anchor = int(self._anchors[self.trace_index][min(self._at, len(self._anchors[self.trace_index]) - 1)])
        return {
            "trace": trace.name,
            "trace_group": trace.group,
            "groups": {"video": trace.video, "user": trace.user},
            "user": trace.user,
            "video": trace.video,
            "anchor": anchor,
            "time_s": trace.start_s + anchor / trace.hz,
        }

    def image_at(self, index: int, anchor: int) -> np.ndarray:
        """Map shown with the window of trace `index` whose future begins at sample `anchor` (needs
        ``image``)."""
        if self.maps is None:
            raise ConfigError("the environment was made without image")
        trace = self.traces[index]
        start = trace.start_s + anchor / trace.hz
        return self.maps(trace.video, trace.user, start, start + self.protocol.future / trace.hz)

    def _observe(self) -> dict[str, Any]:
        anchors = self._anchors[self.trace_index]
        anchor = int(anchors[min(self._at, len(anchors) - 1)])  # after the end: the last window again
        history = unwrap_to_last(self.trace.angles_deg[anchor - self.protocol.history : anchor])
        observation: dict[str, Any] = {
            "history_deg": history.astype(np.float32),
            "motion_deg": (history - history[-1]).astype(np.float32),
        }
        if self.maps is not None:
            observation["image"] = self.image_at(self.trace_index, anchor)
        if self.paths is not None:
            now = anchor + round(self.trace.start_s * self.trace.hz)
            observation |= self.paths.observe(self.trace, now, self.protocol.history, self.protocol.future)
        return observation

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Score the predicted motion of this window and show the next."""
        motion = finite_numbers(action, self.action_space.shape)
        if motion is None:
            raise ConfigError(f"the action must be finite motion of shape {self.action_space.shape}")
        anchors = self._anchors[self.trace_index]
        if self._at >= len(anchors):
            raise ConfigError("the trace is over; call reset")
        anchor = int(anchors[self._at])
        last = self.trace.angles_deg[anchor - 1]
        truth = self.trace.angles_deg[anchor : anchor + self.protocol.future]
        prediction = last + motion
        error = float(metrics.mae_wrapped(prediction, truth).mean())
        scores = {
            "reward": -error,
            "mae_deg": error,
            "mae_published_deg": float(metrics.mae_published(prediction, truth).mean()),
            "great_circle_deg": float(metrics.great_circle(prediction, truth, self.trace.reading).mean()),
            "hold_last_mae_deg": float(np.abs(wrap_deg(truth - last)).mean()),
            "truth_deg": truth.copy(),
        }
        if self.view is not None:
            tiles = metrics.tile_scores(prediction, truth, self.view, self.trace.reading)
            scores["hit_rate"] = float(tiles["hit_rate"].mean())
            scores["tile_iou"] = float(tiles["tile_iou"].mean())
        self._at += 1
        self._scored = (anchor, prediction)
        self.show()
        # Where and when are those of the window shown next: agents look up the crowd by them.
        info = {**self._info(), **scores, "scored_anchor": anchor}
        return self._observe(), -error, self._at >= len(anchors), False, info

    def frame(self) -> np.ndarray:
        """Draw the window that was scored last: history, truth and prediction on the sphere, RGB ``[300, 512, 3]``.

        Before the first step only the history is drawn.
        """
        from netllm_gym.envs.viewport.draw import draw_paths, path_legend, with_legend

        anchor = int(self._anchors[self.trace_index][self._at]) if self._scored is None else self._scored[0]
        history = self.trace.angles_deg[anchor - self.protocol.history : anchor]
        truth = self.trace.angles_deg[anchor : anchor + self.protocol.future] if self._scored else None
        predicted = self._scored[1] if self._scored else None

        def canonical(angles: np.ndarray) -> np.ndarray:
            if self.trace.reading == "canonical":
                return angles
            return quaternion_to_canonical(published_to_quaternion(angles))

        image = draw_paths(
            canonical(history),
            None if truth is None else canonical(truth),
            None if predicted is None else canonical(predicted),
        )
        return with_legend(image, path_legend(others=False))
