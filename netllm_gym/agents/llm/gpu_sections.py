"""The sections of ``netllm-gym bench gpu``: each measures one thing and returns it as a JSON-able dict.

"As published" is NetLLM's loop, as :mod:`netllm_gym.agents.llm.cost` describes it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

import netllm_gym
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.batches import collate
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.cost import ENV, build, draw_episodes, train_step
from netllm_gym.agents.llm.gpu_bench import Bench
from netllm_gym.agents.llm.model import DecisionModel, with_lora
from netllm_gym.agents.llm.runs import tensor_cores
from netllm_gym.agents.llm.smollm2 import llama_config

PAPER = {"memory_percent": -60.9, "time_percent": -15.1, "trainable_percent": 0.31}
# Dense bf16 peak by the vendor's data sheets, TFLOP/s; a device that is not here gets no MFU against its peak.
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "4090": 165.0}


def _device(bench: Bench) -> dict[str, Any]:
    """Which device, and its two ceilings: copying and multiplying."""
    import transformers

    found: dict[str, Any] = {
        "name": torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else bench.device.type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "netllm_gym": netllm_gym.__version__,
        "smoke": bench.smoke,
    }
    n, dtype = bench.size.matrix, torch.float32 if bench.device.type == "cpu" else torch.bfloat16
    a, b = (torch.randn(n, n, device=bench.device, dtype=dtype) for _ in range(2))
    found["matrix_tflops"] = 2 * n**3 / bench.seconds(lambda: [a @ b for _ in range(10)]) / 1e11
    big = torch.zeros(n * n * 8, device=bench.device)
    other = torch.empty_like(big)
    found["copy_gb_per_s"] = 2 * big.nbytes / bench.seconds(lambda: other.copy_(big)) / 1e9
    return found


def _observations(bench: Bench) -> tuple[dict[str, torch.Tensor], Any]:
    [episode] = draw_episodes(1, bench.size.steps)
    return {key: torch.from_numpy(value)[None] for key, value in episode.observations.items()}, episode


def _info(env: Any) -> EnvInfo:
    return EnvInfo(ENV, env.observation_space, env.action_space, env.metadata, {})


def _metadata(env: Any) -> dict[str, Any]:
    return {"observation_space": env.observation_space, "action_space": env.action_space}


@torch.inference_mode()
def _exact(bench: Bench) -> dict[str, Any]:
    """Largest difference of hidden states: to the CPU's, and of the cache to a whole pass; in units of their spread."""
    observations, episode = _observations(bench)
    found: dict[str, Any] = {}
    reference: torch.Tensor | None = None
    for device, dtype, tf32 in (
        ("cpu", "fp32", False),
        (bench.device.type, "fp32", False),
        (bench.device.type, "fp32", True),
        (bench.device.type, "bf16", False),
    ):
        model, env = build(bench.config(device=device, dtype=dtype))
        agent = LLMAgent(model, ENV, _metadata(env), {})
        with tensor_cores(torch.device("cuda" if tf32 and device == "cuda" else "cpu")):
            tokens, _ = model.embed({k: v.to(model.device) for k, v in observations.items()}, None, None)
            whole = model.read(tokens)[0].cpu()
            reference = whole if reference is None else reference
            steps: list[torch.Tensor] = []
            read = agent._read
            agent._read = lambda x, read=read, steps=steps: steps.append(read(x)) or steps[-1]  # type: ignore
            agent.reset(_info(env))
            for t in range(len(episode)):
                agent.act({k: v[t] for k, v in episode.observations.items()}, {})
        name = f"{device} {dtype}{' tf32' if tf32 else ''}"
        found[name] = {
            "against_cpu": float((whole - reference).abs().max()),
            "cache_against_whole": float((torch.cat(steps).cpu() - whole).abs().max()),
            "spread": float(reference.std()),
            "frequencies": sorted({str(b.dtype) for n, b in model.named_buffers() if "inv_freq" in n}),
        }
    return found


def _backward(model: DecisionModel, batch: dict[str, Any]) -> None:
    model(**batch)["loss"].backward()


def _checkpointing(bench: Bench) -> dict[str, Any]:
    """The same gradients with and without recomputed activations, and what that saves."""
    episodes, grads = draw_episodes(bench.size.batches[0], bench.size.steps), []
    found: dict[str, Any] = {}
    for again in (False, True):
        bench.fresh_memory()
        model, _ = build(bench.config(dtype="fp32", gradient_checkpointing=again))
        batch = _to(collate(episodes), model.device)
        seconds = bench.seconds(partial(_backward, model.train(), batch), 1)
        model.zero_grad()
        _backward(model, batch)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        found["recomputed" if again else "kept"] = {"seconds": seconds, "peak_gb": bench.peak_gb()}
    found["largest_difference"] = float((grads[0] - grads[1]).abs().max())
    return found


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: _to(value, device) if isinstance(value, dict) else value.to(device) for key, value in batch.items()}


