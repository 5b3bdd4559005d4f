"""Synthetic head motion: seeded, and calibrated to the speed and autocorrelation of real viewers.

A video has a few attraction points that drift along the equator; all users share them. A user looks at a
target for a while (log-normal dwell, whose median differs from user to user), then picks another: mostly an
attraction point, which he pursues, sometimes a place of his own near the equator, where he fixates. The head
follows its target as a critically damped spring, so that a change of target is a fast, smooth shift, and a
slow jitter is added.

Calibration (:data:`CALIBRATED`) against the training part of Jin2022, in the canonical reading: see
``docs/envs/viewport_prediction.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.geometry import wrap_deg
from netllm_gym.traces.head.trace import HeadTrace

HZ = 5.0
_STREAM = 0x4EAD


@dataclass(frozen=True)
class HeadModel:
    """Parameters of the model.

    Attributes:
        dwell_s: median time on a target; `user_spread` and `dwell_spread` are the log standard deviations of
            a user's own median and of single dwells.
        points: attraction points of a video; `attention` is the probability that the next target is one of
            them.
        drift_deg_s: standard deviation of an attraction point's speed along the equator.
        shift_deg: standard deviation of the longitude change to a target of the user's own.
        lat_deg, lat_bias_deg: standard deviation and mean of targets' latitude.
        stiffness_hz: natural frequency of the head's spring (1/s).
        jitter_deg, jitter_s: standard deviation and time constant of the jitter.
        roll_deg: standard deviation of roll, a slow autoregression that leans into longitude motion.
    """

    dwell_s: float
    user_spread: float
    dwell_spread: float
    points: int
    attention: float
    drift_deg_s: float
    shift_deg: float
    lat_deg: float
    lat_bias_deg: float
    stiffness_hz: float
    jitter_deg: float
    jitter_s: float
    roll_deg: float


CALIBRATED = HeadModel(
    dwell_s=2.6,
    user_spread=0.6,
    dwell_spread=0.9,
    points=3,
    attention=0.5,
    drift_deg_s=2.0,
    shift_deg=55.0,
    lat_deg=17.0,
    lat_bias_deg=-4.0,
    stiffness_hz=5.0,
    jitter_deg=3.0,
    jitter_s=2.5,
    roll_deg=5.0,
)


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(_STREAM, *key)))


def _autoregression(rng: np.random.Generator, steps: int, keep: float) -> NDArray[np.float64]:
    """Unit-variance first-order autoregression, shape ``[steps]``."""
    shocks = rng.standard_normal(steps)
    value, scale = shocks[0], np.sqrt(1.0 - keep**2)
    out = np.empty(steps)
    for t in range(steps):
        value = keep * value + scale * shocks[t] if t else value
        out[t] = value
    return out


def attraction_points(model: HeadModel, seed: int, video: int, steps: int) -> NDArray[np.float64]:
    """Paths of a video's attraction points, ``(lon, lat)`` in degrees, shape ``[steps, points, 2]``."""
    rng = _rng(seed, 0, video)
    start = rng.normal(0.0, 40.0, model.points)
    speed = rng.normal(0.0, model.drift_deg_s, model.points)
    lat = rng.normal(model.lat_bias_deg, model.lat_deg / 2.0, model.points)
    time = np.arange(steps)[:, None] / HZ
    return np.stack([start + speed * time, np.broadcast_to(lat, (steps, model.points))], axis=-1)


