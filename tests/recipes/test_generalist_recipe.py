"""The recipe of the generalist makes its own data of schedules, teaches them and writes an agent that plays."""

import pytest

import netllm_gym
from netllm_gym.errors import UnknownNameError

pytest.importorskip("torch")
pytestmark = pytest.mark.llm
TINY = {"backbone": "tiny-random", "layers": 1, "steps": 2, "eval_every": 2, "lora_rank": 2}


def test_schedules_are_collected_taught_and_played(tmp_path, monkeypatch) -> None:
    from netllm_gym.recipes import generalist

    monkeypatch.setattr(generalist, "CLUSTERS", (("cluster/random", 12),))
    monkeypatch.setattr(generalist, "AGENTS", ("cluster/fair",))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    agent = netllm_gym.train("generalist", out=tmp_path / "agent", options={**TINY, "tasks": ("cluster",)})
    assert agent.serves == ("netllm_gym/ClusterScheduling-v0",)
    setting = {"traces": "cluster/random", "split": "valid", "jobs": 3, "executors": 6}
    found = netllm_gym.evaluate(
        env="netllm_gym/ClusterScheduling-v0", agents=[str(tmp_path / "agent")], setting=setting, episodes=1,
        progress=False,
    )  # fmt: skip
    assert not found.frame["failed"].any()


def test_a_task_it_does_not_know_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="task of the generalist"):
        netllm_gym.train("generalist", out="agent", options={"tasks": ("weather",)})
