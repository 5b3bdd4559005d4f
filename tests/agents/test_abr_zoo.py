"""The shipped ABR agents: small, legal, and at home on any ladder."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import evaluate, make_agent, zoo
from netllm_gym.agents.base import EnvInfo
from netllm_gym.errors import CheckpointError
from netllm_gym.traces import NetworkTrace, TraceSet, synthetic_video

pytest.importorskip("torch")
pytestmark = pytest.mark.llm


@pytest.mark.parametrize("name", ["abr-llm", "abr-regret-mlp", "abr-actor-critic", "abr-actor-critic-any"])
def test_weights_are_small_and_nothing_executable_ships(name: str) -> None:
    files = [path for path in (zoo.ROOT / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".toml", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 3e6


def test_both_beat_a_buffer_rule_on_traces_they_never_saw() -> None:
    setting = {"traces": "abr/synthetic", "split": "valid", "random_start": True}
    agents = ["abr/bba", "abr/llm", "abr/regret-mlp"]
    table = evaluate(agents=agents, setting=setting, baseline="abr/bba", episodes=12, seed=1).summary()
    means = table.set_index("agent")["mean"]
    assert (table["failed"] == 0).all()
    assert all(means[name] > means["abr/bba"] for name in agents[1:])


def _play(agents: list, envs: list, steps: int = 6) -> list[list[int]]:
    """Levels that each agent chooses, asked once for all environments or each for its own."""
    envs = [gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **kwargs) for kwargs in envs]
    seen = [env.reset(seed=1) for env in envs]
    together = len(agents) == 1
    for agent, mine in zip(agents, [envs] if together else [[env] for env in envs], strict=True):
        agent.reset_batch([EnvInfo.of(env) for env in mine])
    chosen: list[list[int]] = []
    for _ in range(steps):
        if together:
            actions = agents[0].act_batch([o for o, _ in seen], [i for _, i in seen])
        else:
            actions = [agent.act_batch([o], [i])[0] for agent, (o, i) in zip(agents, seen, strict=True)]
        chosen.append([int(action) for action in actions])
        seen = [(lambda r: (r[0], r[4]))(env.step(a)) for env, a in zip(envs, actions, strict=True)]
    return chosen


FAST = TraceSet("own", "test", (NetworkTrace("fast", [1.0], [20.0]),))


@pytest.mark.parametrize("name", ["abr/llm", "abr/regret-mlp", "abr/actor-critic"])
def test_what_is_played_depends_on_the_episode_alone(name: str) -> None:
    """Another video's episode, a fast link's and one at home: in one batch as each by itself."""
    envs = [{}, {"buffer_cap_s": 20.0}, {"traces": FAST}]
    assert _play([make_agent(name)], envs) == _play([make_agent(name) for _ in envs], envs)


def test_the_policy_for_any_ladder_plays_away_and_where_the_link_is_faster_than_the_ladder() -> None:
    envs = [{"buffer_cap_s": 20.0}, {"traces": FAST, "first_quality": 1}]
    both, away = _play([make_agent("abr/actor-critic")], envs), _play([make_agent("abr/actor-critic-any")], envs)
    assert [row[0] for row in both] == [row[0] for row in away]
    assert [row[1] for row in both[1:]] == [row[1] for row in away[1:]]  # nothing is measured before the first


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


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("abr/llm", {"checkpoint": "abr-llm"}),
        ("abr/regret-mlp", {"checkpoint": "abr-regret-mlp"}),
        ("abr/actor-critic", {"home": "abr-actor-critic", "away": "abr-actor-critic-any"}),
    ],
)
def test_another_training_takes_the_place_of_the_one_that_ships(name: str, folders: dict[str, str]) -> None:
    envs = [{}, {"traces": FAST}]
    same = make_agent(name, **{key: str(zoo.ROOT / folder) for key, folder in folders.items()})
    assert _play([same], envs) == _play([make_agent(name)], envs)
    with pytest.raises(CheckpointError, match="nowhere"):
        make_agent(name, **dict.fromkeys(folders, "nowhere"))
