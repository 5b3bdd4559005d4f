"""Schedulers on the settings of cluster scheduling, or over a range of loads: paired, resumable, as Markdown.

Usage: python benchmarks/cluster_table.py OUT.jsonl AGENT … [--settings default unseen1 …] [--episodes 30]
       python benchmarks/cluster_table.py OUT.jsonl AGENT … --loads 0.4 0.6 0.8 0.95 --figure load.png
       python benchmarks/cluster_table.py OUT.jsonl AGENT … --families montage lanes cluster/wfcommons --split valid

A family is a catalog name or a shape of random jobs (netllm_gym/traces/jobs/families.py): 50 jobs on 50 executors at
load 0.7 (--jobs, --executors, --load), and for a shape another workload in every sequence.
An agent is a registered name or a checkpoint folder, with options behind it: "cluster/weighted-fair alpha=0.2". Every
agent meets the same jobs with the same draws. Each episode is appended to OUT.jsonl when it is over; the same command
goes on where it stopped, and prints whatever OUT.jsonl holds of the agents asked. Delete OUT.jsonl after changing code.
"""

from __future__ import annotations

import argparse
import ast
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from scipy.stats import t as student

import netllm_gym
from netllm_gym import traces
from netllm_gym.agents.base import BatchAgent
from netllm_gym.envs.cluster.bounds import combine_bounds, job_bounds
from netllm_gym.evaluation import load_setting
from netllm_gym.play import Play, lockstep
from netllm_gym.traces import TraceSet
from netllm_gym.traces.jobs.families import SHAPES, random_workload
from netllm_gym.traces.jobs.statistics import offered_load
from netllm_gym.traces.jobs.trace import JobTrace, job_traces
from netllm_gym.traces.jobs.workload import Workload

BEGIN = {"train": 100_000, "valid": 200_000, "test": 300_000}  # seeds of the sequences of a split
LOCKSTEP = 10  # episodes that a network decides for at once


def build(agent: str) -> Any:
    """Build ``"name key=value …"``."""
    name, *options = agent.split()
    return netllm_gym.make_agent(name, **{k: ast.literal_eval(v) for k, _, v in (o.partition("=") for o in options)})


