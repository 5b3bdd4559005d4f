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
from netllm_gym.agents.checkpoint import write_checkpoint
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.flat import ActionCode, FlatView
from netllm_gym.errors import CheckpointError, NetLLMGymError

WEIGHTS = "weights.safetensors"


def save(agent: Any, experience: Experience, folder: str | Path) -> Path:
    """Write the checkpoint folder of a trained network agent."""
    from minari.serialization import serialize_space
    from safetensors.torch import save_file

    description = {
        "kind": agent.kind,
        "env_id": experience.env_id,
        "config": asdict(agent.config),
        "about": agent.about,
        "observation_space": json.loads(serialize_space(experience.observation_space)),
        "action_space": json.loads(serialize_space(experience.action_space)),
        "scales": experience.scales,
        "dataset": {"name": experience.name, "digest": experience.digest},
    }
    tensors = {key: value.detach().contiguous().clone() for key, value in agent.tensors().items()}
    count = sum(value.numel() for value in tensors.values())

    def fill(target: Path) -> None:
        save_file(tensors, target / WEIGHTS)
        (target / "README.md").write_text(
            f"# {agent.kind} for {experience.env_id}\n\n"
            f"- configuration: `{json.dumps(description['config'])}`\n"
            f"- {count:,} parameters, trained on {experience.name} (digest {experience.digest[:16]})\n\n"
            'Load it with `netllm_gym.make_agent("this folder")`.\n',
            encoding="utf-8",
        )

    return write_checkpoint(folder, description, fill)


def load(folder: Path, about: dict[str, Any], **kwargs: Any) -> Agent:
    """Rebuild the agent of a checkpoint folder.

    Raises:
        CheckpointError: a file is missing or corrupt, or the weights do not fit the description.
    """
    if kwargs:
        raise CheckpointError(f"{folder}: a {about['kind']} checkpoint takes no option {next(iter(kwargs))!r}")
    extras.require("llm", f"the {about['kind']} agent of {folder}", "torch")
    from minari.serialization import deserialize_space
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        view = FlatView(deserialize_space(json.dumps(about["observation_space"])), about["scales"])
        actions: Any = gym.spaces.Discrete(about["about"]["actions"])  # checkpoints of the first release
        if "action_space" in about:
            actions = deserialize_space(json.dumps(about["action_space"]))
        code = ActionCode(actions, about["kind"])
        tensors = load_file(folder / WEIGHTS)
        module = "regret_mlp" if about["kind"] == "regret-mlp" else "algorithms"
        rebuild = importlib.import_module(f"netllm_gym.agents.offline.{module}").rebuild
        return rebuild(about["config"], about["about"], view, code, tensors)
    except NetLLMGymError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: {WEIGHTS} is missing") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{folder}: the weights do not fit agent.json ({reason})") from None
