"""A task whose best action is known, agents without training, and playing on recorded observations."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch

from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.datasets.experience import Episode, Experience

OBSERVATIONS = gym.spaces.Dict(
    {
        "level": gym.spaces.Box(0, np.inf, (1,), np.float32),
        "history": gym.spaces.Box(0, np.inf, (5,), np.float32),
        "mode": gym.spaces.Discrete(3),
    }
)
MODALITIES = {"level": "scalar", "history": "series", "mode": "category"}


def toy(seed: int = 0, episodes: int = 48, space: gym.Space | None = None, best: float = 0.0) -> Experience:
    """The best action is the mode; each wrong one costs its distance. A `best` share of episodes plays it."""
    rng = np.random.default_rng(seed)
    found = []
    for episode in range(episodes):
        steps = int(rng.integers(5, 12))
        mode = rng.integers(0, 3, steps)
        values = -np.abs(np.arange(3)[None] - mode[:, None]).astype(float)
        expert = rng.random() < best
        actions = mode if expert else rng.integers(0, 3, steps)
        rewards = values[np.arange(steps), actions]
        observations = {
            "level": rng.random((steps, 1)).astype(np.float32),
            "history": rng.random((steps, 5)).astype(np.float32),
            "mode": mode,
        }
        if isinstance(space, gym.spaces.Box):
            actions = np.stack([mode - 1.0, observations["level"][:, 0]], 1).astype(np.float32)
        elif isinstance(space, gym.spaces.MultiDiscrete):
            actions = np.stack([mode, 2 - mode], 1)
        found.append(Episode(observations, actions, rewards, values if space is None else None, f"toy-{episode}"))
    return Experience(
        found,
        "toy/Env-v0",
        {"traces": "toy", "split": "train"},
        OBSERVATIONS,
        space or gym.spaces.Discrete(3),
        MODALITIES,
        {},
        "toy",
        "abc",
    )


def info_of(experience: Experience, seed: int = 0) -> EnvInfo:
    return EnvInfo("toy/Env-v0", experience.observation_space, experience.action_space, {}, {}, seed)


def fresh(config: LLMConfig, experience: Experience) -> LLMAgent:
    """An untrained agent whose learnt parameters (adapters too) are drawn at random, so that each matters."""
    parts = (experience.observation_space, experience.action_space, experience.modalities, experience.scales)
    model = DecisionModel(config, *parts)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    about = {
        "observation_space": experience.observation_space,
        "action_space": experience.action_space,
        "modalities": experience.modalities,
        "scales": experience.scales,
        "dataset": {"name": experience.name, "digest": experience.digest},
    }
    return LLMAgent(model, experience.env_id, about, {})


def play(agent, experience: Experience, episodes: list[int], batch: bool = True, seed: int = 0) -> list[list]:
    """Actions on recorded observations, all episodes in lock-step or one by one."""
    chosen = [experience.episodes[i] for i in episodes]
    if not batch:
        return [play(agent, experience, [i], True, seed)[0] for i in episodes]
    agent.reset_batch([info_of(experience, seed + i) for i in episodes])
    actions: list[list] = [[] for _ in chosen]
    for t in range(max(map(len, chosen))):
        seen = [{k: v[t] for k, v in e.observations.items()} if t < len(e) else None for e in chosen]
        for i, action in enumerate(agent.act_batch(seen, [{"reward": 0.0}] * len(chosen))):
            if seen[i] is not None:
                actions[i].append(action)
    return actions


def hidden_states(agent: LLMAgent, experience: Experience, episode: int) -> torch.Tensor:
    """What the head reads at each step while the agent plays one recorded episode, ``[T, width]``."""
    found: list[torch.Tensor] = []
    read = agent._read

    def spy(tokens: torch.Tensor) -> torch.Tensor:
        found.append(read(tokens)[0])
        return found[-1][None]

    agent._read = spy  # type: ignore[method-assign]
    play(agent, experience, [episode])
    agent._read = read  # type: ignore[method-assign]
    return torch.stack(found)