def cells(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the columns of the table: label → arguments of the environment."""
    if args.families:
        cluster = {"jobs": args.jobs, "executors": args.executors, "load": args.load}
        return {name: cluster | {"traces": family(name, args.split)} | split(args) for name in args.families}
    if not args.loads:
        return {name: dict(load_setting("cluster", name, args.profile).kwargs) | split(args) for name in args.settings}
    base = dict(load_setting("cluster", "default", args.profile).kwargs) | split(args)
    known = traces.load(base.pop("traces"), args.split)
    whole, seeds = known[0].workload, [trace.seed for trace in known[: args.episodes]]
    gap = whole.mean_interarrival_s * offered_load(whole, base["executors"])
    return {
        f"load {load:g}": base
        | {"traces": job_traces(Workload(whole.name, whole.templates, gap / load, None, whole.blocks), seeds)}
        for load in args.loads
    }


def family(name: str, split: str) -> Any:
    """Return a catalog name as it is, and for a shape of random jobs a set of sequences, each with its own workload."""
    if name not in SHAPES:
        return name
    found = []
    for seed in range(BEGIN[split], BEGIN[split] + 50):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(name.encode())))
        found.append(JobTrace(random_workload(rng, [name], name=name), seed))
    return TraceSet(name, split, tuple(found), source="benchmarks/cluster_table.py")


def split(args: argparse.Namespace) -> dict[str, Any]:
    """Return the split as an argument of the environment."""
    return {"split": args.split}


def play(envs: Sequence[gym.Env], agent: Any, episodes: Sequence[int]) -> list[dict[str, Any]]:
    """Play `episodes` in lock-step and describe each: its jobs' completion times and what deciding cost."""
    began = time.process_time()
    plays = [Play(env, seed=episode, options={"trace": episode}) for env, episode in zip(envs, episodes, strict=False)]
    for _ in lockstep(plays, agent):
        pass
    cost = (time.process_time() - began) / len(plays)
    decisions = sum(one.steps for one in plays) / len(plays)
    return [
        {"jobs": sorted(one.env.unwrapped.sim.finished), "decisions": decisions, "cpu_s": cost}  # type: ignore[attr-defined]
        for one in plays
    ]


def measure(env: gym.Env, played: dict[str, Any], bounds: dict[str, Any]) -> dict[str, Any]:
    """Turn an episode into the numbers of the table."""
    jct = np.array([end - at for _, at, end in played.pop("jobs")])
    alone = bounds["moving_s"] + np.maximum(bounds["path_s"], bounds["work_s"])
    return {
        **played,
        "mean_jct_s": float(jct.mean()),
        "p99_jct_s": float(np.percentile(jct, 99)),
        "p99_slowdown": float(np.percentile(jct / alone, 99)),
        "bound_s": bounds["combined"],
    }


def bound(env: gym.Env) -> dict[str, Any]:
    """Return the lower bounds of the episode just played: of each job, and the combined one of the mean."""
    sim = env.unwrapped.sim  # type: ignore[attr-defined]
    path, work = job_bounds(sim)
    arrivals = np.array([at for at, _ in sim.arrivals])
    return {
        "path_s": path.round(6).tolist(), "work_s": work.round(6).tolist(), "moving_s": sim.moving_s,
        "combined": combine_bounds(arrivals, path, work, sim.moving_s)["combined"],
    }  # fmt: skip


def interval(values: np.ndarray) -> str:
    """Return mean and half-width of the 95 % interval (Student's t)."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{values.mean():.2f} ± {half:.2f}"


def table(
    rows: Sequence[dict[str, Any]], cell: str, agents: Sequence[str], references: Sequence[str], relative: bool = False
) -> str:
    """Return one setting as Markdown, best mean first, over the episodes that all its agents have played.

    With `relative` differences are of logarithms, in percent: sequences of a random family differ by decades.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {agent: {} for agent in agents}
    for row in rows:
        if row["cell"] == cell and row["agent"] in found:
            found[row["agent"]][row["episode"]] = row
    found = {agent: played for agent, played in found.items() if played}
    common = sorted(set.intersection(*(set(played) for played in found.values()))) if found else []
    if not common:
        return f"### {cell}: nothing played yet"
    get = {
        agent: {key: np.array([played[e][key] for e in common]) for key in played[common[0]] if key not in TEXT}
        for agent, played in found.items()
    }
    references = [agent for agent in references if agent in get]
    unit = "%" if relative else "s"
    lines = [
        f"### {cell}: {len(common)} sequences, lower bound {interval(get[next(iter(get))]['bound_s'])} s",
        "| agent | mean JCT, s |" + "".join(f" minus `{r}`, {unit} | better on |" for r in references)
        + " times the bound | slow-down p99 | JCT p99, s | decisions |",
        "|" + "---|" * (6 + 2 * len(references)),
    ]  # fmt: skip
    for agent in sorted(
        get, key=lambda name: float((np.log if relative else np.array)(get[name]["mean_jct_s"]).mean())
    ):
        mine = get[agent]
        paired = ""
        for reference in references:
            theirs = get[reference]["mean_jct_s"]
            d = 100.0 * np.log(mine["mean_jct_s"] / theirs) if relative else mine["mean_jct_s"] - theirs
            paired += " | |" if agent == reference else f" {interval(d)} | {int((d < 0).sum())} of {len(d)} |"
        lines.append(
            f"| `{agent}` | {interval(mine['mean_jct_s'])} |{paired}"
            f" {(mine['mean_jct_s'] / mine['bound_s']).mean():.2f} | {mine['p99_slowdown'].mean():.1f} |"
            f" {mine['p99_jct_s'].mean():.0f} | {mine['decisions'].mean():.0f} |"
        )
    return "\n".join(lines)


TEXT = ("cell", "agent", "episode")


def draw(rows: Sequence[dict[str, Any]], loads: Sequence[float], agents: Sequence[str], path: Path) -> None:
    """Draw mean JCT over its lower bound, and the 99th percentile of the slow-down, against the load."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("mean JCT / lower bound", "slow-down, 99th percentile"), strict=True):
        for agent in agents:
            points, errors = [], []
            for load in loads:
                chosen = [r for r in rows if r["cell"] == f"load {load:g}" and r["agent"] == agent]
                ratio = key.startswith("mean")
                values = np.array([r["mean_jct_s"] / r["bound_s"] if ratio else r["p99_slowdown"] for r in chosen])
                points.append(values.mean() if len(values) else np.nan)
                errors.append(1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0)
            axes.errorbar(
                loads, points, errors, marker="o", ms=3, lw=1.2, capsize=2, label=agent.removeprefix("cluster/")
            )
        axes.set(xlabel="offered load", ylabel=key, yscale="log")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("agents", nargs="+")
    parser.add_argument("--settings", nargs="+", default=["default", "unseen1", "unseen2", "unseen3"])
    parser.add_argument("--loads", nargs="+", type=float, default=[])
    parser.add_argument("--families", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--executors", type=int, default=50)
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--profile", default="paper", choices=["paper", "embedded"])
    parser.add_argument("--split", default="test")
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--references", nargs="+", default=["cluster/fair", "cluster/strict-fair"])
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.is_file() else []
    have = {(row["cell"], row["agent"], row["episode"]) for row in rows}
    bounds = {(row["cell"], row["episode"]): row for row in rows if row["agent"] == "bounds"}

    def keep(row: dict[str, Any]) -> dict[str, Any]:
        rows.append(row)
        with args.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return row

    columns = cells(args)
    for cell, kwargs in columns.items():
        for name in args.agents:
            missing = [e for e in range(args.episodes) if (cell, name, e) not in have]
            if not missing:
                continue
            agent = build(name)
            together = LOCKSTEP if isinstance(agent, BatchAgent) else 1
            envs = [
                gym.make("netllm_gym/ClusterScheduling-v0", disable_env_checker=True, **kwargs)
                for _ in range(min(together, len(missing)))
            ]
            for begin in range(0, len(missing), together):
                chosen = missing[begin : begin + together]
                for env, episode, played in zip(envs, chosen, play(envs, agent, chosen), strict=False):
                    if (cell, episode) not in bounds:
                        found = {"cell": cell, "agent": "bounds", "episode": episode, **bound(env)}
                        bounds[cell, episode] = keep(found)
                    numbers = measure(env, played, bounds[cell, episode])
                    keep({"cell": cell, "agent": name, "episode": episode, **numbers})
    for cell in columns:
        print(table(rows, cell, args.agents, args.references, bool(args.families)), end="\n\n", flush=True)
    if args.figure:
        draw(rows, args.loads, args.agents, args.figure)


if __name__ == "__main__":
    main()
