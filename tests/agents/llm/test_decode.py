"""Deciding without what transformers does around the products: the same hidden states, or its own pass."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")
from netllm_gym.agents.llm import decode  # noqa: E402
from netllm_gym.agents.llm.config import LLMConfig  # noqa: E402
from netllm_gym.agents.llm.decode import Decoder, Memory  # noqa: E402
from netllm_gym.agents.llm.smollm2 import llama_config  # noqa: E402
from tests.agents.llm.toy import fresh, hidden_states, info_of, play, toy  # noqa: E402

pytestmark = pytest.mark.llm
CONFIG = LLMConfig(backbone="tiny-random", layers=2, lora_rank=4)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def llama():
    from transformers import LlamaModel

    torch.manual_seed(0)
    return LlamaModel(llama_config(3, 96, 6, 2, 160, 512, 1e4)).eval()


@pytest.mark.parametrize("kernels", ["numba", "onednn", "torch"])
@pytest.mark.parametrize(("rows", "pieces"), [(1, [1] * 12), (4, [1] * 12), (1, [5, 1, 3, 3]), (3, [7, 5]), (2, [90])])
@torch.inference_mode()
def test_hidden_states_are_those_of_transformers_with_a_cache(rows, pieces, kernels, monkeypatch):
    from transformers import DynamicCache

    monkeypatch.setattr(decode, "COMPILED", kernels == "numba")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: kernels != "torch")
    model = llama()
    tokens, prefix = torch.randn(rows, sum(pieces), 96), torch.randn(1, 3, 96)
    first, theirs = DynamicCache(), DynamicCache()
    model(inputs_embeds=prefix, past_key_values=first, use_cache=True)
    read = [(layer.keys, layer.values) for layer in first.layers]
    for number, pair in enumerate(read):
        theirs.update(*(part.expand(rows, -1, -1, -1) for part in pair), number)
    decoder = Decoder.of(model)
    assert decoder is not None
    ours = Memory(decoder, rows, read)
    for piece in tokens.split(pieces, dim=1):
        wanted = model(inputs_embeds=piece, past_key_values=theirs, use_cache=True).last_hidden_state
        found = decoder(piece, ours)
        assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_what_is_no_plain_llama_is_left_to_transformers():
    from transformers import GPT2Config, GPT2Model, Qwen2Config, Qwen2Model

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    assert Decoder.of(GPT2Model(GPT2Config(n_embd=32, n_layer=1, n_head=2))) is None
    assert Decoder.of(Qwen2Model(Qwen2Config(**sizes, num_key_value_heads=2, vocab_size=8))) is None
    assert Decoder.of(llama().to(torch.bfloat16)) is None
    model = llama()
    model.rotary_emb.rope_type = "dynamic"
    assert Decoder.of(model) is None
    apart = fresh(CONFIG, toy())
    assert Decoder.of(apart.model.backbone) is None
    apart.merge()
    assert Decoder.of(apart.model.backbone) is not None
    ladder = fresh(dataclasses.replace(CONFIG, backbone="attention"), toy())
    assert Decoder.of(ladder.model.backbone) is None


@pytest.mark.parametrize("changes", [{}, {"context": 1}, {"context": 3}, {"tokens": "per-key"}, {"start": "none"}])
def test_an_agent_plays_as_it_did_with_the_pass_of_transformers(changes, monkeypatch):
    experience = toy()
    agent = fresh(dataclasses.replace(CONFIG, **changes), experience)
    agent.merge()
    ours, actions = hidden_states(agent, experience, 0), play(agent, experience, [0, 1, 2])
    assert isinstance(agent._cache, Memory)
    monkeypatch.setattr(Decoder, "of", classmethod(lambda cls, backbone: None))
    agent.merge(False)  # the weights are read anew
    agent.merge()
    wanted = hidden_states(agent, experience, 0)
    assert not isinstance(agent._cache, Memory)
    assert float((ours - wanted).abs().max()) <= 1e-4
    assert play(agent, experience, [0, 1, 2]) == actions


def test_weights_that_change_are_decided_with_after_a_merge():
    experience = toy()
    agent = fresh(CONFIG, experience)
    agent.merge()
    before = hidden_states(agent, experience, 0)
    agent.merge(False)
    agent.reset(info_of(experience))
    assert not isinstance(agent._cache, Memory)
    assert torch.allclose(hidden_states(agent, experience, 0), before, atol=1e-4)
