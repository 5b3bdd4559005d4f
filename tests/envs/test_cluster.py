import copy
import io
import os
import pickle
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import netllm_gym
from netllm_gym import traces
from netllm_gym.agents.base import EnvInfo
from netllm_gym.envs.cluster.bounds import mean_jct_bounds, srpt_completions
from netllm_gym.envs.cluster.draw import draw_job
from netllm_gym.envs.cluster.durations import level_weights
from netllm_gym.envs.cluster.simulator import ClusterSimulator
from netllm_gym.errors import ConfigError, NetLLMGymError, TraceFormatError, UnknownNameError
from netllm_gym.traces import catalog
from netllm_gym.traces.jobs.readers.tpch import _load_dict
from netllm_gym.traces.jobs.statistics import mean_work_s
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload, synthetic_workload

ID = "netllm_gym/ClusterScheduling-v0"
LEARNT = ("cluster/cql", "cluster/decima", "cluster/llm")  # need torch, and a checkpoint
RULES = [name for name in netllm_gym.list_agents("cluster") if not name.startswith(LEARNT)]


def play(env, name, seed, options=None):
    agent = netllm_gym.make_agent(name)
    observation, info = env.reset(seed=seed, options=options)
    agent.reset(EnvInfo.of(env))
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, info = env.step(agent.act(observation, info))
        total += reward
        over = terminated or truncated
    return total, info


@pytest.mark.parametrize("name", RULES)
def test_reward_is_minus_the_sum_of_completion_times(name):
    total, info = play(gym.make(ID, jobs=15, executors=10), name, 1)
    assert info["jobs_done"] == 15
    assert info["illegal_actions"] == 0
    assert total == pytest.approx(-15 * info["mean_jct_s"])


def test_same_seed_same_episode_and_other_seed_another():
    env = gym.make(ID, jobs=10)
    assert play(env, "cluster/fair", 4)[0] == play(env, "cluster/fair", 4)[0]
    assert play(env, "cluster/fair", 4)[0] != play(env, "cluster/fair", 5)[0]


def test_an_agent_that_always_refuses_still_finishes():
    env = gym.make(ID, jobs=3, executors=3)
    _, info = env.reset(seed=0)
    over = False
    while not over:
        _, _, over, _, info = env.step([env.unwrapped.max_stages, 0])
    assert info["jobs_done"] == 3


def test_check_env_and_masks():
    check_env(gym.make(ID, disable_env_checker=True).unwrapped, skip_render_check=True)
    env = gym.make(ID, jobs=5, max_stages=64, max_jobs=8, max_edges=128)
    _, info = env.reset(seed=0)
    masks = env.unwrapped.action_masks()
    assert masks.dtype == bool and masks.size == 65 + 50
    assert info["action_mask"].dtype == np.int8 and (info["action_mask"] == masks).all()


def test_stable_baselines_checks_it():
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="needs stable-baselines3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about images and normalised boxes
        checker.check_env(gym.make(ID, jobs=5, disable_env_checker=True).unwrapped)


def test_random_actions_play_an_episode_and_what_was_repaired_is_counted():
    env = gym.make(ID, jobs=3, executors=5)
    env.action_space.seed(0)
    env.reset(seed=0)
    over = False
    while not over:
        _, _, over, _, info = env.step(env.action_space.sample())
    assert info["jobs_done"] == 3 and info["illegal_actions"] > 0


def test_waiting_is_masked_unless_asked_for_and_obeyed_where_it_is_possible():
    for may_wait in (False, True):
        env = gym.make(ID, jobs=3, on_illegal="error", may_wait=may_wait).unwrapped
        _, info = env.reset(seed=0)
        assert info["action_mask"][env.max_stages] == may_wait
        assert info["may_wait"]
        _, _, _, _, info = env.step([env.max_stages, 0])
        assert info["jobs_done"] == 0 and info["illegal_actions"] == 0


