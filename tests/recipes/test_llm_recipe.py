"""The recipe ``llm`` takes the objective that its data allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from netllm_gym import CollectConfig, collect, make_agent, train
from netllm_gym.errors import CheckpointError, ConfigError, DatasetError, UnknownNameError

pytest.importorskip("torch", reason="needs the extra llm")
KWARGS = {"traces": "abr/synthetic", "split": "train"}
NOWHERE = "netllm_gym/test/none-v0"
TINY = {"backbone": "tiny-random", "layers": 1, "lora_rank": 2, "steps": 1, "eval_every": 1, "batch_size": 2}


@pytest.mark.parametrize(("hindsight", "objective"), [(False, "return-conditioned"), (True, "regret")])
def test_the_objective_follows_the_data(tmp_path: Path, hindsight: bool, objective: str) -> None:
    config = CollectConfig(agents=("abr/bba",), episodes=2, env_kwargs=KWARGS, hindsight=hindsight)
    data = collect(config, f"netllm_gym/test/objective{int(hindsight)}-v0")
    agent = train("llm", [data], tmp_path / "agent", valid=[data], options=TINY)
    assert agent.config.objective == objective
    if not hindsight:  # a wish is not replaced
        with pytest.raises(DatasetError, match="no action values"):
            train("llm", [data], tmp_path / "other", valid=[data], options={**TINY, "objective": "regret"})


def test_options_are_refused_before_data_are_read(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match="objective"):
        train("llm", [NOWHERE], tmp_path / "agent", valid=[NOWHERE], options={"objective": "x"})


def test_a_missing_checkpoint_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no such checkpoint folder"):
        make_agent(tmp_path / "nothing")
    (tmp_path / "half").mkdir()
    with pytest.raises(CheckpointError, match="without agent"):
        make_agent(tmp_path / "half")
