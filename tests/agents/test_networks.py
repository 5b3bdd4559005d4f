"""Small networks and d3rlpy's algorithms: they learn, they survive a round trip, bad checkpoints say why."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")

from netllm_gym import EnvInfo, make_agent, train
from netllm_gym.agents.offline.checkpoint import save
from netllm_gym.agents.offline.regret_mlp import RegretMLPConfig, gaps, train_regret_mlp
from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.store import load_experience
from netllm_gym.errors import CheckpointError, DatasetError

pytestmark = pytest.mark.llm

KWARGS = {"traces": "abr/synthetic", "split": "train", "random_start": True}


@pytest.fixture(scope="module")
def experience() -> Experience:
    config = CollectConfig(
        agents=("abr/robust-mpc", "abr/bba"), episodes=24, epsilon=0.2, hindsight=True, env_kwargs=KWARGS
    )
    return load_experience(collect(config, "netllm_gym/test/networks-v0"))


def _play(agent, episodes: int = 4) -> list[list[int]]:
    env = gym.make("netllm_gym/ABR-v0", disable_env_checker=True)
    played = []
    for i in range(episodes):
        observation, info = env.reset(options={"trace": i})
        agent.reset(EnvInfo.of(env))
        actions, over = [], False
        while not over:
            actions.append(int(agent.act(observation, info)))
            observation, _, over, _, info = env.step(actions[-1])
        played.append(actions)
    return played


def test_gaps_are_clipped_losses() -> None:
    assert gaps(np.array([[1.0, 3.0, -100.0]])).tolist() == [[-2.0, 0.0, -8.0]]


def test_regret_mlp_learns_and_round_trips(experience: Experience, tmp_path) -> None:
    config = RegretMLPConfig(ensemble=1, epochs=80, patience=80, hidden=64)
    agent = train_regret_mlp(config, experience, experience)
    observed = np.concatenate([agent.view.many(e.observations) for e in experience.episodes])
    lost = np.concatenate([gaps(e.action_values) for e in experience.episodes])
    rows = np.arange(len(lost))
    chosen = lost[rows, agent.predict(observed).argmax(1)].mean()
    behaviour = lost[rows, np.concatenate([e.actions for e in experience.episodes])].mean()
    assert chosen > 0.6 * behaviour  # both negative: the agent loses far less than who collected
    save(agent, experience, tmp_path / "mlp")
    assert _play(make_agent(tmp_path / "mlp")) == _play(agent)
    again = train_regret_mlp(config, experience, experience)
    assert np.array_equal(again.predict(observed[:50]), agent.predict(observed[:50]))


@pytest.mark.parametrize("recipe", ["cql", "bcq", "bc", "decision-transformer"])
def test_offline_algorithms_train_act_and_round_trip(recipe: str, experience: Experience, tmp_path) -> None:
    pytest.importorskip("d3rlpy")
    agent = train(recipe, [experience.name], tmp_path / recipe, options={"steps": 20, "batch_size": 32})
    played = _play(agent, 2)
    assert all(0 <= action < 6 for actions in played for action in actions)
    assert _play(make_agent(tmp_path / recipe), 2) == played


def test_bad_checkpoints_say_what_is_wrong(experience: Experience, tmp_path) -> None:
    agent = train_regret_mlp(RegretMLPConfig(ensemble=1, epochs=1, hidden=8), experience, experience)
    folder = save(agent, experience, tmp_path / "mlp")
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(CheckpointError, match="is damaged"):
        make_agent(folder)
    about = json.loads((folder / "agent.json").read_text())
    (folder / "agent.json").write_text(json.dumps({key: value for key, value in about.items() if key != "sha256"}))
    with pytest.raises(CheckpointError, match="not a readable safetensors"):  # as a checkpoint of the first releases
        make_agent(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        make_agent(folder)
    (folder / "weights.safetensors").write_bytes(weights)
    about = json.loads((folder / "agent.json").read_text())
    about["config"]["hidden"] = 9
    (folder / "agent.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="do not fit"):
        make_agent(folder)


def test_a_checkpoint_of_another_environment_says_which(experience: Experience) -> None:
    agent = train_regret_mlp(RegretMLPConfig(ensemble=1, epochs=1, hidden=8), experience, experience)
    other = gym.make("netllm_gym/ViewportPrediction-v0", disable_env_checker=True)
    other.reset(seed=0)
    with pytest.raises(CheckpointError, match=r"throughput_mbps.*not those of netllm_gym/ViewportPrediction-v0"):
        agent.reset(EnvInfo.of(other))


def test_values_are_needed_for_regret(tmp_path) -> None:
    plain = collect(CollectConfig(agents=("abr/bba",), episodes=2, env_kwargs=KWARGS), "netllm_gym/test/plain-v0")
    with pytest.raises(DatasetError, match="--hindsight"):
        train("regret-mlp", [plain], tmp_path / "x", valid=[plain])
