"""The settings that agents are compared in; the catalog itself is :mod:`netllm_gym.settings`."""

from netllm_gym.settings import Setting, list_settings, load_families, load_setting, task_of

__all__ = ["Setting", "list_settings", "load_families", "load_setting", "task_of"]
