"""An LLM agent on disk: adapters in peft's format, encoder and head beside them, the backbone only by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from netllm_gym.agents.checkpoint import read_weights, space_of_json, space_to_json, write_checkpoint
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.backbone import TINY, blocks
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.agents.llm.smollm2 import EMBEDDED, HUB_NAME
from netllm_gym.errors import CheckpointError, NetLLMGymError
from netllm_gym.files import write_json

_REST = "encoder_head.safetensors"
ADAPTER = "adapter_model.safetensors"


def _depth(layers: int) -> str:
    return f"{layers or 'all'} layer{'' if layers == 1 else 's'}"


def _weights(config: dict[str, Any]) -> str:
    """The tiny model for tests has no others than random ones, whatever is asked for."""
    return "random" if config["backbone"] == "tiny-random" else str(config["weights"])


def _card(description: dict[str, Any], trainable: int) -> str:
    config, dataset = description["config"], description["dataset"]
    setting = ", ".join(f"{key}={value}" for key, value in dataset.get("setting", {}).items())
    lines = [
        "---",
        "library_name: peft",
        "tags: [netllm-gym, networking]",
        "---",
        f"# LLM agent for {description['env_id']}",
        "",
        f"- backbone: {config['backbone']}, {_depth(config['layers'])}, {_weights(config)} weights",
        f"- objective: {config['objective']}; tokens: {config['tokens']}; tuning: {config['tuning']}"
        + (f", rank {config['lora_rank']}" if config["tuning"] == "lora" else ""),
        f"- trained parameters: {trainable:,}",
        f"- data: {dataset['name'] or 'unnamed'} (digest {dataset['digest'] or 'none'})",
        *([f"- setting: {setting}"] if setting else []),
        *[f"- {key}: {value}" for key, value in description["results"].items()],
        "",
        'Load it with `netllm_gym.make_agent("this folder")`.',
        *_snippet(LLMConfig.from_json(config)),
    ]
    return "\n".join(lines) + "\n"


def _snippet(config: LLMConfig) -> list[str]:
    """How peft alone puts the adapters where they belong, for the card; nothing for a stand-in."""
    if config.tuning != "lora" or config.backbone == TINY:
        return []
    name = HUB_NAME if config.backbone == EMBEDDED else config.backbone
    cut = f", num_hidden_layers={config.layers}" if config.layers else ""
    start = {"bos": "the embedding of its start token", "learnt": "`start_token` of encoder_head.safetensors"}
    ahead = f"; {start[config.start]} goes in first" if config.start in start else ""
    return [
        "",
        "The adapters alone, by peft (the backbone cut as it was trained; it is fed with the encoder's tokens"
        f"{ahead}):",
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModel",
        "",
        f'backbone = AutoModel.from_pretrained("{name}"{cut})',
        'model = PeftModel.from_pretrained(backbone, "this folder")',
        "```",
    ]


def _adapter_config(model: DecisionModel, config: LLMConfig, target: Path) -> None:
    """Write ``adapter_config.json``: peft's own, sorted, with the model, the cut and the start that it is for."""
    backbone: Any = model.backbone
    backbone.peft_config[model.adapter].save_pretrained(str(target))
    path = target / "adapter_config.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    description["base_model_name_or_path"] = HUB_NAME if config.backbone == EMBEDDED else config.backbone
    # Whole names, sorted (peft keeps a set, whose order differs between runs): in a model that was not cut the adapters
    # go into the blocks that were kept, and nowhere else.
    names = [name for name, module in backbone.get_base_model().named_modules() if hasattr(module, "lora_A")]
    description["target_modules"] = sorted(names)
    inner = type(backbone.get_base_model())
    description["auto_mapping"] = {
        "base_model_class": inner.__name__,
        "parent_library": inner.__module__,
        "num_hidden_layers": len(blocks(backbone)),
        "start": config.start,
    }
    write_json(path, description)


def write_adapter(model: DecisionModel, config: LLMConfig, target: Path) -> None:
    """Write a model's adapter in peft's format."""
    from peft import get_peft_model_state_dict

    backbone: Any = model.backbone
    _adapter_config(model, config, target)
    tensors = get_peft_model_state_dict(backbone, adapter_name=model.adapter, save_embedding_layers=False)
    save_file(halves(tensors), target / ADAPTER)


