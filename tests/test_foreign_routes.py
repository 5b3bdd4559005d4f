"""What an outside user's environment meets on the documented route, beyond what it answers itself."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import pytest

import netllm_gym
from netllm_gym import CollectConfig, collect, evaluate
from netllm_gym.errors import CheckpointError, DatasetError
from tests.foreign import FOREIGN

ADDRESS = f"tests.foreign:{FOREIGN}"


@pytest.mark.llm
def test_few_shots_of_an_environment_named_with_its_module_are_played_there(tmp_path):
    pytest.importorskip("torch")
    data = collect(CollectConfig(ADDRESS, ("any/random",), 2), "netllm_gym/test/few-v0", progress=False)
    small = {"steps": 1, "eval_every": 1, "layers": 1, "lora_rank": 2, "batch_size": 2, "description": "count"}
    options = {**small, "backbone": "tiny-random", "start_from": ""}
    agent = netllm_gym.train("few-shot", [data], tmp_path / "few", valid=[data], options=options)
    assert agent.serves == (FOREIGN,)
    for name in (FOREIGN, ADDRESS):
        frame = evaluate(name, [str(tmp_path / "few")], episodes=1, progress=False).frame
        assert not frame["failed"].any(), list(frame["reason"])
    loaded = netllm_gym.make_agent(tmp_path / "few")
    for env, odd in (("Blackjack-v1", "observation '0' is only on one side"), ("Pendulum-v1", "trained on actions")):
        info = dataclasses.replace(netllm_gym.EnvInfo.of(gym.make(env)), env_id=FOREIGN)
        with pytest.raises(CheckpointError, match=odd):
            loaded.reset(info)


def test_an_agent_may_serve_an_environment_named_with_its_module():
    agent = netllm_gym.make_agent("any/random")
    agent.serves = (ADDRESS,)
    assert len(evaluate(FOREIGN, [agent], episodes=1, progress=False).frame) == 1


def test_datasets_of_an_environment_under_both_its_names_are_merged():
    from netllm_gym.datasets.experience import merge

    parts = [
        collect(CollectConfig(name, ("any/random",), 1), f"netllm_gym/test/name{i}-v0", progress=False).experience
        for i, name in enumerate((FOREIGN, ADDRESS))
    ]
    assert len(merge(parts)) == 2


def test_two_choices_of_two_are_masked_by_choice():
    from netllm_gym.datasets.flat import ActionCode

    code = ActionCode(gym.spaces.MultiDiscrete([2, 2]), "anybody")
    assert code.legal([1, 0, 1, 1]).tolist() == [True, True, False, False]
    whole = ActionCode(gym.spaces.MultiDiscrete([3, 2]), "anybody")
    assert whole.legal([1, 0, 0, 0, 0, 1]).tolist() == [True, False, False, False, False, True]


@pytest.mark.llm
def test_numbers_beyond_a_networks_are_refused_before_training(tmp_path):
    pytest.importorskip("torch")
    data = collect(CollectConfig(FOREIGN, ("any/random",), 1), "netllm_gym/test/large-v0", progress=False).experience
    data.episodes[0].rewards[:] = 1e300
    with pytest.raises(DatasetError, match=r"rewards of episode 0 hold 1e\+300, more than a network computes in"):
        netllm_gym.train("llm", [data], tmp_path / "llm", valid=[data], options={"backbone": "none", "steps": 1})
