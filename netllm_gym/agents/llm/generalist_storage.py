"""A generalist on disk: the adapter in peft's format, what the tasks share, and each task's spaces and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from netllm_gym.agents.checkpoint import space_of_json, space_to_json, write_checkpoint
from netllm_gym.agents.llm.backbone import load_backbone
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.generalist import STATISTICS, Generalist, task_models
from netllm_gym.agents.llm.model import with_lora
from netllm_gym.agents.llm.shared import Bank
from netllm_gym.agents.llm.storage import ADAPTER, adapter_tensors, halves, read_tensors, write_adapter
from netllm_gym.errors import CheckpointError, NetLLMGymError
from netllm_gym.plugins import plain_id

_SHARED = "shared.safetensors"


def _shared(agent: Generalist) -> dict[str, torch.Tensor]:
    """What the tasks share, and their statistics, by name; not what only tasks of the past used."""
    used = {id(value) for model in agent.models.values() for value in model.parameters()}
    bank = agent.bank.named_parameters()
    found = {f"bank.{name}": value.detach() for name, value in bank if id(value) in used}
    for number, model in enumerate(agent.models.values()):
        for name, value in model.state_dict().items():
            if name in STATISTICS:
                found[f"task.{number}.{name}"] = value
    return found


def save_generalist(agent: Generalist, folder: str | Path) -> Path:
    """Write a checkpoint folder; the same training writes the same bytes."""
    merged = agent.merged
    agent.merge(False)
    tasks = {
        env_id: {
            **{key: space_to_json(spec[key]) for key in ("observation_space", "action_space")},
            **{key: spec[key] for key in ("modalities", "scales", "dataset", "words")},
            "config": agent.configs[env_id].to_json(),
        }
        for env_id, spec in agent.specs.items()
    }
    first = next(iter(agent.models.values()))
    description = {
        "kind": "generalist",
        "env_id": "any",
        "config": agent.config.to_json(),
        "tasks": tasks,
        "backbone_fingerprint": str(first.fingerprint),
        "results": agent.results,
    }

    def fill(target: Path) -> None:
        write_adapter(first, agent.config, target)
        save_file(halves(_shared(agent)), target / _SHARED)

    lines = [
        "---", "library_name: peft", "tags: [netllm-gym, networking]", "---", "# One model for several tasks", "",
        f"- backbone: {agent.config.backbone}, {agent.config.layers or 'all'} layers; one adapter, "
        f"rank {agent.config.lora_rank}; trained parameters: {agent.learnt:,}",
        *[f"- {env_id}: “{spec['words']}” Data: {spec['dataset']['name'] or 'unnamed'}"
          for env_id, spec in agent.specs.items()],
        *[f"- {key}: {value}" for key, value in agent.results.items()],
        "", 'Load it with `netllm_gym.make_agent("this folder")`; it plays each of these environments.',
    ]  # fmt: skip
    written = write_checkpoint(folder, description, fill, card="\n".join(lines) + "\n")
    agent.merge(merged)
    return written


def load_generalist(folder: Path, description: dict[str, Any], device: str = "auto", merge: bool = True) -> Generalist:
    """Rebuild the agent described by `description` from `folder`.

    Raises:
        ConfigError: a device this machine lacks.
        CheckpointError: a file is missing or broken, a tensor is missing or has another shape, another backbone.
    """
    source = folder / "agent.json"
    try:
        config = LLMConfig.from_json({**description["config"], "device": device})
        specs: dict[str, dict[str, Any]] = {}
        configs: dict[str, LLMConfig] = {}
        for given, task in description["tasks"].items():
            env_id = plain_id(given)
            spaces = {key: space_of_json(task[key]) for key in ("observation_space", "action_space")}
            specs[env_id] = {**spaces, **{key: task[key] for key in ("modalities", "scales", "dataset", "words")}}
            configs[env_id] = LLMConfig.from_json({**task["config"], "device": device})
        plain = load_backbone(config)
        mark: Any = plain.fingerprint
        backbone, bank = with_lora(plain, config), Bank()
        models = task_models({n: (configs[n], spec, spec["words"]) for n, spec in specs.items()}, backbone, bank)
    except (LookupError, TypeError, ValueError, AssertionError, AttributeError, RuntimeError) as error:
        if isinstance(error, NetLLMGymError):
            raise CheckpointError(f"{source}: {error}") from None
        raise CheckpointError(f"{source}: not a valid description ({type(error).__name__}: {error})") from None
    if not mark.fits(description.get("backbone_fingerprint")):
        raise CheckpointError(f"{source}: backbone {config.backbone} here is not the one the agent was trained on")
    agent = Generalist(config, specs, configs, backbone, bank, models, description.get("results", {}))
    _copy(_shared(agent), read_tensors(folder / _SHARED), folder / _SHARED)
    adapters: dict[str, torch.Tensor] = {name: p for name, p in backbone.named_parameters() if "lora_" in name}
    _copy(adapters, adapter_tensors(folder / ADAPTER, "default"), folder / ADAPTER)
    for model in models.values():
        model.to(models[next(iter(models))].device)
    if merge and not config.four_bit:
        agent.merge()
    return agent


@torch.no_grad()
def _copy(into: dict[str, torch.Tensor], values: dict[str, torch.Tensor], path: Path) -> None:
    if odd := sorted(set(into) ^ set(values)):
        raise CheckpointError(f"{path}: tensor {odd[0]} is {'missing' if odd[0] in into else 'not expected'}")
    for name, value in values.items():
        if into[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {tuple(value.shape)}, not {tuple(into[name].shape)}"
            )
        into[name].copy_(value)
