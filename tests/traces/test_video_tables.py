"""Videos with measured quality: Envivio with Comyco's VMAF tables."""

from __future__ import annotations

import os

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, make_agent, traces
from netllm_gym.errors import ConfigError, DownloadError

pytestmark = pytest.mark.realdata
VIDEO = "envivio-dash3-vmaf"


@pytest.fixture(scope="module", autouse=True)
def _fetched() -> None:
    if not os.environ.get("NETLLM_GYM_MIRROR", "").startswith("file://"):
        pytest.skip("no local mirror of the public videos (set NETLLM_GYM_MIRROR=file://…)")
    try:
        traces.fetch(f"video/{VIDEO}")
        traces.fetch("video/envivio-dash3")
    except DownloadError as error:
        pytest.skip(str(error))


def test_it_is_envivio_and_every_level_looks_better_than_the_one_below() -> None:
    video, plain = traces.load_video(VIDEO), traces.load_video("envivio-dash3")
    np.testing.assert_array_equal(video.chunk_bytes, plain.chunk_bytes)
    vmaf = video.quality_tables["vmaf"]
    assert vmaf.shape == (48, 6) and (np.diff(vmaf, axis=1) > 0).all()
    assert vmaf.min() > 0 and vmaf.max() <= 100
    assert vmaf[0].tolist() == [28.809932, 64.858346, 75.043369, 84.117964, 94.602386, 99.823203]
    assert video.digest != plain.digest and not plain.quality_tables


def test_quality_by_vmaf_is_what_an_episode_pays() -> None:
    with pytest.raises(ConfigError, match="stall_weight and switch_weight"):
        gym.make("netllm_gym/ABR-v0", video=VIDEO, qoe="vmaf", disable_env_checker=True)
    env = gym.make(
        "netllm_gym/ABR-v0", video=VIDEO, qoe="vmaf", stall_weight=34.0, switch_weight=1.0, disable_env_checker=True
    )
    vmaf = env.unwrapped.video.quality_tables["vmaf"]
    observation, info = env.reset(options={"trace": 2})
    agent = make_agent("abr/robust-mpc")
    agent.reset(EnvInfo.of(env))
    before, chunk, over = vmaf[0, 0], 1, False
    while not over:
        level = agent.act(observation, info)
        observation, reward, over, _, info = env.step(level)
        quality = vmaf[chunk, level]
        assert reward == pytest.approx(quality - 34.0 * info["stall_s"] - abs(quality - before), abs=1e-9)
        before, chunk = quality, chunk + 1
    assert chunk == 48
