"""Viewport prediction: tables of agents, what is trained for them, and speed.

python benchmarks/viewport.py table            all agents on the four published settings, and paired differences
python benchmarks/viewport.py crowd            with and without the crowd's heatmap (canonical angles)
python benchmarks/viewport.py motion           error by how far the head went
python benchmarks/viewport.py canonical        canonical angles: great circle and tiles
python benchmarks/viewport.py losses OUT       the language model under either loss, a short training each, on valid
python benchmarks/viewport.py speed            windows/s, with refits as the peer

All but speed need the public sets: netllm-gym traces fetch viewport/jin2022, and viewport/wu2017.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np

import netllm_gym  # noqa: F401 (registers the environments)
from netllm_gym import make_agent, traces, train
from netllm_gym.agents.viewport import predictors as p
from netllm_gym.agents.viewport.rules import LinearL1, Ridge
from netllm_gym.envs.viewport.metrics import mae_published
from netllm_gym.envs.viewport.tiles import TileView
from netllm_gym.envs.viewport.windows import SETTINGS, WindowProtocol, Windows, cut
from netllm_gym.evaluation.windows import interval, score
from netllm_gym.files import cache_dir
from netllm_gym.play import Play

JIN = "viewport/jin2022"
UNTRAINED = {
    "hold-last": p.HoldLast(),
    "damped-velocity": p.DampedVelocity(),
    "history-mean": p.HistoryMean(),
    "velocity-as-published": p.Velocity(unwrap=False),
    "velocity": p.Velocity(),
    "linear-regression-as-published": p.LinearRegression(unwrap=False),
    "linear-regression": p.LinearRegression(),
}


def _trained_on(reading: str) -> str:
    return JIN + ("/as-published" if reading == "published" else "")


def network(name: str, reading: str, image: bool = False) -> Any:
    """A network for one reading of Jin2022: from the zoo, or with images trained once and kept in the cache."""
    if not image:
        agent: Any = make_agent(f"viewport/{name}")
        agent.use(reading)
        return agent
    folder = cache_dir() / "benchmarks" / f"viewport-{name}-{reading}-image"
    if not (folder / "agent.json").is_file():
        train(f"viewport-{name}", out=folder, options={"traces": _trained_on(reading), "image": True})
    return make_agent(folder)


def predictors(reading: str, history: int, future: int) -> dict[str, Any]:
    """Every agent that sees nothing but the head, by name."""
    train = _trained_on(reading)
    found: dict[str, Any] = dict(UNTRAINED)
    found["ridge"] = Ridge().fit(train, history, future)
    found["linear-l1"] = LinearL1().fit(train, history, future)
    return found | {name: network(name, reading) for name in ("track", "gru", "llm")}


def windows_of(name: str, reading: str = "published") -> Windows:
    setting = SETTINGS[name]
    suffix = "/as-published" if reading == "published" else ""
    return cut(tuple(traces.load(setting.traces + suffix, "test")), setting.protocol)


def table() -> None:
    """Published error of every agent in the four settings; then differences on the same windows."""
    cells: dict[str, list[str]] = {}
    pairs: dict[tuple[str, str], list[str]] = {}
    for name, setting in SETTINGS.items():
        windows = windows_of(name)
        errors = {}
        for agent, predictor in predictors("published", setting.protocol.history, setting.protocol.future).items():
            path = predictor.predict(windows.history_deg, setting.protocol.future)
            errors[agent] = mae_published(path, windows.future_deg).mean(axis=1)
            cells.setdefault(agent, []).append(str(interval(errors[agent], windows.trace)))
            skill = 1 - errors[agent].mean() / errors["hold-last"].mean()
            print(f"{name:8s} {agent:32s} {cells[agent][-1]} skill {skill:+.3f}", flush=True)
        rows = [(a, b) for b in ("hold-last", "track", "gru") for a in ("linear-l1", "track", "gru", "llm") if a != b]
        for a, b in rows:
            if (b, a) not in pairs:
                difference = interval(errors[a] - errors[b], windows.trace)
                pairs.setdefault((a, b), []).append(str(difference))
    head = " | ".join(SETTINGS)
    print(f"| agent | {head} |\n|---|" + "---|" * len(SETTINGS))
    for agent, row in cells.items():
        print(f"| {agent} | " + " | ".join(row) + " |")
    print(f"| difference | {head} |\n|---|" + "---|" * len(SETTINGS))
    for (a, b), row in pairs.items():
        print(f"| {a} - {b} | " + " | ".join(row) + " |")


def crowd() -> None:
    """The crowd's heatmap: who sees it, and who does not, on the same windows of canonical angles (2 s to 4 s)."""
    agents: dict[str, Any] = {name: make_agent(f"viewport/{name}") for name in ("hold-last", "gru", "crowd-knn")}
    agents["track"] = network("track", "canonical", image=True)
    others = {key: agent for key, agent in agents.items() if key != "hold-last"}
    blind = network("track", "canonical")
    for name in ("default", "unseen2"):
        env: Any = gym.make(
            "netllm_gym/ViewportPrediction-v0", traces=SETTINGS[name].traces, split="test", image="crowd"
        ).unwrapped
        errors: dict[str, list[float]] = {agent: [] for agent in (*agents, "track without the crowd")}
        viewer = []
        for trace in range(len(env.traces)):
            answers: list[dict[str, Any]] = []

            def ask(played: Play, action: Any, answers: list[dict[str, Any]] = answers) -> Any:
                """Note what every agent answers; hold-last is the one that plays."""
                history = played.observation["history_deg"].astype(np.float64)
                given = {key: agent.act(played.observation, played.info) for key, agent in others.items()}
                given["track without the crowd"] = (blind.predict(history[None], 20)[0] - history[-1]).astype("f4")
                answers.append({"hold-last": action, **given})
                return action

            played = Play(env, agents["hold-last"], 0, {"trace": trace}, override=ask)
            for agent in others.values():
                agent.reset(played.env_info())
            for step in played:
                last = step.observation["history_deg"].astype(np.float64)[-1]
                for key, answer in answers[-1].items():
                    errors[key].append(float(mae_published(last + answer, step.next_info["truth_deg"]).mean()))
                viewer.append(trace)
        cluster = np.array(viewer)
        for agent, values in errors.items():
            e, hold = np.array(values), np.array(errors["hold-last"])
            print(
                f"{name:8s} {agent:24s} {interval(e, cluster)} | - hold-last {interval(e - hold, cluster)}", flush=True
            )