def _operations(model: DecisionModel, full: bool = False) -> float:
    """Operations of training per token: 2 a weight forward, 2 for activations' gradients, 2 for weights' that learn."""
    frozen = sum(p.numel() for n, p in model.backbone.named_parameters() if p.ndim > 1 and "lora_" not in n)
    learnt = sum(p.numel() for n, p in model.backbone.named_parameters() if p.ndim > 1 and "lora_" in n)
    return (6.0 if full else 4.0) * frozen + 6.0 * learnt


def _speed(
    bench: Bench, model: DecisionModel, batch: int, steps: int, full: bool = False, tf32: bool = True
) -> dict[str, float]:
    model.train()
    fused = bench.device.type == "cuda"
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=1e-5, fused=fused)
    episodes = draw_episodes(batch, steps)
    # As the trainer does: adapters are float32, and where the weights are bf16 nobody needs more than TF32 of them.
    with tensor_cores(bench.device if tf32 else torch.device("cpu")):
        step_s = bench.seconds(lambda: train_step(model, optimiser, [episodes]))
    tokens = batch * steps * model.tokens_per_step
    tflops = _operations(model, full) * tokens / step_s / 1e12
    found = {
        "step_s": step_s,
        "decisions_per_s": batch * steps / step_s,
        "tokens_per_s": tokens / step_s,
        "tflops": tflops,
    }
    measured = bench.report.get("device", {}).get("matrix_tflops")
    if measured:
        found["of_measured_peak"] = tflops / measured
    name = str(bench.report.get("device", {}).get("name", ""))
    if peak := next((value for key, value in PEAKS.items() if key in name), None):
        found["mfu"] = tflops / peak
    return found


def _training(bench: Bench) -> dict[str, Any]:
    """Decisions a second of an optimiser step on the embedded model: float32, TF32, bf16; small and large batches."""
    found: dict[str, Any] = {}
    for name, dtype, tf32 in (("bf16", "bf16", True), ("tf32", "fp32", True), ("fp32", "fp32", False)):
        for batch in bench.size.batches:
            model, _ = build(bench.config(dtype=dtype))
            found[f"{name}, batch {batch}"] = _speed(bench, model, batch, bench.size.steps, tf32=tf32)
            bench.fresh_memory()
    return found


def _as_published(bench: Bench, model: DecisionModel, steps: int, windows: int = 4) -> float:
    """Decisions a second of NetLLM's loop."""
    learnt = [p for p in model.train().parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=1e-5)
    groups = [[episode] for episode in draw_episodes(windows, steps)]
    with tensor_cores(bench.device):
        return windows * steps / bench.seconds(lambda: train_step(model, optimiser, groups, clip_each=True))


def _netllm(bench: Bench, make: Callable[[LLMConfig], DecisionModel], config: LLMConfig) -> dict[str, Any]:
    """NetLLM's loop against ours on one backbone: the same tokens in batches, and one fused token a step."""
    few, windows = min(20, bench.size.steps), bench.size.windows
    split = replace(config, objective="return-conditioned", tokens="per-key", show_actions=True)
    found: dict[str, Any] = {}
    found["as published, one window at a time"] = {
        "decisions_per_s": _as_published(bench, make(replace(split, gradient_checkpointing=True)), few)
    }
    bench.fresh_memory()
    found[f"the same tokens, {windows} windows"] = _speed(bench, make(split), windows, few)
    bench.fresh_memory()
    found[f"one token a step, {8 * windows} windows"] = _speed(bench, make(config), 8 * windows, few)
    published, same, fused = (part["decisions_per_s"] for part in found.values())
    return {**found, "same_tokens_ratio": same / published, "fused_ratio": fused / published}


def _loop(bench: Bench) -> dict[str, Any]:
    """The two loops on the embedded model."""
    return _netllm(bench, lambda config: build(config)[0], bench.config(dtype="auto"))


def _latency(bench: Bench, agent: Any, observation: Any, info: dict[str, Any], infos: EnvInfo) -> dict[str, float]:
    """Milliseconds of a batched decision, by batch."""
    found = {}
    for batch in bench.size.acting:
        agent.reset_batch([infos] * batch)
        times = []
        for _ in range(bench.size.steps):
            begin = time.perf_counter()
            agent.act_batch([observation] * batch, [info] * batch)
            times.append(time.perf_counter() - begin)
        found[f"batch {batch}"] = 1e3 * float(np.median(times[2:]))
    return found


