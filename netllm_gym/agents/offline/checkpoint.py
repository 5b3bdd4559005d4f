"""Checkpoints of agents that are one network over the flat view: the regret MLP and d3rlpy's algorithms."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym

from netllm_gym import extras
from netllm_gym.agents.base import Agent
from netllm_gym.agents.checkpoint import read_weights, rebuilding, space_of_json, space_to_json, write_checkpoint
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.flat import ActionCode, FlatView
from netllm_gym.errors import CheckpointError


def save(agent: Any, experience: Experience, folder: str | Path, kind: str = "") -> Path:
    """Write the checkpoint folder of a trained network agent; `kind` names who opens it, by default the agent's own."""
    description = {
        "kind": kind or agent.kind,
        "env_id": experience.env_id,
        "config": asdict(agent.config),
        "metadata": agent.metadata,
        "observation_space": space_to_json(experience.observation_space),
        "action_space": space_to_json(experience.action_space),
        "scales": experience.scales,
        "dataset": {"name": experience.name, "digest": experience.digest},
    }
    tensors = agent.tensors()
    count = sum(value.numel() for value in tensors.values())
    card = (
        f"# {description['kind']} for {experience.env_id}\n\n"
        f"- configuration: `{json.dumps(description['config'])}`\n"
        f"- {count:,} parameters, trained on {experience.name} (digest {experience.digest[:16]})\n\n"
        'Load it with `netllm_gym.make_agent("this folder")`.\n'
    )
    return write_checkpoint(folder, description, weights=tensors, card=card)


def load(folder: Path, description: dict[str, Any], **kwargs: Any) -> Agent:
    """Rebuild the agent of a checkpoint folder.

    Raises:
        CheckpointError: a file is missing or corrupt, or the weights do not fit the description.
    """
    if kwargs:
        raise CheckpointError(f"{folder}: a {description['kind']} checkpoint takes no option {next(iter(kwargs))!r}")
    extras.require("llm", f"the {description['kind']} agent of {folder}", "torch")
    with rebuilding(folder):
        view = FlatView(space_of_json(description["observation_space"]), description["scales"])
        metadata = description["metadata" if "metadata" in description else "about"]  # the latter: older checkpoints
        if "action_space" in description:
            actions: Any = space_of_json(description["action_space"])
        else:  # checkpoints of the first release
            actions = gym.spaces.Discrete(metadata["actions"])
        code = ActionCode(actions, description["kind"])
        tensors = read_weights(folder, torch=True)
        module = "regret_mlp" if description["kind"] == "regret-mlp" else "algorithms"
        rebuild = importlib.import_module(f"netllm_gym.agents.offline.{module}").rebuild
        agent: Agent = rebuild(description["config"], metadata, view, code, tensors)
        return agent
