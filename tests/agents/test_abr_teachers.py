"""Who is followed in lessons decides as the agents do in the environment."""

from __future__ import annotations

import numpy as np

from netllm_gym import make_agent, traces, zoo
from netllm_gym.agents.abr.actor_critic import ActorCritic
from netllm_gym.agents.abr.row_agent import RowAgent
from netllm_gym.agents.abr.teachers import home_or_any, of_rows
from netllm_gym.agents.abr.worlds import Worlds
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.checkpoint import load_checkpoint
from netllm_gym.envs.lookup import make_env

N = 24


def test_the_teacher_at_home_decides_as_the_agent_does() -> None:
    specialist, away = (load_checkpoint(zoo.ROOT / name) for name in ("abr-actor-critic", "abr-actor-critic-any"))
    assert isinstance(specialist, ActorCritic) and isinstance(away, RowAgent)
    video = traces.load_video("synthetic")
    links = list(traces.load("abr/synthetic", "train"))[:8]
    fast = [traces.NetworkTrace(f"{link.name} fast", link.duration_s, link.throughput_mbps * 8.0) for link in links]
    worlds = Worlds(
        N, {"slow": links, "fast": fast}, [video], 1, at_home=1.0, drawn_videos=0, drawn_links=0, from_start=0.5
    )
    teacher = home_or_any(specialist, away.network, float(video.bitrates_kbps[-1]) / 1000.0)
    env = make_env("netllm_gym/ABR-v0", {"traces": "abr/synthetic", "split": "valid", "video": "synthetic"})
    env.reset(seed=0)
    agent = make_agent("abr/actor-critic")
    agent.reset_batch([EnvInfo.of(env)] * N)
    lives, stage = worlds.lives, worlds.stage
    alone = 0
    for _ in range(12):
        rows, context = worlds.see()
        decided = teacher(stage, lives, rows, context, worlds.mask)
        told = [
            {
                "throughput_mbps": lives.throughputs[i].astype(np.float32),
                "download_time_s": lives.delays[i].astype(np.float32),
                "buffer_s": np.array([lives.buffer[i]], np.float32),
                "last_quality": int(lives.last[i]),
                "next_chunk_bytes": stage.sizes[lives.chunk[i], : video.levels].astype(np.float32),
                "chunks_left": np.array([video.chunks - lives.chunk[i]], np.float32),
            }
            for i in range(N)
        ]
        assert agent.act_batch(told, [{}] * N) == decided.tolist()
        alone += int((of_rows(away.network)(stage, lives, rows, context, worlds.mask) != decided).sum())
        worlds.step(decided)
    assert alone > 0  # the specialist had a say