def _large(bench: Bench, config: LLMConfig, rank: int) -> DecisionModel:
    """The agent on a randomly initialised decoder of Llama-2-7B's shape."""
    from transformers import LlamaModel

    blocks, width, heads, feed = bench.size.large
    dtype = torch.float32 if bench.device.type == "cpu" else torch.bfloat16
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device(bench.device):
            backbone: Any = LlamaModel(llama_config(blocks, width, heads, heads, feed, 4096, 1e4))
    finally:
        torch.set_default_dtype(before)
    backbone.rotary_emb = type(backbone.rotary_emb)(backbone.config).to(bench.device)  # its frequencies stay float32
    backbone.requires_grad_(config.tuning == "full")
    config = replace(config, lora_rank=rank or 1, lora_targets=("q_proj", "v_proj"), start="learnt")
    if config.gradient_checkpointing:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    if config.tuning == "lora":
        backbone = with_lora(backbone, config)
    env: Any = build(LLMConfig(backbone="tiny-random", objective="cloning"))[1]
    parts = (env.observation_space, env.action_space, env.metadata["modalities"], env.metadata["scales"])
    # Where all weights learn, they and their AdamW states stay in bf16: half of what float32 takes, so one card does.
    outer = replace(config, tuning="lora" if config.tuning == "lora" else "frozen")
    return DecisionModel(outer, *parts, backbone=backbone).to(bench.device)


def _paper(bench: Bench) -> dict[str, Any]:
    """LoRA (rank 32 on queries and values, the paper's 0.31 %) against every weight, one window of 20 steps a time."""
    found: dict[str, Any] = {}
    split = bench.config(objective="return-conditioned", tokens="per-key", show_actions=True, layers=0, backbone="any")
    for tuning in ("lora", "full"):
        bench.fresh_memory()
        model = _large(bench, replace(split, tuning=tuning), 32)
        speed = _speed(bench, model, 1, min(20, bench.size.steps), tuning == "full")
        learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
        share = 100 * learnt / sum(p.numel() for p in model.parameters())
        found[tuning] = {**speed, "peak_gb": bench.peak_gb(), "trainable_percent": share}
        if tuning == "lora":
            env: Any = build(LLMConfig(backbone="tiny-random", objective="cloning"))[1]
            seen, _ = env.reset(seed=0)
            info = {"reward": 0.0}
            found["decision, ms, 8 tokens a step"] = _latency(
                bench, LLMAgent(model, ENV, _metadata(env), {}), seen, info, _info(env)
            )
        del model
    lora, full = found["lora"], found["full"]
    if lora["peak_gb"]:
        found["memory_percent"] = 100 * (lora["peak_gb"] / full["peak_gb"] - 1)
    found["time_percent"] = 100 * (lora["step_s"] / full["step_s"] - 1)
    return {**found, "paper": PAPER}


def _paper_loop(bench: Bench) -> dict[str, Any]:
    """The two loops at the paper's shape, MFU beside."""
    return _netllm(
        bench, lambda config: _large(bench, config, 32), bench.config(layers=0, backbone="any", tuning="lora")
    )


def _paper_decision(bench: Bench) -> dict[str, Any]:
    """A decision at the paper's shape, one fused token a step."""
    model = _large(bench, bench.config(layers=0, backbone="any", tuning="frozen"), 0)
    env: Any = build(LLMConfig(backbone="tiny-random", objective="cloning"))[1]
    seen, _ = env.reset(seed=0)
    weights = sum(p.numel() * p.element_size() for p in model.backbone.parameters())
    found: dict[str, Any] = {"ms": _latency(bench, LLMAgent(model, ENV, _metadata(env), {}), seen, {}, _info(env))}
    copied = bench.report.get("device", {}).get("copy_gb_per_s")
    if copied:
        found["reading_weights_once_ms"] = 1e3 * weights / (copied * 1e9)  # a copy moves each byte twice: reads alone
        found["ratio_batch_1"] = found["ms"]["batch 1"] / found["reading_weights_once_ms"]
    return found


