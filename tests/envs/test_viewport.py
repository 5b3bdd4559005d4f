"""Both viewport environments: contracts, protocol, tiles, QoE accounting, determinism and bad input."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import netllm_gym
from netllm_gym import make_agent, traces
from netllm_gym.agents.base import EnvInfo
from netllm_gym.envs.viewport.allocate import knapsack, region
from netllm_gym.envs.viewport.tiles import TileGrid, TileView
from netllm_gym.envs.viewport.windows import WindowProtocol, cut, displacements
from netllm_gym.errors import ConfigError, NetLLMGymError, TraceFormatError, UnknownNameError
from netllm_gym.traces.head.trace import HeadTrace
from netllm_gym.traces.video.tiles import TileManifest, read_tile_table, synthetic_tiles

PREDICT, STREAM = "netllm_gym/ViewportPrediction-v0", "netllm_gym/ViewportStreaming-v0"


def play(env, agent, trace=0, **options):
    observation, info = env.reset(seed=1, options={"trace": trace, **options})
    agent.reset(EnvInfo.of(env, 0, agent.privileged))
    infos, over = [], False
    while not over:
        observation, reward, over, _, info = env.step(agent.act(observation, info))
        infos.append({**info, "reward": reward})
    return infos


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        (PREDICT, {}),
        (PREDICT, {"image": "crowd", "tiles": True}),
        (PREDICT, {"crowd": 3, "crowd_gap_s": 1.0}),
        (STREAM, {"max_chunks": 5}),
        (STREAM, {"max_chunks": 5, "crowd": 3}),
        (STREAM, {"action_mode": "pair", "max_chunks": 5}),
        (STREAM, {"action_mode": "view", "max_chunks": 5, "render_mode": "rgb_array"}),
    ],
)
def test_gymnasium_accepts_the_environment(name, kwargs) -> None:
    env = gym.make(name, **kwargs).unwrapped
    check_env(env, skip_render_check=True)
    keys = set(env.observation_space.spaces)
    assert set(env.metadata["modalities"]) == keys == set(env.metadata["scales"])


def test_windows_are_the_published_ones() -> None:
    trace = HeadTrace("u", "v", 5.0, np.zeros((300, 3)))
    assert WindowProtocol().anchors(trace).tolist() == list(range(30, 240, 15))
    gap = np.ones(300, bool)
    gap[100] = False
    assert not {90, 105} & set(WindowProtocol().anchors(HeadTrace("u", "v", 5.0, np.zeros((300, 3)), valid=gap)))
    with pytest.raises(ConfigError, match="leave the trace"):
        WindowProtocol(history=31)


def test_zero_motion_is_hold_last_and_the_truth_scores_zero() -> None:
    env = gym.make(PREDICT).unwrapped
    observation, _ = env.reset(seed=0, options={"trace": 3})
    windows = cut([env.traces[3]], env.protocol)
    truth = displacements(windows)
    _, reward, _, _, info = env.step(np.zeros((20, 3), np.float32))
    assert info["mae_deg"] == pytest.approx(info["hold_last_mae_deg"]) == pytest.approx(-reward)
    _, reward, _, _, info = env.step(truth[1].astype(np.float32))
    assert -reward < 1e-4 and info["great_circle_deg"] < 1e-3
    assert np.array_equal(observation["motion_deg"][-1], np.zeros(3))


def test_an_episode_scores_what_the_windows_score() -> None:
    from netllm_gym.agents.viewport.predictors import DampedVelocity
    from netllm_gym.envs.viewport.metrics import mae_wrapped

    env = gym.make(PREDICT).unwrapped
    infos = play(env, make_agent("viewport/damped-velocity"), trace=2)
    windows = cut([env.traces[2]], env.protocol)
    expected = mae_wrapped(DampedVelocity().predict(windows.history_deg, 20), windows.future_deg).mean(axis=1)
    assert [info["mae_deg"] for info in infos] == pytest.approx(expected, abs=1e-3)


def test_information_tells_where_the_shown_window_lies() -> None:
    """Agents look up the crowd by it: it must not lag behind the observation by a window."""
    env = gym.make("netllm_gym/ViewportPrediction-v0").unwrapped
    observation, info = env.reset(seed=0, options={"trace": 2})
    over, before = False, None
    while not over:
        shown = env.trace.angles_deg[info["anchor"] - 1]
        np.testing.assert_allclose(observation["history_deg"][-1], shown, atol=1e-4)
        assert info["time_s"] == pytest.approx(info["anchor"] / env.trace.hz)
        assert before is None or info["scored_anchor"] == before
        before = info["anchor"]
        observation, _, over, _, info = env.step(np.zeros(env.action_space.shape, np.float32))


@pytest.mark.parametrize("future", [20, 30])
def test_the_oracle_errs_nowhere(future) -> None:
    env = gym.make("netllm_gym/ViewportPrediction-v0", future=future).unwrapped
    agent = make_agent("viewport/oracle")
    for trace in (0, 7):
        observation, info = env.reset(seed=0, options={"trace": trace})
        agent.reset(EnvInfo.of(env, 0, True))
        over = False
        while not over:
            observation, reward, over, _, info = env.step(agent.act(observation, info))
            assert reward == pytest.approx(0.0, abs=1e-4)


def test_the_crowd_never_contains_the_viewer() -> None:
    env = gym.make(PREDICT, split="train", image="crowd").unwrapped
    trace = env.traces[0]
    with_him = env.crowd.directions(trace.video, 0, 10)
    without = env.crowd.directions(trace.video, 0, 10, trace.user)
    assert len(with_him) == len(without) + 1
    infos = play(gym.make(PREDICT, image="crowd").unwrapped, make_agent("viewport/crowd-knn"))
    assert all(np.isfinite(info["mae_deg"]) for info in infos)
    with pytest.raises(ConfigError, match="crowd"):
        play(gym.make(PREDICT).unwrapped, make_agent("viewport/crowd-knn"))


def test_maps_from_disk(tmp_path) -> None:
    for video in range(1, 20):
        np.save(tmp_path / f"{video}.npy", np.full((400, 4, 6), video, np.float32))
    env = gym.make(PREDICT, image=str(tmp_path)).unwrapped
    observation, info = env.reset(seed=0)
    assert observation["image"].shape == (4, 6) and observation["image"][0, 0] == float(info["video"])
    with pytest.raises(TraceFormatError, match="no <video>"):
        gym.make(PREDICT, image=str(tmp_path / "none"))


def test_windows_that_touch_a_gap_are_left_out_of_training_and_play() -> None:
    valid = np.ones(300, bool)
    valid[100] = False
    broken = HeadTrace("u", "v", 5.0, np.zeros((300, 3)), valid=valid)
    whole = HeadTrace("w", "v", 5.0, np.zeros((300, 3)))
    windows = cut((broken, whole), WindowProtocol())
    assert (np.bincount(windows.trace) == [12, 14]).all()
    env = gym.make(PREDICT, traces=traces.TraceSet("mine", "test", (broken,))).unwrapped
    env.reset(seed=0)
    steps, over = 0, False
    while not over:
        over = env.step(np.zeros(env.action_space.shape, np.float32))[2]
        steps += 1
    assert steps == 12
    never = HeadTrace("u", "v", 5.0, np.zeros((300, 3)), valid=np.zeros(300, bool))
    with pytest.raises(ConfigError, match="too short for a window"):
        gym.make(PREDICT, traces=traces.TraceSet("mine", "test", (never,)))


def test_intervals_resample_viewers_and_trainings() -> None:
    from netllm_gym.evaluation.windows import interval

    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(40), 10)
    errors = rng.normal(10.0, 1.0, 400)
    one, same = interval(errors, cluster), interval(np.stack([errors, errors, errors]), cluster)
    assert (same.mean, same.low, same.high) == pytest.approx((one.mean, one.low, one.high))
    apart = interval(np.stack([errors - 1.0, errors, errors + 1.0]), cluster)
    assert apart.mean == pytest.approx(one.mean) and apart.high - apart.low > 3 * (one.high - one.low)


def test_error_by_motion_adds_up_to_the_mean() -> None:
    from netllm_gym.envs.viewport.metrics import by_motion, mae_wrapped

    windows = cut(tuple(traces.load("viewport/synthetic", "test")), WindowProtocol())
    hold = np.repeat(windows.history_deg[:, -1:], 20, axis=1)
    bins = by_motion(hold, windows)
    assert sum(b["share"] for b in bins.values()) == pytest.approx(1.0)
    mean = sum(b["share"] * b["mae_deg"] for b in bins.values())
    assert mean == pytest.approx(mae_wrapped(hold, windows.future_deg).mean())
    assert bins["<10°"]["mae_deg"] < bins["10-30°"]["mae_deg"] < bins["30-60°"]["mae_deg"] < bins["≥60°"]["mae_deg"]


def test_turning_the_viewer_changes_neither_distances_nor_heights() -> None:
    from netllm_gym.envs.viewport.windows import turned

    windows = cut(tuple(traces.load("viewport/synthetic", "test"))[:3], WindowProtocol())
    by = np.linspace(0.0, 300.0, len(windows))
    other = turned(windows, by)
    np.testing.assert_allclose(other.history_deg[..., 1:], windows.history_deg[..., 1:])
    np.testing.assert_allclose(displacements(other), displacements(windows), atol=1e-9)


def test_a_mirrored_viewer_moves_the_other_way_and_no_further() -> None:
    from netllm_gym.datasets.viewport_windows import window_experience
    from netllm_gym.envs.viewport.windows import mirrored

    windows = cut(tuple(traces.load("viewport/synthetic", "test"))[:3], WindowProtocol())
    other = mirrored(windows)
    np.testing.assert_allclose(displacements(other), displacements(windows) * [-1, 1, -1], atol=1e-9)
    np.testing.assert_allclose(displacements(mirrored(other)), displacements(windows), atol=1e-9)
    assert window_experience(mirror=True).steps == 2 * window_experience().steps
    with pytest.raises(ConfigError, match="neither turned nor mirrored"):
        window_experience(mirror=True, image="crowd")


@pytest.mark.parametrize("turns", [0, 2])
def test_experience_at_the_pace_of_the_environment(turns) -> None:
    from netllm_gym.datasets.viewport_windows import window_experience

    dense = window_experience(stride=3, spacing=15, turns=turns)
    plain = window_experience()
    assert len(dense) == 5 * (1 + turns) * len(plain)
    np.testing.assert_array_equal(dense.episodes[0].actions, plain.episodes[0].actions)
    with pytest.raises(ConfigError, match="multiple of the stride"):
        window_experience(stride=4, spacing=15)


@pytest.mark.parametrize("task", ["viewport", "streaming"])
def test_every_embedded_setting_plays_and_groups_by_viewer(task) -> None:
    from netllm_gym.evaluation import evaluate, list_settings, load_setting

    for owner, name, profile in list_settings(task):
        if profile == "embedded":
            setting = load_setting(owner, name, profile)
            agent = setting.baseline
            result = evaluate(agents=[agent], setting=setting, episodes=2, progress=False)
            rows = result.frame[~result.frame["failed"]]
            assert set(rows["agent"]) == {setting.baseline, setting.floor, setting.oracle}
            pairs = rows["trace"].str.extract("video(.*)/user(.*)")
            assert (rows["group:video"].astype(str) == pairs[0]).all() and (
                rows["group:user"].astype(str) == pairs[1]
            ).all()
            score = result.summary().reset_index().set_index("agent")["score"]
            assert score[setting.oracle] == pytest.approx(1.0) and score[setting.floor] == pytest.approx(0.0)


def test_fitted_agents_learn_from_the_set_the_catalog_names() -> None:
    from netllm_gym.agents.viewport.rules import training_set

    assert training_set("viewport/wu2017/as-published") == "viewport/jin2022/as-published"
    assert training_set("viewport/synthetic-restless") == "viewport/synthetic"
    assert training_set("viewport/jin2022") == "viewport/jin2022" and training_set("/tmp/mine") == "/tmp/mine"


def test_the_digest_of_experience_tells_how_it_was_cut() -> None:
    from netllm_gym.datasets.viewport_windows import window_experience

    ways = [
        {},
        {"stride": 5},
        {"stride": 5, "spacing": 15},
        {"turns": 1},
        {"mirror": True},
        {"future": 30},
        {"history": 8},
    ]
    found = [window_experience(split="valid", **way).digest for way in ways]
    assert len(set(found)) == len(ways) and found[0] == window_experience(split="valid").digest


def test_experience_of_windows() -> None:
    from netllm_gym.datasets.viewport_windows import window_experience

    data = window_experience("viewport/synthetic", "valid")
    env = gym.make(PREDICT, split="valid").unwrapped
    assert len(data) == len(env.traces)
    env.reset(seed=0, options={"trace": 1})
    for action in data.episodes[1].actions:
        assert env.step(action)[4]["mae_deg"] < 1e-4
    assert data.action_space.contains(data.episodes[0].actions[0])


# --- tiles
# ------------------------------------------------------------------------------------------------------------


def test_a_view_knows_no_seam_and_sees_the_pole() -> None:
    view = TileView()
    weights = view.weights([[10.0, 0, 0], [55.0, 0, 0], [190.0, 0, 0], [10.0, 90.0, 0]])
    assert weights.sum(axis=1) == pytest.approx(np.ones(4))
    frames = weights.reshape(4, 8, 8)
    assert np.allclose(np.roll(frames[0], 1, axis=1), frames[1])
    assert np.allclose(np.roll(frames[0], 4, axis=1), frames[2])
    assert (frames[3, 0] > 0).all() and frames[3, 4:].sum() == 0
    assert view.visible([20.0, 15.0, 0.0]).sum() == pytest.approx(17.6, abs=6)


def test_roll_turns_the_view_clockwise() -> None:
    wide = TileView(TileGrid(8, 8), (120.0, 30.0))
    frame = wide.weights([0.0, 0.0, 40.0]).reshape(8, 8)
    right_low, right_high = frame[4:, 4:].sum(), frame[:4, 4:].sum()
    assert right_low > right_high  # right ear down: the right end of a wide view points down


def test_bad_grids_and_views() -> None:
    with pytest.raises(ConfigError):
        TileGrid(0, 8)
    with pytest.raises(ConfigError, match="do not divide"):
        TileGrid(8, 8).check_frame(1001, 500)
    with pytest.raises(ConfigError):
        TileView(fov_deg=(180.0, 90.0))
    assert TileGrid(6, 12).solid_angle.sum() == pytest.approx(1.0)


def test_a_cubemap_s_tiles_cover_what_they_say() -> None:
    grid = TileGrid(4, 6, "cubemap")
    assert grid.solid_angle.sum() == pytest.approx(1.0) and grid.solid_angle.reshape(4, 6)[0, 0] == pytest.approx(
        1 / 24
    )
    rays = np.random.default_rng(0).normal(size=(200_000, 3))
    finer = TileGrid(8, 12, "cubemap")
    share = np.bincount(finer.tile_of(rays), minlength=96) / len(rays)
    assert share == pytest.approx(finer.solid_angle, abs=1e-3)
    # Right, left, up in the upper row of faces; down, front, back in the lower.
    axes = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]
    faces = [(row // 2) * 3 + column // 2 for row, column in (divmod(int(t), 6) for t in grid.tile_of(axes))]
    assert faces == [0, 1, 2, 3, 4, 5]
    # On the front face the upper left tile lies up and to the left; the top of the right face is up as well.
    assert divmod(int(grid.tile_of([-0.5, 0.5, 1.0])), 6) == (2, 2)
    assert divmod(int(grid.tile_of([1.0, 0.5, 0.5])), 6) == (0, 0)


def test_a_view_weighs_both_projections_by_solid_angle() -> None:
    for grid in (TileGrid(8, 8), TileGrid(8, 12, "cubemap")):
        view = TileView(grid, (90.0, 90.0), rays=301)
        ahead = view.weights([0.0, 0.0, 0.0])
        # A view of 90° covers the front face of a cubemap, and a sixth of the sphere in any projection.
        assert view.share_of_sphere == pytest.approx(1 / 6)
        assert ahead.sum() == pytest.approx(1.0)
        if grid.projection == "cubemap":
            front = [row * 12 + column for row in range(4, 8) for column in range(4, 8)]
            assert ahead[front].sum() == pytest.approx(1.0, abs=0.02)
            assert ahead[front] / 6 == pytest.approx(grid.solid_angle[front], abs=2e-3)


def test_streaming_takes_a_view_a_projection_and_a_grid() -> None:
    def qoe(**kwargs: Any) -> tuple[float, Any]:
        env = gym.make(STREAM, **kwargs).unwrapped
        infos = play(env, make_agent("streaming/predictive"), network=0)
        return sum(info["reward"] for info in infos), env

    usual, env = qoe()
    wide, _ = qoe(fov_deg=(120.0, 110.0))
    assert wide < usual  # the same bytes spread over more of the sphere
    _, cube = qoe(projection="cubemap", grid=(8, 12))
    assert cube.view.grid.projection == "cubemap" and cube.action_space.nvec.shape == (96,)
    logged, log = qoe(utility="log")
    assert log.utility[0] == 0.0 and log.utility[-1] == 1.0 and logged != usual
    _, vmaf = qoe(utility=[30, 50, 60, 75, 90, 96])
    assert vmaf.utility == pytest.approx(np.array([30, 50, 60, 75, 90, 96]) / 96)
    _, short = qoe(chunk_s=0.5)
    assert env.hz == 5  # so that every other chunk holds three samples, the rest two
    assert short.chunks in (2 * env.chunks, 2 * env.chunks + 1)
    shown = short.view.weights(short.trace.angles_deg)
    assert short.share[0] == pytest.approx(shown[:3].mean(axis=0))
    assert short.share[1] == pytest.approx(shown[3:5].mean(axis=0))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"projection": "fisheye"}, "projection"),
        ({"projection": "cubemap"}, "divisible by 3"),
        ({"grid": (8, 8, 8)}, "two whole numbers"),
        ({"grid": (7.5, 8)}, "two whole numbers"),
        ({"grid": "wide"}, "two whole numbers"),
        ({"fov_deg": 100}, "two numbers"),
        ({"fov_deg": (200, 90)}, "field of view"),
        ({"utility": "psnr"}, "utility"),
        ({"utility": [1, 2]}, "6 rising numbers"),
        ({"utility": [6, 5, 4, 3, 2, 1]}, "rising"),
        ({"utility": [0, 1, 2, 3, 4, float("nan")]}, "list of numbers"),
        ({"chunk_s": 0}, "chunk_s"),
        ({"chunk_s": 0.1}, "no head sample"),
    ],
)
def test_streaming_refuses_what_fits_no_video(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(NetLLMGymError, match=words):
        gym.make(STREAM, **kwargs)


def test_tile_tables(tmp_path) -> None:
    table = synthetic_tiles("3", 5)
    path = tmp_path / "t.npz"
    np.savez(path, grid=[8, 8], chunk_s=1.0, per_tile_ladder_kbps=table.ladder_kbps, v3=table.tile_bytes)
    assert read_tile_table(path)["3"].digest == table.digest
    with pytest.raises(TraceFormatError, match="do not fit"):
        TileManifest("v", [1, 2], 1.0, 8, 7, np.ones((4, 2, 64)))
    # A grid that does not divide the tiles, and a video without sizes.
    np.savez(path, grid=[6, 8], chunk_s=1.0, per_tile_ladder_kbps=table.ladder_kbps, v3=table.tile_bytes)
    with pytest.raises(TraceFormatError, match="6 × 8 tiles"):
        read_tile_table(path)
    np.savez(path, grid=[8, 8], chunk_s=1.0, per_tile_ladder_kbps=table.ladder_kbps, v99=table.tile_bytes)
    with pytest.raises(ConfigError, match="no sizes for video"):
        gym.make(STREAM, tiles=str(path))
    np.savez(path, grid=[8, 8], chunk_s=0.15, per_tile_ladder_kbps=table.ladder_kbps, v3=table.tile_bytes)
    heads = [HeadTrace("1", "3", 5.0, np.zeros((200, 3)))]
    with pytest.raises(ConfigError, match="no head sample"):
        gym.make(STREAM, traces=traces.TraceSet("mine", "test", tuple(heads)), tiles=str(path))
    path.write_bytes(b"junk")
    with pytest.raises(TraceFormatError):
        read_tile_table(path)


def test_allocators_spend_no_more_than_the_budget() -> None:
    rng = np.random.default_rng(0)
    sizes = synthetic_tiles("1", 2).tile_bytes[0]
    utility = np.linspace(0.1, 1.0, len(sizes))
    interest = rng.dirichlet(np.full(64, 0.3))
    for budget in np.linspace(sizes[0].sum(), sizes[-1].sum() * 1.1, 7):
        for levels in (
            knapsack(interest, sizes, utility, budget, 0),
            region(interest, sizes, utility, budget, 1.0),
        ):
            assert sizes[levels, np.arange(64)].sum() <= budget + 1e-6
    assert (knapsack(np.ones(64) / 64, sizes, utility, 1e12, -1) == len(sizes) - 1).all()


# --- streaming
# --------------------------------------------------------------------------------------------------------


def test_qoe_is_paid_for_every_chunk_once_and_when_it_is_played() -> None:
    env = gym.make(STREAM).unwrapped
    infos = play(env, make_agent("streaming/predictive"))
    assert sum(info["played"] for info in infos) == env.chunks == len(infos)
    assert infos[0]["played"] == 0  # the first chunk has only just arrived
    assert all(info["buffer_s"] <= env.buffer_target_s + 1e-9 for info in infos)
    rebuilt = [info["quality"] - info["stall_s"] - info["spatial"] - info["change"] - info["blank"] for info in infos]
    assert [info["reward"] for info in infos] == pytest.approx(rebuilt)
    # Time is conserved: wall clock = video + stalls.
    assert infos[-1]["wall_time_s"] == pytest.approx(env.chunks + sum(info["stall_s"] for info in infos))


def test_the_head_log_ends_at_the_playhead_and_the_horizon_grows_with_the_buffer() -> None:
    env = gym.make(STREAM, buffer_target_s=6.0).unwrapped
    observation, _ = env.reset(seed=0, options={"trace": 0})
    lowest = np.ones(64, np.int64)
    for _ in range(8):
        observation, *_ = env.step(lowest)
        newest = env.traces[0].angles_deg[env.playhead]
        assert observation["history_deg"][-1] == pytest.approx(newest, abs=1e-4)
        played = env.chunk - float(observation["buffer_s"][0])
        assert env.playhead <= played * 5 + 1e-6 < env.playhead + 1 + 1e-6
        last, first = observation["horizon_steps"]
        assert first == pytest.approx(observation["buffer_s"][0] * 5, abs=1.0) and last == first + 4
    assert observation["buffer_s"][0] > 4.0


def test_the_oracle_beats_every_other_view_and_prediction_beats_none() -> None:
    env = gym.make(STREAM).unwrapped

    def total(agent, **kwargs):
        return np.mean(
            [
                sum(i["reward"] for i in play(env, make_agent(agent, **kwargs), trace=t, network=t % 8))
                for t in range(0, 32, 4)
            ]
        )

    oracle, hold = total("streaming/oracle"), total("streaming/predictive")
    line = total("streaming/predictive", predictor="viewport/linear-regression")
    assert oracle > hold > line
    assert hold > total("streaming/whole-sphere")


def test_skipped_tiles_show_as_holes() -> None:
    env = gym.make(STREAM, max_chunks=4).unwrapped
    env.reset(seed=0)
    infos = [env.step(np.zeros(64, np.int64))[4] for _ in range(4)]
    assert sum(info["blank"] for info in infos) == pytest.approx(4.0)
    assert sum(info["quality"] for info in infos) == 0.0


def test_same_seed_same_numbers_and_any_abr_rule_sets_the_budget() -> None:
    env = gym.make(STREAM, max_chunks=12).unwrapped
    first, second = (play(env, make_agent("streaming/predictive", budget="abr/bba")) for _ in range(2))
    assert [i["reward"] for i in first] == [i["reward"] for i in second]
    with pytest.raises(ConfigError, match="does not predict"):
        make_agent("streaming/predictive", predictor="abr/bba")


def test_a_rule_that_sets_the_budget_is_shown_the_chunk_that_comes_next() -> None:
    from netllm_gym.agents.viewport.streaming import _AbrBudget

    class Lowest(netllm_gym.Agent):
        def act(self, observation, info):
            self.sizes = observation["next_chunk_bytes"]
            return 0

    env, rule = gym.make(STREAM, max_chunks=12), Lowest()
    observation, _ = env.reset(seed=0)
    budget = _AbrBudget(EnvInfo.of(env), rule)
    for _ in range(3):
        budget(observation)
        tiles = observation["tile_bytes"].sum(axis=1)
        assert rule.sizes[0] == pytest.approx(tiles[0], rel=1e-5), "all tiles at the lowest level"
        observation = env.step(np.ones(64, np.int64))[0]


def test_view_mode_scores_a_pure_predictor_and_renders() -> None:
    env = gym.make(STREAM, action_mode="view", max_chunks=6, render_mode="rgb_array").unwrapped
    env.reset(seed=0, options={"trace": 0})
    infos = [
        env.step({"motion_deg": np.zeros(env.action_space["motion_deg"].shape, np.float32), "level": 3})[4]
        for _ in range(6)
    ]
    assert sum(i["blank"] for i in infos) == 0.0
    picture = env.render()
    assert picture.shape == (300, 512, 3) and picture.dtype == np.uint8
    assert (picture == [214, 39, 40]).all(axis=-1).any() and (picture == [255, 187, 0]).all(axis=-1).any()


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        (PREDICT, {"traces": "viewport/syntetic"}, "did you mean"),
        (PREDICT, {"traces": "abr/synthetic"}, "head traces are needed"),
        (PREDICT, {"history": 40}, "leave the trace"),
        (STREAM, {"action_mode": "tile"}, "action_mode"),
        (STREAM, {"buffer_target_s": 0.5}, "at least one chunk"),
        (STREAM, {"qoe": "best"}, "360-degree QoE"),
    ],
)
def test_mistakes_get_one_clear_line(name, kwargs, message) -> None:
    with pytest.raises(NetLLMGymError, match=message) as caught:
        gym.make(name, **kwargs)
    assert "\n" not in str(caught.value)


def test_bad_actions_and_options() -> None:
    env = gym.make(STREAM, max_chunks=3).unwrapped
    with pytest.raises(ConfigError, match="reset option"):
        env.reset(options={"traces": 1})
    with pytest.raises(ConfigError, match="out of range"):
        env.reset(options={"network": 999})
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="64 numbers"):
        env.step(np.full(64, 9))
    predict = gym.make(PREDICT).unwrapped
    predict.reset(seed=0)
    with pytest.raises(ConfigError, match="finite motion"):
        predict.step(np.full((20, 3), np.nan))
    assert netllm_gym.list_agents("viewport")
    with pytest.raises(UnknownNameError):
        make_agent("viewport/holdlast")


def test_published_reading_is_refused_for_streaming() -> None:
    heads = [HeadTrace("1", "1", 5.0, np.zeros((200, 3)), "published")]
    with pytest.raises(ConfigError, match="canonical"):
        gym.make(STREAM, traces=traces.TraceSet("mine", "test", tuple(heads)))


def test_a_streaming_episode_does_not_depend_on_the_viewers_played_before():
    from dataclasses import replace

    from netllm_gym import traces

    known = traces.load("viewport/synthetic", "train")
    whole = known[0]
    count = len(whole.angles_deg) // 2
    half = replace(whole, user="half", angles_deg=whole.angles_deg[:count], valid=whole.valid[:count])
    other = next(trace for trace in known if trace.video != whole.video)
    viewers = replace(known, traces=(other, half, whole))
    fresh, used = (
        gym.make("netllm_gym/ViewportStreaming-v0", traces=viewers, disable_env_checker=True).unwrapped
        for _ in range(2)
    )
    used.reset(seed=0, options={"trace": 1})
    for env in (fresh, used):
        env.reset(seed=0, options={"trace": 2})
    assert fresh.chunks == used.chunks and (fresh.manifest.tile_bytes == used.manifest.tile_bytes).all()


@pytest.mark.parametrize("name", ["viewport/ridge", "viewport/linear-l1"])
def test_a_folder_without_splits_is_never_learnt_from_and_tested_on(name, tmp_path) -> None:
    time = np.arange(0, 40, 0.2)
    for user in range(3):
        yaw = 60 * np.sin(time * (0.3 + 0.1 * user))
        rows = [f"{t:.1f},{y:.3f},0,0" for t, y in zip(time, yaw, strict=True)]
        (tmp_path / "video").mkdir(exist_ok=True)
        (tmp_path / "video" / f"u{user}.csv").write_text("\n".join(["time,yaw,pitch,roll", *rows]))
    env = gym.make("netllm_gym/ViewportPrediction-v0", traces=str(tmp_path)).unwrapped
    observation, info = env.reset(seed=0)
    agent = make_agent(name)
    agent.reset(EnvInfo.of(env))
    assert "viewport/synthetic" in agent.notice
    elsewhere = gym.make("netllm_gym/ViewportPrediction-v0", traces="viewport/synthetic").unwrapped
    elsewhere.reset(seed=0)
    taught = make_agent(name)
    taught.reset(EnvInfo.of(elsewhere))
    assert taught.notice == ""
    np.testing.assert_allclose(agent.act(observation, info), taught.act(observation, info))
