"""Agents in made-up worlds that no recording is like: `python benchmarks/made_up.py links|heads|jobs [KIND …]`.

Where a trained agent falls behind a simple one here, it leans on something that its training never varied. Nobody
learns on these worlds. Printed are the simple agent's mean and, for each other, the difference to it and
1.96 standard errors over the traces (of jobs: of logarithms, per cent, to the rule `cluster/adaptive`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from netllm_gym import evaluate, make_agent, traces
from netllm_gym.agents.cluster.rollout import compiled_rule
from netllm_gym.agents.cluster.search import Episode
from netllm_gym.envs.cluster.env import ClusterSchedulingEnv
from netllm_gym.traces import HeadTrace, NetworkTrace, TraceSet, synthetic_video
from netllm_gym.traces.jobs.workload import JobTemplate, StageProfile, Workload

Rng = np.random.Generator
Series = NDArray[np.float64]
SECONDS, COUNT = 400, 24  # of a link; links of a kind
LADDERS = {"usual": "envivio-dash3", "fast": synthetic_video(78, [1000, 2500, 5000, 8000, 16000, 24000, 35000], 100)}
STREAMERS = ("abr/robust-mpc", "abr/llm", "any/generalist", "abr/regret-mlp", "abr/actor-critic-any")
WATCHERS = ("viewport/hold-last", "viewport/llm", "any/generalist", "viewport/gru", "viewport/damped-velocity")
SCHEDULERS = ("fair", "strict-fair", "tuned")
CLUSTERS = ((50, 0.7, 2.0), (10, 0.9, 0.5), (200, 0.5, 0.0))  # executors, load, moving delay


def _noise(rng: Rng, sigma: float, count: int = SECONDS) -> Series:
    return np.exp(rng.normal(0.0, sigma, count))


def _satellite(rng: Rng) -> Series:
    """Another level every 15 s, and a gap at each change."""
    rates = np.repeat(3.0 * _noise(rng, 0.5, SECONDS // 15 + 1), 15)[:SECONDS] * _noise(rng, 0.25)
    rates[::15] *= 0.1
    return rates


def _blocked(rng: Rng) -> Series:
    """Millimetre waves: 400 Mbit/s, or 2 behind an obstacle."""
    free = np.concatenate([np.full(int(rng.exponential(s)) + 1, s) for s in (25.0, 8.0) * 60])[:SECONDS]
    return np.where(free > 20.0, 400.0, 2.0) * _noise(rng, 0.4)


def _dropping(rng: Rng) -> Series:
    """Wi-Fi that loses one second in twelve."""
    return 5.0 * _noise(rng, 0.6, 1) * _noise(rng, 0.5) * np.where(rng.random(SECONDS) < 0.08, 0.02, 1.0)


def _tunnels(rng: Rng) -> Series:
    """A train: slow waves, and five tunnels."""
    wave = 2.5 * (1.0 + 0.8 * np.sin(2 * np.pi * np.arange(SECONDS) / rng.uniform(60, 160) + rng.uniform(0, 6)))
    for begin in rng.integers(SECONDS, size=5):
        wave[begin : begin + int(rng.integers(8, 30))] *= 0.02
    return wave * _noise(rng, 0.3)


LINKS: dict[str, Callable[[Rng], Series]] = {
    "satellite": _satellite,
    "blocked": _blocked,
    "dropping": _dropping,
    "tunnels": _tunnels,
    "steps": lambda rng: np.repeat(np.exp(rng.uniform(np.log(0.3), np.log(6.0), SECONDS // 20)), 20),
    "bursty": lambda rng: 0.66 * _noise(rng, 1.1),
    "ramp": lambda rng: np.linspace(rng.uniform(0.3, 1.0), rng.uniform(3.0, 8.0), SECONDS) * _noise(rng, 0.2),
    "steady": lambda rng: np.full(SECONDS, 1.7) * _noise(rng, 0.3, 1),
}
HZ, SAMPLES = 5.0, 300
_T = np.arange(SAMPLES) / HZ


def _smooth(rng: Rng, sd: float, tau_s: float) -> Series:
    """Degrees that wander about zero."""
    keep, found = float(np.exp(-1.0 / (tau_s * HZ))), np.zeros(SAMPLES)
    for i in range(1, SAMPLES):
        found[i] = keep * found[i - 1] + rng.normal(0.0, sd * np.sqrt(1.0 - keep * keep))
    return found


HEADS: dict[str, Callable[[Rng], tuple[Series, Series]]] = {
    "still": lambda rng: (rng.normal(0, 0.2, SAMPLES), rng.normal(0, 0.2, SAMPLES)),
    "pan": lambda rng: (rng.choice([-1, 1]) * rng.uniform(5, 40) * _T + _smooth(rng, 3, 1), _smooth(rng, 5, 2)),
    "sway": lambda rng: (
        rng.uniform(10, 60) * np.sin(2 * np.pi * _T / rng.uniform(3, 10)),
        10 * np.sin(2 * np.pi * _T / rng.uniform(3, 10)),
    ),
    "jumps": lambda rng: (
        np.repeat(rng.uniform(-180, 180, 20), 15) + rng.normal(0, 1, SAMPLES),
        np.repeat(rng.uniform(-40, 40, 20), 15),
    ),
    "drift": lambda rng: (np.cumsum(_smooth(rng, 4, 3)) / HZ * 4, _smooth(rng, 10, 4)),
    "noisy": lambda rng: (_smooth(rng, 25, 3) + rng.normal(0, 3, SAMPLES), _smooth(rng, 10, 3)),
    "near a pole": lambda rng: (_smooth(rng, 60, 2), 75 * rng.choice([-1, 1]) + _smooth(rng, 8, 2)),
}


def _stage(rng: Rng, tasks: int, middle_s: float, sigma: float) -> StageProfile:
    times = tuple(float(x) for x in rng.lognormal(np.log(middle_s), sigma, 20))
    return StageProfile(tasks, {}, {10: times}, {10: times})


def _chain(stages: Sequence[StageProfile], name: str) -> JobTemplate:
    return JobTemplate(name, tuple(stages), tuple((i, i + 1) for i in range(len(stages) - 1)))


def _diamonds(rng: Rng, name: str) -> JobTemplate:
    stages, edges = [_stage(rng, 1, 1.0, 0.3)], []
    for _ in range(int(rng.integers(2, 6))):
        first, width = len(stages) - 1, int(rng.integers(2, 9))
        stages += [_stage(rng, int(rng.integers(1, 30)), rng.lognormal(0, 1), 0.3) for _ in range(width)]
        stages.append(_stage(rng, 1, 1.0, 0.3))
        edges += [pair for k in range(width) for pair in ((first, first + 1 + k), (first + 1 + k, first + 1 + width))]
    return JobTemplate(name, tuple(stages), tuple(edges))


JOBS: dict[str, Callable[[Rng, str], JobTemplate]] = {
    "single stages": lambda rng, name: _chain(
        [_stage(rng, int(np.clip(rng.pareto(1.1) * 4, 1, 400)), rng.lognormal(1, 0.8), 0.3)], name
    ),
    "few giants": lambda rng, name: _chain(
        [_stage(rng, 100, 3.0, 0.3)] * 20 if rng.random() < 0.1 else [_stage(rng, 2, 1.0, 0.3)], name
    ),
    "iterations": lambda rng, name: _chain(
        [_stage(rng, 8, 4.0, 0.1), _stage(rng, 1, 0.5, 0.1)] * int(rng.integers(8, 25)), name
    ),
    "diamonds": _diamonds,
    "tiny tasks": lambda rng, name: _chain(
        [_stage(rng, int(rng.integers(10, 500)), 0.02, 0.5) for _ in range(int(rng.integers(2, 8)))], name
    ),
    "no edges": lambda rng, name: JobTemplate(
        name,
        tuple(_stage(rng, int(rng.integers(1, 30)), rng.lognormal(0, 1), 0.3) for _ in range(int(rng.integers(2, 15)))),
        (),
    ),
}


def _rng(kind: str, number: int) -> Rng:
    return np.random.default_rng(np.random.SeedSequence(number, spawn_key=tuple(kind.encode())))


def _text(less: Series, places: int) -> str:
    half = 1.96 * less.std(ddof=1) / np.sqrt(len(less))
    return f"{less.mean():+.{places}f} ± {half:.{places}f}"


def _compared(name: str, env: str, made: TraceSet, more: dict[str, object], agents: Sequence[str]) -> None:
    found = evaluate(env=env, agents=list(agents), setting={"traces": made, **more}, baseline=agents[0], progress=False)
    table = found.frame.pivot_table(index="episode", columns="agent", values=found.metric["name"])
    base = table[agents[0]]
    shown = "  ".join(f"{agent} {_text((table[agent] - base).to_numpy(), 3)}" for agent in agents[1:])
    print(f"{name}: {agents[0]} {base.mean():.3f}  {shown}", flush=True)


def links(kind: str) -> None:
    """Stream over links of a kind."""
    rates = [np.maximum(LINKS[kind](_rng(kind, i)), 1e-3) for i in range(COUNT)]
    made = tuple(NetworkTrace(f"{kind}-{i}", np.ones(SECONDS), rate) for i, rate in enumerate(rates))
    for name, video in LADDERS.items():
        shown = traces.load_video(video) if isinstance(video, str) else video
        _compared(
            f"{kind}, {name} ladder", "netllm_gym/ABR-v0", TraceSet(kind, "all", made), {"video": shown}, STREAMERS
        )


def heads(kind: str) -> None:
    """Predict heads of a kind."""
    made = []
    for i in range(16):
        lon, lat = HEADS[kind](_rng(kind, i))
        angles = np.column_stack([(lon + 180.0) % 360.0 - 180.0, np.clip(lat, -89, 89), np.zeros(SAMPLES)])
        made.append(HeadTrace(str(i), "0", HZ, angles))
    _compared(kind, "netllm_gym/ViewportPrediction-v0", TraceSet(kind, "all", tuple(made)), {}, WATCHERS)


def jobs(kind: str) -> None:
    """Schedule jobs of a kind, by the rules' compiled twins."""
    rules = {name: compiled_rule(make_agent(f"cluster/{name}")) for name in ("adaptive", *SCHEDULERS)}
    for executors, load, moving_s in CLUSTERS:
        found = []
        for i in range(16):
            rng = _rng(kind, i)
            work = Workload(kind, tuple(JOBS[kind](rng, f"job-{k}") for k in range(40)))
            env = ClusterSchedulingEnv(traces=work, jobs=60, executors=executors, load=load, moving_s=moving_s)
            env.reset(seed=i, options={"trace": i})
            episode = Episode.of(env)
            found.append([np.log(episode.mean_jct_s(*rule)) for rule in rules.values()])
        less = 100.0 * (np.array(found)[:, :1] - np.array(found)[:, 1:])
        shown = "  ".join(f"minus {n} {_text(own, 1)} %" for n, own in zip(SCHEDULERS, less.T, strict=True))
        print(f"{kind}, {executors} executors, load {load}, moving {moving_s} s: {shown}", flush=True)


def main() -> None:
    """Play what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("links", "heads", "jobs"))
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="default: all")
    given = parser.parse_args()
    play, known = {"links": (links, LINKS), "heads": (heads, HEADS), "jobs": (jobs, JOBS)}[given.task]
    if odd := sorted(set(given.kinds) - set(known)):
        parser.error(f"no kind of {given.task} is called {odd[0]}; there are {', '.join(known)}")
    for kind in given.kinds or known:
        play(kind)


if __name__ == "__main__":
    main()
