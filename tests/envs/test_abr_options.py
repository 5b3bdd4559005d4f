"""Options of the ABR environment: the books stay exact whatever is switched on."""

from __future__ import annotations

import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netllm_gym import make_agent
from netllm_gym.agents.base import EnvInfo
from netllm_gym.envs.abr import vector_numpy
from netllm_gym.envs.abr.bound import upper_bound
from netllm_gym.envs.abr.env import ABREnv
from netllm_gym.envs.abr.kernel import link_arrays, transfer_s
from netllm_gym.envs.abr.options import Options, link_bytes, ramped_bytes, ramped_transfer_s
from netllm_gym.envs.abr.planner import optimum
from netllm_gym.envs.abr.vector import ABRVectorEnv
from netllm_gym.errors import ConfigError, TraceFormatError, UnknownNameError
from netllm_gym.traces import NetworkTrace, TraceSet, VideoManifest, synthetic_video

pieces = st.lists(st.tuples(st.floats(0.05, 20), st.floats(0, 20) | st.just(0.0)), min_size=1, max_size=10).filter(
    lambda drawn: any(rate > 0.05 for _, rate in drawn)
)
player_options = st.fixed_dictionaries(
    {},
    optional={
        "rtt_s": st.sampled_from([0.0, 0.2, (0.1, 0.05)]),
        "initial_window_bytes": st.sampled_from([1460.0, 14600.0, 1e6]),
        "decision_latency_s": st.sampled_from([0.3, 5.0, (0.0, 2.0)]),
        "startup_buffer_s": st.sampled_from([2.0, 8.0, 30.0]),
        "live_latency_s": st.sampled_from([4.0, 12.0]),
        "abandon": st.just(True),
        "delay_noise": st.just(0.1),
        "first_quality": st.sampled_from([None, 3]),
    },
)


def make(**kwargs):
    return gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **kwargs)


def steady(mbps: float) -> TraceSet:
    return TraceSet("own", "test", (NetworkTrace("t", [100.0], [mbps]),))


def play(env, levels=None, seed=0):
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    infos, over, n = [], False, 0
    while not over:
        level = int(rng.integers(env.unwrapped.video.levels)) if levels is None else levels
        _, _, over, _, info = env.step(level)
        infos.append(info)
        n += 1
    return infos


@pytest.mark.filterwarnings("ignore:.*infinity")
def test_conforms_to_gymnasium_with_everything_on() -> None:
    pytest.importorskip("pygame", reason="render_mode='human' needs pygame")
    check_env(
        make(
            rtt_s=(0.08, 0.04),
            initial_window_bytes=14600.0,
            decision_latency_s=(0.0, 0.2),
            startup_buffer_s=8.0,
            live_latency_s=12.0,
            latency_weight=0.1,
            abandon=True,
        ).unwrapped
    )


@settings(max_examples=150, deadline=None)
@given(pieces, player_options, st.integers(0, 2**31))
def test_the_wall_clock_is_all_accounted_for(drawn, options, seed: int) -> None:
    trace = NetworkTrace("t", *zip(*drawn, strict=True))
    env = make(traces=TraceSet("own", "test", (trace,)), **options)
    env.reset(seed=seed)
    _, start = env.reset(seed=seed)
    infos = play(env, seed=seed)
    clock, idle = start["wall_time_s"], start["startup_s"]
    for info in infos:
        assert min(info[key] for key in ("stall_s", "sleep_s", "download_time_s", "buffer_s")) >= 0
        clock += info["download_time_s"] + info["sleep_s"] + info.get("wait_s", 0) + info.get("decision_latency_s", 0)
        idle += info["stall_s"] + info.get("startup_s", 0)
        assert info["wall_time_s"] == pytest.approx(clock, rel=1e-9, abs=1e-9)
        q, mu = info["quality"], env.unwrapped.qoe.stall_weight
        assert info["reward"] == pytest.approx(q - mu * info["stall_s"] - info["switch"] - info.get("penalty", 0))
    video = env.unwrapped.video
    played = video.chunks * video.chunk_s - infos[-1]["buffer_s"]
    assert clock == pytest.approx(played + idle, rel=1e-9, abs=1e-6)
    if "live_latency_s" in options:
        assert infos[-1]["latency_s"] == pytest.approx(options["live_latency_s"] + idle, rel=1e-9, abs=1e-6)