def test_reset_refuses_options_it_does_not_know():
    env = gym.make(ID, jobs=3)
    with pytest.raises(UnknownNameError, match=r"trcae.*did you mean trace"):
        env.reset(seed=0, options={"trcae": 1})


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("durations", ["profile", "history"])
def test_a_copy_in_mid_episode_goes_on_as_the_original(copied, durations):
    env = gym.make(ID, jobs=8, executors=10, durations=durations, disable_env_checker=True).unwrapped
    agent = netllm_gym.make_agent("cluster/strict-fair")
    observation, info = env.reset(seed=2)
    agent.reset(EnvInfo.of(env))
    for _ in range(20):
        observation, _, _, _, info = env.step(agent.act(observation, info))
    other = copied(env)
    assert other.sim.env.now == other.sim.now == env.sim.now
    ends = []
    for one in (other, env):
        now, news, over = observation, info, False
        while not over:
            now, reward, over, _, news = one.step(agent.act(now, news))
        ends.append((one.sim.finished, one.sim.now, reward))
        assert one.sim.env.now == one.sim.now
    assert ends[0] == ends[1]


def test_simpy_processes_run_in_step_with_the_cluster():
    env = gym.make(ID, jobs=5, executors=10)
    observation, info = env.reset(seed=0)
    sim, ticks = env.unwrapped.sim, []

    def watch():
        while True:
            ticks.append((sim.env.now, sim.now))
            yield sim.env.timeout(1.0)

    sim.env.process(watch())
    agent = netllm_gym.make_agent("cluster/fair")
    agent.reset(EnvInfo.of(env))
    over = False
    while not over:
        observation, _, over, _, info = env.step(agent.act(observation, info))
        assert sim.env.now == sim.now == info["time_s"]
    assert [at for at, _ in ticks] == [float(k) for k in range(len(ticks))] and len(ticks) > 10


def test_durations_by_history_show_only_what_has_ended():
    job = JobTemplate("chain", (stage(3, 3.0), stage(1, 4.0)), ((0, 1),))
    env = gym.make(ID, traces=Workload("w", (job,)), jobs=1, executors=1, warmup_s=0.0, durations="history")
    observation, _ = env.reset(seed=0)
    assert observation["stages"][:2, 1].tolist() == [1.0, 1.0]  # nothing has ended yet
    observation, _, _, _, _ = env.step([0, 0])
    assert observation["stages"][0, 1] == 3.0  # the job's own, for a stage that has not run
    known = gym.make(ID, traces=Workload("w", (job,)), jobs=1, executors=1)
    assert known.reset(seed=0)[0]["stages"][:2, 1].tolist() == [3.0, 4.0]


def test_rewards_sum_to_the_objective():
    for objective, name in (("makespan", "makespan_s"), ("p99_jct", "p99_jct_s")):
        env = gym.make(ID, jobs=6, executors=10, objective=objective)
        total, info = play(env, "cluster/fair", 0)
        assert total == pytest.approx(-info[name]) and env.unwrapped.metadata["metric"]["name"] == name
        times = [end - at for _, at, end in env.unwrapped.sim.finished]
        assert info["p99_jct_s"] == pytest.approx(np.percentile(times, 99))


def test_arrivals_by_gap_or_by_load():
    def gap(**kwargs):
        env = gym.make(ID, jobs=400, executors=20, **kwargs)
        env.reset(seed=0, options={"trace": 0})
        return np.mean(np.diff([at for at, _ in env.unwrapped.sim.arrivals]))

    assert gap(gap_s=7.0) == pytest.approx(7.0, rel=0.15)
    work = mean_work_s(traces.load("cluster/synthetic", "test")[0].workload)
    assert gap(load=0.5) == pytest.approx(work / 20 / 0.5, rel=0.15)
    for wrong in ({"gap_s": 1.0, "load": 1.0}, {"load": 0.0}):
        with pytest.raises(ConfigError):
            gap(**wrong)


def test_rows_grow_with_the_workload_and_a_wide_stage_front_is_shown():
    wide = JobTemplate("wide", tuple(stage(1, 1.0) for _ in range(3000)), ())
    env = gym.make(ID, traces=Workload("w", (wide,)), jobs=1, executors=4, disable_env_checker=True)
    observation, _ = env.reset(seed=0)
    assert observation["stage_mask"].sum() == 3000 <= env.unwrapped.max_stages


def test_time_limit_truncates_and_does_not_terminate():
    env = gym.make(ID, jobs=50, time_limit_s=30.0)
    env.reset(seed=0)
    for _ in range(10_000):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
    assert truncated and not terminated


