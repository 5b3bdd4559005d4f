"""Checkpoint folders: ``agent.json`` says what it is, safetensors hold the weights, nothing is ever unpickled.

A kind of agent brings two functions, one that fills a folder and one that rebuilds the agent from it; they are
listed in :data:`LOADERS` as ``module:function`` so that reading one kind never imports another's libraries.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netllm_gym.agents.base import Agent
from netllm_gym.errors import CheckpointError
from netllm_gym.extras import guarded
from netllm_gym.files import atomic_folder
from netllm_gym.plugins import call
from netllm_gym.versions import VERSION

FORMAT = 1
LOADERS = {
    "llm": "netllm_gym.agents.llm.storage:load",
    "generalist": "netllm_gym.agents.llm.generalist_storage:load_generalist",
    "regret-mlp": "netllm_gym.agents.offline.checkpoint:load",
    "d3rlpy": "netllm_gym.agents.offline.checkpoint:load",
    "actor-critic": "netllm_gym.agents.abr.actor_critic:load",
    "abr-llm": "netllm_gym.agents.abr.llm:load",
    "abr-rows": "netllm_gym.agents.abr.row_agent:load",
    "adaptive": "netllm_gym.agents.cluster.adaptive:load",
    "decima": "netllm_gym.agents.cluster.decima:load",
    "crowd": "netllm_gym.agents.viewport.crowd:load",
}


def write_checkpoint(folder: str | Path, description: dict[str, Any], fill: Callable[[Path], None]) -> Path:
    """Write a checkpoint that appears whole or not at all, replacing an earlier checkpoint of that name.

    Args:
        folder: where.
        description: becomes ``agent.json``; needs ``kind``.
        fill: writes every other file into the temporary folder it is given.

    Raises:
        CheckpointError: the folder exists and is no checkpoint (it is left alone).
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "agent.json").is_file() and any(folder.iterdir()):
        raise CheckpointError(f"{folder} exists and is not a checkpoint; choose another folder")
    with atomic_folder(folder) as temporary:
        about = {"format": FORMAT, "netllm_gym": VERSION, **description}
        # A line a key: the bounds of a space can be thousands of numbers.
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in about.items())
        (temporary / "agent.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
        fill(temporary)
    return folder


def read_description(folder: str | Path) -> dict[str, Any]:
    """Read and check ``agent.json``.

    Raises:
        CheckpointError: missing, broken, of another format, or of a kind not known here.
    """
    path = Path(folder) / "agent.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} is not a checkpoint: it has no agent.json")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error})") from None
    if not isinstance(about, dict):
        raise CheckpointError(f"{path} must hold an object")
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {about.get('format')!r}; this version reads format {FORMAT}")
    for key, kind in (("kind", str), ("env_id", str), ("config", dict)):
        if not isinstance(about.get(key), kind):
            raise CheckpointError(f"{path}: {key!r} is missing or not a {kind.__name__}")
    if about["kind"] not in LOADERS:
        raise CheckpointError(f"{path}: kind {about['kind']!r} is not known; known: {', '.join(sorted(LOADERS))}")
    return about


def load_checkpoint(folder: str | Path, **kwargs: Any) -> Agent:
    """Rebuild the agent of a checkpoint folder; `kwargs` go to the loader of its kind.

    Raises:
        CheckpointError: the folder is incomplete, corrupt or of another version.
        MissingExtraError: its kind needs a package that is not installed.
        ConfigError: a keyword that its kind does not take.
    """
    about = read_description(folder)
    module, _, function = LOADERS[about["kind"]].partition(":")
    with guarded(f"the {about['kind']} agent of {folder}"):
        loader = getattr(importlib.import_module(module), function)
    agent: Agent = call(loader, f"agent {folder}", Path(folder), about, **kwargs)
    return agent
