"""The shipped ABR agents: small, legal, and at home on any ladder."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import evaluate, make_agent, zoo
from netllm_gym.agents.base import EnvInfo
from netllm_gym.traces import synthetic_video

pytest.importorskip("torch")
pytestmark = pytest.mark.llm


@pytest.mark.parametrize(
    "name", [f"abr-{name}{kind}" for name in ("llm", "regret-mlp", "actor-critic") for kind in ("", "-any")]
)
def test_weights_are_small_and_nothing_executable_ships(name: str) -> None:
    files = [path for path in (zoo.ROOT / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".toml", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 3e6


def test_both_beat_a_buffer_rule_on_traces_they_never_saw() -> None:
    setting = {"traces": "abr/synthetic", "split": "valid", "random_start": True}
    agents = ["abr/bba", "abr/llm", "abr/regret-mlp", "abr/llm-any", "abr/regret-mlp-any"]
    table = evaluate(agents=agents, setting=setting, baseline="abr/bba", episodes=12, seed=1).summary()
    means = table.set_index("agent")["mean"]
    assert (table["failed"] == 0).all()
    assert all(means[name] > means["abr/bba"] for name in agents[1:])


@pytest.mark.parametrize("name", ["abr/regret-mlp", "abr/actor-critic"])
def test_each_episode_meets_the_agent_that_fits_it(name: str) -> None:
    """At home the specialist alone decides, elsewhere the policy for any ladder, in one batch as by itself."""
    both, envs, parts = make_agent(name), [], []
    for kwargs, part in (({}, both.home), ({"buffer_cap_s": 20.0}, both.away)):
        env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **kwargs)
        envs.append(env)
        parts.append(part)
    seen = [env.reset(seed=1) for env in envs]
    both.reset_batch([EnvInfo.of(env) for env in envs])
    for _ in range(8):
        actions = both.act_batch([o for o, _ in seen], [i for _, i in seen])
        twin = make_agent(name)
        for k, env in enumerate(envs):
            alone = (twin.home, twin.away)[k]
            alone.reset_batch([EnvInfo.of(env)])
            if alone.memoryless:
                assert alone.act_batch([seen[k][0]], [seen[k][1]])[0] == actions[k]
        seen = [(lambda r: (r[0], r[4]))(env.step(a)) for env, a in zip(envs, actions, strict=True)]


@pytest.mark.parametrize("name", ["abr/llm", "abr/regret-mlp", "abr/actor-critic"])
@pytest.mark.parametrize("levels", [3, 10])
def test_they_play_other_ladders(name: str, levels: int) -> None:
    video = synthetic_video(5, np.geomspace(200, 6000, levels), 30, 2.0)
    env = gym.make("netllm_gym/ABR-v0", video=video, disable_env_checker=True)
    observation, info = env.reset(seed=0)
    agent = make_agent(name)
    agent.reset(EnvInfo.of(env))
    assert agent.notice == ""
    over, total = False, 0.0
    while not over:
        observation, reward, over, _, info = env.step(agent.act(observation, info))
        total += reward
    assert total > 0
