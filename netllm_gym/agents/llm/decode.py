"""Deciding with a Llama on a CPU: its forward pass with a KV cache, and little beside the matrix products.

`transformers` spends a quarter of a one-token pass outside the products, and MKL multiplies one row three times as
slowly as the matrix is read. Here one row goes through compiled blocks at the speed of memory
(:mod:`netllm_gym.agents.llm.one_row`), several rows through oneDNN; the cache grows in place. The weights are the
model's own: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention, silu

from netllm_gym.agents.llm import one_row
from netllm_gym.compiled import COMPILED

ROPES = ("default", "linear", "llama3")  # angles that depend on nothing but the position


def products(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """``x @ weight.T`` of each weight, side by side, for a contiguous float32 `x` ``[rows, in]`` on a CPU."""
    if torch.backends.mkldnn.is_available():
        found = [torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "") for weight in weights]
    else:
        found = [linear(x, weight) for weight in weights]
    return torch.cat(found, dim=-1) if len(found) > 1 else found[0]


def _weights(*modules: Any) -> list[Tensor] | None:
    """The matrices of linear layers, adapters folded in; ``None`` where that is not all there is to them."""
    found: list[Tensor] = []
    for module in modules:
        plain = module.base_layer if getattr(module, "merged", False) else module
        if type(plain) is not nn.Linear or plain.bias is not None:
            return None
        weight = plain.weight.detach()
        if weight.device.type != "cpu" or weight.dtype != torch.float32 or not weight.is_contiguous():
            return None
        found.append(weight)
    return found


class Memory:
    """What a decoder has read: keys and values ``[B, heads, room, size]`` of each block, `length` tokens of them."""

    def __init__(self, decoder: Decoder, rows: int, prefix: Sequence[tuple[Tensor, Tensor]]) -> None:
        nothing = torch.zeros(1, decoder.heads, 0, decoder.size)
        layers = prefix or [(nothing, nothing)] * len(decoder.blocks)
        self.decoder, self.length = decoder, layers[0][0].shape[2]
        self.layers = [[part.expand(rows, -1, -1, -1) for part in layer] for layer in layers]

    def get_seq_length(self) -> int:
        """How many tokens were read, as a cache of `transformers` says it."""
        return self.length

    def add(self, count: int) -> slice:
        """Places for `count` more tokens."""
        begin, room = self.length, self.layers[0][0].shape[2]
        self.length += count
        if room < self.length:
            extra = (0, 0, 0, max(self.length, 2 * room, 64) - room)
            self.layers = [[pad(part, extra) for part in layer] for layer in self.layers]
        return slice(begin, self.length)


class Decoder:
    """The blocks of a Llama, ready to act; see :meth:`of`."""

    def __init__(self, model: Any, blocks: list[tuple[Any, ...]]) -> None:
        self.blocks, self.last, self.rotary = blocks, model.norm.weight.detach(), model.rotary_emb
        self.heads, self.size = model.config.num_key_value_heads, model.layers[0].self_attn.head_dim
        self.eps = model.config.rms_norm_eps
        self.arrays = [
            ((norm.numpy(), norm2.numpy()), tuple(weight.numpy() for group in groups for weight in group))
            for norm, norm2, *groups in blocks
        ]
        self.cos = self.sin = torch.zeros(0, self.size)
        self(torch.zeros(1, 1, len(self.last)), Memory(self, 1, []))  # compiles before the first decision

    @classmethod
    def of(cls, backbone: Any) -> Decoder | None:
        """Take a backbone's weights as they are now.

        Returns:
            ``None`` for another family, device or precision, or adapters that are not folded in.
        """
        from transformers.models.llama.modeling_llama import LlamaMLP, LlamaModel

        model = backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone
        if type(model) is not LlamaModel or model.rotary_emb.rope_type not in ROPES:
            return None
        if model.config.hidden_act != "silu":
            return None
        blocks, layers = [], cast(Any, model.layers)
        for block in layers:
            inner, mlp = block.self_attn, block.mlp
            if type(mlp) is not LlamaMLP:
                return None
            qkv, out = _weights(inner.q_proj, inner.k_proj, inner.v_proj), _weights(inner.o_proj)
            gate_up, down = _weights(mlp.gate_proj, mlp.up_proj), _weights(mlp.down_proj)
            if qkv is None or out is None or gate_up is None or down is None:
                return None
            norms = block.input_layernorm.weight.detach(), block.post_attention_layernorm.weight.detach()
            blocks.append((*norms, qkv, out, gate_up, down))
        return cls(model, blocks)

    def _angles(self, places: slice) -> tuple[Tensor, Tensor]:
        """Cosine and sine at some positions; the sine has the signs for a head whose halves are swapped."""
        if len(self.cos) < places.stop:
            cos, sin = self.rotary(self.cos, torch.arange(max(places.stop, 2 * len(self.cos), 64))[None])
            half = self.size // 2
            self.cos, self.sin = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
        return self.cos[places], self.sin[places]

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return weight * (x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt())

    def __call__(self, tokens: Tensor, memory: Memory) -> Tensor:
        """Hidden states of `tokens` ``[B, T, width]``, which `memory` then holds too."""
        rows, count, width = tokens.shape
        here = memory.add(count)
        past, (cos, sin) = slice(here.stop), self._angles(here)
        if rows * count == 1 and COMPILED and torch.get_num_threads() == 1:
            return self._one(tokens, memory, here.start, cos, sin)
        x, mask = tokens.reshape(-1, width), None
        for (norm, norm2, qkv, out, gate_up, down), (keys, values) in zip(self.blocks, memory.layers, strict=True):
            mixed = products(self._norm(x, norm), qkv).view(rows, count, -1, self.size).transpose(1, 2)
            turned = mixed[:, : -self.heads]
            turned = torch.addcmul(turned * cos, turned.roll(self.size // 2, -1), sin)
            keys[:, :, here], values[:, :, here] = turned[:, -self.heads :], mixed[:, -self.heads :]
            # Heads that share keys count as further queries of one head.
            queries = turned[:, : -self.heads].reshape(rows, self.heads, -1, self.size)
            if count > 1 and mask is None:
                causal = torch.ones(count, here.stop, dtype=torch.bool).tril(here.start)
                mask = causal.repeat(queries.shape[2] // count, 1)
            mixed = scaled_dot_product_attention(queries, keys[:, :, past], values[:, :, past], mask)
            mixed = mixed.reshape(rows, -1, count, self.size).transpose(1, 2).reshape(len(x), -1)
            x = x + products(mixed, out)
            gate, up = products(self._norm(x, norm2), gate_up).chunk(2, dim=-1)
            x = x + products(silu(gate) * up, down)
        return self._norm(x, self.last).view(rows, count, width)

    def _one(self, token: Tensor, memory: Memory, at: int, cos: Tensor, sin: Tensor) -> Tensor:
        x, angles, eps = token.reshape(-1).numpy(), (cos[0].numpy(), sin[0].numpy()), np.float32(self.eps)
        for block, (keys, values) in zip(self.arrays, memory.layers, strict=True):
            x = one_row.pass_block(x, *block, keys[0].numpy(), values[0].numpy(), *angles, at, eps)
        return torch.from_numpy(one_row.normed(x, self.last.numpy(), eps)).view_as(token)
