"""The old address of :func:`netllm_gym.train`: import it from ``netllm_gym``. It goes with the next release."""

from __future__ import annotations

import warnings

from netllm_gym.recipes import list_recipes, train

__all__ = ["RECIPES", "train"]

RECIPES = tuple(list_recipes())

warnings.warn("netllm_gym.training has moved: import train from netllm_gym", DeprecationWarning, stacklevel=2)