def motion() -> None:
    """Error by how far the head went, on the test windows of the first and third setting."""
    from netllm_gym.envs.viewport.metrics import by_motion

    found: dict[str, Any] = {key: UNTRAINED[key] for key in ("hold-last", "damped-velocity", "linear-regression")}
    found["linear-l1"] = LinearL1().fit(JIN + "/as-published", 10, 20)
    found |= {"gru": network("gru", "published"), "llm": network("llm", "published")}
    for name in ("default", "unseen2"):
        windows = windows_of(name)
        for agent, predictor in found.items():
            bins = by_motion(predictor.predict(windows.history_deg, 20), windows)
            print(name, agent, {k: {m: round(v, 2) for m, v in b.items()} for k, b in bins.items()}, flush=True)


def canonical() -> None:
    """Great circle and tiles on canonical angles."""
    for name in ("default", "unseen2"):
        windows = windows_of(name, "canonical")
        for agent, predictor in predictors("canonical", 10, 20).items():
            f = score(predictor.predict(windows.history_deg, 20), windows, view=TileView())
            tiles = " ".join(f"{key} {f[key].mean:.3f}" for key in ("hit_rate", "tile_iou", "full_cover"))
            print(f"{name} {agent:32s} great circle {f['great_circle_deg']} {tiles}", flush=True)


def losses(out: str) -> None:
    """The published error on the validation part of Jin2022 after a short training under either loss."""
    windows = cut(tuple(traces.load(JIN + "/as-published", "valid")), WindowProtocol())
    for loss in ("absolute", "squared"):
        options = {"regression_loss": loss, "steps": 600, "eval_every": 100}
        train("viewport-llm", out=f"{out}-{loss}", options=options, say=lambda line: print(line, flush=True))
        agent: Any = make_agent("viewport/llm", checkpoint=f"{out}-{loss}")
        print(loss, score(agent.predict(windows.history_deg, 20), windows)["mae_published_deg"], flush=True)


def speed() -> None:
    windows = cut(tuple(traces.load("viewport/synthetic", "train")), WindowProtocol(stride=1)).history_deg
    history = np.resize(windows, (200_000, 10, 3))
    for name, predictor in UNTRAINED.items():
        predictor.predict(history, 20)
        best = min(_timed(lambda predictor=predictor: predictor.predict(history, 20)) for _ in range(3))
        print(f"{name:32s} {len(history) / best / 1e6:.2f} M windows/s")
    few = history[:20]
    refit = _timed(lambda: [_refit(h, 20) for h in few]) / len(few)
    print(f"refit after every step (numpy least squares): {1 / refit:.0f} windows/s")


def _timed(work) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _refit(history: np.ndarray, future: int) -> np.ndarray:
    """NetLLM's way: fit, predict one step, append it, fit again, for each angle."""
    out = []
    for angle in history.T:
        seen = list(angle)
        for _ in range(future):
            window = np.array(seen[-len(history) :])
            slope, intercept = np.polyfit(np.arange(len(window)), window, 1)
            seen.append(slope * len(window) + intercept)
        out.append(seen[-future:])
    return np.array(out).T


if __name__ == "__main__":
    commands = {f.__name__: f for f in (table, crowd, motion, canonical, losses, speed)}
    commands[sys.argv[1] if len(sys.argv) > 1 else "speed"](*sys.argv[2:])
