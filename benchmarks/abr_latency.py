"""QoE against decision latency: `python benchmarks/abr_latency.py [--profile embedded]`.

Every agent plays the same test traces while each of its decisions takes 0 s up to a few seconds: the request leaves
later and the buffer drains meanwhile. Prints one row per latency.
"""

from __future__ import annotations

import argparse

from netllm_gym import evaluate
from netllm_gym.evaluation.settings import load_setting

LATENCIES_S = (0.0, 0.058, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
AGENTS = ("abr/robust-mpc", "abr/bola-e", "abr/bba", "abr/actor-critic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="paper", choices=("paper", "embedded"))
    parser.add_argument("--agents", nargs="+", default=AGENTS)
    parser.add_argument("--latencies", nargs="+", type=float, default=LATENCIES_S)
    given = parser.parse_args()
    kwargs = dict(load_setting("abr", "default", given.profile).kwargs)
    print("| decision latency (s) | " + " | ".join(f"`{name}`" for name in given.agents) + " |")
    print("|---" * (len(given.agents) + 1) + "|")
    for latency in given.latencies:
        setting = {**kwargs, "decision_latency_s": latency}
        rows = evaluate(agents=list(given.agents), setting=setting, progress=False).summary().set_index("agent")
        means = " | ".join(f"{rows.loc[name, 'mean']:.4f}" for name in given.agents)
        print(f"| {latency:g} | {means} |", flush=True)


if __name__ == "__main__":
    main()
