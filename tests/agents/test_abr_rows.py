"""The policies that score a row per level: any ladder, the same in NumPy and torch, trained in worlds that are real."""

from __future__ import annotations

import numpy as np
import pytest

from netllm_gym import evaluate
from netllm_gym.agents.abr.lessons import Teacher, _futures, lessons, level_values
from netllm_gym.agents.abr.row_agent import RowAgent, load, save
from netllm_gym.agents.abr.rows import RowConfig, RowNetwork, to_torch
from netllm_gym.agents.abr.teachers import of_rows
from netllm_gym.agents.abr.worlds import AHEAD, MAX_LEVELS, Worlds, drawn_link
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.checkpoint import load_checkpoint
from netllm_gym.envs.abr.env import ABREnv
from netllm_gym.envs.abr.kernel import link_arrays
from netllm_gym.envs.abr.ranges import Ranges
from netllm_gym.envs.abr.view import CONTEXT_FEATURES, ROW_FEATURES, Episode
from netllm_gym.errors import CheckpointError, ConfigError
from netllm_gym.traces import load as load_traces
from netllm_gym.traces import synthetic_video


def _network(config: RowConfig | None = None, seed: int = 0) -> RowNetwork:
    rng, config = np.random.default_rng(seed), config or RowConfig(hidden=8)
    weights = {key: 0.3 * rng.standard_normal(shape).astype(np.float32) for key, shape in config.shapes().items()}
    return RowNetwork(config, weights)


def _worlds(n: int = 8, seed: int = 0, **kwargs) -> Worlds:
    links = list(load_traces("abr/synthetic", "train"))[:12]
    return Worlds(
        n, {"a": links[:6], "b": links[6:]}, [synthetic_video()], seed, drawn_videos=6, drawn_links=6, **kwargs
    )


