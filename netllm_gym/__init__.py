"""A Gymnasium suite in which a language model learns to run networks, next to the classical agents it must beat.

Importing the package registers the environments and imports no torch; everything heavy loads on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import netllm_gym.envs  # noqa: F401 (registers the ids)
from netllm_gym.errors import NetLLMGymError
from netllm_gym.play import play  # eagerly: the module of this name would hide the function
from netllm_gym.versions import VERSION

__version__ = VERSION

# Public name -> module that defines it, imported on first access.
_LAZY = {
    "Agent": "netllm_gym.agents.base",
    "BatchAgent": "netllm_gym.agents.base",
    "EnvInfo": "netllm_gym.agents.base",
    "register_agent": "netllm_gym.agents.registry",
    "make_agent": "netllm_gym.agents.registry",
    "list_agents": "netllm_gym.agents.registry",
    "CollectConfig": "netllm_gym.datasets.collect",
    "collect": "netllm_gym.datasets.collect",
    "load_experience": "netllm_gym.datasets.store",
    "train": "netllm_gym.recipes",
    "register_recipe": "netllm_gym.recipes",
    "register_encoder": "netllm_gym.agents.llm.parts",
    "register_head": "netllm_gym.agents.llm.parts",
    "register_objective": "netllm_gym.agents.llm.parts",
    "register_trace_kind": "netllm_gym.traces.catalog",
    "list_recipes": "netllm_gym.recipes",
    "evaluate": "netllm_gym.evaluation",
}

__all__ = ["NetLLMGymError", "__version__", "play", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'netllm_gym' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, loaded yet or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


if TYPE_CHECKING:
    from netllm_gym.agents.base import Agent as Agent
    from netllm_gym.agents.base import BatchAgent as BatchAgent
    from netllm_gym.agents.base import EnvInfo as EnvInfo
    from netllm_gym.agents.llm.parts import register_encoder as register_encoder
    from netllm_gym.agents.llm.parts import register_head as register_head
    from netllm_gym.agents.llm.parts import register_objective as register_objective
    from netllm_gym.agents.registry import list_agents as list_agents
    from netllm_gym.agents.registry import make_agent as make_agent
    from netllm_gym.agents.registry import register_agent as register_agent
    from netllm_gym.datasets.collect import CollectConfig as CollectConfig
    from netllm_gym.datasets.collect import collect as collect
    from netllm_gym.datasets.store import load_experience as load_experience
    from netllm_gym.evaluation import evaluate as evaluate
    from netllm_gym.recipes import list_recipes as list_recipes
    from netllm_gym.recipes import register_recipe as register_recipe
    from netllm_gym.recipes import train as train
    from netllm_gym.traces.catalog import register_trace_kind as register_trace_kind
