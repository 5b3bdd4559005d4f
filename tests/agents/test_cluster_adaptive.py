"""The rule without units: the search improves on its start, checkpoints come back, units do not matter."""

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.cluster.rollout import compiled_rule
from netllm_gym.agents.cluster.search import Episode, SearchConfig, episodes, score, search
from netllm_gym.envs.cluster.adaptive import COEFFICIENTS, HASTY, NEVER, START, WAIT, advise, offered_again
from netllm_gym.envs.cluster.lookahead import ADAPTIVE
from netllm_gym.errors import CheckpointError, ConfigError
from netllm_gym.traces.jobs.families import random_workload

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


def test_without_a_moving_delay_the_rule_does_not_run_away():
    rules = [compiled_rule(netllm_gym.make_agent(f"cluster/{name}")) for name in ("adaptive", "strict-fair")]
    less = []
    for seed in range(8):
        work = random_workload(np.random.default_rng(seed), ("fork-join",))
        env = gym.make(ID, traces=work, jobs=25, load=0.7, moving_s=0.0, warmup_s=0.0, may_wait=True).unwrapped
        env.reset(seed=seed, options={"trace": seed})
        own, other = (Episode.of(env).mean_jct_s(*rule) for rule in rules)
        less.append(np.log(own / other))
    assert np.mean(less) < -0.04


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


def impatient() -> np.ndarray:
    return np.append(COEFFICIENTS[: len(COEFFICIENTS) - len(NEVER)], NEVER)


def test_sixteen_coefficients_make_a_rule_without_patience():
    agent = netllm_gym.make_agent("cluster/adaptive", coefficients=COEFFICIENTS[:16].tolist())
    np.testing.assert_array_equal(agent.coefficients, impatient())


def test_the_hasty_rule_is_the_one_of_before():
    np.testing.assert_array_equal(netllm_gym.make_agent("cluster/hasty").coefficients, HASTY)
    np.testing.assert_array_equal(HASTY[len(HASTY) - len(NEVER) :], NEVER)


def waits(coefficients: np.ndarray) -> int:
    """Count the rounds that the rule ends with a runnable stage in sight."""
    env = gym.make(ID, traces="cluster/synthetic", jobs=12, executors=24, load=0.8).unwrapped
    agent = netllm_gym.make_agent("cluster/adaptive", coefficients=coefficients.tolist())
    observation, info = env.reset(seed=0, options={"trace": 0})
    agent.reset(EnvInfo.of(env))
    count, over = 0, False
    while not over:
        action = agent.act(observation, info)
        count += int(action[0]) == env.max_stages
        observation, _, over, _, info = env.step(action)
    assert info["illegal_actions"] == 0
    return count


def test_a_patient_rule_waits_more():
    assert waits(COEFFICIENTS) > waits(impatient())


# Stages 0 and 1 feed 2; 2 and 3 feed 4, as rows of parent and child.
DIAMOND = np.array([0, 1, 2, 3]), np.array([2, 2, 4, 4])


@pytest.mark.parametrize(
    ("tasks", "again"),
    [
        ([0, 0, 5, 7, 5], True),  # 2 begins when 0 and 1 have ended
        ([0, 3, 5, 7, 5], False),  # when 0 ends, 1 is still to be launched: nothing begins
        ([0, 0, 5, 0, 5], False),  # 3 ends and helps nothing, because 2 is not through
        ([2, 3, 5, 7, 5], True),  # nothing is about to end
    ],
)
def test_idle_executors_are_offered_again_where_an_ending_stage_lets_another_begin(tasks, again):
    assert offered_again(np.array(tasks), *DIAMOND, np.ones(5, bool)) is again
    assert offered_again(np.array(tasks), *DIAMOND, np.array([False, False, False, False, True]))


def test_the_most_patient_rule_starves_no_job():
    eager = impatient()
    eager[WAIT] = 10.0
    rng = np.random.default_rng(3)
    for seed in range(12):
        workload = random_workload(rng, ("chain", "fork-join", "layered", "tree"))
        env = gym.make(ID, traces=workload, jobs=15, executors=20, load=0.8).unwrapped
        env.reset(seed=seed, options={"trace": 0})
        episode = Episode.of(env)
        assert episode.mean_jct_s(ADAPTIVE, eager) < 1.4 * episode.mean_jct_s(ADAPTIVE, impatient())
