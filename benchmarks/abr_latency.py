"""QoE against decision latency: `python benchmarks/abr_latency.py [--profile embedded] [--plot FILE]`.

Every agent plays the same test traces while each of its decisions takes 0 s up to a few seconds: the request leaves
later and the buffer drains meanwhile. Prints one row per latency; the plot shows the agents' difference to their own
QoE without latency, with 95 % intervals over recordings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from netllm_gym import evaluate
from netllm_gym.evaluation.bootstrap import Bootstrap
from netllm_gym.evaluation.canvas import COLOURS, DASHES
from netllm_gym.evaluation.settings import load_setting
from netllm_gym.files import atomic_path

LATENCIES_S = (0.0, 0.058, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
AGENTS = ("abr/robust-mpc", "abr/bola-e", "abr/bba", "abr/actor-critic")
# Beyond this nobody plays any more, and the rest of the curve would be flat.
PLOTTED_S = 1.0


def plot(frames: dict[float, pd.DataFrame], agents: list[str], target: Path) -> None:
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.subplots()
    shown = [latency for latency in frames if latency <= PLOTTED_S]
    for number, agent in enumerate(agents):
        table = {latency: frame[frame["agent"] == agent].sort_values("episode") for latency, frame in frames.items()}
        sample = Bootstrap(table[shown[0]]["group"].tolist())
        still = table[shown[0]]["qoe"].to_numpy()
        loss = [sample.difference(table[latency]["qoe"].to_numpy(), still).interval() for latency in shown]
        mean = [float(np.mean(table[latency]["qoe"].to_numpy() - still)) for latency in shown]
        errors = np.abs(np.array(loss).T - mean)
        at = np.array(shown) * 1000.0 + 6.0 * (number - (len(agents) - 1) / 2)
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        axes.errorbar(at, mean, errors, label=agent, color=colour, linestyle=dash, marker="o", capsize=2, markersize=4)
    axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    axes.set_xlabel("time a decision takes (ms)")
    axes.set_ylabel("QoE lin per chunk, change")
    axes.legend(fontsize=8, frameon=False)
    with atomic_path(target) as path:
        figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="paper", choices=("paper", "embedded"))
    parser.add_argument("--agents", nargs="+", default=list(AGENTS))
    parser.add_argument("--latencies", nargs="+", type=float, default=list(LATENCIES_S))
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    given = parser.parse_args()
    kwargs = dict(load_setting("abr", "default", given.profile).kwargs)
    print("| decision latency (s) | " + " | ".join(f"`{name}`" for name in given.agents) + " |")
    print("|---" * (len(given.agents) + 1) + "|")
    frames = {}
    for latency in sorted(given.latencies):
        setting = {**kwargs, "decision_latency_s": latency}
        frame = evaluate(agents=given.agents, setting=setting, progress=False).frame
        frames[latency] = frame
        means = frame.groupby("agent")["qoe"].mean()
        print(f"| {latency:g} | " + " | ".join(f"{means[name]:.4f}" for name in given.agents) + " |", flush=True)
    if given.plot:
        plot(frames, given.agents, given.plot)


if __name__ == "__main__":
    main()
