"""How far the planner's optimum can be from the true one: its returns next to the proven bound.

    python benchmarks/abr_bound.py                                        # abr/synthetic
    python benchmarks/abr_bound.py --traces abr/pensieve-classic --video envivio-dash3

All numbers are QoE per chunk.
"""

from __future__ import annotations

import argparse
import time

import gymnasium as gym
import numpy as np

import netllm_gym  # noqa: F401  (registers the environments)
from netllm_gym.envs.abr.bound import upper_bound
from netllm_gym.envs.abr.planner import optimum


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--traces", default="abr/synthetic")
    parser.add_argument("--split", default="test")
    parser.add_argument("--video", default="synthetic")
    parser.add_argument("--qoe", default="lin")
    parser.add_argument("--beam", type=int, default=1100, help="states the planner keeps per chunk")
    options = parser.parse_args()
    env = gym.make(
        "netllm_gym/ABR-v0", traces=options.traces, split=options.split, video=options.video, qoe=options.qoe
    ).unwrapped
    earned, bounds = [], []
    start = time.process_time()
    for trace in range(len(env.traces)):
        env.reset(options={"trace": trace})
        steps = env.video.chunks - env.chunk
        earned.append(optimum(env, options.beam)[0] / steps)
        bounds.append(upper_bound(env) / steps)
    seconds = (time.process_time() - start) / len(earned)
    gaps = np.subtract(bounds, earned)
    print(f"{options.traces} {options.split}, {options.video}, {options.qoe}, beam {options.beam}: {len(gaps)} traces")
    print(f"  optimum {np.mean(earned):.4f}, bound {np.mean(bounds):.4f}, {1000 * seconds:.0f} ms a video for both")
    print(f"  gap: mean {gaps.mean():.4f}, median {np.median(gaps):.5f}, largest {gaps.max():.4f}")
    print(f"  optimum proven to 0.001: {np.mean(gaps < 1e-3):.0%} of the traces")


if __name__ == "__main__":
    main()