def draw_head(model: HeadModel, seed: int, video: int, user: int, steps: int) -> NDArray[np.float64]:
    """Draw one user's canonical angles for one video, degrees, shape ``[steps, 3]``."""
    points = attraction_points(model, seed, video, steps)
    dwell = model.dwell_s * np.exp(model.user_spread * _rng(seed, 1, user).standard_normal())
    rng = _rng(seed, 2, video, user)
    substeps = 4
    dt = 1.0 / HZ / substeps
    # Plain floats, longitude and latitude apart: arrays of two would take ten times as long for the same bits.
    lon, lat = rng.normal(0.0, 15.0), rng.normal(model.lat_bias_deg, 5.0)
    lon_speed = lat_speed = 0.0
    offset, point, left = [0.0, 0.0], -1, 0.0
    to_lon, to_lat = lon, lat
    path = np.empty((steps, 2))
    stiffness, damping = model.stiffness_hz**2, 2.0 * model.stiffness_hz
    for t in range(steps):
        if left <= 0.0:
            left = dwell * np.exp(model.dwell_spread * rng.standard_normal())
            if rng.random() < model.attention:
                point = int(rng.integers(model.points))
                offset = rng.normal(0.0, 6.0, 2).tolist()
            else:
                point = -1
                shift = rng.normal(0.0, model.shift_deg)
                to_lon, to_lat = lon + shift, rng.normal(model.lat_bias_deg, model.lat_deg)
        if point >= 0:
            # The nearest copy of the point: nobody turns the long way round.
            goal_lon = float(points[t, point, 0]) + offset[0]
            to_lon = lon + ((goal_lon - lon + 180.0) % 360.0 - 180.0)
            to_lat = float(points[t, point, 1]) + offset[1]
        for _ in range(substeps):
            lon_speed += dt * (stiffness * (to_lon - lon) - damping * lon_speed)
            lat_speed += dt * (stiffness * (to_lat - lat) - damping * lat_speed)
            lon += dt * lon_speed
            lat += dt * lat_speed
        path[t] = lon, lat
        left -= 1.0 / HZ
    keep = np.exp(-1.0 / (HZ * model.jitter_s))
    longitude = path[:, 0] + model.jitter_deg * _autoregression(rng, steps, keep)
    latitude = np.clip(path[:, 1] + 0.5 * model.jitter_deg * _autoregression(rng, steps, keep), -85.0, 85.0)
    lean = np.clip(0.05 * np.gradient(path[:, 0]) * HZ, -10.0, 10.0) if steps > 1 else np.zeros(steps)
    roll = lean + model.roll_deg * _autoregression(rng, steps, float(np.exp(-1.0 / (HZ * 4.0))))
    return np.column_stack([wrap_deg(longitude), latitude, np.clip(roll, -60.0, 60.0)])


def synthetic_head_traces(
    videos: dict[str, int],
    users: dict[str, int],
    seed: int,
    length_s: float,
    model: HeadModel = CALIBRATED,
) -> dict[str, tuple[HeadTrace, ...]]:
    """Draw a set whose splits share neither videos nor users, and the training users on the other videos
    (``crowd``).

    Args:
        videos, users: how many of each, by split.
        seed: every trace has a stream of its own, keyed by (seed, video, user).
        length_s: seconds per trace.
        model: parameters.
    """
    steps = round(length_s * HZ)
    if steps < 2:
        raise ConfigError(f"length_s must cover at least two samples at {HZ:g} Hz, got {length_s}")

    def numbers(counts: dict[str, int], split: str) -> range:
        first = sum(counts[s] for s in ("train", "valid", "test")[: ("train", "valid", "test").index(split)])
        return range(first + 1, first + counts[split] + 1)

    def draw(video_split: str, user_split: str) -> list[HeadTrace]:
        return [
            HeadTrace(str(user), str(video), HZ, draw_head(model, seed, video, user, steps), dataset="synthetic")
            for video in numbers(videos, video_split)
            for user in numbers(users, user_split)
        ]

    result = {split: tuple(draw(split, split)) for split in ("train", "valid", "test")}
    result["crowd"] = tuple(draw("valid", "train") + draw("test", "train"))
    return result


def motion_statistics(traces: tuple[HeadTrace, ...]) -> dict[str, float]:
    """Figures by which synthetic motion is calibrated: speed, spread and decorrelation.

    Returns:
        ``step_deg`` (median motion per 0.2 s), ``after_1s``, ``after_2s``, ``after_4s`` (mean great-circle
        distance between two moments), ``still_4s`` (share of moments less than 10° from where the head is 4 s
        later) and ``lat_std`` in degrees. Traces must be canonical and at 5 Hz.
    """
    from netllm_gym.traces.head.geometry import great_circle_deg

    apart: dict[int, list[NDArray[np.float64]]] = {lag: [] for lag in (1, 5, 10, 20)}
    for trace in traces:
        for lag, found in apart.items():
            found.append(great_circle_deg(trace.angles_deg[:-lag], trace.angles_deg[lag:]))
    joined = {lag: np.concatenate(found) for lag, found in apart.items()}
    return {
        "step_deg": float(np.median(joined[1])),
        "after_1s": float(joined[5].mean()),
        "after_2s": float(joined[10].mean()),
        "after_4s": float(joined[20].mean()),
        "still_4s": float((joined[20] < 10.0).mean()),
        "lat_std": float(np.std(np.concatenate([trace.angles_deg[:, 1] for trace in traces]))),
    }
