"""NetLLM's own ABR agent and training loop against ours: same backbone, weights, adapters and tokens, one process.

    python benchmarks/llm_peer.py CHECKOUT/adaptive_bitrate_streaming --layers 4

CHECKOUT is a clone of NetLLM; its policy, encoder, dataset, LoRA set-up and trainer run unchanged on SmolLM2 (float32).
Windows have 20 steps of 8 tokens (return, six parts of the state, action), 32 of them an optimiser step, adapters of
one rank on the query and value projections. Prints one JSON row a line; `ratio` above 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.llm.agent import LLMAgent
from netllm_gym.agents.llm.config import LLMConfig
from netllm_gym.agents.llm.cost import ENV, build, draw_episodes, train_step
from netllm_gym.agents.llm.smollm2 import smollm2

STEPS, WINDOWS = 20, 32


def _peer(folder: Path, layers: int, rank: int) -> SimpleNamespace:
    """Their policy on our backbone, their dataset and trainer over random experience."""
    munch = ModuleType("munch")
    munch.Munch = lambda values: SimpleNamespace(**values)  # type: ignore[attr-defined]
    sys.modules.setdefault("munch", munch)  # read for logging only
    sys.path.insert(0, str(folder))
    from plm_special.data.dataset import ExperienceDataset
    from plm_special.data.exp_pool import ExperiencePool
    from plm_special.models import rl_policy
    from plm_special.models.low_rank import peft_model
    from plm_special.models.state_encoder import EncoderNetwork
    from plm_special.trainer import Trainer

    class Zeros:
        """NumPy as their policy uses it, with positions that this version of torch takes as an index."""

        zeros = staticmethod(lambda n: np.zeros(n, int))
        __getattr__ = staticmethod(lambda name: getattr(np, name))

    rl_policy.np = Zeros()

    class Backbone(nn.Module):
        """Without the argument that their patched models of `transformers` take."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, stop_layer_idx: int, **inputs: Any) -> Any:
            return self.inner(**inputs)

    plm = Backbone(peft_model(smollm2(layers), "llama", rank))
    encoder = EncoderNetwork(embed_dim=256)
    policy = rl_policy.OfflineRLPolicy(256, 6, encoder, plm, 576, max_length=STEPS, max_ep_len=48, device="cpu")
    rng = np.random.default_rng(0)
    pool = ExperiencePool()
    for i in range(STEPS * WINDOWS):
        pool.add(rng.random((1, 6, 6), dtype=np.float32), int(rng.integers(6)), float(rng.random()), i % STEPS == 19)
    data = ExperienceDataset(pool, scale=1000, max_length=STEPS)
    optimiser = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-4)
    trainer = Trainer(None, policy, optimiser, data, nn.CrossEntropyLoss(), "cpu", grad_accum_steps=WINDOWS)
    return SimpleNamespace(policy=policy, trainer=trainer)


def _times(call: Any, repeats: int) -> float:
    """Median CPU seconds of `call`, after one to warm up (CPU time: other work on the machine does not count)."""
    found = []
    for _ in range(repeats + 1):
        begin = time.process_time()
        call()
        found.append(time.process_time() - begin)
    return float(np.median(found[1:]))


def _their_decision(peer: SimpleNamespace, repeats: int) -> float:
    """Seconds of a decision once their window of 20 steps is full."""
    peer.policy.eval()
    state = torch.rand(1, 1, 6, 6)
    with torch.inference_mode():
        for t in range(STEPS):
            peer.policy.sample(state, 1.0, t)
        return _times(lambda: peer.policy.sample(state, 1.0, STEPS), repeats)


def _our_decision(config: LLMConfig, episodes: int) -> float:
    """Seconds of a decision over the second half of an episode of 47 steps, all earlier ones remembered."""
    model, env = build(config)
    agent = LLMAgent(model, ENV, {"observation_space": env.observation_space, "action_space": env.action_space}, {})
    found = []
    for episode in draw_episodes(episodes, 47):
        agent.reset(EnvInfo(ENV, env.observation_space, env.action_space, env.metadata, {}))
        for t in range(47):
            seen = {key: value[t] for key, value in episode.observations.items()}
            begin = time.process_time()
            agent.act(seen, {"reward": 0.0})
            found.append(time.process_time() - begin)
    return float(np.median(np.array(found).reshape(episodes, 47)[:, 23:]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    gym.logger.min_level = gym.logger.ERROR
    same = LLMConfig(
        layers=options.layers, objective="return-conditioned", tokens="per-key", show_actions=True, context=STEPS,
        lora_rank=options.rank, lora_targets=("q_proj", "v_proj"),
    )  # fmt: skip
    peer = _peer(options.checkout, options.layers, options.rank)
    windows = draw_episodes(WINDOWS, STEPS)

    def theirs() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            peer.trainer.train_epoch()

    base = _times(theirs, options.repeats)
    ours = {
        "same tokens": same,
        "same tokens, bf16 weights": replace(same, dtype="bf16"),
        "one fused token a step": replace(same, tokens="fused", show_actions=False),
    }
    for name, config in ours.items():
        model, _ = build(config)
        model.train()
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
        seconds = _times(lambda m=model, o=optimiser: train_step(m, o, [windows]), options.repeats)
        _print(f"training, {name}", WINDOWS / seconds, WINDOWS / base, "windows/s", base / seconds)
    decision = _their_decision(peer, 10)
    for name, config in ours.items():
        seconds = _our_decision(replace(config, context=0), 2)
        _print(f"decision, {name}", 1e3 * seconds, 1e3 * decision, "ms", decision / seconds)


def _print(what: str, ours: float, theirs: float, unit: str, ratio: float) -> None:
    row = {"what": what, "ours": ours, "netllm": theirs, "unit": unit, "ratio": ratio}
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}),
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
