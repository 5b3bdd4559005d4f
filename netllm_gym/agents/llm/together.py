"""One backbone, all tasks: agents that share its memory and swap their adapters, or one adapter for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netllm_gym.agents.checkpoint import read_description
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.backbone import load_backbone
from netllm_gym.agents.llm.batches import collate, windows
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.model import DecisionModel, with_lora
from netllm_gym.agents.llm.storage import load
from netllm_gym.agents.llm.trainer import about, check, fit, fresh_model, same_run
from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.errors import CheckpointError, ConfigError, DatasetError

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


@dataclass(frozen=True)
class Task:
    """One of the tasks of a joint training.

    Attributes:
        name: key of the resulting agent.
        experience, valid: what to learn from, and what picks the checkpoint.
        objective: of this task, as in :class:`LLMConfig`.
    """

    name: str
    experience: Experience
    valid: Experience
    objective: str


@dataclass(frozen=True)
class _Tagged:
    """A window and the task it belongs to."""

    task: str
    window: Episode


class _Joint(nn.Module):
    """One network per task over one backbone with one adapter; the loss is the mean of the tasks' losses."""

    def __init__(self, models: Mapping[str, DecisionModel]) -> None:
        super().__init__()
        self.order = list(models)
        self.models = nn.ModuleList(models.values())  # a list: names of tasks may hold dots
        self.llm_config = next(iter(models.values())).llm_config

    def trainable(self) -> dict[str, Tensor]:
        """Everything learnt, by name; what is shared comes once for each task that shares it."""
        found: dict[str, Tensor] = {}
        for number, model in enumerate(self.models):
            assert isinstance(model, DecisionModel)
            found |= {f"models.{number}.{key}": value.clone() for key, value in model.trainable().items()}
        return found

    def forward(self, parts: dict[str, dict[str, Any]], mask: Tensor) -> dict[str, Tensor]:
        """Mean loss and score over the tasks present in the batch."""
        found = [self.models[self.order.index(task)](**batch) for task, batch in parts.items()]
        return {key: torch.stack([one[key] for one in found]).mean() for key in ("loss", "score")}


def _collate(rows: Sequence[_Tagged]) -> dict[str, Any]:
    """One padded batch per task."""
    tasks = sorted({row.task for row in rows})
    parts = {task: collate([row.window for row in rows if row.task == task]) for task in tasks}
    return {"parts": parts, "mask": torch.cat([part["mask"].flatten() for part in parts.values()])}


def _balanced(groups: Sequence[list[_Tagged]]) -> list[_Tagged]:
    """Every task as often as the one with most windows."""
    longest = max(map(len, groups))
    return [group[i % len(group)] for group in groups for i in range(longest)]


def train_joint(
    config: LLMConfig,
    tasks: Sequence[Task],
    out: str | Path = "runs/joint",
    resume: bool = True,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, LLMAgent]:
    """Train one adapter on several tasks at once; each keeps an encoder and a head of its own.

    Args:
        config: of all; its objective is replaced by each task's.
        tasks: at least one; their names differ. Small data sets are repeated until all tasks are seen equally often.
        out, resume, minutes, progress: as for :func:`netllm_gym.agents.llm.trainer.train`.

    Returns:
        Name of the task → agent. Each can be saved by itself.

    Raises:
        ConfigError: no task, or two of one name. DatasetError: as for training one task.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"a joint training needs tasks of different names, got {', '.join(names) or 'none'}")
    configs = {task.name: replace(config, objective=task.objective) for task in tasks}
    for task in tasks:
        for part in (task.experience, task.valid):
            check(configs[task.name], part)
            if part.env_id != task.experience.env_id:
                raise DatasetError(f"task {task.name}: its validation data come from {part.env_id}")
    folder = Path(out)
    same_run(folder, config, [[task.name, task.objective, task.experience.digest] for task in tasks])
    models: dict[str, DecisionModel] = {}
    for task in tasks:
        shared = {"backbone": next(iter(models.values())).backbone} if models else {}
        models[task.name] = fresh_model(configs[task.name], task.experience, **shared)

    def rows(part: str) -> list[list[_Tagged]]:
        return [
            [_Tagged(task.name, window) for window in windows(getattr(task, part).episodes, config.context)]
            for task in tasks
        ]

    held_out = [row for group in rows("valid") for row in group]
    joint = _Joint(models)
    results = fit(joint, config, _balanced(rows("experience")), held_out, _collate, folder, resume, minutes, progress)
    return {
        task.name: LLMAgent(models[task.name], task.experience.env_id, about(task.experience), dict(results))
        for task in tasks
    }
