"""PLACEHOLDER"""
from __future__ import annotations
from dataclasses import dataclass
from typing import Any
import gymnasium as gym
import numpy as np
@dataclass
class Episode:
    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    action_values: np.ndarray | None = None
    trace: str = ""
@dataclass
class Experience:
    episodes: list[Episode]
    env_id: str
    env_kwargs: dict[str, Any]
    observation_space: gym.Space
    action_space: gym.Space
    modalities: dict[str, str]
    scales: dict[str, float]
    name: str = ""
    digest: str = ""