def halves(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Half precision where that loses nothing (parameters are rounded after training), else as it is."""
    short = {key: value.half() for key, value in tensors.items()}
    return {
        key: (short[key] if torch.equal(short[key].to(value.dtype), value) else value).contiguous()
        for key, value in tensors.items()
    }


def save(agent: LLMAgent, folder: str | Path) -> Path:
    """Write a checkpoint folder; the same training writes the same bytes."""
    merged = agent.merged
    if merged:
        agent.merge(False)
    model = agent.model
    description = {
        "kind": "llm",
        "env_id": agent.env_id,
        "config": agent.config.to_json(),
        "observation_space": space_to_json(agent.metadata["observation_space"]),
        "action_space": space_to_json(agent.metadata["action_space"]),
        **{key: agent.metadata[key] for key in ("modalities", "scales", "dataset")},
        **({"description": model.description} if model.description else {}),
        "backbone_fingerprint": str(model.fingerprint),
        "results": agent.results,
    }
    learnt = model.trainable()
    adapted = agent.config.tuning == "lora"
    rest = {key: value for key, value in learnt.items() if not (adapted and "lora_" in key)}

    def fill(target: Path) -> None:
        if adapted:
            write_adapter(model, agent.config, target)
        save_file(halves(rest), target / _REST)

    card = _card(description, sum(p.numel() for p in model.parameters() if p.requires_grad))
    written = write_checkpoint(folder, description, fill, card=card)
    if merged:
        agent.merge()
    return written


def adapter_tensors(path: Path, adapter: str) -> dict[str, torch.Tensor]:
    """An adapter's tensors by the backbone's own names (peft's leave out what the adapter is called)."""
    return {
        key.replace(".lora_A.weight", f".lora_A.{adapter}.weight").replace(
            ".lora_B.weight", f".lora_B.{adapter}.weight"
        ): value
        for key, value in read_tensors(path).items()
    }


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file as float32.

    Raises:
        CheckpointError: it is missing or broken.
    """
    return {key: value.float() for key, value in read_weights(path.parent, path.name, torch=True).items()}


def _fill(model: torch.nn.Module, tensors: dict[str, torch.Tensor], wanted: set[str], path: Path) -> None:
    if odd := sorted(wanted ^ set(tensors)):
        raise CheckpointError(f"{path}: tensor {odd[0]} is {'missing' if odd[0] in wanted else 'not expected'}")
    state = model.state_dict()
    for key, value in tensors.items():
        if state[key].shape != value.shape:
            shapes = f"{tuple(value.shape)}, the agent needs {tuple(state[key].shape)}"
            raise CheckpointError(f"{path}: tensor {key} has shape {shapes}")
    model.load_state_dict(tensors, strict=False)


def load(
    folder: Path,
    description: dict[str, Any],
    device: str = "auto",
    temperature: float = 0.0,
    merge: bool | None = None,
    compile: bool = False,
    backbone: torch.nn.Module | None = None,
    adapter: str = "default",
) -> LLMAgent:
    """Rebuild the agent described by `description` from `folder`.

    Args:
        folder, description: the checkpoint and its ``agent.json``.
        device: where to act, whatever it was trained on.
        temperature: of sampling; 0 plays the best choice.
        merge: fold the adapters into the weights; by default where they can be (not in 4 bits or on a shared backbone).
        compile: compile the backbone.
        backbone, adapter: a backbone shared with other agents, and the name of this agent's adapter in it; see
            :func:`netllm_gym.agents.llm.together.load_together`.

    Raises:
        ConfigError: a device this machine lacks.
        CheckpointError: a file is missing or broken, a tensor has the wrong shape, the backbone is another one.
    """
    source = folder / "agent.json"
    try:
        spaces = {key: space_of_json(description[key]) for key in ("observation_space", "action_space")}
        config = LLMConfig.of_checkpoint({**description["config"], "device": device})
        described = str(description.get("description", ""))
        known = {"modalities": description["modalities"], "scales": description["scales"]}
        model = DecisionModel(config, **spaces, **known, backbone=backbone, adapter=adapter, description=described)
    except (LookupError, TypeError, ValueError, AssertionError, AttributeError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, NetLLMGymError):
            raise CheckpointError(f"{source}: {error}") from None
        raise CheckpointError(f"{source}: not a valid description ({type(error).__name__}: {error})") from None
    if not model.fingerprint.fits(description.get("backbone_fingerprint")):
        raise CheckpointError(f"{source}: backbone {config.backbone} here is not the one the agent was trained on")
    adapted = config.tuning == "lora"
    names = {key for key in model.trainable() if not (adapted and "lora_" in key)}
    _fill(model, read_tensors(folder / _REST), names, folder / _REST)
    if adapted:
        tensors = {f"backbone.{k}": value for k, value in adapter_tensors(folder / ADAPTER, adapter).items()}
        names = {key for key in model.trainable() if "lora_" in key}
        _fill(model, tensors, names, folder / ADAPTER)
    known = {key: description.get(key, {}) for key in ("modalities", "scales", "dataset")}
    agent = LLMAgent(model, description["env_id"], {**spaces, **known}, description.get("results", {}), temperature)
    if merge or (merge is None and adapted and backbone is None and not config.four_bit):
        agent.merge()
    if compile:
        agent.compile()
    return agent
