"""One backbone for all tasks: adapters swapped at each decision; and the Hub."""

from __future__ import annotations

import dataclasses
import shutil

import gymnasium as gym
import numpy as np
import pytest

torch = pytest.importorskip("torch")
import huggingface_hub  # noqa: E402

from netllm_gym import make_agent  # noqa: E402
from netllm_gym.agents import hub  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.storage import save  # noqa: E402
from netllm_gym.agents.llm.together import load_together  # noqa: E402
from netllm_gym.errors import CheckpointError, ConfigError, DownloadError  # noqa: E402
from tests.agents.llm.toy import fresh, play, toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4, steps=60, eval_every=30, learning_rate=1e-2,
                   batch_size=8)  # fmt: skip
BOX = gym.spaces.Box(-0.5, 1.0, (2,), np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tasks")
    other = dataclasses.replace(CONFIG, objective="regression", lora_rank=2)
    save(fresh(CONFIG, toy()), root / "choice")
    save(fresh(other, toy(space=BOX)), root / "numbers")
    return {"choice": root / "choice", "numbers": root / "numbers"}


def test_agents_on_one_backbone_answer_as_they_do_alone(folders):
    tasks = {"choice": toy(), "numbers": toy(space=BOX)}
    together = load_together(folders)
    bases = {name: agent.model.backbone for name, agent in together.items()}
    assert bases["choice"] is bases["numbers"]
    with pytest.raises(ConfigError, match="swapped, not merged"):
        together["choice"].merge()
    for name in ("choice", "numbers", "choice"):  # swapped back and forth
        alone = play(make_agent(str(folders[name])), tasks[name], [0, 1])
        assert np.allclose(np.concatenate(alone), np.concatenate(play(together[name], tasks[name], [0, 1])), atol=1e-5)


def test_a_shared_agent_is_saved_with_its_own_adapter(folders, tmp_path):
    together = load_together(folders)
    play(together["numbers"], toy(space=BOX), [0])  # the other adapter is active now
    again = make_agent(str(save(together["choice"], tmp_path / "again")))
    for key, value in make_agent(str(folders["choice"])).model.trainable().items():
        assert torch.equal(value, again.model.trainable()[key])


def test_agents_of_different_backbones_do_not_share(folders, tmp_path):
    shallow = save(fresh(dataclasses.replace(CONFIG, layers=1), toy()), tmp_path / "shallow")
    with pytest.raises(CheckpointError, match="another backbone: layers differs"):
        load_together({**folders, "shallow": shallow})
    frozen = save(fresh(dataclasses.replace(CONFIG, tuning="frozen"), toy()), tmp_path / "frozen")
    with pytest.raises(CheckpointError, match="no adapter to swap"):
        load_together({"frozen": frozen})


def test_pushing_and_pulling_a_checkpoint(folders, tmp_path, monkeypatch):
    store = tmp_path / "hub"
    revisions: list = []

    def create(repository, private, exist_ok):
        assert exist_ok and private

    def upload(repo_id, folder_path, allow_patterns, commit_message):
        shutil.copytree(folder_path, store / repo_id)
        return f"https://huggingface.co/{repo_id}"

    def download(repository, revision, allow_patterns):
        assert not any("bin" in pattern or "py" in pattern for pattern in allow_patterns)
        revisions.append(revision)
        if not (store / repository).exists():
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"{repository} not found\nlong explanation")
        return str(store / repository)

    monkeypatch.setattr(huggingface_hub, "create_repo", create)
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub.push(folders["choice"], "somebody/agent", private=True).endswith("somebody/agent")
    experience = toy()
    agent = make_agent("hf://somebody/agent")
    assert play(agent, experience, [0]) == play(make_agent(str(folders["choice"])), experience, [0])
    make_agent("hf://somebody/agent@1a2b3c")
    assert revisions == [None, "1a2b3c"]
    with pytest.raises(ConfigError, match="asked for revision a and revision b"):
        hub.pull("somebody/agent@a", "b")
    with pytest.raises(DownloadError, match=r"cannot be had from the Hub \(nobody/none not found\)$"):
        make_agent("hf://nobody/none")
    (store / "some" / "thing").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"hf://some/thing.*no agent\.json"):
        make_agent("hf://some/thing")
    with pytest.raises(CheckpointError, match=r"no agent\.json"):
        hub.push(tmp_path, "somebody/agent")
