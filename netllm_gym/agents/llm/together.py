"""One backbone, an adapter for each task: agents that share its memory and swap their adapters.

One adapter for all tasks is :mod:`netllm_gym.agents.llm.generalist`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from netllm_gym.agents.checkpoint import read_description
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.backbone import load_backbone
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.model import with_lora
from netllm_gym.agents.llm.storage import load
from netllm_gym.errors import CheckpointError

# What must agree for two agents to stand on one backbone.
_SHARED = ("backbone", "layers", "weights", "dtype", "four_bit")


def load_together(folders: Mapping[str, str | Path], device: str = "auto") -> dict[str, LLMAgent]:
    """Load agents of several tasks onto one backbone; each decision swaps to its agent's adapter.

    Args:
        folders: name → checkpoint folder.
        device: where to act.

    Raises:
        CheckpointError: a broken checkpoint, agents of different backbones, or one without adapters.
    """
    described = {name: read_description(folder) for name, folder in folders.items()}
    configs: dict[str, LLMConfig] = {}
    for name, found in described.items():
        if found["kind"] != "llm":
            raise CheckpointError(f"{folders[name]} holds a {found['kind']} agent; only LLM agents share a backbone")
        configs[name] = LLMConfig.of_checkpoint({**found["config"], "device": device})
        if configs[name].tuning != "lora":
            raise CheckpointError(f"{folders[name]}: tuning {configs[name].tuning} has no adapter to swap")
        first = next(iter(configs.values()))
        keys = (*_SHARED, *(() if first.weights == "pretrained" and first.backbone != "tiny-random" else ("seed",)))
        for key in keys:
            if getattr(configs[name], key) != getattr(first, key):
                raise CheckpointError(f"{folders[name]} stands on another backbone: {key} differs")
    if not configs:
        return {}
    backbone: nn.Module = load_backbone(next(iter(configs.values())))
    agents = {}
    for number, (name, config) in enumerate(configs.items()):
        adapter = f"task{number}"  # names of agents may hold dots and slashes, which peft's may not
        backbone = with_lora(backbone, config, adapter)
        agents[name] = load(Path(folders[name]), described[name], device, backbone=backbone, adapter=adapter)
        agents[name].name = name
    return agents
