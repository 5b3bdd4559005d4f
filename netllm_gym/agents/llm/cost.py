"""What a language model costs: memory and time of training it, time of deciding with it, as ratios in one run.

Every comparison holds everything else fixed: the same backbone, tokens, head, episodes and machine. Each training
measurement runs in a process of its own, so that one's memory is not another's. "As published" is NetLLM's training
loop: one window of 20 steps at a time, eight tokens a step, activations always recomputed, gradients clipped after each
window (benchmarks/llm_peer.py runs the published code itself).
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.backbone import device_of
from netllm_gym.agents.llm.batches import collate
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.limits import measure_limits
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.datasets.experience import Episode

ENV = "netllm_gym/ABR-v0"
PUBLISHED_STEPS = 20


def draw_episodes(count: int, steps: int) -> list[Episode]:
    """Episodes drawn from ABR's spaces; what is in them costs nothing."""
    env: Any = gym.make(ENV).unwrapped
    env.observation_space.seed(0)
    env.action_space.seed(0)
    found = []
    for _ in range(count):
        seen = [env.observation_space.sample() for _ in range(steps)]
        actions = np.array([env.action_space.sample() for _ in range(steps)])
        found.append(Episode({k: np.stack([s[k] for s in seen]) for k in seen[0]}, actions, np.zeros(steps)))
    return found


def build(config: LLMConfig) -> tuple[DecisionModel, Any]:
    """A fresh network for ABR, where the configuration says, and the environment."""
    env: Any = gym.make(ENV).unwrapped
    parts = (env.observation_space, env.action_space, env.metadata["modalities"], env.metadata["scales"])
    return DecisionModel(config, *parts).to(device_of(config)), env


