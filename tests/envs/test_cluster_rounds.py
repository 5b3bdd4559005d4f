"""The simulator itself: what holds at every event, and what one instant shows to a decision."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from netllm_gym.envs.cluster.simulator import ClusterSimulator
from netllm_gym.envs.cluster.state import COMMON
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, synthetic_workload


def stage(tasks=1, *durations):
    """Return a stage whose tasks take these durations in every wave (no warm-up is added to a fresh sample)."""
    return StageProfile(tasks, {5: durations}, {5: durations}, {5: durations})


def whole_seconds(templates=16, seed=3):
    """Return jobs whose tasks take 0, 1 or 2 s, so that many events share an instant."""
    return [
        JobTemplate(job.name, tuple(stage(min(s.tasks, 12), 0.0, 1.0, 1.0, 2.0) for s in job.stages), job.edges)
        for job in synthetic_workload(templates=templates, seed=seed).templates
    ]


def check(sim):
    """Fail if executors are lost or promised twice, or if counters disagree with where executors are."""
    executors, pools = sim.executors, sim.pools
    moving = sum(executor.pool is None for executor in executors)
    assert sum(map(len, pools.members.values())) + moving == len(executors)
    for pool, members in pools.members.items():
        assert members or pool == COMMON
        assert all(executor.pool == pool for executor in members.values())
        assert pools.free(pool) >= 0
    assert set(pools.promises) <= set(pools.members)
    on_the_way = sum(kind == 2 for _, _, kind, _ in sim.agenda.heap)
    assert moving == on_the_way
    for job in sim.active.values():
        assert job.local == sum(executor.job is job for executor in executors)
        assert job.incoming >= 0 and min(job.promised) >= 0 and min(job.unlaunched) >= 0
        for s in range(len(job.running)):
            busy = [e for e in executors if e.busy and e.job is job and e.last == s]
            assert job.running[s] == len(busy)
            assert not busy or job.open_parents[s] == 0
            assert (s in job.ready) == (job.demand(s) > 0 and not any(job.demand(p) > 0 for p in parents(job, s)))


def parents(job, s):
    return [a for a, b in job.template.edges if b == s]


def play(sim, rng, at_decision=lambda sim: None):
    """Take random decisions, refusals among them, with :func:`check` around every event; return the decisions."""
    for name in ("_arrive", "_executor_ready", "_task_done"):
        handler = getattr(sim, name)
        setattr(sim, name, lambda data, handler=handler: (handler(data), check(sim)))
    decisions = 0
    while sim.advance():
        check(sim)
        at_decision(sim)
        decisions += 1
        choices = sim.schedulable()
        assert choices and sim.committable > 0
        if rng.random() < 0.15 and not sim.forced:
            sim.close_round()
        else:
            sim.commit(*choices[rng.integers(len(choices))], int(rng.integers(1, sim.committable + 1)))
    return decisions


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("moving_s", [0.0, 2.0])
@pytest.mark.parametrize("whole", [False, True])
def test_what_holds_at_every_event(legacy, moving_s, whole):
    templates = whole_seconds() if whole else synthetic_workload(templates=12, seed=3).templates
    rng = np.random.default_rng(0)
    gaps = rng.integers(0, 12, 20) if whole else rng.exponential(20.0, 20)
    arrivals = [(float(at), templates[int(rng.integers(len(templates)))]) for at in np.cumsum(gaps)]
    sim = ClusterSimulator(arrivals, executors=8, moving_s=moving_s, legacy=legacy, seed=1)
    sim.agenda.gantt = bars = []
    place = sim.agenda.start_task

    def started(executor, job, s):
        assert job.unlaunched[s] > 0
        assert not set(parents(job, s)) & set(job.alive)
        place(executor, job, s)

    sim.agenda.start_task = started
    areas = [0.0]
    play(sim, np.random.default_rng(2), lambda sim: areas.append(sim.job_seconds))
    assert sim.pools.members.keys() == {COMMON} and not sim.pools.promises and not sim.offers
    # Each task once, on an executor that does nothing else.
    tasks = Counter(job for _, job, _, _ in bars)
    assert tasks == {k: sum(s.tasks for s in template.stages) for k, (_, template) in enumerate(arrivals)}
    for e in range(8):
        own = sorted((start, end) for index, _, start, end in bars if index == e)
        assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(own))
    # The time that jobs spent in the system, decision by decision, is the sum of completion times.
    assert all(a <= b for a, b in pairwise(areas))
    sizes = [end - at for _, at, end in sim.finished]
    assert sim.job_seconds == pytest.approx(sum(sizes)) == pytest.approx(sim.completion_s)
    assert all(sim.finished[k][1] == arrivals[sim.finished[k][0]][0] for k in range(20))


@pytest.mark.parametrize("moving_s", [0.0, 2.0])
def test_a_decision_sees_everything_that_has_happened_by_then(moving_s):
    templates = whole_seconds()
    arrivals = [(float(k // 3 * 15), templates[k % 16]) for k in range(30)]
    sim = ClusterSimulator(arrivals, executors=6, moving_s=moving_s, seed=1)

    def nothing_due(sim):
        assert not sim.agenda.heap or sim.agenda.heap[0][0] > sim.now

    assert play(sim, np.random.default_rng(5), nothing_due) > 100


def test_one_seed_one_episode():
    arrivals = [(float(k // 2 * 9), job) for k, job in enumerate(whole_seconds())]
    runs = []
    for seed in (4, 4, 5):
        sim = ClusterSimulator(arrivals, executors=6, seed=seed)
        runs.append((play(sim, np.random.default_rng(1)), sim.finished))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("legacy", [False, True])
def test_jobs_that_arrive_at_one_instant_are_seen_together(legacy):
    job = JobTemplate("one", (stage(3, 5.0),), ())
    sim = ClusterSimulator([(0.0, job), (0.0, job), (4.0, job), (4.0, job)], executors=20, legacy=legacy)
    seen = []
    while sim.advance():
        if not seen or seen[-1][0] != sim.now:
            seen.append((sim.now, len(sim.active)))
        sim.commit(*sim.schedulable()[0], 3)
    assert seen[:2] == ([(0.0, 1), (4.0, 3)] if legacy else [(0.0, 2), (4.0, 4)])


@pytest.mark.parametrize("legacy", [False, True])
def test_executors_that_finish_at_one_instant_are_offered_together(legacy):
    # Two executors work on the only stage and stop together at 2 + 5 s; that ends it and unlocks the next one. The
    # published simulators raise a decision after the first of them, when the next stage cannot start yet.
    job = JobTemplate("two", (stage(2, 5.0), stage(2, 1.0)), ((0, 1),))
    sim = ClusterSimulator([(0.0, job)], executors=2, legacy=legacy)
    assert sim.advance() and sim.committable == 2
    sim.commit(*sim.schedulable()[0], 2)
    assert sim.advance() and sim.now == 7.0
    assert sim.committable == 2
    own = next(iter(sim.active.values()))
    assert own.open_parents[1] == (1 if legacy else 0)
    assert len(sim.pools.idle(sim.source)) == (1 if legacy else 2)
    assert sim.source == ((0, 0) if legacy else (0, -1))
    sim.commit(own, 1, 2)
    if legacy:  # it came too early, waits, and is offered again when the other one stops
        assert sim.advance() and sim.now == 7.0 and sim.source == (0, -1)
    else:
        assert not sim.advance() and sim.now == 8.0


def test_of_those_that_stop_together_only_the_first_is_fresh_again():
    # As where the round is raised one event earlier: the others follow what they were promised in it, and stay warm.
    job = JobTemplate("two", (stage(2, 5.0), StageProfile(2, {5: [3.0]}, {5: [1.0]}, {5: [1.0]})), ((0, 1),))
    sim = ClusterSimulator([(0.0, job)], executors=2)
    sim.agenda.gantt = bars = []
    while sim.advance():
        sim.commit(*sim.schedulable()[0], 2)
    assert [end - start for _, _, start, end in bars] == [5.0, 5.0, 3.0, 1.0]


def test_pools_that_get_executors_at_one_instant_have_a_round_each():
    # One executor each on two stages of one job and on another job; all three stop at 7 s, and a job arrives.
    wide = JobTemplate("wide", (stage(1, 5.0), stage(1, 5.0), stage(9, 1.0)), ())
    late = JobTemplate("late", (stage(9, 1.0),), ())
    sim = ClusterSimulator([(0.0, wide), (0.0, JobTemplate("b", (stage(1, 5.0),), ())), (7.0, late)], executors=3)
    for job, s in ((0, 0), (0, 1), (1, 0)):
        assert sim.advance()
        sim.commit(sim.active[job], s, 1)
    sources = []
    while sim.advance() and sim.now == 7.0:
        assert 2 in sim.active and 1 not in sim.active
        sources.append((sim.source, sim.committable))
        sim.commit(sim.active[2], 0, 1)
    assert sources == [((0, 0), 1), ((0, 1), 1), ((1, 0), 1)]  # the last pool is that of a job that is over


def test_a_pool_whose_executors_followed_older_promises_raises_no_decision():
    # Both executors of stage 0 are promised to stage 1 when the first stops; the second follows when it stops, at 12 s.
    job = JobTemplate("next", (stage(3, 5.0), stage(9, 1.0)), ())
    sim = ClusterSimulator([(0.0, job)], executors=2)
    sim.advance()
    sim.commit(sim.active[0], 0, 2)
    assert sim.advance() and sim.now == 7.0 and sim.committable == 2
    sim.commit(sim.active[0], 1, 2)
    assert not sim.advance() and sim.now == 14.0  # the first has run five of the nine tasks by then