@settings(max_examples=200, deadline=None)
@example([(0.375, 3.0), (1.0, 0.0)], 0.0, 100000.0, 0.5, 99999.99999999999)  # 1e-11 bytes are left in an outage
@given(pieces, st.floats(0, 0.99), st.floats(1, 5e6), st.sampled_from([0.02, 0.1, 0.5]), st.floats(1e3, 1e5))
def test_slow_start_is_never_faster_than_the_link_and_its_bytes_invert_its_time(
    drawn, position, size, rtt, window
) -> None:
    trace = NetworkTrace("t", *zip(*drawn, strict=True))
    link, start = link_arrays(trace, 0.95), position * trace.total_s
    ramped = ramped_transfer_s(*link, start, size, rtt, window)
    assert ramped >= transfer_s(*link, start, size) - 1e-6
    assert ramped_bytes(*link, start, ramped, rtt, window) == pytest.approx(size, rel=1e-6, abs=1e-3)
    earlier = ramped_bytes(*link, start, ramped / 2, rtt, window)
    assert -1e-6 <= earlier <= min(size, link_bytes(*link, start, ramped / 2)) * (1 + 1e-9) + 1e-3


@pytest.mark.parametrize("offset", [0.0, 1.0, 1.5, 2.0])
def test_no_bytes_take_no_time_and_few_wait_for_the_end_of_an_outage(offset: float) -> None:
    link = link_arrays(NetworkTrace("t", [1.0, 1.0], [8e9, 0.0]), 1.0)
    expected = {0.0: 0.0, 1e-9: 2.0 - offset if offset > 1 else 0.0}
    first, many = np.array([0]), np.array([2])
    piece = vector_numpy._piece_at(link[0], np.array([offset]), first, many)
    for size, seconds in expected.items():
        assert transfer_s(*link, offset, size) == pytest.approx(seconds, abs=1e-9)
        found = vector_numpy._transfer((*link, first), first, many, piece, np.array([offset]), np.array([size]))
        assert found[0][0] == pytest.approx(seconds, abs=1e-9)


def test_slow_start_by_hand() -> None:
    """10 kB, 20 kB, 40 kB in three round trips of 0.1 s, then half of the 80 kB round; a link of 10 Mbyte/s."""
    link = link_arrays(NetworkTrace("t", [1000.0], [80.0]), 1.0)
    assert ramped_transfer_s(*link, 0.0, 110e3, 0.1, 10e3) == pytest.approx(0.35)
    # 1 Mbyte/s: the 160 kB window of the fifth round exceeds the link's 100 kB; 150 kB are through after 0.4 s.
    link = link_arrays(NetworkTrace("t", [1000.0], [8.0]), 1.0)
    assert ramped_transfer_s(*link, 0.0, 350e3, 0.1, 10e3) == pytest.approx(0.4 + 0.2)


def test_the_general_player_with_nothing_on_is_the_plain_one() -> None:
    for seed in range(6):
        plain, general = make(delay_noise=0.1), make(delay_noise=0.1)
        general.unwrapped._plain = False
        for a, b in zip(play(plain, seed=seed), play(general, seed=seed), strict=True):
            for key in a.keys() - {"action_mask"}:
                assert b[key] == pytest.approx(a[key], rel=1e-9, abs=1e-9), key


def test_latency_draws_have_the_moments_asked_for() -> None:
    rng = np.random.default_rng(0)
    draws = [Options(rtt_s=(0.1, 0.05)).draw_rtt(rng) for _ in range(40_000)]
    assert np.mean(draws) == pytest.approx(0.1, rel=0.02)
    assert np.std(draws) == pytest.approx(0.05, rel=0.04)


def test_a_slow_decision_drains_the_buffer_and_stalls_when_it_is_empty() -> None:
    quick, slow = make(traces=steady(4.0)), make(traces=steady(4.0), decision_latency_s=6.0)
    quick.reset(seed=0)
    slow.reset(seed=0)
    a, b = quick.step(0)[4], slow.step(0)[4]
    assert b["decision_latency_s"] == 6.0
    assert b["download_time_s"] == pytest.approx(a["download_time_s"])
    # 4 s in the buffer: 2 s of thinking and the whole download are without video.
    assert b["stall_s"] == pytest.approx(2.0 + a["download_time_s"])
    assert b["buffer_s"] == pytest.approx(4.0)


def test_uniform_decisions_stay_in_range() -> None:
    infos = play(make(decision_latency_s=(0.1, 0.4)), levels=0)
    drawn = [info["decision_latency_s"] for info in infos]
    assert 0.1 <= min(drawn) < 0.2 and 0.3 < max(drawn) <= 0.4


