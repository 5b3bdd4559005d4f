"""How many samples a CPU second PPO learns from, end to end: Stable-Baselines3 and a CleanRL-style loop.

    python benchmarks/ppo.py

The same network (two layers of 64) and as many passes over each rollout of 47 chunks an environment, in one run, the
learners taking turns; CPU seconds of this process, the best of `--rounds`. ``DummyVecEnv(16)`` has one environment
after the other in Python, as most tutorials do. Batched environments make large rollouts cheap, so their minibatches
may be large; the row with 16 environments changes nothing but the adapter.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np

KWARGS = {"traces": "abr/synthetic", "split": "train", "random_start": True, "video": "synthetic"}


def learned(build: Callable, envs: int, minibatch: int, epochs: int, rollouts: int) -> float:
    """Samples per CPU second of PPO, after one rollout to warm up."""
    from stable_baselines3 import PPO

    model = PPO(
        "MlpPolicy", build(envs), n_steps=47, batch_size=minibatch, n_epochs=epochs, seed=0, device="cpu"
    )  # fmt: skip
    model.learn(47 * envs)
    start = time.process_time()
    model.learn(47 * envs * rollouts)
    return 47 * envs * rollouts / (time.process_time() - start)


def stepped(build: Callable, envs: int, steps: int) -> float:
    """Steps per CPU second of the environment alone, actions drawn beforehand."""
    env = build(envs)
    env.reset()
    actions = np.random.default_rng(0).integers(6, size=(steps, envs))
    for row in actions[:20]:
        env.step(row)
    start = time.process_time()
    for row in actions:
        env.step(row)
    return steps * envs / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    import torch
    from stable_baselines3.common.vec_env import DummyVecEnv

    from netllm_gym.sb3 import ABRVecEnv
    from netllm_gym.wrappers import flat

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
    import ppo_cleanrl

    def dummy(envs: int) -> DummyVecEnv:
        return DummyVecEnv(
            [lambda: flat(gym.make("netllm_gym/ABR-v0", disable_env_checker=True, **KWARGS)) for _ in range(envs)]
        )

    def ours(envs: int) -> ABRVecEnv:
        return ABRVecEnv(envs, **KWARGS)

    def one_file() -> float:
        return ppo_cleanrl.train(ppo_cleanrl.Args(total_steps=400_000), say=None, **KWARGS)[2]

    works = {
        "env alone, DummyVecEnv(16)": lambda: stepped(dummy, 16, 400),
        "env alone, ABRVecEnv(16)": lambda: stepped(ours, 16, 4000),
        "env alone, ABRVecEnv(512)": lambda: stepped(ours, 512, 1000),
        "SB3 PPO, DummyVecEnv(16), minibatch 64, 10 epochs": lambda: learned(dummy, 16, 64, 10, 6),
        "SB3 PPO, ABRVecEnv(16), minibatch 64, 10 epochs": lambda: learned(ours, 16, 64, 10, 10),
        "SB3 PPO, ABRVecEnv(512), minibatch 2048, 10 epochs": lambda: learned(ours, 512, 2048, 10, 3),
        "SB3 PPO, DummyVecEnv(16), minibatch 64, 4 epochs": lambda: learned(dummy, 16, 64, 4, 8),
        "SB3 PPO, ABRVecEnv(512), minibatch 2048, 4 epochs": lambda: learned(ours, 512, 2048, 4, 4),
        "examples/ppo_cleanrl.py, 256 envs, 4 epochs": one_file,
    }
    best = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for name, work in works.items():
            best[name] = max(best[name], work())
    for name, rate in best.items():
        print(f"  {name:52s} {rate:12,.0f} samples per CPU second")
    for epochs in (10, 4):
        base = best[f"SB3 PPO, DummyVecEnv(16), minibatch 64, {epochs} epochs"]
        fast = best[f"SB3 PPO, ABRVecEnv(512), minibatch 2048, {epochs} epochs"]
        print(f"  SB3, {epochs} epochs: {fast / base:.1f} x DummyVecEnv(16), aim 5 x")
    print(f"  CleanRL style: {best['examples/ppo_cleanrl.py, 256 envs, 4 epochs']:,.0f}/s, aim 30,000/s")


if __name__ == "__main__":
    main()
