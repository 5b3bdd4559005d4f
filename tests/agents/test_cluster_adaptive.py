"""The rule without units: the search improves on its start, checkpoints come back, units do not matter."""

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.cluster.search import SearchConfig, episodes, score, search
from netllm_gym.envs.cluster.adaptive import COEFFICIENTS, START, advise
from netllm_gym.errors import CheckpointError, ConfigError

ID = "netllm_gym/ClusterScheduling-v0"
SMALL = SearchConfig(generations=2, candidates=4, traces=(), random=3)


def test_the_search_is_deterministic_and_its_candidates_meet_the_same_episodes():
    lines: list[str] = []
    found = search(SMALL, lines.append)
    np.testing.assert_array_equal(found, search(SMALL))
    assert len(lines) == 2 and not np.array_equal(found, START)
    played = episodes(SMALL, np.random.default_rng(0))
    assert score(played, START) == score(played, START.copy())
    assert set(score(played, found)) == {"random", "all"}


def test_the_rule_has_no_units():
    env = gym.make(ID, jobs=8, executors=24, load=0.9).unwrapped
    agent = netllm_gym.make_agent("cluster/adaptive")
    observation, info = env.reset(seed=1)
    agent.reset(EnvInfo.of(env))
    for _ in range(30):
        slow = {key: value.copy() for key, value in observation.items()}
        slow["stages"][slow["stages"][:, 4] >= 0, 1] *= 8.0
        mine, theirs = advise(observation, 2.0), advise(slow, 16.0)
        assert (mine.row, mine.executors) == (theirs.row, theirs.executors)
        np.testing.assert_allclose(mine.room, theirs.room)
        observation, _, _, _, info = env.step(agent.act(observation, info))


def test_a_checkpoint_of_the_rule_comes_back(tmp_path):
    options = {"generations": 1, "candidates": 4, "traces": (), "random": 2}
    made = netllm_gym.train("cluster-adaptive", out=tmp_path / "rule", options=options)
    back = netllm_gym.make_agent(str(tmp_path / "rule"))
    np.testing.assert_array_equal(made.coefficients, back.coefficients)
    text = (tmp_path / "rule" / "agent.json").read_text()
    begin = text.index('"coefficients": [') + len('"coefficients": [')
    (tmp_path / "rule" / "agent.json").write_text(text[:begin] + '"x", ' + text[begin:])
    with pytest.raises(CheckpointError, match="do not fit"):
        netllm_gym.make_agent(str(tmp_path / "rule"))
    with pytest.raises(ConfigError, match="finite"):
        netllm_gym.make_agent("cluster/adaptive", coefficients=[1.0])
    assert np.isfinite(COEFFICIENTS).all()