def test_measured_latency_is_the_time_the_agent_took() -> None:
    env = make(decision_latency_s="measured")
    env.reset(seed=0)
    time.sleep(0.05)
    first = env.step(0)[4]
    assert first["decision_latency_s"] >= 0.05


def test_startup_is_not_a_stall() -> None:
    env = make(traces=steady(1.0), first_quality=None, startup_buffer_s=12.0, startup_weight=0.5)
    infos = play(env, levels=0)
    assert [info["startup_s"] > 0 for info in infos[:4]] == [True, True, True, False]
    assert all(info["stall_s"] == 0 for info in infos[:3])
    assert infos[0]["penalty"] == pytest.approx(0.5 * infos[0]["startup_s"])


def test_live_chunks_cannot_be_had_early() -> None:
    env = make(traces=steady(50.0), live_latency_s=8.0, latency_weight=0.1)
    infos = play(env, levels=0)
    for info in infos[:-1]:
        assert info["wall_time_s"] >= (info["chunk"] + 2) * 4.0 - 8.0 - 1e-9
        assert info["buffer_s"] <= 8.0
    assert infos[-1]["latency_s"] > 8.0
    assert infos[-1]["penalty"] == pytest.approx(0.1 * (infos[-1]["latency_s"] - 8.0))


def test_a_hopeless_download_is_abandoned_and_bytes_are_kept_in_the_books() -> None:
    env = make(traces=steady(1.0), abandon=True)
    env.reset(seed=0)
    size = env.unwrapped.video.chunk_bytes[1]
    info = env.step(5)[4]
    rate = 0.95e6 / 8
    assert info["abandoned"] == 1 and info["level"] < 5
    assert size[info["level"]] <= rate * 4.0
    assert info["wasted_bytes"] == pytest.approx(0.5 * rate)
    assert info["download_time_s"] == pytest.approx(0.5 + size[info["level"]] / rate + 2 * 0.08)
    assert make(traces=steady(50.0), abandon=True).unwrapped.options.abandon
    assert all(i["abandoned"] == 0 for i in play(make(traces=steady(50.0), abandon=True), levels=5))


def test_quality_tables_score_each_chunk() -> None:
    sizes = np.full((5, 2), 1e5) * [1, 2]
    vmaf = np.array([[40, 80], [50, 90], [30, 70], [45, 95], [20, 60]], float)
    video = VideoManifest("v", [300, 600], 4.0, sizes, {"vmaf": vmaf})
    assert video.digest != VideoManifest("v", [300, 600], 4.0, sizes).digest
    env = make(video=video, qoe="vmaf", stall_weight=30.0, switch_weight=0.5, traces=steady(10.0))
    env.reset(seed=0)
    info = env.step(1)[4]
    assert info["quality"] == 90 and info["switch"] == pytest.approx(0.5 * 50)
    assert env.step(0)[4]["switch"] == pytest.approx(0.5 * 60)
    assert env.unwrapped.action_values().shape == (2,)
    with pytest.raises(ConfigError, match="stall_weight"):
        make(video=video, qoe="vmaf")
    with pytest.raises(UnknownNameError, match="vmaf"):
        make(video=video, qoe="vmap")
    with pytest.raises(TraceFormatError, match="vmaf"):
        VideoManifest("v", [300, 600], 4.0, sizes, {"vmaf": vmaf[:-1]})


def test_planning_refuses_what_it_does_not_know() -> None:
    env = make(decision_latency_s=0.1)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="knows no options but"):
        make_agent("abr/oracle").reset(EnvInfo.of(env, privileged=True))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"rtt_s": -0.1},
        {"rtt_s": (0.0, 0.1)},
        {"decision_latency_s": "guess"},
        {"decision_latency_s": (2.0, 1.0)},
        {"decision_latency_s": -1.0},
        {"initial_window_bytes": -1.0},
        {"startup_buffer_s": 61.0},
        {"live_latency_s": 3.0},
        {"latency_weight": -1.0},
        {"startup_weight": -1.0},
    ],
)
def test_options_out_of_range_are_refused(kwargs) -> None:
    with pytest.raises(ConfigError):
        make(**kwargs)


def _scripted(options: dict, levels: list, **kwargs):
    env = ABREnv(**kwargs, **options)
    env.reset(seed=3, options={"trace": 2})
    return env, [env.step(level) for level in levels]


