"""Datasets that recipes collect for themselves."""

from __future__ import annotations

from collections.abc import Callable

from netllm_gym.datasets.collect import CollectConfig, collect
from netllm_gym.datasets.experience import Experience
from netllm_gym.datasets.store import load_experience


def collected(config: CollectConfig, name: str, say: Callable[[str], None], by: str = "") -> Experience:
    """Return the dataset `name`, collected first where it is not there; `by` tells in the progress who plays."""
    collect(config, name, progress=lambda done, total: say(f"{name}{by}: {done}/{total}"))
    return load_experience(name)