def test_render_is_an_image():
    env = gym.make(ID, jobs=2, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render().shape == (420, 960, 3)


def test_a_bound_that_is_exceeded_names_its_option():
    with pytest.raises(ConfigError, match="raise max_stages"):
        gym.make(ID, jobs=5, max_stages=2).reset(seed=0)


@pytest.mark.parametrize("action", [[5000, 0], [-1, 0], [0, 50]])
def test_illegal_actions_are_errors(action):
    env = gym.make(ID, jobs=3, on_illegal="error").unwrapped
    env.reset(seed=0)
    with pytest.raises(ConfigError):
        env.step(action)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"executors": 0},
        {"jobs": 0},
        {"traces": "cluster/tcph"},
        {"time_limit_s": -1},
        {"on_illegal": "x"},
        {"split": "tset"},
    ],
)
def test_bad_arguments(kwargs):
    with pytest.raises(NetLLMGymError):
        gym.make(ID, **kwargs)


def stage(tasks=1, duration=1.0):
    return StageProfile(tasks, {}, {5: [duration]}, {})


@pytest.mark.parametrize(
    ("stages", "edges"),
    [
        ((), ()),
        ((stage(0),), ()),
        ((stage(1, -1.0),), ()),
        ((stage(1, float("nan")),), ()),
        ((stage(), stage()), ((0, 1), (1, 0))),
        ((stage(),), ((0, 3),)),
    ],
)
def test_broken_jobs(stages, edges):
    with pytest.raises(TraceFormatError):
        JobTemplate("bad", stages, edges)


def test_bad_input_says_what_is_wrong_in_one_line():
    env = gym.make(ID, jobs=3, on_illegal="error").unwrapped
    env.reset(seed=0)
    for wrong, reason in (
        (lambda: JobTemplate("j", (stage(), stage()), ((0, 1), (1, 0))), "depend on each other in a cycle"),
        (lambda: JobTemplate("j", (stage(0),), ()), "stage 0 has no tasks"),
        (lambda: JobTemplate("j", (stage(1, -1.0),), ()), "finite durations of at least 0 s"),
        (lambda: gym.make(ID, executors=0), "executors and jobs must be at least 1"),
        (lambda: env.step([0, 50]), "count 51 is beyond the 50 executors"),
        (lambda: gym.make(ID, traces="cluster/tcph"), "cluster/tpch"),
        (lambda: synthetic_workload(["ring"]), "unknown family 'ring'"),
        (lambda: Workload("w", ()), "at least one job"),
        (lambda: Workload("w", (JobTemplate("j", (stage(),), ()),), arrivals_s=(2.0, 1.0)), "arrivals must be sorted"),
        (lambda: gym.make(ID, traces="abr/synthetic"), "needs job sequences"),
    ):
        with pytest.raises(NetLLMGymError, match=reason) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_one_job_takes_its_moving_delay_and_its_tasks():
    job = JobTemplate("chain", (stage(2, 3.0), stage(1, 4.0)), ((0, 1),))
    env = gym.make(ID, traces=Workload("w", (job,)), jobs=1, executors=1)
    total, _ = play(env, "cluster/fifo", 0)
    # moving 2; a fresh task 3 + 1 warm-up; the rest 3; it waited for a decision, so fresh again: 4 + 1
    assert -total == pytest.approx(2 + 4 + 3 + 5)


def test_tetris_fills_and_graphene_heads_for_the_heaviest_stage():
    # Two runnable stages in one job: the first leads to a heavy stage, the second is heavier itself but leads nowhere.
    job = JobTemplate("fork", (stage(1, 1.0), stage(2, 2.0), stage(9, 9.0)), ((0, 2),))
    env = gym.make(ID, traces=Workload("w", (job,)), jobs=1, executors=4)
    observation, info = env.reset(seed=0)
    graphene = netllm_gym.make_agent("cluster/graphene")
    graphene.reset(EnvInfo.of(env))
    assert graphene.act(observation, info)[0] == 0
    small = JobTemplate("small", (stage(1, 5.0),), ())
    big = JobTemplate("big", (stage(4, 6.0),), ())
    env = gym.make(ID, traces=Workload("w", (small, big), arrivals_s=(0.0, 0.0)), jobs=2, executors=4)
    observation, info = env.reset(seed=0)  # both jobs are there
    for short, row in ((0.0, 1), (9.0, 0)):
        tetris = netllm_gym.make_agent("cluster/tetris", short=short)
        tetris.reset(EnvInfo.of(env))
        assert tetris.act(observation, info)[0] == row


