"""FastMPC's table decides as MPC does at the centre of every cell, and nearly as well between them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from netllm_gym import EnvInfo, make_agent
from netllm_gym.agents.abr import fast_mpc
from netllm_gym.agents.abr.fast_mpc import build_table, table_of
from netllm_gym.agents.abr.mpc import choose
from netllm_gym.envs.abr.qoe import QoE
from netllm_gym.errors import ConfigError
from netllm_gym.traces import load_video

VIDEO = load_video("synthetic")
LIN = QoE.preset("lin", VIDEO)


@pytest.mark.parametrize(("preset", "bins", "horizon"), [("lin", 100, 5), ("hd", 23, 3)])
def test_at_the_centre_of_every_cell_it_is_mpc(preset: str, bins: int, horizon: int) -> None:
    qoe = QoE.preset(preset, VIDEO)
    sizes = VIDEO.chunk_bytes.mean(axis=0)
    table = build_table(sizes, qoe.quality, qoe.stall_weight, qoe.switch_weight, VIDEO.chunk_s, 60.0, bins, horizon)
    ahead = np.tile(sizes, (horizon, 1))
    rng = np.random.default_rng(0)
    for _ in range(1500):
        buffer, mbps, last = rng.choice(table.buffer_s), rng.choice(table.mbps), int(rng.integers(6))
        plan = choose(ahead, qoe.quality, qoe.stall_weight, 1.0, VIDEO.chunk_s, mbps * 1e6 / 8, buffer, last)
        assert table(buffer, mbps, last) == plan


def test_a_cell_answers_for_all_its_states_and_the_outermost_for_what_lies_beyond() -> None:
    table = table_of(VIDEO, LIN, 60.0)
    half = 0.49 * (table.buffer_s[1] - table.buffer_s[0])
    for b, m in ((0, 0), (7, 40), (99, 99)):
        buffer, mbps = table.buffer_s[b], table.mbps[m]
        cells = {table.cell(buffer + d, mbps * f, 3) for d in (-half, 0, half) for f in (0.99, 1, 1.01)}
        assert len(cells) == 1
    assert table.cell(1e9, 1e9, 5) == 6 * 100 * 100 - 1
    assert table.cell(0.0, 1e-9, 0) == 0
    assert table(0.0, 1e-9, 0) == 0 and table(60.0, 1e9, 5) == 5


def test_runs_are_shorter_than_cells_and_hold_the_same() -> None:
    table = table_of(VIDEO, LIN, 60.0)
    cells = np.repeat(table.decisions, np.diff(table.ends, prepend=0))
    assert cells.shape == (6 * 100 * 100,)
    # With ten seconds in the buffer the best link gets the top level whatever the last one was.
    assert (cells.reshape(6, 100, 100)[:, table.buffer_s > 10.0, -1] == 5).all()
    assert len(table.decisions) < cells.size / 5 and table.nbytes < 100_000


def test_it_is_made_once_and_made_again_when_the_file_is_broken(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NETLLM_GYM_CACHE", str(tmp_path))
    fast_mpc._kept.cache_clear()
    table = table_of(VIDEO, LIN, 60.0, bins=20)
    (stored,) = (tmp_path / "fast-mpc").iterdir()
    assert table_of(VIDEO, LIN, 60.0, bins=20) is table
    whole = stored.read_bytes()
    for content in (whole, whole[:100], b""):
        stored.write_bytes(content)
        fast_mpc._kept.cache_clear()
        again = table_of(VIDEO, LIN, 60.0, bins=20)
        np.testing.assert_array_equal(again.ends, table.ends)
        np.testing.assert_array_equal(again.decisions, table.decisions)
    fast_mpc._kept.cache_clear()
    other = table_of(VIDEO, QoE.preset("lin", VIDEO, stall_weight=1.0), 60.0, bins=20)
    assert not np.array_equal(other.ends, table.ends)


def _qoe(name: str, **kwargs) -> np.ndarray:
    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    agent = make_agent(name, **kwargs)
    means = []
    for trace in range(len(env.unwrapped.traces)):
        observation, info = env.reset(options={"trace": trace})
        agent.reset(EnvInfo.of(env))
        total, over = 0.0, False
        while not over:
            observation, reward, over, _, info = env.step(agent.act(observation, info))
            total += reward / 47
        means.append(total)
    return np.array(means)


@pytest.mark.parametrize(("exact", "robust"), [("abr/mpc", False), ("abr/robust-mpc", True)])
def test_on_the_embedded_traces_it_is_close_to_the_exact_search(exact: str, robust: bool) -> None:
    gap = _qoe("abr/fast-mpc", robust=robust) - _qoe(exact)
    assert abs(gap.mean()) < 0.06
    assert np.median(np.abs(gap)) < 0.1


@pytest.mark.parametrize("kwargs", [{"bins": 1}, {"bins": 10**6}, {"horizon": 0}, {"horizon": 9}])
def test_impossible_tables_are_refused(kwargs: dict) -> None:
    with pytest.raises(ConfigError):
        make_agent("abr/fast-mpc", **kwargs)
