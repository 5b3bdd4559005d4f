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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_gymnasium_records_a_video(name, tmp_path) -> None:
    pytest.importorskip("moviepy")
    who, kwargs = CASES[name]
    env = gym.make(name, render_mode="rgb_array", **kwargs)
    env, agent = gym.wrappers.RecordVideo(env, str(tmp_path), video_length=4, disable_logger=True), make_agent(who)
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env.unwrapped))
    for _ in range(6):
        observation, _, over, _, info = env.step(agent.act(observation, info))
        if over:
            break
    env.close()
    assert [path.stat().st_size > 1000 for path in tmp_path.glob("*.mp4")] == [True]


@pytest.mark.parametrize("name", ["netllm_gym/ViewportPrediction-v0", "netllm_gym/ViewportStreaming-v0"])
def test_colours_on_the_sphere_are_explained(name) -> None:
    env = gym.make(name, render_mode="rgb_array", **CASES[name][1]).unwrapped
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (300, 512, 3)
    legend = frame[256:].reshape(-1, 3)
    assert (legend == 255).all(axis=1).mean() > 0.5  # words on white
    assert ((legend == [214, 39, 40]).all(axis=1)).any()  # the box of the true view
