"""Parts of the LLM agent that other packages add: encoders by modality, heads by action space, objectives by name.

Importing this module imports no torch. Modules under the entry-point group ``netllm_gym.llm`` are imported before a
part is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from netllm_gym.plugins import Table

GROUP = "netllm_gym.llm"
# (space, scale, width) -> torch module that maps [N, …] to [N, width]
EncoderFactory = Callable[[gym.Space, Any, int], Any]
# (space, width, nodes of the observation's graph) -> module with the methods of netllm_gym.agents.llm.head.Head
HeadFactory = Callable[[gym.Space, int, int], Any]
# (model, outputs [n, model.head.outputs], batch of n decisions) -> (loss, score that validation minimises)
Objective = Callable[[Any, Any, dict[str, Any]], tuple[Any, Any]]

ENCODERS: Table[EncoderFactory] = Table("modality with an encoder", GROUP)
HEADS: Table[HeadFactory] = Table("action space with a head", GROUP)
OBJECTIVES: Table[Objective] = Table("objective", GROUP)


def register_encoder(modality: str) -> Callable[[EncoderFactory], EncoderFactory]:
    """Register what turns observations of a modality into tokens.

    The factory is called with (space, scale, width) and returns a torch module from ``[N, …]`` to ``[N, width]``. It
    also replaces the package's own encoder of a modality.
    """
    return ENCODERS.adder(modality)


def register_head(space: type[gym.Space]) -> Callable[[HeadFactory], HeadFactory]:
    """Register what turns hidden states into actions of a kind of space.

    The factory is called with (space, width, nodes) and returns a subclass of
    :class:`netllm_gym.agents.llm.head.Head`.
    """
    return HEADS.adder(space.__name__)


def register_objective(name: str) -> Callable[[Objective], Objective]:
    """Register a loss that ``LLMConfig(objective=name)`` trains with.

    The function is called with the model, the head's outputs of all decisions ``[n, outputs]``, and the batch's
    ``actions``, ``returns_to_go``, ``action_values`` and ``action_mask`` of these decisions (``None`` where there are
    none). It returns the loss and a score; validation keeps the weights of the lowest score.
    """
    return OBJECTIVES.adder(name)
