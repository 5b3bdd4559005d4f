"""``bench gpu`` on the CPU with tiny sizes, and the whole path of tensors under fake CUDA."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import gymnasium as gym  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from netllm_gym.agents.llm import agent as acting  # noqa: E402
from netllm_gym.agents.llm import backbone, gpu, head, storage  # noqa: E402
from netllm_gym.agents.llm.agent import LLMAgent, to_device  # noqa: E402
from netllm_gym.agents.llm.batches import collate  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.model import DecisionModel  # noqa: E402
from netllm_gym.errors import ConfigError  # noqa: E402
from tests.agents.llm.toy import info_of, toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4)


def test_every_section_runs_with_tiny_sizes_and_writes_its_part(tmp_path):
    out = tmp_path / "gpu.json"
    report = gpu.measure_gpu(out, smoke=True)
    assert json.loads(out.read_text()) == report
    assert not [f"{name}: {found['error']}" for name, found in report.items() if "error" in found]
    kept = report["exactness"]["cpu fp32"]
    assert kept["cache_against_whole"] < 1e-4 and kept["frequencies"] == ["torch.float32"]
    assert report["exactness"]["cpu bf16"]["frequencies"] == ["torch.float32"]
    assert report["lora_against_full_7b"]["full"]["trainable_percent"] == pytest.approx(100, abs=40)
    assert report["train_save_load_act"]["same_actions_on_cpu"] == 1.0
    assert report["gradient_checkpointing"]["largest_difference"] < 1e-5
    assert {row["section"] for row in gpu.table(report)} == set(report)


def test_sections_without_time_say_so_and_a_cpu_is_no_gpu(monkeypatch):
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="needs a CUDA device"):
            gpu.measure_gpu()
    bench = gpu.Bench(False, 1.0, None, None)
    assert bench.run([("long", 60.0, lambda b: {})])["long"]["left_out"].startswith("1 s of the budget")


@pytest.mark.parametrize("rows", [1, 3])
def test_arrays_travel_in_one_piece(rows):
    rng = np.random.default_rng(0)
    arrays = {
        "flag": rng.random((rows, 5))[:, None] > 0.5, "level": rng.random((rows, 2)).astype(np.float32)[:, None],
        "kind": np.stack([np.asarray(rng.integers(0, 9)) for _ in range(rows)])[:, None],
        "picture": rng.integers(0, 255, (rows, 1, 2, 3)).astype(np.uint8),
    }  # fmt: skip
    meta = to_device(arrays, torch.device("meta"))
    assert {k: (v.shape, v.dtype) for k, v in meta.items()} == {
        k: (torch.from_numpy(v).shape, torch.from_numpy(v).dtype) for k, v in arrays.items()
    }


def test_what_is_learnt_is_the_same_on_a_device_without_memory():
    """Backward on torch's meta device: shapes, dtypes and devices without numbers, on any build."""
    experience = toy(episodes=4, space=gym.spaces.Box(-1, 1, (2,), np.float32))
    config = dataclasses.replace(CONFIG, dtype="bf16", objective="regression", start="learnt")
    parts = (experience.observation_space, experience.action_space, experience.modalities, experience.scales)
    model = DecisionModel(config, *parts, description="choose").train()
    whole = [e for e in experience.episodes if len(e) == len(experience.episodes[0])]
    batch = collate(whole)  # the mask of padding selects rows, whose number a device without memory cannot know
    there = {
        k: {n: v.to("meta") for n, v in w.items()} if isinstance(w, dict) else w.to("meta") for k, w in batch.items()
    }
    model.to("meta")
    tokens, nodes = model.embed(there["observations"], None, None)
    model.head(model.read(tokens), nodes, there["actions"]).square().mean().backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert all(
        grad is not None and grad.device.type == "meta" and grad.dtype == torch.float32 for grad in grads.values()
    )


@pytest.mark.parametrize("where", ["cpu", "cuda:0"])
def test_forward_backward_acting_and_saving_stay_on_a_fake_device(where, monkeypatch, tmp_path):
    """Whatever would mix devices raises under FakeTensorMode; one decision of a batch leaves the device once."""
    experience = toy(episodes=4)
    config = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4, dtype="bf16", start="learnt")
    device = torch.device(where)
    if device.type == "cuda" and not torch.backends.cuda.is_built():
        pytest.skip("a torch without CUDA cannot index fake CUDA tensors")
    for place in (backbone, acting):
        monkeypatch.setattr(place, "device_of", lambda config: device)
    left: list[tuple[int, ...]] = []

    def to_host(values):
        assert values.device.type == device.type
        left.append(tuple(values.shape))
        return np.zeros(tuple(values.shape), np.float32)

    monkeypatch.setattr(head, "to_host", to_host)
    parts = (experience.observation_space, experience.action_space, experience.modalities, experience.scales)
    real = DecisionModel(config, *parts, description="choose")
    batch = collate(experience.episodes)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def there(value):
            return mode.from_tensor(value).to(device)

        for owner in real.modules():
            for name, value in list(owner._parameters.items()):
                if value is not None:
                    owner._parameters[name] = torch.nn.Parameter(there(value.detach()), value.requires_grad)
            for name, value in list(owner._buffers.items()):
                if value is not None:
                    owner._buffers[name] = there(value)
        fake = {k: {n: there(v) for n, v in w.items()} if isinstance(w, dict) else there(w) for k, w in batch.items()}
        tokens, nodes = real.train().embed(fake["observations"], None, None)
        outputs = real.head(real.read(tokens), nodes, fake["actions"])
        assert outputs.device.type == device.type and outputs.dtype == torch.float32
        outputs.square().mean().backward()
        assert {p.grad.device.type for p in real.parameters() if p.grad is not None} == {device.type}
        agent = LLMAgent.__new__(LLMAgent)
        monkeypatch.setattr(DecisionModel, "to", lambda self, where: self)
        about = {"observation_space": experience.observation_space, "action_space": experience.action_space}
        LLMAgent.__init__(agent, real, experience.env_id, about, {})
        agent.reset_batch([info_of(experience)] * 3)
        for t in range(3):
            seen = [{k: v[t] for k, v in e.observations.items()} for e in experience.episodes[:3]]
            assert len(agent.act_batch(seen, [{}] * 3)) == 3
        assert left == [(3, 3)] * 3
        saved: dict = {}
        monkeypatch.setattr(storage, "save_file", lambda tensors, path: saved.update(tensors))
        monkeypatch.setattr(torch, "equal", lambda a, b: True)
        agent.metadata |= {"modalities": {}, "scales": {}, "dataset": {"name": "", "digest": ""}}
        storage.save(agent, tmp_path / "agent")
    assert any("lora_A" in key for key in saved) and "start_token" in saved
