"""The batched environment is the single one, many times: same numbers, same draws, same errors."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from netllm_gym import EnvInfo, make_agent
from netllm_gym.agents.abr.mpc import RobustForecast, choose, choose_many
from netllm_gym.envs.abr.draws import Streams
from netllm_gym.envs.abr.vector import ABRVectorEnv
from netllm_gym.envs.abr.vector_arrays import CHUNK
from netllm_gym.errors import ConfigError
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest

ID = "netllm_gym/ABR-v0"
N = 7


def tabled_video() -> VideoManifest:
    """A video whose quality differs from chunk to chunk."""
    rng = np.random.default_rng(8)
    ladder = np.array([300.0, 750, 1200, 1850, 2850, 4300])
    sizes = ladder * 500.0 * rng.uniform(0.6, 1.4, (40, 1))
    return VideoManifest("tabled", ladder, 4.0, sizes, {"vmaf": np.sort(rng.uniform(20, 100, (40, 6)))})


OPTIONS = [
    {},
    {"first_quality": None, "qoe": "log"},
    {"first_quality": 1, "random_start": True, "delay_noise": 0.2},
    {"first_quality": None, "random_start": True, "delay_noise": 0.1, "rtt_s": 0.2, "buffer_cap_s": 20.0},
    {"decision_latency_s": 0.7, "delay_noise": 0.1, "buffer_cap_s": 9.0},
    {"decision_latency_s": 6, "first_quality": None},
    {"video": tabled_video(), "qoe": "vmaf", "stall_weight": 30.0, "switch_weight": 0.5, "first_quality": None},
]


BACKENDS = ["numba", "numpy"]


def batched(n: int = N, **kwargs) -> ABRVectorEnv:
    return gym.make_vec(ID, n, vectorization_mode="vector_entry_point", **kwargs)


def reference(n: int = N, **kwargs) -> gym.vector.SyncVectorEnv:
    return gym.make_vec(ID, n, vectorization_mode="sync", **kwargs)


def odd_traces() -> TraceSet:
    """Short cycles, zero stretches, one piece, a long trace: what a search may get wrong."""
    rng = np.random.default_rng(3)
    return TraceSet(
        "odd",
        "test",
        (
            NetworkTrace("short", [0.3, 0.2], [4.0, 0.0]),
            NetworkTrace("one", [5.0], [0.7]),
            NetworkTrace("gaps", [1.0, 30.0, 0.01, 2.0], [3.0, 0.0, 90.0, 0.0], start_s=2.0),
            NetworkTrace("long", rng.uniform(0.01, 2.0, 3000), rng.exponential(2.0, 3000)),
            NetworkTrace("fast", rng.uniform(0.5, 2.0, 50), rng.uniform(20.0, 50.0, 50)),
        ),
    )


def assert_equal_steps(ours, theirs) -> None:
    """Observations, rewards and ends agree, and every info where Gymnasium says that it is present."""
    for key, value in theirs[0].items():
        assert ours[0][key].dtype == value.dtype and ours[0][key].shape == value.shape, key
        np.testing.assert_allclose(ours[0][key], value, rtol=1e-9, atol=0, err_msg=key)
    for mine, other in zip(ours[1:-1], theirs[1:-1], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)
        assert mine.dtype == other.dtype
    assert_equal_infos(ours[-1], theirs[-1])


def assert_equal_infos(ours, theirs) -> None:
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        if isinstance(value, dict):
            assert_equal_infos(ours[key], value)
            continue
        there = value if key.startswith("_") else theirs["_" + key]
        mine, other = ours[key][there], value[there]
        if value.dtype == object:
            assert mine.tolist() == other.tolist(), key
        else:
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kwargs", OPTIONS)
def test_same_numbers_as_the_single_environment(kwargs, backend: str) -> None:
    """Two episodes and a bit, autoreset, noise and infos included, against Gymnasium's own vectorisation."""
    ours, theirs = batched(traces=odd_traces(), backend=backend, **kwargs), reference(traces=odd_traces(), **kwargs)
    assert ours.observation_space == theirs.observation_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.action_space
    assert_equal_steps(ours.reset(seed=11), theirs.reset(seed=11))
    rng = np.random.default_rng(0)
    for _ in range(110):
        actions = rng.integers(6, size=N)
        assert_equal_steps(ours.step(actions), theirs.step(actions))
    # A reset in the middle of an episode goes on with the same generators.
    assert_equal_steps(ours.reset(), theirs.reset())
    assert_equal_steps(ours.reset(options={"trace": 3}), theirs.reset(options={"trace": 3}))
    assert_equal_steps(ours.step(actions), theirs.step(actions))