def _peak(device: torch.device) -> float:
    """Most memory so far, MB: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def train_step(
    model: DecisionModel, optimiser: torch.optim.Optimizer, groups: list[list[Episode]], clip_each: bool = False
) -> None:
    """One optimiser step over all episodes, a group at a time; `clip_each` clips after every group."""
    count = sum(map(len, groups))
    learnt = [p for p in model.parameters() if p.requires_grad]
    for group in groups:
        batch = collate(group)
        batch = {k: v.to(model.device) if torch.is_tensor(v) else v for k, v in batch.items()}
        batch["observations"] = {k: v.to(model.device) for k, v in batch["observations"].items()}
        loss = model(**batch)["loss"]
        (loss * (len(group) / count)).backward()
        if clip_each:
            loss.item()
            torch.nn.utils.clip_grad_norm_(learnt, 0.25)
    if not clip_each:
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
    optimiser.step()
    optimiser.zero_grad()


def _train(config: LLMConfig, batch: int, steps: int, repeats: int, one_by_one: bool) -> dict[str, float]:
    """Optimiser steps over `batch` episodes of `steps` decisions: seconds a step (median), memory, parameters."""
    device = device_of(config)
    before = _peak(device)
    model, _ = build(config)
    model.train()
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=1e-4)
    episodes = draw_episodes(batch, steps)
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        train_step(model, optimiser, [[e] for e in episodes] if one_by_one else [episodes], clip_each=one_by_one)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return {
        "step_s": float(np.median(times[1:])),
        "peak_mb": _peak(device) - before,
        "trainable": float(sum(p.numel() for p in learnt)),
        "parameters": float(sum(p.numel() for p in model.parameters())),
    }


def _apart(*arguments: Any) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_train, *arguments).result()


def _decide(agent: LLMAgent, env: Any, episode: Episode, cached: bool) -> np.ndarray:
    """Seconds of each decision of an episode."""
    info = EnvInfo(ENV, env.observation_space, env.action_space, env.metadata, {})
    if not cached:
        window: list[torch.Tensor] = []

        def recompute(tokens: torch.Tensor) -> torch.Tensor:
            window.append(tokens)
            return agent.model.read(torch.cat(window, dim=1))[:, -1]

        agent._read = recompute  # type: ignore[method-assign]
    agent.reset(info)
    times = []
    for t in range(len(episode)):
        seen = {key: value[t] for key, value in episode.observations.items()}
        begin = time.perf_counter()
        agent.act(seen, {"reward": 0.0})
        times.append(time.perf_counter() - begin)
    agent.__dict__.pop("_read", None)
    return np.array(times)


def measure(
    config: LLMConfig,
    batch: int = 16,
    steps: int = 47,
    repeats: int = 3,
    say: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Measure and compare.

    Args:
        config: of the agent; its objective is replaced by cloning, which costs the same.
        batch: episodes in an optimiser step.
        steps: decisions in an episode.
        repeats: optimiser steps and episodes timed, after one to warm up.
        say: receives a line before each measurement.

    Returns:
        One row per comparison: `what`, `value` and `against` with their `unit`, and `ratio` = against / value, so that
        above 1 is better (for shares: value / against).

    Raises:
        ConfigError: a backbone or device that is not here.
    """
    tell = say or (lambda line: None)
    lora = replace(config, objective="cloning", tuning="lora", lora_rank=config.lora_rank or 16, context=0)
    tell("training with adapters")
    adapters = _apart(lora, batch, steps, repeats, False)
    tell("training every weight")
    full = _apart(replace(lora, tuning="full", dtype="fp32", four_bit=False), batch, steps, repeats, False)
    tell("training on windows, one token a step, one for each key, and one window at a time as published")
    few = min(steps, PUBLISHED_STEPS)
    split = replace(lora, objective="return-conditioned", tokens="per-key", show_actions=True)
    fused = _apart(replace(lora, tokens="fused"), batch, few, repeats, False)
    batched = _apart(split, batch, few, repeats, False)
    published = _apart(replace(split, gradient_checkpointing=True), batch, few, repeats, True)
    tell("deciding")
    model, env = build(lora)
    agent = LLMAgent(model, ENV, {"observation_space": env.observation_space, "action_space": env.action_space}, {})
    [episode] = draw_episodes(1, steps)
    timed: dict[str, np.ndarray] = {}
    for name, cached in (("cache", True), ("recompute", False), ("merged", True)):
        if name == "merged":
            agent.merge()
        timed[name] = np.median([_decide(agent, env, episode, cached) for _ in range(repeats)], axis=0)
    late = slice(-max(1, steps // 4), None)  # the end of an episode, where recomputing hurts
    milliseconds = {name: 1e3 * float(np.median(values[late])) for name, values in timed.items()}
    rate = {name: model.tokens_per_step / float(np.median(values)) for name, values in timed.items()}
    # Online learning plays what it learns from; offline learning plays nothing.
    online = adapters["step_s"] + batch * float(timed["cache"].sum())

    tell("how near to the limits of the machine")
    limits = measure_limits(lora, build, train_step, draw_episodes(batch, steps), repeats)

    def row(what: str, value: float, against: float, unit: str, ratio: float) -> dict[str, Any]:
        return {"what": what, "value": value, "against": against, "unit": unit, "ratio": ratio}

    def faster(what: str, mine: dict[str, float], theirs: dict[str, float], decisions: int) -> dict[str, Any]:
        ratio = theirs["step_s"] / mine["step_s"]
        return row(what, decisions / mine["step_s"], decisions / theirs["step_s"], "decisions/s", ratio)

    share = adapters["trainable"] / adapters["parameters"]
    return [
        row("trainable parameters, LoRA / all", adapters["trainable"], adapters["parameters"], "parameters", share),
        row(
            "peak memory, LoRA / full fine-tuning", adapters["peak_mb"], full["peak_mb"], "MB",
            full["peak_mb"] / max(adapters["peak_mb"], 1e-9),
        ),
        row(
            "optimiser step, LoRA / full fine-tuning", adapters["step_s"], full["step_s"], "s",
            full["step_s"] / adapters["step_s"],
        ),
        faster(f"training on the same tokens, batches of {batch} / as published", batched, published, batch * few),
        faster("training, one token a step / eight", fused, batched, batch * few),
        faster("training, one token a step in batches / as published", fused, published, batch * few),
        row(
            f"optimiser step and the steps played for it, offline (0) / online ({batch * steps})",
            adapters["step_s"], online, "s",
            online / adapters["step_s"],
        ),
        row(
            "decision, KV cache / recomputing the episode", milliseconds["cache"], milliseconds["recompute"], "ms",
            milliseconds["recompute"] / milliseconds["cache"],
        ),
        row(
            "decision, adapters merged / apart", milliseconds["merged"], milliseconds["cache"], "ms",
            milliseconds["cache"] / milliseconds["merged"],
        ),
        row("tokens, KV cache / recomputing the episode", rate["cache"], rate["recompute"], "tokens/s",
            rate["cache"] / rate["recompute"]),
        *limits,
    ]  # fmt: skip