def test_sjf_remembers_how_short_a_job_was_on_arrival():
    sjf, both = netllm_gym.make_agent("cluster/sjf"), np.array([0, 1])
    env = gym.make(ID, jobs=1)
    env.reset(seed=0)
    sjf.reset(EnvInfo.of(env))

    def order(arrivals, work):
        sjf._now_arrivals = np.array(arrivals)
        return sjf.order(both, np.array(work)).tolist()

    assert order([0.0, 9.0], [48.0, 32.0]) == [1, 0]
    assert order([0.001, 9.0], [10.0, 32.0]) == [1, 0]  # shorter now, but not on arrival
    assert order([9.0, 20.0], [5.0, 31.0]) == [1, 0]  # the first has finished and rows have moved up


def test_the_tuned_rule_advances_short_jobs_and_hands_out_the_whole_cluster():
    rule = netllm_gym.make_agent("cluster/tuned", whole=200.0, floor=0.5)
    rule.executors = 20
    assert rule.caps(np.array([100.0, 30.0, 500.0])).tolist() == [10.0, 3.0, 7.0]
    assert rule.caps(np.array([10.0])).tolist() == [20.0]
    with pytest.raises(ConfigError):
        netllm_gym.make_agent("cluster/tuned", floor=2.0)


def test_levels_between_points():
    assert level_weights(6, legacy=False) == (5, 10, pytest.approx(0.8))
    assert level_weights(6, legacy=True) == (5, 10, pytest.approx(0.2))
    assert level_weights(3, legacy=False)[:2] == (5, 5)


class Hostile:
    def __reduce__(self):
        return os.getcwd, ()


def test_a_hostile_profile_does_not_run():
    buffer = io.BytesIO()
    np.save(buffer, np.array({"x": Hostile()}, dtype=object), allow_pickle=True)
    with pytest.raises(TraceFormatError, match="not allowed"):
        _load_dict(buffer.getvalue(), "x.npy")
    for cut in range(0, 200, 7):
        with pytest.raises(TraceFormatError):
            _load_dict(pickle.dumps({1: 2})[:cut], "x.npy")


# Mean job completion times, s, on the sequences of seeds 1, 2, 3, 666, 1234 as measured in spark-sched-sim (fifo, fair,
# random) and in NetLLM's copy, whose FIFO caps every job at half of the executors. The simulators draw durations
# differently, so a sequence's mean differs by chance: over 4 draws ours had a standard deviation of at most 0.7 s with
# Fair, 0.35 s with the half cap and 4.5 s with random decisions. Tolerances are three times that; that
# of uncapped FIFO, whose spread was not measured, is 2 to 5 % of its means.
PUBLISHED = {
    "cluster/fair": ((42.9, 57.9, 66.2, 64.4, 61.7), 2.1),
    "cluster/fifo-half": ((53.0, 77.9, 97.9, 86.1, 79.6), 2.1),
    "cluster/fifo": ((93.7, 263.8, 182.5, 285.4, 134.8), 5.0),
    "cluster/random": ((57.7, 83.6, 94.5, 86.9, 87.5), 13.5),
}


@pytest.fixture(scope="module")
def published_env(tmp_path_factory):
    mirror = os.environ.get("NETLLM_GYM_MIRROR")
    folder = Path(__file__).parents[3] / "shared" / "mirror"
    if mirror is None and not folder.is_dir():
        pytest.skip("no mirror with the TPC-H profiles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETLLM_GYM_MIRROR", mirror or folder.as_uri())
        patch.setenv("NETLLM_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        traces.fetch("cluster/tpch")
        yield gym.make(ID, traces="cluster/tpch/as-published", legacy=True, disable_env_checker=True)
    catalog.build.cache_clear()


def test_tpch_profiles_are_complete(published_env):
    workload = published_env.unwrapped.traces[0].workload
    assert len(workload.templates) == 154
    assert sum(len(t.stages) for t in workload.templates) == 1414
    assert sum(s.tasks for t in workload.templates for s in t.stages) == 177_890


@pytest.mark.parametrize("name", PUBLISHED)
def test_parity_with_the_published_simulators(published_env, name):
    theirs, tolerance = PUBLISHED[name]
    ours = [play(published_env, name, 50, {"trace": i})[1]["mean_jct_s"] for i in range(5)]
    assert ours == pytest.approx(theirs, abs=tolerance)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=tolerance / 2)


