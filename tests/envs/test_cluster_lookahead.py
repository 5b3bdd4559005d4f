"""The compiled simulator equals the one that environments run, and looking ahead sees no true future."""

from array import array

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.cluster.rollout import compiled_rule, propose
from netllm_gym.envs.cluster import lookahead
from netllm_gym.envs.cluster import world as places
from netllm_gym.envs.cluster.agenda import DONE
from netllm_gym.envs.cluster.model import ClusterModel
from netllm_gym.errors import ConfigError
from netllm_gym.traces.jobs.families import SHAPES, random_workload

ID = "netllm_gym/ClusterScheduling-v0"
RULES = {
    "cluster/tuned": lookahead.TUNED, "cluster/strict-fair": lookahead.STRICT_FAIR, "cluster/fair": lookahead.FAIR,
    "cluster/adaptive": lookahead.ADAPTIVE,
}  # fmt: skip


def make(**kwargs):
    return gym.make(ID, disable_env_checker=True, **{"jobs": 12, "executors": 12, **kwargs}).unwrapped


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("moving_s", [0.0, 2.0])
def test_the_compiled_simulator_plays_every_episode_to_the_same_end(name, moving_s):
    env, agent = make(split="valid", moving_s=moving_s), netllm_gym.make_agent(name)
    observation, info = env.reset(seed=1, options={"trace": 2})
    agent.reset(EnvInfo.of(env))
    model, found, over, k = ClusterModel(env.sim), [], False, 0
    while not over:
        if k % 5 == 0:
            world, durations, seed = model.true_world()
            begun = env.sim.job_seconds
            rest = lookahead.play_on(world, durations, seed, moving_s, np.inf, *compiled_rule(agent))
            found.append(begun + rest)
        observation, _, over, _, info = env.step(agent.act(observation, info))
        k += 1
    assert len(found) > 10
    np.testing.assert_allclose(found, env.sim.job_seconds, rtol=1e-12)


def another_future(env, rng):
    """Return a copy of the episode that is the same to a scheduler, and goes on otherwise."""
    other = env.fork()
    sim = other.sim
    known = len(sim.finished) + len(sim.active)
    late = [(at + float(rng.uniform(0, 50)), job) for at, job in sim.arrivals[known:]]
    sim.arrivals, sim.seed = [*sim.arrivals[:known], *sorted(late, key=lambda pair: pair[0])], int(rng.integers(99))
    for job in sim.active.values():
        fresh = [array("d", rng.random(len(draws)).tobytes()) for draws in job.draws]
        job.draws = [
            array("d", [*new[:left], *old[left:]])
            for new, old, left in zip(fresh, job.draws, job.unlaunched, strict=True)
        ]
    heap = []
    for at, order, kind, data in sim.agenda.heap:
        if kind == DONE:
            longer = float(rng.uniform(0, 9))
            data.until_s, data.task_s, at = data.until_s + longer, data.task_s + longer, at + longer
        heap.append((at, order, kind, data))
    sim.agenda.heap = sorted(heap, key=lambda event: event[:2])
    return other


@pytest.mark.parametrize("durations", ["profile", "history"])
def test_decisions_do_not_depend_on_the_true_future(durations):
    env, rng = make(load=0.9, durations=durations), np.random.default_rng(0)
    agent, changed = netllm_gym.make_agent("cluster/rollout", candidates=5, futures=4, margin=1.0), 0
    observation, info = env.reset(seed=3, options={"trace": 1})
    agent.reset(EnvInfo.of(env, seed=5))
    for k in range(40):
        if k % 4 == 3:
            other = another_future(env, rng)
            actions = []
            for one in (env, other):
                twin = netllm_gym.make_agent("cluster/rollout", candidates=5, futures=4, margin=1.0)
                twin.reset(EnvInfo.of(one, seed=k))
                actions.append(twin.act(observation, info).tolist())
                changed += twin.changed
            assert actions[0] == actions[1]
        observation, _, over, _, info = env.step(agent.act(observation, info))
        assert not over
    assert changed and 0 < agent.changed < agent.decisions