def test_throughput_from_the_first_byte_leaves_the_latency_out() -> None:
    levels = [0, 3, 5, 2]
    _, plain = _scripted({}, levels)
    _, counted = _scripted({"throughput": "first-byte"}, levels)
    for one, other in zip(plain, counted, strict=True):
        assert one[1] == pytest.approx(other[1])
        size = one[4]["throughput_mbps"] * one[4]["download_time_s"]
        assert other[4]["throughput_mbps"] == pytest.approx(size / (one[4]["download_time_s"] - 0.08))


def test_falling_quality_may_cost_another_price() -> None:
    levels = [0, 5, 1, 4]
    _, plain = _scripted({}, levels)
    _, priced = _scripted({"falling_weight": 3.0}, levels)
    ratios = [b[4]["switch"] / a[4]["switch"] for a, b in zip(plain, priced, strict=True) if a[4]["switch"]]
    assert ratios == pytest.approx([1.0, 3.0, 1.0])
    with pytest.raises(ConfigError, match="negative"):
        ABREnv(falling_weight=-1.0)


def test_waiting_before_a_request_is_a_choice_and_never_stalls() -> None:
    env = ABREnv(buffer_targets_s=(60.0, 8.0))
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    assert env.action_space.nvec.tolist() == [6, 2]
    for _ in range(6):
        info = env.step(np.array([0, 0]))[4]
        assert info["wait_s"] == 0.0
    buffer = info["buffer_s"]
    assert buffer > 9.0
    info = env.step(np.array([0, 1]))[4]
    assert info["wait_s"] == pytest.approx(buffer - 8.0) and info["stall_s"] == 0.0
    for wrong in (3, np.array([0, 2]), np.array([6, 0])):
        with pytest.raises(ConfigError):
            env.step(wrong)
    with pytest.raises(ConfigError, match="no two alike"):
        ABREnv(buffer_targets_s=(5.0, 5.0))
    with pytest.raises(ConfigError, match="no buffer_targets_s"):
        ABRVectorEnv(2, buffer_targets_s=(5.0,))


@pytest.mark.parametrize(
    "options",
    [
        {"live_latency_s": 12.0, "latency_weight": 0.2, "buffer_cap_s": 20.0},
        {"falling_weight": 2.0, "switch_weight": 0.3},
        {"throughput": "first-byte"},
    ],
)
def test_what_the_planner_promises_these_players_is_what_they_earn(options: dict) -> None:
    env = ABREnv(**options)
    for trace in (0, 4):
        env.reset(seed=0, options={"trace": trace})
        value, plan = optimum(env, 200)
        assert sum(env.step(int(level))[1] for level in plan) == pytest.approx(value)
        env.reset(seed=0, options={"trace": trace})
        steady = sum(env.step(1)[1] for _ in range(47))
        assert value > steady


def test_the_planner_plans_for_quality_tables() -> None:
    plain = synthetic_video(2)
    rng = np.random.default_rng(0)
    table = np.sort(rng.uniform(20, 100, plain.chunk_bytes.shape), axis=1)
    video = VideoManifest("scored", plain.bitrates_kbps, 4.0, plain.chunk_bytes, {"vmaf": table})
    env = ABREnv(video=video, qoe="vmaf", stall_weight=30.0, switch_weight=0.5)
    env.reset(seed=0, options={"trace": 1})
    value, plan = optimum(env, 200)
    assert sum(env.step(int(level))[1] for level in plan) == pytest.approx(value)
    with pytest.raises(ConfigError, match="plain player"):
        upper_bound(env)


def test_latency_on_trace_lets_the_trace_go_on() -> None:
    """A request's latency then costs link time: the transfer meets the trace where a real one would."""
    trace = NetworkTrace("t", [1.0, 1.0], [8.0, 0.8])
    video = VideoManifest("v", [1000], 1.0, [[95_000]] * 4)
    kwargs = {"traces": TraceSet("t", "test", (trace,)), "video": video, "rtt_s": 0.5, "first_quality": None}
    seen = {}
    for on in (False, True):
        env = gym.make("netllm_gym/ABR-v0", latency_on_trace=on, **kwargs)
        env.reset(seed=0, options={"trace": 0, "start_s": 0.0})
        seen[on] = [env.step(0)[4]["download_time_s"] for _ in range(3)]
    # 95 kB take 0.1 s in the fast second and 1 s in the slow one.
    assert seen[False] == pytest.approx([0.6, 0.6, 0.6])
    # Asked at 0, on the link at 0.5 to 0.6; asked at 0.6, on the link at 1.1 for 0.9 slow seconds and 0.01 fast ones.
    assert seen[True] == pytest.approx([0.6, 0.5 + 0.9 + 0.01, 0.5 + 0.1])
