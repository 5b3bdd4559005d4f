"""How near to a machine's limits: a decision beside one read of the weights, a training step beside its products."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.model import DecisionModel
from netllm_gym.datasets.experience import Episode


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _clock(device: torch.device) -> Callable[[], float]:
    """What measures: with one thread on a CPU its own time, which does not grow when others use the machine."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def _fastest(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of some runs after one to warm up: what other processes take is no limit."""
    times, clock = [], _clock(device)
    for _ in range(repeats + 1):
        begin = clock()
        work()
        _synchronize(device)
        times.append(clock() - begin)
    return min(times[1:])


def decision_parts(agent: LLMAgent, info: EnvInfo, episode: Episode, repeats: int) -> dict[str, float]:
    """Seconds of a decision with a KV cache: ``whole``, its pass through the ``backbone``, and one ``read`` of the
    backbone's weights from memory. The first two are medians over an episode's decisions, fastest episode.
    """
    model, device = agent.model, agent.model.device
    inside: list[float] = []
    plain, clock = model._pass, _clock(device)

    def timed(tokens: Tensor, cache: Any = None) -> Tensor:
        _synchronize(device)
        begin = clock()
        found = plain(tokens, cache)
        _synchronize(device)
        inside.append(clock() - begin)
        return found

    best = {"whole": np.inf, "backbone": np.inf}
    model._pass = timed  # type: ignore[method-assign]
    try:
        for _ in range(repeats):
            agent.reset(info)
            inside.clear()
            whole = []
            for t in range(len(episode)):
                seen = {key: value[t] for key, value in episode.observations.items()}
                begin = clock()
                agent.act(seen, {"reward": 0.0})
                whole.append(clock() - begin)
            best["whole"] = min(best["whole"], float(np.median(whole[1:])))
            best["backbone"] = min(best["backbone"], float(np.median(inside[-len(whole) + 1 :])))
    finally:
        del model._pass
    weights = [value for name, value in model.backbone.named_parameters() if "lora_" not in name and value.ndim > 1]
    with torch.inference_mode():
        best["read"] = _fastest(lambda: [value.view(-1).sum() for value in weights], device, max(repeats, 3))
    return best


def step_parts(model: DecisionModel, step: Callable[[], None], tokens: int, repeats: int) -> dict[str, float]:
    """Seconds of an optimiser ``step``, and of its matrix ``products`` alone at the speed that one product of the
    backbone's shape has here.
    """
    device = model.device
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    weight = max((value for value in model.backbone.parameters() if value.ndim == 2), key=Tensor.numel)
    left = torch.randn(tokens, weight.shape[1], device=device, dtype=weight.dtype)
    with torch.inference_mode():
        product = _fastest(lambda: left @ weight.T, device, max(repeats, 5))
    rate = 2 * tokens * weight.numel() / product
    return {"step": _fastest(step, device, repeats), "products": counter.get_total_flops() / rate}


def measure_limits(
    config: LLMConfig,
    build: Callable[[LLMConfig], tuple[DecisionModel, Any]],
    train_step: Callable[..., None],
    episodes: list[Episode],
    repeats: int,
) -> list[dict[str, Any]]:
    """Return rows as :func:`netllm_gym.agents.llm.cost.measure` does; `build` and `train_step` are its own."""
    model, env = build(config)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    agent = LLMAgent(model, env.spec.id if env.spec else "", spaces, {})
    if config.tuning == "lora" and not config.four_bit:
        agent.merge()
    info = EnvInfo("netllm_gym/ABR-v0", env.observation_space, env.action_space, env.metadata, {})
    acting = decision_parts(agent, info, episodes[0], repeats)
    rows = [
        {
            "what": "decision / reading its weights once from memory", "value": 1e3 * acting["whole"],
            "against": 1e3 * acting["read"], "unit": "ms", "ratio": acting["read"] / acting["whole"],
        },
        {
            "what": "encoder, head and Python of a decision / all of it",
            "value": 1e3 * (acting["whole"] - acting["backbone"]), "against": 1e3 * acting["whole"], "unit": "ms",
            "ratio": 1 - acting["backbone"] / acting["whole"],
        },
    ]  # fmt: skip
    tokens = sum(map(len, episodes))
    for name, changes in (
        ("adapters on every layer", {"lora_targets": "all-linear"}),
        ("adapters on attention", {"lora_targets": "attention"}),
        ("frozen", {"tuning": "frozen"}),
    ):
        fresh, _ = build(replace(config, **changes))  # type: ignore[arg-type]
        fresh.train()
        optimiser = torch.optim.AdamW([p for p in fresh.parameters() if p.requires_grad], lr=1e-4)
        parts = step_parts(fresh, partial(train_step, fresh, optimiser, [episodes]), tokens, repeats)
        rows.append(
            {
                "what": f"matrix products of an optimiser step, {name} / all of it", "value": parts["products"],
                "against": parts["step"], "unit": "s", "ratio": parts["products"] / parts["step"],
            }
        )  # fmt: skip
    return rows