def test_every_running_task_ends_in_an_imagined_future_however_times_round():
    env, agent = make(load=0.9), netllm_gym.make_agent("cluster/fair")
    observation, info = env.reset(seed=3, options={"trace": 1})
    agent.reset(EnvInfo.of(env))
    for _ in range(30):
        observation, _, _, _, info = env.step(agent.act(observation, info))
    busy = [executor for executor in env.sim.executors if executor.busy]
    # A task that begins now, by rounding after now: its end less its length is a little more than now.
    now = env.sim.now
    length = next(x for x in np.random.default_rng(0).uniform(0, 9, 10_000) if (now + x) - x > now)
    busy[0].task_s, busy[0].until_s = length, now + length
    world, _, _ = ClusterModel(env.sim).imagine(np.random.default_rng(0), 1.0)
    assert np.sum(world.heap[places.H_KIND, : world.n[places.HEAP]] == DONE) == len(busy)


def test_one_seed_one_schedule_and_legal_throughout():
    ends = []
    for _ in range(2):
        env = make(jobs=5, on_illegal="error")
        agent = netllm_gym.make_agent("cluster/rollout", base="cluster/strict-fair", candidates=4, futures=4)
        observation, info = env.reset(seed=4, options={"trace": 0})
        agent.reset(EnvInfo.of(env, seed=1))
        over = False
        while not over:
            observation, _, over, _, info = env.step(agent.act(observation, info))
        ends.append(env.sim.finished)
    assert ends[0] == ends[1]


def test_looking_ahead_ends_jobs_sooner_than_the_rule_that_it_begins_with():
    later = []
    for trace in range(3):
        means = []
        for name, options in (("cluster/adaptive", {}), ("cluster/rollout", {"candidates": 5, "futures": 4})):
            env = gym.make(ID, traces="cluster/random", split="valid", jobs=6, executors=10, load=0.8)
            agent = netllm_gym.make_agent(name, **options)
            means.append(netllm_gym.play(env, agent, seed=trace, options={"trace": trace}).run().info["mean_jct_s"])
        later.append(np.log(means[1] / means[0]))
    assert np.mean(later) < 0


def test_candidates_are_legal_distinct_and_begin_with_the_base():
    env, agent = make(load=1.0), netllm_gym.make_agent("cluster/tuned")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    for _ in range(30):
        action = agent.act(observation, info)
        row = -1 if action[0] == env.max_stages else int(action[0])
        choices = propose(observation, info, (row, int(action[1]) + 1), 8, env.max_stages)
        assert len(set(choices)) == len(choices) <= 8 and choices[0][0] == row
        for other, count in choices:
            assert other < 0 or (observation["stage_mask"][other] and 1 <= count <= observation["executors"][0])
        observation, _, _, _, info = env.step(action)


def test_what_cannot_be_looked_ahead_is_refused():
    with pytest.raises(ConfigError, match="go on with"):
        netllm_gym.make_agent("cluster/rollout", rule="cluster/fifo")
    env, agent = make(legacy=True), netllm_gym.make_agent("cluster/rollout")
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="model of its future"):
        agent.reset(EnvInfo.of(env))


@pytest.mark.parametrize("shape", SHAPES)
def test_random_workloads_of_every_shape_are_played(shape):
    workload = random_workload(np.random.default_rng(1), [shape], templates=4)
    env, agent = make(traces=workload, jobs=3, load=0.8), netllm_gym.make_agent("cluster/tuned")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    over = False
    while not over:
        observation, _, over, _, info = env.step(agent.act(observation, info))
    assert info["jobs_done"] == 3
    again = random_workload(np.random.default_rng(1), [shape], templates=4)
    assert again.digest == workload.digest


@pytest.mark.parametrize(("edges", "offered"), [([[0, 1]], True), ([[0, 2], [1, 2]], False)])
def test_waiting_is_tried_only_where_the_executors_are_sure_to_be_offered_again(edges, offered):
    # Stage 0 is about to end; in the second graph nothing begins then, because stage 1 is not through.
    observation = {
        "stages": np.array([[0, 1, 0, 1, 0], [5, 1, 1, 0, 0], [5, 1, 0, 0, 0], [4, 1, 1, 1, 1]], np.float32),
        "jobs": np.array([[6, 1, 3], [2, 0, 1]], np.float32),
        "edges": np.array([*edges, [-1, -1]], np.int32),
        "executors": np.array([3, 3, 8], np.float32),
        "stage_mask": np.array([0, 1, 0, 1], np.int8),
    }
    assert ((-1, 0) in propose(observation, {"may_wait": True}, (1, 3), 9, 4)) == offered
