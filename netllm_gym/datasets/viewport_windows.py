"""Head-motion windows as offline experience: what was seen, and the motion that followed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.envs.viewport.prediction import ViewportPredictionEnv
from netllm_gym.envs.viewport.windows import cut, displacements
from netllm_gym.traces.head_geometry import unwrap_to_last

ENV_ID = "netllm_gym/ViewportPrediction-v0"


def window_experience(
    traces: str = "viewport/synthetic", split: str = "train", stride: int = 15, **env_kwargs: Any
) -> Experience:
    """Cut every window of a split into experience for supervised training.

    One episode per trace, one decision per window. The action is the true displacement from the last sample
    (what a perfect agent of the environment would answer), so a learner that outputs zero is hold-last.
    Rewards are 0, the best the environment gives.

    Args:
        traces, split, stride: of the environment; smaller strides give more, overlapping windows.
        env_kwargs: further arguments of ``netllm_gym/ViewportPrediction-v0``: ``history``, ``future``,
            ``image``.
    """
    kwargs = {"traces": traces, "split": split, "stride": stride, **env_kwargs}
    env = gym.make(ENV_ID, **kwargs).unwrapped
    assert isinstance(env, ViewportPredictionEnv)
    windows = cut(tuple(env.traces), env.protocol)
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
    ends = np.flatnonzero(np.diff(windows.trace, append=-1)) + 1
    episodes, begin = [], 0
    for end in ends:
        piece = slice(begin, int(end))
        episodes.append(
            Episode(
                {key: value[piece] for key, value in observations.items()},
                actions[piece],
                np.zeros(int(end) - begin),
                trace=windows.names[windows.trace[begin]],
            )
        )
        begin = int(end)
    return Experience(
        episodes,
        ENV_ID,
        kwargs,
        env.observation_space,
        env.action_space,
        dict(env.metadata["modalities"]),
        dict(env.metadata["scales"]),
        name=f"{traces}/{split}",
        digest=env.traces.digest,
    )
