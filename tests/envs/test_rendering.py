"""Every environment draws itself: an RGB array of one size, a window without a screen, a video by Gymnasium."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym  # noqa: F401 (registers the environments)
from netllm_gym import make_agent
from netllm_gym.agents.base import EnvInfo
from netllm_gym.errors import ConfigError

CASES = {
    "netllm_gym/ABR-v0": ("abr/bba", {}),
    "netllm_gym/ViewportPrediction-v0": ("viewport/damped-velocity", {}),
    "netllm_gym/ViewportStreaming-v0": ("streaming/predictive", {"max_chunks": 6}),
    "netllm_gym/ClusterScheduling-v0": ("cluster/fair", {"traces": "cluster/synthetic", "jobs": 6, "executors": 8}),
}


@pytest.mark.parametrize("name", CASES)
def test_frames_show_the_episode_and_change_nothing(name) -> None:
    who, kwargs = CASES[name]
    rewards = []
    for mode in ("rgb_array", None):
        env, agent = gym.make(name, render_mode=mode, **kwargs).unwrapped, make_agent(who)
        observation, info = env.reset(seed=3)
        agent.reset(EnvInfo.of(env))
        frames, total = [env.render()], []
        for _ in range(5):
            observation, reward, *_, info = env.step(agent.act(observation, info))
            total.append(reward)
            frames.append(env.render())
        rewards.append(total)
        if mode is None:
            assert frames == [None] * 6
            continue
        assert {(frame.shape, frame.dtype) for frame in frames} == {(frames[0].shape, np.dtype(np.uint8))}
        assert frames[0].ndim == 3
        assert frames[0].shape[2] == 3
        assert any((a != b).any() for a, b in itertools.pairwise(frames))
        assert len(np.unique(frames[-1].reshape(-1, 3), axis=0)) > 4
    assert rewards[0] == rewards[1]


@pytest.mark.parametrize("name", CASES)
def test_a_window_opens_and_closes(name, monkeypatch) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    who, kwargs = CASES[name]
    env, agent = gym.make(name, render_mode="human", **kwargs).unwrapped, make_agent(who)
    env.metadata = {**env.metadata, "render_fps": 1000}
    observation, info = env.reset(seed=3)
    agent.reset(EnvInfo.of(env))
    env.step(agent.act(observation, info))
    assert env._window is not None
    assert env.render() is None
    env.close()
    env.close()
    assert env._window is None


@pytest.mark.parametrize("name", CASES)
def test_an_unknown_mode_is_refused(name) -> None:
    from gymnasium.envs.registration import load_env_creator

    kind = load_env_creator(gym.spec(name).entry_point)
    with pytest.raises(ConfigError, match="render_mode"):
        kind(**CASES[name][1], render_mode="ansi")


def test_gymnasium_records_a_video(tmp_path) -> None:
    pytest.importorskip("moviepy")
    env = gym.make("netllm_gym/ABR-v0", render_mode="rgb_array")
    env = gym.wrappers.RecordVideo(env, str(tmp_path), video_length=4, disable_logger=True)
    env.reset(seed=0)
    for _ in range(6):
        env.step(0)
    env.close()
    assert list(tmp_path.glob("*.mp4"))