def test_episodes_may_end_at_different_times() -> None:
    """An environment that is reset alone by its autoreset keeps its own clock and infos."""
    ours = batched(2, traces=odd_traces(), first_quality=None, delay_noise=0.1)
    ours.reset(seed=1)
    singles = [gym.make(ID, traces=odd_traces(), first_quality=None, delay_noise=0.1).unwrapped for _ in range(2)]
    for i, env in enumerate(singles):
        env.reset(seed=1 + i)
    ours._state.indices[0, CHUNK] = singles[0].chunk = 20  # one video is nearly half over
    over = [False, False]
    seen = set()
    for k in range(90):
        observation, rewards, over_now, _, infos = ours.step(np.array([k % 6, 5 - k % 6]))
        for i, env in enumerate(singles):
            if over[i]:
                expected, info = env.reset()
                assert infos["_trace"][i] and infos["trace"][i] == info["trace"] and not infos["_reward"][i]
                assert rewards[i] == 0
                seen.add((i, k))
                over[i] = False
            else:
                expected, reward, over[i], _, info = env.step([k % 6, 5 - k % 6][i])
                assert rewards[i] == pytest.approx(reward, rel=1e-9)
                assert infos["wall_time_s"][i] == pytest.approx(info["wall_time_s"], rel=1e-9)
            assert over_now[i] == over[i]
            for key, value in expected.items():
                np.testing.assert_allclose(observation[key][i], value, rtol=1e-9)
    assert len({k for _, k in seen}) > 1


def test_a_trace_and_a_start_per_environment() -> None:
    traces = odd_traces()
    env = batched(3, traces=traces)
    _, infos = env.reset(seed=0, options={"trace": [3, 1, 0], "start_s": [100.0, 4.5, 0.3]})
    assert infos["trace"].tolist() == ["long", "one", "short"]
    single = gym.make(ID, traces=traces).unwrapped
    for i, (trace, start) in enumerate([(3, 100.0), (1, 4.5), (0, 0.3)]):
        assert single.reset(options={"trace": trace, "start_s": start})[1]["startup_s"] == infos["startup_s"][i]


def test_nothing_returned_is_used_again() -> None:
    env = batched()
    first = env.reset(seed=0)
    kept = {key: value.copy() for key, value in first[0].items()}
    step = env.step(np.full(N, 2))
    reward, terms = step[1].copy(), step[-1]["stall_s"].copy()
    for value in (*first[0].values(), *step[0].values()):
        value.flags.writeable = False  # the environment must not need them any more
    env.step(np.full(N, 5))
    for key, value in kept.items():
        np.testing.assert_array_equal(first[0][key], value)
    np.testing.assert_array_equal(step[1], reward)
    np.testing.assert_array_equal(step[-1]["stall_s"], terms)
    assert env.observation_space.contains(first[0])


def test_memory_for_traces_does_not_grow_with_the_number_of_environments() -> None:
    few, many = batched(1), batched(100)
    assert sum(a.nbytes for a in few.links) == sum(a.nbytes for a in many.links)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_rollout_pays_what_the_steps_pay(noise: float, backend: str) -> None:
    kwargs = {"traces": odd_traces(), "delay_noise": noise, "backend": backend}
    table = np.random.default_rng(5).integers(6, size=(47, N))
    env, again = batched(**kwargs), batched(**kwargs)
    env.reset(seed=4)
    again.reset(seed=4)
    rewards, levels = env.rollout(table)
    np.testing.assert_array_equal(levels, table)
    np.testing.assert_array_equal(rewards, [again.step(row)[1] for row in table])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_rule_plays_as_its_python_twin(backend: str) -> None:
    @njit
    def cautious(throughputs, delays, buffer_s, last, next_bytes, left):
        level = 0
        for candidate in range(len(next_bytes)):
            if next_bytes[candidate] * 8e-6 < throughputs[-1] * 4.0 and buffer_s > candidate:
                level = candidate
        return level

    env, again = batched(backend=backend), batched()
    env.reset(seed=9)
    observation, _ = again.reset(seed=9)
    rewards, levels = env.rollout(cautious)
    assert len(np.unique(levels)) > 2
    for t in range(len(rewards)):
        keys = ("throughput_mbps", "download_time_s", "buffer_s", "last_quality", "next_chunk_bytes", "chunks_left")
        rows = zip(*(observation[key] for key in keys), strict=True)
        actions = np.array([cautious.py_func(a, b, c[0], d, e, f[0]) for a, b, c, d, e, f in rows])
        np.testing.assert_array_equal(actions, levels[t])
        observation, paid, *_ = again.step(actions)
        np.testing.assert_array_equal(paid, rewards[t])


