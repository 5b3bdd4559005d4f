"""Streaming over measured tile sizes, where they are on this machine (``NETLLM_GYM_TILES`` names their folder)."""

import os
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import make_agent, traces
from netllm_gym.agents.base import EnvInfo
from netllm_gym.traces import HeadTrace, TraceSet
from netllm_gym.traces.video.tiles import read_tile_table

FOLDER = Path(os.environ.get("NETLLM_GYM_TILES") or Path(__file__).resolve().parents[3] / "shared" / "data" / "vp")
WU, JIN = FOLDER / "wu2017_tiles_xie.npz", FOLDER / "jin2022_tiles_mansy.npz"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (WU.is_file() and JIN.is_file()), reason=f"no tile tables in {FOLDER}"),
]


def heads(videos: list[str]) -> TraceSet[HeadTrace]:
    """Synthetic viewers of the tables' videos: the test needs no head data."""
    drawn = traces.load("viewport/synthetic", "test")
    renamed = (HeadTrace(t.user, v, t.hz, t.angles_deg) for t, v in zip(drawn, videos, strict=False))
    return TraceSet("viewers", "test", tuple(renamed))


def total(agent, **kwargs) -> float:
    env = gym.make("netllm_gym/ViewportStreaming-v0", traces=heads(["3", "5", "10"]), max_chunks=40, **kwargs).unwrapped
    agent, rewards = make_agent(agent), 0.0
    for trace in range(3):
        observation, info = env.reset(seed=trace, options={"trace": trace})
        agent.reset(EnvInfo.of(env, 0, agent.privileged))
        over = False
        while not over:
            observation, reward, over, _, info = env.step(agent.act(observation, info))
            rewards += reward
            assert info["wasted_bytes"] >= 0 and np.isfinite(reward)
    return rewards


def test_both_tables_read() -> None:
    wu, jin = read_tile_table(WU), read_tile_table(JIN)
    assert len(wu) == 15 and len(jin) == 27
    frame = np.median([np.median(m.tile_bytes.sum(axis=2) * 8e-6 / m.chunk_s, axis=0) for m in wu.values()], axis=0)
    np.testing.assert_allclose(frame, [3.43, 9.62, 15.57, 23.60, 31.47, 41.14], rtol=0.15)
    assert (np.diff(frame) > 0).all()


def test_knowing_the_view_pays_on_measured_sizes() -> None:
    scores = [total(f"streaming/{name}", tiles=WU) for name in ("whole-sphere", "predictive", "oracle")]
    assert scores[0] < scores[1] < scores[2]
