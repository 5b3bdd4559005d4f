"""Crowd networks: what they may depend on, how they are trained and kept."""

import json

import gymnasium as gym
import numpy as np
import pytest

import netllm_gym  # noqa: F401 (registers the environments)
from netllm_gym import make_agent
from netllm_gym.agents.base import EnvInfo
from netllm_gym.errors import CheckpointError, ConfigError

torch = pytest.importorskip("torch")
from netllm_gym.agents.viewport.crowd import CrowdAgent, load, read_network, save_network  # noqa: E402
from netllm_gym.agents.viewport.crowd_network import CrowdConfig, CrowdNetwork, rows_of  # noqa: E402
from netllm_gym.agents.viewport.crowd_training import crowd_windows, error, train_crowd  # noqa: E402

SMALL = {"history": 10, "future": 20, "width": 16, "heads": 2, "batch_size": 32, "eval_every": 20}
READERS = ({}, {"backbone": "tiny-random", "layers": 1, "lora_rank": 2})


def stirred(config: CrowdConfig) -> CrowdNetwork:
    """A network whose output layers are not zero any more."""
    network = CrowdNetwork(config)
    torch.manual_seed(1)
    for layer in (network.gate, network.correct[2]):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return network.eval()


def a_batch(viewers: int = 6, samples: int = 30):
    torch.manual_seed(0)
    history = torch.randn(3, 10, 3).cumsum(1) * 3
    crowd = torch.randn(3, viewers, samples, 3).cumsum(2) * 3
    return history, crowd, torch.ones(3, viewers, samples, dtype=torch.bool)


@pytest.mark.parametrize("reader", READERS)
def test_neither_the_order_of_viewers_nor_absent_ones_nor_whole_turns_matter(reader) -> None:
    network = stirred(CrowdConfig(**SMALL, **reader))
    history, crowd, mask = a_batch()
    with torch.no_grad():
        answer = network(rows_of(history, crowd, mask, 10, 20))
        order = torch.tensor([3, 1, 0, 5, 4, 2])
        torch.testing.assert_close(
            network(rows_of(history, crowd[:, order], mask, 10, 20)), answer, atol=2e-3, rtol=1e-4
        )
        more = torch.cat([crowd, torch.full((3, 2, 30, 3), 77.0)], dim=1)
        absent = torch.cat([mask, torch.zeros(3, 2, 30, dtype=torch.bool)], dim=1)
        torch.testing.assert_close(network(rows_of(history, more, absent, 10, 20)), answer, atol=2e-3, rtol=1e-4)
        torch.testing.assert_close(network(rows_of(history + 360, crowd, mask, 10, 20)), answer, atol=2e-2, rtol=1e-3)
        assert answer.abs().max() > 0.1


@pytest.mark.parametrize("reader", READERS)
def test_unknown_samples_have_no_influence(reader) -> None:
    network = stirred(CrowdConfig(**SMALL, **reader))
    history, crowd, mask = a_batch()
    mask[:, 2, 17:] = False
    mask[:, 4] = False
    with torch.no_grad():
        answer = network(rows_of(history, crowd, mask, 10, 20))
        crowd[:, 2, 17:] += 50.0
        crowd[:, 4] -= 80.0
        torch.testing.assert_close(network(rows_of(history, crowd, mask, 10, 20)), answer)
        nobody = network(rows_of(history, crowd, torch.zeros_like(mask), 10, 20))
        assert nobody.isfinite().all()


def test_an_untrained_network_holds_the_last_place() -> None:
    history, crowd, mask = a_batch()
    assert not CrowdNetwork(CrowdConfig(**SMALL))(rows_of(history, crowd, mask, 10, 20)).any()


def test_histories_and_horizons_of_any_length_are_read() -> None:
    history, crowd, mask = a_batch()
    for reach, future in ((4, 5), (10, 20), (25, 30)):
        rows = rows_of(history, crowd, mask, reach, future)
        assert rows.own.shape == (3, reach, 3)
        assert rows.paths.shape == (3, 6, reach + future, 3)
        assert rows.known.sum() == 3 * 6 * min(future, 20)


@pytest.fixture(scope="module")
def windows():
    return [crowd_windows("viewport/synthetic", split, 10, 20, 15) for split in ("train", "valid")]


def test_training_beats_holding_the_last_place_and_repeats_itself(windows) -> None:
    config = CrowdConfig(**SMALL, steps=120, learning_rate=1e-2)
    network, best = train_crowd(config, *windows)
    assert best < 0.98 * error(CrowdNetwork(config), windows[1])
    again, other = train_crowd(config, *windows)
    assert other == best
    assert all(torch.equal(value, again.weights()[name]) for name, value in network.weights().items())


@pytest.mark.parametrize("reader", READERS)
def test_a_checkpoint_gives_the_same_agent_back(tmp_path, windows, reader) -> None:
    network = stirred(CrowdConfig(**SMALL, **reader))
    save_network(tmp_path / "net", network, "canonical", {"traces": "viewport/synthetic"})
    agent = make_agent(str(tmp_path / "net"))
    assert isinstance(agent, CrowdAgent)
    env = gym.make("netllm_gym/ViewportPrediction-v0", crowd=6)
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    action = agent.act(observation, info)
    assert action.shape == (20, 3)
    assert np.isfinite(action).all()
    batch = [torch.from_numpy(np.asarray(observation[key])[None]) for key in ("history_deg", "crowd_deg", "crowd_mask")]
    with torch.no_grad():
        wanted = read_network(tmp_path / "net")(rows_of(*batch, 10, 20))[0].numpy()
    np.testing.assert_allclose(action, wanted, atol=1e-3)
    plain = gym.make("netllm_gym/ViewportPrediction-v0")
    plain.reset(seed=0)
    with pytest.raises(ConfigError, match="crowd=N"):
        agent.reset(EnvInfo.of(plain))


def test_broken_checkpoints_are_refused(tmp_path) -> None:
    folder = save_network(tmp_path / "net", CrowdNetwork(CrowdConfig(**SMALL)), "canonical", {})
    about = json.loads((folder / "agent.json").read_text())
    with pytest.raises(CheckpointError, match="reading"):
        load(folder, {**about, "reading": "upside-down"})
    for broken in ({"width": 32}, {"heads": 3}, {"unheard": 1}, {"width": "x"}):
        (folder / "agent.json").write_text(json.dumps({**about, "config": {**about["config"], **broken}}))
        with pytest.raises((CheckpointError, ConfigError)):
            make_agent(str(folder))


def test_streaming_follows_the_crowd_and_needs_one() -> None:
    env = gym.make("netllm_gym/ViewportStreaming-v0", crowd=8, max_chunks=6)
    agent = make_agent("streaming/crowd", predictor="viewport/hold-last")
    observation, info = env.reset(seed=0)
    agent.reset(EnvInfo.of(env))
    over = False
    while not over:
        observation, _, over, _, info = env.step(agent.act(observation, info))
    plain = gym.make("netllm_gym/ViewportStreaming-v0", max_chunks=6)
    observation, info = plain.reset(seed=0)
    agent.reset(EnvInfo.of(plain))
    with pytest.raises(ConfigError, match="crowd=N"):
        agent.act(observation, info)
