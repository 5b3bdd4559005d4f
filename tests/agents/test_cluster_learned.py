"""Learnt schedulers: trained offline, legal in every step, on clusters they were not trained for too."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

torch = pytest.importorskip("torch")
import netllm_gym  # noqa: E402
from netllm_gym.agents.base import EnvInfo  # noqa: E402
from netllm_gym.agents.llm.batches import collate, windows  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.storage import save  # noqa: E402
from netllm_gym.agents.llm.trainer import fresh_model, train  # noqa: E402
from netllm_gym.datasets.collect import CollectConfig, collect  # noqa: E402
from netllm_gym.datasets.schedules import ENV, advantages, padded, viewed  # noqa: E402
from netllm_gym.datasets.store import load_experience  # noqa: E402
from netllm_gym.errors import CheckpointError, ConfigError  # noqa: E402

pytestmark = pytest.mark.llm
TINY = {"backbone": "tiny-random", "layers": 1, "lora_rank": 2, "steps": 6, "batch_size": 4, "eval_every": 6}


@pytest.fixture(scope="module")
def raw():
    kwargs = {"split": "train", "jobs": 4, "executors": 8, "max_stages": 64, "max_jobs": 16, "max_edges": 128}
    config = CollectConfig(ENV, ("cluster/fair", "cluster/tuned"), 4, env_kwargs=kwargs)
    return load_experience(collect(config, "netllm_gym/test/cluster-learned-v0"))


def play(agent, trace=2, **kwargs):
    """Play one short episode; an illegal action would raise."""
    env = gym.make(ENV, disable_env_checker=True, **{"jobs": 4, "executors": 8, **kwargs})
    observation, info = env.reset(seed=0, options={"trace": trace})
    agent.reset(EnvInfo.of(env))
    over = False
    while not over:
        observation, _, over, _, info = env.step(agent.act(observation, info))
    return info["mean_jct_s"]


@pytest.mark.parametrize(("objective", "context"), [("cloning", 1), ("return-conditioned", 3)])
def test_an_llm_scheduler_is_legal_whatever_the_bounds(raw, tmp_path, objective, context):
    data = viewed(advantages(raw, replace(raw, episodes=raw.episodes[::2])))
    config = LLMConfig(**{**TINY, "objective": objective, "context": context})
    save(train(config, data, data, tmp_path / "run"), tmp_path / "agent")
    agent = netllm_gym.make_agent("cluster/llm", checkpoint=tmp_path / "agent")
    assert play(agent, max_stages=64, max_jobs=16, max_edges=128) == play(agent)  # padding decides nothing
    assert play(agent, executors=5) > 0


@torch.no_grad()
def test_what_is_forbidden_takes_no_part_in_the_loss(raw):
    data = viewed(raw)
    model = fresh_model(LLMConfig(**{**TINY, "objective": "cloning"}), data).eval()
    batch = collate(windows(data.episodes[:1], 4)[:3])
    masked = float(model(**batch)["loss"])
    everything = float(model(**{**batch, "action_mask": torch.ones_like(batch["action_mask"])})["loss"])
    assert masked < everything
    # What was played counts as legal, or repaired actions would make the loss explode.
    nothing = float(model(**{**batch, "action_mask": torch.zeros_like(batch["action_mask"])})["loss"])
    assert nothing == pytest.approx(0.0, abs=1e-4)


def test_cql_is_trained_on_the_padded_view_and_acts_legally(raw, tmp_path):
    pytest.importorskip("d3rlpy")
    from netllm_gym.agents.offline.algorithms import OfflineConfig, train_offline
    from netllm_gym.agents.offline.checkpoint import save as save_network

    data = padded(raw, max_candidates=32)
    for algorithm in ("cql", "bc"):
        found = train_offline(OfflineConfig(algorithm, steps=5, batch_size=16), data)
        save_network(found, data, tmp_path / algorithm)
        assert np.isfinite(play(netllm_gym.make_agent("cluster/cql", checkpoint=tmp_path / algorithm)))


def test_what_the_recipe_of_cql_writes_plays_as_it_is(tmp_path):
    pytest.importorskip("d3rlpy")
    options = {"steps": 4, "batch_size": 8, "traces": "cluster/synthetic", "sequences": 1, "jobs": 3, "executors": 4}
    agent = netllm_gym.train("cluster-cql", out=tmp_path / "cql", options=options, say=None)
    folder = netllm_gym.make_agent(str(tmp_path / "cql"))
    assert play(agent) == play(folder) == play(netllm_gym.make_agent("cluster/cql", checkpoint=tmp_path / "cql"))
    assert "cluster-cql for netllm_gym/ClusterScheduling-v0" in (tmp_path / "cql" / "README.md").read_text()
    with pytest.raises(CheckpointError, match="takes no option 'depth'"):
        netllm_gym.make_agent(str(tmp_path / "cql"), depth=2)


def test_wrong_checkpoints_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no agent"):
        netllm_gym.make_agent("cluster/llm", checkpoint=tmp_path)
    with pytest.raises(ConfigError, match="train cluster-cql"):
        netllm_gym.make_agent("cluster/cql")


def test_the_scheduler_in_the_package_plays_what_it_was_not_trained_on():
    from netllm_gym.agents.llm.smollm2 import embedded_file

    try:
        embedded_file()
    except ConfigError as error:
        pytest.skip(str(error))
    llm, random = (
        sum(play(netllm_gym.make_agent(name), trace, jobs=8) for trace in (0, 1))
        for name in ("cluster/llm", "cluster/random")
    )
    assert llm < random