@pytest.mark.parametrize("config", [RowConfig(hidden=8), RowConfig(hidden=8, more_context=3, pooled=True)])
def test_numpy_and_torch_agree_and_absent_rows_change_nothing(config: RowConfig) -> None:
    torch = pytest.importorskip("torch")
    rng, network, module = np.random.default_rng(0), _network(config), to_torch(config)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in network.weights.items()})
    rows = rng.standard_normal((5, 4, ROW_FEATURES)).astype(np.float32)
    context = rng.standard_normal((5, CONTEXT_FEATURES + config.more_context)).astype(np.float32)
    plain = network.scores(rows, context)
    wide = np.concatenate([rows, 9.0 * np.ones((5, 3, ROW_FEATURES), np.float32)], axis=1)
    mask = np.arange(7) < np.full((5, 1), 4)
    masked = network.scores(wide, context, mask)
    with torch.inference_mode():
        theirs = module(torch.from_numpy(wide), torch.from_numpy(context), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(theirs, masked, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(masked if config.pooled else masked[:, :4], plain, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="do not fit"):
        RowNetwork(config, {})


@pytest.mark.parametrize(("levels", "chunk_s"), [(3, 1.0), (10, 6.0), (14, 2.0)])
def test_one_agent_plays_any_ladder_and_says_what_is_new_to_it(tmp_path, levels: int, chunk_s: float) -> None:
    agent = RowAgent(_network(), Ranges())
    folder = save(agent, tmp_path / "agent", {"seed": 0}, "# card\n")
    agent = load_checkpoint(folder)
    video = synthetic_video(1, np.geomspace(200, 8000, levels), 30, chunk_s)
    env = ABREnv(video=video, first_quality=None)
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    assert ("levels" in agent.notice) == (levels > 10)
    over, steps = False, 0
    while not over:
        observation, _, over, _, info = env.step(agent.act(observation, info))
        steps += 1
    assert steps == 30


def test_an_evaluation_outside_the_training_says_so(tmp_path) -> None:
    folder = save(RowAgent(_network(), Ranges(levels=(7, 9))), tmp_path / "agent", {}, "")
    with pytest.warns(UserWarning, match=r"outside what it was trained on: levels 6 \(trained on 7 to 9\)"):
        result = evaluate(agents=[str(folder), "abr/bba"], setting="default", episodes=2, progress=False)
    assert (result.frame["notice"] != "").sum() == 2
    assert "Outside their training" in result.report(tmp_path / "report").read_text(encoding="utf-8")


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path) -> None:
    folder = save(RowAgent(_network(), Ranges()), tmp_path / "agent", {}, "")
    about = {"config": {"hidden": 8}, "ranges": Ranges().to_json()}
    for broken in ({"config": {"hidden": 9}}, {"ranges": {"levels": 3}}, {"config": {"width": 8}}):
        with pytest.raises(CheckpointError, match="do not fit"):
            load(folder, about | broken)
    (folder / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError):
        load(folder, about)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load(folder, about)


def test_a_world_pays_what_the_environment_pays() -> None:
    worlds = _worlds(16, at_home=1.0)
    lives, stage = worlds.lives, worlds.stage
    lives.noise[:] = 0.0
    i = int(np.argmin(lives.chunk))
    video, link = worlds.videos[lives.video[i]], worlds.links[lives.link[i]]
    env = ABREnv(video=video, first_quality=None)
    env._links[0] = link_arrays(link, 0.95)
    env.reset(seed=0, options={"trace": 0})
    env._link = env._links[0]
    env.chunk, env.last_quality = int(lives.chunk[i]), int(lives.last[i])
    env.offset_s, env.buffer_s = float(lives.offset[i]), float(lives.buffer[i])
    unit = env.qoe.quality[-1] - env.qoe.quality[0]
    episode = Episode(env.static_info())
    for level in (2, 4, 1, 5):
        mine = env._memory.observe(env.chunk, env.buffer_s, env.last_quality)
        mine["throughput_mbps"], mine["download_time_s"] = lives.throughputs[i], lives.delays[i]
        rows, context = worlds.see()
        seen = np.zeros((6, ROW_FEATURES)), np.zeros(CONTEXT_FEATURES)
        episode.see(mine, *seen)
        np.testing.assert_allclose(rows[i, :6], seen[0], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(context[i], seen[1], rtol=1e-3, atol=1e-3)
        _, reward, over, _, _ = env.step(level)
        paid, ended = worlds.step(np.full(16, level) % stage.levels[lives.video])
        lives.noise[:] = 0.0
        assert paid[i] == pytest.approx(max((reward - (env.qoe.quality[0])) / unit, -60.0), abs=1e-6)
        assert ended[i] == over


def test_worlds_stay_within_their_ranges_and_repeat_with_their_seed() -> None:
    one, other = _worlds(32, 3), _worlds(32, 3)
    for _ in range(30):
        for worlds in (one, other):
            worlds.step(worlds.see()[0][:, :, 3].argmin(1) * 0)
    np.testing.assert_array_equal(one.see()[0], other.see()[0])
    facts = one.lives.facts
    assert (facts[:, 1] >= 1.49 * facts[:, 0]).all() and (facts[:, 1] <= 60).all()
    assert one.mask.sum(1).min() >= 3 and one.mask.sum(1).max() <= MAX_LEVELS
    assert np.isfinite(one.rows).all() and np.isfinite(one.future()).all()


def _teacher() -> Teacher:
    return Teacher(of_rows(_network()), _network(RowConfig(hidden=8, more_context=len(AHEAD), pooled=True)), 0.98)


def test_lessons_value_every_level_and_leave_the_world_alone() -> None:
    worlds = _worlds(6)
    before = [array.copy() for array in worlds.lives]
    values = level_values(worlds, _teacher(), 3, 4, np.random.default_rng(0))
    for array, kept in zip(worlds.lives, before, strict=True):
        np.testing.assert_array_equal(array, kept)
    np.testing.assert_array_equal(np.isfinite(values), worlds.mask)
    one = lessons(_worlds(6), _teacher(), 12, seed=1, futures=2, horizon=3)
    again = lessons(_worlds(6), _teacher(), 12, seed=1, futures=2, horizon=3)
    assert one.steps > 40 and len(one) == len(again)
    for mine, theirs in zip(one.episodes, again.episodes, strict=True):
        np.testing.assert_array_equal(mine.action_values, theirs.action_values)
        assert one.observation_space.contains({key: value[0] for key, value in mine.observations.items()})


def test_episodes_begin_where_their_recording_begins() -> None:
    worlds = _worlds(64, from_start=1.0)
    real = worlds.lives.link < worlds.drawn_first
    np.testing.assert_array_equal(worlds.lives.aligned, real)
    assert 0 < real.sum() < 64
    early = worlds.lives.offset < 60.0  # at most one chunk was fetched
    assert early[real].all() and not early[~real].all()
    assert (worlds.lives.chunk[real] <= 1).all()
    assert not _worlds(64).lives.aligned.any()
    assert 0 < _worlds(64, from_start=0.5).lives.aligned.sum() < real.sum()


def test_futures_of_an_episode_that_began_with_its_recording_are_at_the_same_moment() -> None:
    worlds = _worlds(32, from_start=1.0, at_home=1.0)
    for _ in range(3):
        worlds.step(np.zeros(32, np.int64))
    found = _futures(worlds, 3, np.random.default_rng(0))
    lives, aligned = worlds.lives, np.flatnonzero(worlds.lives.aligned)
    links = found[..., 0].astype(int)
    np.testing.assert_allclose(
        found[aligned][..., 1], np.mod(lives.offset[aligned, None], worlds.total_s[links[aligned]])
    )
    for i in range(32):
        assert set(links[i]) <= set(worlds.family_of(int(lives.link[i])).tolist())
    assert (
        (links[aligned] != lives.link[aligned, None]).any() and np.isfinite(found).all() and (found[..., 2] > 0).all()
    )


def test_with_nothing_measured_a_future_is_not_scaled() -> None:
    worlds = _worlds(32, from_start=1.0, at_home=1.0)
    fresh = np.flatnonzero(worlds.lives.aligned & (worlds.lives.offset == 0.0))
    assert len(fresh)
    np.testing.assert_array_equal(_futures(worlds, 2, np.random.default_rng(0))[fresh][..., 2], 1.0)


def test_a_training_ends_the_same_with_the_same_seed(tmp_path) -> None:
    pytest.importorskip("torch")
    from netllm_gym.agents.abr.ppo import PPOConfig, Trainer

    config = PPOConfig(iterations=3, episodes=8, steps=6, epochs=1, batch_size=32, check_every=1, hidden=8, warmup=1)
    found = [Trainer(config, _worlds(8), tmp_path / name).train().weights for name in ("a", "b")]
    for key, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][key])
    halted = Trainer(config, _worlds(8), tmp_path / "c")
    halted._store(halted._iterate())
    again = Trainer(config, _worlds(8), tmp_path / "c")
    assert again.iteration == 1
    for key, value in again.train().weights.items():
        np.testing.assert_array_equal(value, found[0][key])
    with pytest.raises(ConfigError, match="other hyper-parameters"):
        Trainer(PPOConfig(iterations=4, episodes=8), _worlds(8), tmp_path / "a")


def test_worlds_refuse_a_test_split() -> None:
    with pytest.raises(ConfigError, match="never 'test'"):
        Worlds(4, {"a": load_traces("abr/synthetic", "test")}, [synthetic_video()])


def test_drawn_links_may_be_without_memory() -> None:
    def persistence(memoryless: float) -> float:
        rng, found = np.random.default_rng(0), []
        for _ in range(60):
            rates = np.log(drawn_link(rng, memoryless=memoryless).throughput_mbps)
            found.append(float(np.corrcoef(rates[1:], rates[:-1])[0, 1]))
        return float(np.median(found))

    assert persistence(1.0) < 0.3 < persistence(0.0)