def _zoo_agents(bench: Bench) -> dict[str, Any]:
    """A decision of the agents in the package, ms."""
    import gymnasium as gym

    found: dict[str, Any] = {}
    for name, env_id, kwargs in (
        ("abr/llm", ENV, {}),
        ("cluster/llm", "netllm_gym/ClusterScheduling-v0", {"jobs": 10, "executors": 10}),
    ):
        options: dict[str, Any] = kwargs
        env = gym.make(env_id, **options)
        agent: Any = netllm_gym.make_agent(name)
        seen, info = env.reset(seed=0)
        found[name] = _latency(bench, agent, seen, {"reward": 0.0, **info}, EnvInfo.of(env))
    viewport: Any = netllm_gym.make_agent("viewport/llm")
    for batch in bench.size.acting:
        history = np.random.default_rng(0).normal(size=(batch, 20, 3))
        seconds = bench.seconds(partial(viewport.predict, history, 20))
        found.setdefault("viewport/llm", {})[f"batch {batch}"] = 1e3 * seconds
    return found


def _product(bench: Bench) -> dict[str, Any]:
    """The documented way, whole: train, save, load, act on this device, and act with the same checkpoint on the CPU."""
    from netllm_gym.agents.llm.storage import save
    from netllm_gym.agents.llm.trainer import train
    from netllm_gym.datasets.experience import Experience

    env: Any = build(LLMConfig(backbone="tiny-random", objective="cloning"))[1]
    episodes = draw_episodes(16, bench.size.steps)
    for episode in episodes:  # a rule that can be learnt: the level the newest throughput would pay for
        newest = episode.observations["throughput_mbps"].reshape(len(episode), -1)[:, -1]
        episode.actions = np.clip(np.argsort(np.argsort(newest)) * 6 // len(newest), 0, 5)
    spaces = (env.observation_space, env.action_space, dict(env.metadata["modalities"]), dict(env.metadata["scales"]))
    data = Experience(episodes, ENV, {}, *spaces, name="drawn", digest="drawn")
    every = max(1, bench.size.training // 3)
    with tempfile.TemporaryDirectory() as folder:
        config = bench.config(steps=bench.size.training, eval_every=every, batch_size=8, dtype="auto")
        begin = time.perf_counter()
        agent = train(config, data, replace(data, episodes=episodes[:4]), Path(folder) / "run")
        seconds = time.perf_counter() - begin
        save(agent, Path(folder) / "agent")
        acts: dict[str, list[int]] = {}
        for device in dict.fromkeys((bench.device.type, "cpu")):
            one: Any = netllm_gym.make_agent(str(Path(folder) / "agent"), device=device)
            acts[device] = []
            for episode in episodes[:4]:
                one.reset(_info(env))
                for t in range(len(episode)):
                    acts[device].append(one.act({k: v[t] for k, v in episode.observations.items()}, {"reward": 0.0}))
    first, last = acts[bench.device.type], acts["cpu"]
    same = float(np.mean(np.array(first) == np.array(last)))
    return {"train_s": seconds, "results": agent.results, "same_actions_on_cpu": same}


def _four_bit(bench: Bench) -> dict[str, Any]:
    """NF4 weights, where bitsandbytes is there."""
    if bench.device.type != "cuda" or find_spec("bitsandbytes") is None:
        return {"left_out": "needs CUDA and bitsandbytes"}
    from transformers import LlamaModel

    blocks, width, heads, feed = bench.size.large
    with tempfile.TemporaryDirectory() as folder:
        whole: Any = LlamaModel(llama_config(min(blocks, 4), width, heads, heads, feed, 4096, 1e4))
        whole.bfloat16().save_pretrained(folder)
        outputs: list[Any] = []
        for four_bit in (False, True):
            bench.fresh_memory()
            model, _ = build(bench.config(backbone=folder, layers=0, four_bit=four_bit, dtype="bf16"))
            seen = {k: v.to(model.device) for k, v in _observations(bench)[0].items()}
            with torch.inference_mode():
                outputs.append(model.read(model.embed(seen, None, None)[0]))
            speed = _speed(bench, model, bench.size.batches[0], bench.size.steps)
            outputs.append({**speed, "peak_gb": bench.peak_gb()})
    return {
        "bf16": outputs[1],
        "nf4": outputs[3],
        "mean_difference": float((outputs[0] - outputs[2]).abs().mean() / outputs[0].abs().mean()),
    }


SECTIONS: tuple[tuple[str, float, Callable[[Bench], Any]], ...] = (
    ("device", 5, _device),
    ("exactness", 15, _exact),
    ("lora_against_full_7b", 45, _paper),
    ("netllm_loop_7b", 45, _paper_loop),
    ("decision_7b", 15, _paper_decision),
    ("training", 25, _training),
    ("netllm_loop", 15, _loop),
    ("shipped_agents_ms", 15, _zoo_agents),
    ("train_save_load_act", 25, _product),
    ("gradient_checkpointing", 10, _checkpointing),
    ("four_bit", 20, _four_bit),
)