def test_draws_are_numpys() -> None:
    ours, theirs = ([np.random.default_rng(i) for i in range(20)] for _ in range(2))
    streams, which = Streams(ours), np.arange(20)
    for below in (1, 2, 7, 142, 2**31 + 11):  # the last one rejects half of the raw draws
        assert streams.integers(which, below).tolist() == [int(g.integers(below)) for g in theirs]
        assert streams.uniforms(which).tolist() == [g.random() for g in theirs]


def test_users_mistakes_are_one_clear_line() -> None:
    env = batched(2)
    with pytest.raises(ConfigError, match="reset before step"):
        env.step(np.zeros(2, int))
    env.reset(seed=0)
    for actions, message in (([0, 6], "action 6"), ([-1, 0], "action -1"), ([0, 0, 0], "shape")):
        with pytest.raises(ConfigError, match=message):
            env.step(np.array(actions))
    for actions in ([1.7, 0], [np.nan, 0], ["1", "0"], [None, 0], [2**70, 0], None, {}):  # none is cut off or guessed
        with pytest.raises(ConfigError, match="whole numbers, one for each environment"):
            env.step(actions)
    env.step([1.0, 0.0])
    for options, message in (
        ({"trase": 1}, "unknown reset option"),
        ({"trace": 10**6}, "out of range"),
        ({"trace": [0, 0, 0]}, "one for each"),
        ({"start_s": -1.0}, "outside"),
        ({"start_s": float("nan")}, "outside"),
    ):
        with pytest.raises(ConfigError, match=message):
            env.reset(options=options)
    with pytest.raises(ConfigError, match="2 environments"):
        env.reset(seed=[1, 2, 3])
    for seed in (1.5, "ab"):
        with pytest.raises(ConfigError, match="seed is a whole number"):
            env.reset(seed=seed)
    first, again = (env.reset(seed=seed)[0]["next_chunk_bytes"] for seed in (np.int64(3), np.array([3, 4])))
    assert np.array_equal(first, again)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="are left"):
        env.rollout(np.zeros((60, 2), int))
    with pytest.raises(ConfigError, match="whole numbers"):
        env.rollout(np.full((2, 2), 1.5))
    with pytest.raises(ConfigError, match="does not have"):
        env.rollout(njit(lambda a, b, c, d, e, f: 17))
    with pytest.raises(ConfigError, match="reset before rollout"):
        env.rollout(np.zeros((2, 2), int))
    with pytest.raises(ConfigError, match="num_envs"):
        ABRVectorEnv(0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"abandon": True}, "no abandon"),
        ({"live_latency_s": 8.0}, "no live_latency_s"),
        ({"startup_buffer_s": 4.0}, "no startup_buffer_s"),
        ({"initial_window_bytes": 14600}, "no initial_window_bytes"),
        ({"rtt_s": (0.08, 0.02)}, "rtt_s only as a number"),
        ({"decision_latency_s": "measured"}, "decision_latency_s only as a number"),
        ({"decision_latency_s": (0.1, 0.2)}, "decision_latency_s only as a number"),
        ({"backend": "jax"}, "backend"),
    ],
)
def test_what_the_batch_cannot_do_is_refused(kwargs, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        batched(**kwargs)
    assert "\n" not in str(caught.value)


def test_the_numpy_way_is_taken_and_told_where_nothing_is_compiled() -> None:
    """In a fresh process without numba the package works, says once what it does, and pays the same."""
    code = """
import logging, sys
logging.basicConfig(format="%(message)s")
sys.modules["numba"] = None
import gymnasium, numpy as np, netllm_gym
env = gymnasium.make_vec("netllm_gym/ABR-v0", 3, vectorization_mode="vector_entry_point", delay_noise=0.1)
env.reset(seed=5)
print([env.step(np.array([t % 6, 2, 5]))[1].tolist() for t in range(9)])
single = gymnasium.make("netllm_gym/ABR-v0", delay_noise=0.1)
single.reset(seed=5)
print([float(single.step(t % 6)[1]) for t in range(9)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    batch, single = (json.loads(line) for line in done.stdout.splitlines())
    assert done.stderr.count("batched ABR runs on NumPy") == 1 and len(done.stderr.splitlines()) == 1
    env = batched(3, delay_noise=0.1, backend="numba")
    env.reset(seed=5)
    np.testing.assert_allclose(batch, [env.step(np.array([t % 6, 2, 5]))[1] for t in range(9)], rtol=1e-9)
    np.testing.assert_allclose(single, [row[0] for row in batch], rtol=1e-9)


@pytest.mark.parametrize("first_quality", [0, None])
def test_batched_mpc_decides_as_the_single_agent(first_quality) -> None:
    env = batched(first_quality=first_quality)
    agents = [make_agent("abr/robust-mpc") for _ in range(N)]
    observation, _ = env.reset(seed=3)
    begins = np.ones(N, bool)
    forecast = RobustForecast(N)
    static, video = env.static_info(), env.video
    for agent in agents:
        agent.reset(EnvInfo(ID, env.single_observation_space, env.single_action_space, env.metadata, static))
    while not (observation["chunks_left"] == 0).any():
        actions = choose_many(
            video.chunk_bytes,
            (video.chunks - observation["chunks_left"][:, 0]).astype(int),
            5,
            static["qoe"].quality,
            static["qoe"].stall_weight,
            static["qoe"].switch_weight,
            video.chunk_s,
            forecast(observation["throughput_mbps"], begins) * 1e6 / 8.0,
            observation["buffer_s"][:, 0],
            observation["last_quality"],
        )
        singly = [agent.act({k: v[i] for k, v in observation.items()}, {}) for i, agent in enumerate(agents)]
        assert actions.tolist() == singly
        observation, _, begins, _, _ = env.step(actions)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 4), st.floats(0.05, 8.0), st.floats(0, 60), st.integers(0, 5), st.floats(0, 3)
)
@example(185535, 1, 1.0, 2.0, 0, 1.0)  # two plans whose values differ in the last bit only
def test_the_pruned_search_is_the_full_enumeration(seed, horizon, mbps, buffer_s, last, switch_weight) -> None:
    rng = np.random.default_rng(seed)
    quality = rng.permutation([0.3, 0.75, 1.2, 1.85, 2.85, 4.3]) if seed % 2 else np.array([1, 2, 3, 12, 15, 20.0])
    sizes = rng.uniform(1e5, 2.5e6, (horizon, 6))
    thousandths = np.rint(1000 * quality).astype(int)  # what a plan is worth is defined on these: no slack for ties
    best, answer = -np.inf, -1
    for plan in itertools.product(range(6), repeat=horizon):
        ahead, stall, before, gain, change = buffer_s, 0.0, last, 0, 0
        for row, level in zip(sizes, plan, strict=True):
            seconds = row[level] / (mbps * 125000.0)
            stall += max(seconds - ahead, 0.0)
            ahead = max(ahead - seconds, 0.0) + 4.0
            gain += thousandths[level]
            change += abs(thousandths[level] - thousandths[before])
            before = level
        value = gain / 1000.0 - 4.3 * stall - switch_weight * (change / 1000.0)
        if value >= best:
            best, answer = value, plan[0]
    assert choose(sizes, quality, 4.3, switch_weight, 4.0, mbps * 125000.0, buffer_s, last) == answer


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kwargs", OPTIONS)
def test_same_step_autoreset_plays_the_same_episodes(kwargs, backend) -> None:
    """Episodes follow each other as with next-step autoreset, without the step between them."""
    later = batched(backend=backend, **kwargs)
    at_once = batched(backend=backend, autoreset_mode="same_step", **kwargs)
    first, begun = later.reset(seed=3)
    again, begun_too = at_once.reset(seed=3)
    assert all((first[key] == again[key]).all() for key in first) and (begun["trace"] == begun_too["trace"]).all()
    rng = np.random.default_rng(1)
    ends = 0
    for _ in range(3 * later.video.chunks):
        actions = rng.integers(later.video.levels, size=N)
        want, reward, over, _, infos = later.step(actions)
        got, got_reward, got_over, _, got_infos = at_once.step(actions)
        assert (reward == got_reward).all() and (over == got_over).all()
        if not over.any():
            assert all((want[key] == got[key]).all() for key in want)
            assert infos.keys() == got_infos.keys()
            continue
        ends += 1
        assert over.all()  # one video: all episodes have its length
        assert all((want[key] == got_infos["final_obs"][key]).all() for key in want)
        assert (infos["reward"] == got_infos["final_info"]["reward"]).all() and got_infos["_final_info"].all()
        want, _, _, _, infos = later.step(actions)
        assert all((want[key] == got[key]).all() for key in want)
        for key in ("trace", "startup_s", "wall_time_s", "_trace", "_startup_s"):
            assert (infos[key] == got_infos[key]).all(), key
        assert not got_infos["_reward"].any()
    assert ends == 3 or "first_quality" in kwargs


def test_infos_can_be_left_out() -> None:
    quiet, full = batched(autoreset_mode="same_step", tell=False), batched(autoreset_mode="same_step")
    quiet.reset(seed=0)
    full.reset(seed=0)
    for _ in range(100):
        got = quiet.step(np.zeros(N, int))
        want = full.step(np.zeros(N, int))
        assert (got[1] == want[1]).all() and set(got[4]) in (set(), {"final_obs", "_final_obs"})


def test_an_unknown_autoreset_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="autoreset_mode is next_step or same_step"):
        ABRVectorEnv(2, autoreset_mode="never")
