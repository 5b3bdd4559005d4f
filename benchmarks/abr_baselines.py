"""Our ABR agents next to what others published: `python benchmarks/abr_baselines.py` (needs the public traces).

1. `classic`: QoE per chunk on the 142 classic test traces (first chunk at level 1, not counted), the published logs'
   means, and every agent paired with every log.
2. `fcc`: the same agents on NetLLM's 100 test traces as published.
3. `table`: FastMPC's tables against the exact searches they stand for, on the default test split.

Intervals are 95 % bootstraps over recordings.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from netllm_gym import evaluate, traces
from netllm_gym.evaluation.bootstrap import Bootstrap, Estimate

AGENTS = (
    "abr/bba", "abr/bola", "abr/bola-e", "abr/dynamic", "abr/rate-based", "abr/festive", "abr/mpc",
    "abr/fast-mpc", "abr/robust-mpc", "abr/actor-critic",
)  # fmt: skip
CLASSIC: dict[str, Any] = {"traces": "abr/pensieve-classic/as-published", "video": "envivio-dash3", "first_quality": 1}
DEFAULT: dict[str, Any] = {"traces": "abr/fcc-hsdpa", "video": "envivio-dash3"}
BINS = (25, 50, 100, 200)
FCC: dict[str, Any] = {"traces": "abr/fcc-hsdpa/as-published", "video": "envivio-dash3"}


def play(setting: dict[str, Any], agents: list[Any]) -> dict[str, dict[str, float]]:
    """Mean QoE per chunk: agent -> trace -> number."""
    frame = evaluate(agents=agents, setting=setting, progress=False).frame
    return {name: dict(zip(rows["trace"], rows["qoe"], strict=True)) for name, rows in frame.groupby("agent")}


def span(found: Estimate) -> str:
    low, high = found.interval()
    return f"{low:+.4f} to {high:+.4f}"


def means(mine: dict[str, np.ndarray], sample: Bootstrap) -> None:
    for agent, values in sorted(mine.items(), key=lambda item: -item[1].mean()):
        print(f"| `{agent}` | {values.mean():.4f} | {span(sample.mean(values))} |")


def paired(what: str, values: np.ndarray, other: np.ndarray, sample: Bootstrap) -> None:
    gap = values - other
    won = np.mean((gap > 1e-9) + 0.5 * (np.abs(gap) <= 1e-9))
    print(f"| {what} | {gap.mean():+.4f} | {span(sample.difference(values, other))} | {won:.0%} |")


def table() -> None:
    traces.fetch("abr/fcc-hsdpa")
    exact = {"abr/mpc": False, "abr/robust-mpc": True}
    tables: list[dict[str, Any]] = [
        {"name": "abr/fast-mpc", "label": f"{search}, {bins} bins", "bins": bins, "robust": robust}
        for search, robust in exact.items()
        for bins in BINS
    ]
    members = traces.load(DEFAULT["traces"], "test")
    sample = Bootstrap([trace.group for trace in members])
    ours = play(DEFAULT, [*tables, *exact])
    mine = {agent: np.array([values[trace.name] for trace in members]) for agent, values in ours.items()}
    print(f"\n## table, {len(members)} test traces\n")
    print("| table − search | difference | 95 % interval | traces won |\n|---|---|---|---|")
    for search in exact:
        for bins in BINS:
            paired(f"{bins} bins − `{search}`", mine[f"{search}, {bins} bins"], mine[search], sample)


def classic(agents: list[str]) -> None:
    traces.fetch("abr/pensieve-classic")
    ours = play(CLASSIC, agents)
    logs = traces.published_logs("abr/pensieve-classic")
    names = sorted(next(iter(ours.values())))
    group = {trace.name: trace.group for trace in traces.load(CLASSIC["traces"], "test")}
    sample = Bootstrap([group[name] for name in names])
    print("## classic, 142 test traces\n\n| scheme | QoE | 95 % interval |\n|---|---|---|")
    published = {scheme: np.array([log[name].qoe for name in names]) for scheme, log in logs.items()}
    for scheme, values in sorted(published.items(), key=lambda item: -item[1].mean()):
        print(f"| {scheme} (published log) | {values.mean():.4f} | {span(sample.mean(values))} |")
    mine = {agent: np.array([ours[agent][name] for name in names]) for agent in agents}
    means(mine, sample)
    print("\n| agent − published log | difference | 95 % interval | traces won |\n|---|---|---|---|")
    for agent, values in mine.items():
        for scheme, other in sorted(published.items()):
            paired(f"`{agent}` − {scheme}", values, other, sample)


def fcc(agents: list[str]) -> None:
    traces.fetch("abr/fcc-hsdpa")
    print("\n## fcc, 100 test traces as published\n\n| agent | QoE | 95 % interval |\n|---|---|---|")
    ours = play(FCC, [*agents, "abr/mpc-as-published"])
    members = traces.load(FCC["traces"], "test")
    sample = Bootstrap([trace.group for trace in members])
    mine = {agent: np.array([values[trace.name] for trace in members]) for agent, values in ours.items()}
    means(mine, sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("classic", "fcc", "table", "all"), default="all")
    parser.add_argument("--agents", nargs="+", default=list(AGENTS))
    given = parser.parse_args()
    if given.part in ("classic", "all"):
        classic(given.agents)
    if given.part in ("fcc", "all"):
        fcc(given.agents)
    if given.part in ("table", "all"):
        table()


if __name__ == "__main__":
    main()
