"""Head-motion windows as offline experience: what was seen, and the motion that followed."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.envs.viewport.prediction import ViewportPredictionEnv
from netllm_gym.envs.viewport.windows import Windows, cut, displacements, mirrored, turned
from netllm_gym.errors import ConfigError
from netllm_gym.files import digest
from netllm_gym.traces.head.geometry import unwrap_to_last
from netllm_gym.traces.protocol import training

ENV_ID = "netllm_gym/ViewportPrediction-v0"


def window_experience(
    traces: str = "viewport/synthetic",
    split: str = "train",
    stride: int = 15,
    spacing: int | None = None,
    turns: int = 0,
    mirror: bool = False,
    **env_kwargs: Any,
) -> Experience:
    """Cut every window of a split into experience for supervised training.

    One episode per trace, one decision per window. The action is the true displacement from the last sample
    (what a perfect agent of the environment would answer), so a learner that outputs zero is hold-last.
    Rewards are 0, the best the environment gives.

    Raises:
        ConfigError: a spacing that is not a multiple of the stride.

    Args:
        traces, split, stride: of the environment; smaller strides give more, overlapping windows.
        spacing: samples between the decisions of one episode, a multiple of `stride`; default: `stride`. With stride 3
            and spacing 15 a trace becomes five episodes at the environment's pace, each shifted by three samples.
        turns: copies of everything, in each of which every viewer is turned about the vertical by an angle of his own
            (drawn from seed 0; not with images, which do not turn).
        mirror: also a copy of every copy with left and right exchanged (not with images).
        env_kwargs: further arguments of ``netllm_gym/ViewportPrediction-v0``: ``history``, ``future``,
            ``image``.
    """
    spacing = stride if spacing is None else spacing
    if spacing < stride or spacing % stride:
        raise ConfigError(f"spacing must be a multiple of the stride {stride}, got {spacing}")
    kwargs = {"traces": traces, "split": split, "stride": stride, **env_kwargs}
    with training("cutting windows to learn from"):
        env = gym.make(ENV_ID, **kwargs).unwrapped
    assert isinstance(env, ViewportPredictionEnv)
    windows = cut(tuple(env.traces), env.protocol)
    if (turns or mirror) and env.maps is not None:
        raise ConfigError("windows with images can be neither turned nor mirrored")
    rng = np.random.default_rng(0)
    copies = [windows]
    for _ in range(turns):
        by = rng.uniform(0.0, 360.0, len(windows.names))
        copies.append(turned(windows, by[windows.trace]))
    if mirror:
        copies += [mirrored(copy) for copy in copies]
    episodes = [episode for copy in copies for episode in _episodes(copy, env, spacing)]
    # What is cut from the traces depends on these; a training must not be resumed on other windows.
    options = {**kwargs, "traces": "", "spacing": spacing, "turns": turns, "mirror": mirror}
    return Experience(
        episodes,
        ENV_ID,
        kwargs,
        env.observation_space,
        env.action_space,
        dict(env.metadata["modalities"]),
        dict(env.metadata["scales"]),
        name=f"{traces}/{split}",
        digest=digest([env.traces.digest.encode(), json.dumps(options, sort_keys=True, default=str).encode()]),
    )


def _episodes(windows: Windows, env: ViewportPredictionEnv, spacing: int) -> list[Episode]:
    stride = env.protocol.stride
    history = unwrap_to_last(windows.history_deg)
    observations = {
        "history_deg": history.astype(np.float32),
        "motion_deg": (history - history[:, -1:]).astype(np.float32),
    }
    if env.maps is not None:
        observations["image"] = np.stack(
            [env.image_at(int(i), int(a)) for i, a in zip(windows.trace, windows.anchor, strict=True)]
        )
    actions = displacements(windows).astype(np.float32)
    episodes = []
    for index in np.unique(windows.trace):
        own = np.flatnonzero(windows.trace == index)
        for shift in range(0, spacing, stride):
            rows = own[windows.anchor[own] % spacing == (env.protocol.first + shift) % spacing]
            if len(rows):
                observed = {key: value[rows] for key, value in observations.items()}
                episodes.append(Episode(observed, actions[rows], np.zeros(len(rows)), trace=windows.names[index]))
    return episodes
