"""The crowd: earlier viewers on the video's clock, never the viewer himself, never more than is known by then."""

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym  # noqa: F401 (registers the environments)
from netllm_gym import traces
from netllm_gym.envs.viewport.crowd_paths import CrowdPaths
from netllm_gym.envs.viewport.prediction import other_viewers
from netllm_gym.errors import ConfigError
from netllm_gym.traces.head.sets import on_video_clock
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.traceset import TraceSet

PREDICT, STREAM = "netllm_gym/ViewportPrediction-v0", "netllm_gym/ViewportStreaming-v0"


def ramp(user: str, start_s: float = 0.0, length: int = 200, video: str = "v") -> HeadTrace:
    """Yaw says the moment on the video's clock, pitch says who it is."""
    moment = start_s * 5.0 + np.arange(length)
    angles = np.stack([moment * 0.1, np.full(length, float(user)), np.zeros(length)], axis=1)
    return HeadTrace(user, video, 5.0, angles, start_s=start_s)


def test_paths_stand_on_the_clock_of_the_video() -> None:
    crowd = CrowdPaths([ramp("1"), ramp("2", start_s=4.0), ramp("3", length=60)], viewers=4)
    paths, known = crowd.around("v", "1", now=50, history=10, future=20)
    moments = np.arange(40, 70) * 0.1
    assert known.sum(axis=1).tolist() == [30, 20, 0, 0]  # viewer 3 stopped after sample 60; the fourth row is empty
    np.testing.assert_allclose(paths[0, :, 0], moments, rtol=1e-6)
    np.testing.assert_allclose(paths[1, :20, 0], moments[:20], rtol=1e-6)
    assert (paths[:2, 0, 1] == [2, 3]).all()  # viewer 1 is never part of his own crowd
    assert not paths[~known].any()
    assert crowd.around("another", "1", 50, 10, 20)[1].sum() == 0
    assert crowd.around("v", "9", 5, 10, 20)[1][0].sum() == 25  # nothing is known before the video began


def test_a_gap_hides_what_earlier_viewers_have_not_watched_yet() -> None:
    crowd = CrowdPaths([ramp("1"), ramp("2"), ramp("3")], viewers=3, gap_s=1.0)
    _, known = crowd.around("v", "9", now=50, history=10, future=20)
    assert known.sum(axis=1).tolist() == [15, 20, 25]
    assert known[:, :10].all()


def test_only_a_catalog_entry_moves_late_logs_to_the_start() -> None:
    late = [ramp("1", start_s=s) for s in (0.0, 20.0, 40.0)]
    assert [trace.start_s for trace in on_video_clock(late, None)] == [0.0, 20.0, 40.0]
    assert [trace.start_s for trace in on_video_clock(late, 30.0)] == [0.0, 20.0, 0.0]
    env = gym.make(PREDICT, traces=TraceSet("mine", "all", tuple(late)), crowd=2).unwrapped
    _, info = env.reset(options={"trace": 2})
    assert info["time_s"] == pytest.approx(40.0 + info["anchor"] / 5.0)


def test_both_environments_show_the_same_crowd_at_the_same_moment() -> None:
    kwargs = {"traces": "viewport/synthetic", "split": "test", "crowd": 5}
    predict, stream = gym.make(PREDICT, **kwargs).unwrapped, gym.make(STREAM, **kwargs, max_chunks=20).unwrapped
    seen, info = predict.reset(options={"trace": 3})
    shown, _ = stream.reset(options={"trace": 3, "network": 0})
    while stream.playhead + 1 < info["anchor"] and stream.chunk < stream.chunks:
        shown, *_ = stream.step(np.ones(64, np.int64))
    ahead = stream.playhead + 1 - info["anchor"]
    span = min(30 - ahead, shown["crowd_deg"].shape[1])
    np.testing.assert_array_equal(shown["crowd_deg"][:, : span - ahead], seen["crowd_deg"][:, ahead:span])
    users = {trace.user for trace in other_viewers(predict.traces)}
    assert predict.trace.user not in users
    assert users == {trace.user for trace in traces.load("viewport/synthetic", "train")}


def test_a_folder_without_splits_is_its_own_crowd() -> None:
    own = TraceSet("folder", "all", (ramp("1"), ramp("2"), ramp("3")))
    observation, _ = gym.make(PREDICT, traces=own, crowd=5).unwrapped.reset(options={"trace": 0})
    assert observation["crowd_mask"].any(axis=1).sum() == 2
    assert set(observation["crowd_deg"][:2, 0, 1]) == {2.0, 3.0}


@pytest.mark.parametrize(
    "kwargs", [{"crowd": -1}, {"crowd": 2, "crowd_gap_s": -1.0}, {"crowd": 2, "crowd_gap_s": float("nan")}]
)
def test_impossible_crowds_are_refused(kwargs) -> None:
    for name in (PREDICT, STREAM):
        with pytest.raises(ConfigError):
            gym.make(name, **kwargs)


def test_a_set_that_knows_nobody_else_says_so() -> None:
    own = TraceSet("viewport/unheard-of", "test", (ramp("1"),))
    with pytest.raises(ConfigError, match="no training users"):
        other_viewers(own)