def test_splits_share_no_sequence_and_unseen_jobs_are_unseen():
    for name in traces.names("cluster/synthetic"):
        splits = [traces.load(name, split) for split in ("train", "valid", "test")]
        assert not set.intersection(*({t.seed for t in split} for split in splits))
        digests = {split[0].workload.digest for split in splits}
        assert len(digests) == 3
    assert traces.load("cluster/synthetic", "test")[3].digest == traces.load("cluster/synthetic", "test")[3].digest


def test_a_trace_is_chosen_by_its_index_and_rules_meet_the_same_jobs():
    env = gym.make(ID, jobs=5)
    _, a = env.reset(seed=1, options={"trace": 3})
    first = [at for at, _ in env.unwrapped.sim.arrivals]
    _, b = env.reset(seed=2, options={"trace": 3})
    assert a["trace"] == b["trace"] and first == [at for at, _ in env.unwrapped.sim.arrivals]
    with pytest.raises(ConfigError, match="trace 50"):
        env.reset(options={"trace": 50})


def test_no_rule_beats_the_lower_bound():
    env = gym.make(ID, jobs=25, executors=10)
    bounds = []
    for name in RULES:
        _, info = play(env, name, 3, {"trace": 0})
        bounds.append(mean_jct_bounds(env.unwrapped.sim))
        assert max(bounds[-1].values()) <= info["mean_jct_s"]
        assert bounds[-1]["combined"] >= max(bounds[-1]["srpt"], bounds[-1]["path"]) - 1e-9
    assert bounds[0] == bounds[-1]  # the draws do not depend on the rule


def test_bounds_of_one_job_by_hand():
    job = JobTemplate("chain", (stage(2, 3.0), stage(1, 4.0)), ((0, 1),))
    env = gym.make(ID, traces=Workload("w", (job,)), jobs=1, executors=2)
    play(env, "cluster/fifo", 0)
    # moving 2, then 3 + 4 along the path; work 3 + 3 + 4 on two executors
    found = mean_jct_bounds(env.unwrapped.sim)
    assert found["path"] == pytest.approx(2 + 7)
    assert found["work"] == pytest.approx(2 + 5)


def test_shortest_remaining_time_by_hand():
    # 5 starts at 0, 1 interrupts at 1 and ends at 2, the rest of 5 ends at 6
    assert srpt_completions([0.0, 1.0], [5.0, 1.0]) == [2.0, 6.0]


def test_ten_thousand_jobs_leave_nothing_behind_and_cost_a_few_events_a_task():
    job = JobTemplate("small", (stage(2, 1.0), stage(1, 1.0)), ((0, 1),))
    sim = ClusterSimulator(Workload("w", (job,), 4.0).draw(10_000, np.random.default_rng(0)), executors=8)
    most = 0
    while sim.advance():
        most = max(most, len(sim.active), len(sim.agenda.heap), len(sim.pools.members))
        sim.commit(*sim.schedulable()[0], 2)
    assert len(sim.finished) == 10_000
    assert most < 100
    assert sim.agenda.entered <= 3 * 30_000  # a task, and moves, some of which find the work already taken
    assert set(sim.pools.members) == {(-1, -1)} and not sim.pools.promises and not sim.active and len(sim._tables) == 1


def test_a_job_is_drawn_stage_by_stage():
    job = JobTemplate("chain", (stage(2, 3.0), stage(7, 4.0)), ((0, 1),))
    texts = [text.get_text() for text in draw_job(job).axes[0].texts]
    assert {"2", "7", "3.0 s", "4.0 s"} <= set(texts)
