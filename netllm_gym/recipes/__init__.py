"""How trained agents are made: one file for each way, run by ``netllm-gym train`` and :func:`netllm_gym.train`."""

from netllm_gym.recipes.base import Recipe, Training, list_recipes, recipe_of, register_recipe
from netllm_gym.recipes.run import train

__all__ = ["Recipe", "Training", "list_recipes", "recipe_of", "register_recipe", "train"]
