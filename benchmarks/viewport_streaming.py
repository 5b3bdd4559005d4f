"""Tile streaming: what a better prediction is worth, what a fuller buffer costs, and speed.

python benchmarks/viewport_streaming.py play OUT        predictors, and buffer targets, on Jin2022; figures into OUT
python benchmarks/viewport_streaming.py plot OUT        the plot and the tables of OUT/streaming.json
python benchmarks/viewport_streaming.py measured TRACES TABLE [VIEWERS]   the same predictors on measured tile sizes
python benchmarks/viewport_streaming.py gif OUT         the animation of the documentation
python benchmarks/viewport_streaming.py speed           chunk steps per second

`play` keeps what it has finished and goes on from there. It needs netllm-gym traces fetch viewport/jin2022.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import netllm_gym  # noqa: F401 (registers the environments)
from netllm_gym import make_agent
from netllm_gym.evaluation.windows import interval
from netllm_gym.files import write_json
from netllm_gym.play import Play
from netllm_gym.traces.head.geometry import great_circle_deg

PREDICTORS = ("linear-regression", "velocity", "history-mean", "hold-last", "damped-velocity", "linear-l1", "gru")
TARGETS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
TERMS = ("quality", "spatial", "change", "stall_s", "wasted_bytes")


def _agent(name: str) -> Any:
    if name in ("whole-sphere", "oracle"):
        return make_agent(f"streaming/{name}")
    return make_agent("streaming/predictive", predictor=f"viewport/{name}")


def _play(env: Any, agent: Any, viewers: int) -> dict[str, list[float]]:
    """Play each viewer once on a link of his own; means per chunk, a value per viewer."""
    found: dict[str, list[float]] = {key: [] for key in ("qoe", "error_deg", *TERMS)}
    for viewer in range(viewers):
        options = {"trace": viewer % len(env.traces), "network": viewer % len(env.networks)}
        sums, errors = dict.fromkeys(("qoe", *TERMS), 0.0), []

        def look(played: Play, action: Any, errors: list[float] = errors) -> Any:
            """Note how far off the prediction is that the agent decided by."""
            if hasattr(agent, "angles") and not agent.privileged:
                expected = agent.angles(played.observation, played.info)
                first = env.chunk * round(env.traces[0].hz)
                truth = env.trace.angles_deg[first : first + len(expected)]
                errors.append(float(great_circle_deg(expected[: len(truth)], truth).mean()))
            return action

        for step in Play(env, agent, viewer, options, override=look):
            sums["qoe"] += step.reward
            for key in TERMS:
                sums[key] += step.next_info[key]
        for key, value in sums.items():
            found[key].append(value / env.chunks)
        found["error_deg"].append(float(np.mean(errors)) if errors else 0.0)
    return found


def play(out: str, traces: str = "viewport/jin2022", viewers: str = "126") -> None:
    """Play predictors at a target of 3 s, and hold-last, the GRU and the oracle at every target."""
    path = Path(out) / "streaming.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    work = [(name, 3.0) for name in ("whole-sphere", *PREDICTORS, "oracle")]
    work += [(name, target) for target in TARGETS for name in ("hold-last", "gru", "oracle") if target != 3.0]
    for name, target in work:
        key = f"{name}@{target:g}"
        if key not in kept:
            env: Any = gym.make("netllm_gym/ViewportStreaming-v0", traces=traces, buffer_target_s=target).unwrapped
            kept[key] = _play(env, _agent(name), int(viewers))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, kept)
        print(key, {k: round(float(np.mean(v)), 4) for k, v in kept[key].items()}, flush=True)


def _rows(kept: dict[str, dict[str, list[float]]], names: tuple[str, ...], suffix: str) -> None:
    """Print the table of agents."""
    hold = np.array(kept["hold-last" + suffix]["qoe"])
    print("| predictor | view error (°) | QoE | - hold-last | quality | variation | stall (ms) | wasted (MB) |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        one = {key: np.array(value) for key, value in kept[name + suffix].items()}
        apart = interval(one["qoe"] - hold, np.arange(len(hold)))
        difference = f"{apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]" if name != "hold-last" else "–"
        error = f"{one['error_deg'].mean():.1f}" if name != "whole-sphere" else "–"
        varied = (one["spatial"] + one["change"]).mean()
        print(
            f"| {name} | {error} | {one['qoe'].mean():.3f} | {difference} | {one['quality'].mean():.3f} | {varied:.3f} "
            f"| {1e3 * one['stall_s'].mean():.1f} | {1e-6 * one['wasted_bytes'].mean():.2f} |"
        )


def plot(out: str) -> None:
    """Print the tables and draw QoE against the error of the view and against the buffer target."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kept = json.loads((Path(out) / "streaming.json").read_text())
    _rows(kept, ("whole-sphere", *PREDICTORS, "oracle"), "@3")
    curves = {name: [float(np.mean(kept[f"{name}@{t:g}"]["qoe"])) for t in TARGETS] for name in ("hold-last", "gru")}
    curves["oracle"] = [float(np.mean(kept[f"oracle@{t:g}"]["qoe"])) for t in TARGETS]
    print("| target (s) | " + " | ".join(curves) + " |\n|---|" + "---|" * len(curves))
    for i, target in enumerate(TARGETS):
        print(f"| {target:g} | " + " | ".join(f"{values[i]:.3f}" for values in curves.values()) + " |")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    hold = np.array(kept["hold-last@3"]["qoe"])
    markers = dict(zip((*PREDICTORS, "oracle"), "vsP*XDo^", strict=True))
    near = left.inset_axes((0.52, 0.63, 0.46, 0.34))  # the better predictors lie close together
    for number, (name, marker) in enumerate(markers.items()):
        qoe = np.array(kept[f"{name}@3"]["qoe"])
        apart = interval(qoe - hold, np.arange(len(hold)))
        bar = [[apart.mean - apart.low], [apart.high - apart.mean]]
        x = float(np.mean(kept[f"{name}@3"]["error_deg"]))
        for axes in (left, near) if 20 < x < 30 else (left,):
            size = 7 if axes is near else 5
            axes.errorbar(
                x, qoe.mean(), bar, fmt=marker, color=f"C{number}", markersize=size, capsize=2, label=name
            )  # fmt: skip
    near.tick_params(labelsize=7)
    near.grid(alpha=0.25)
    left.indicate_inset_zoom(near)
    sphere = float(np.mean(kept["whole-sphere@3"]["qoe"]))
    left.axhline(sphere, color="0.5", linestyle=":", label="whole sphere (no prediction)")
    left.set(
        xlabel="error of the predicted view (great circle, °)",
        ylabel="QoE per chunk",
        title="A better prediction earns a better QoE\n(bars: 95 % interval of the paired difference to hold-last)",
    )
    left.set_ylim(0.40, 0.92)
    left.legend(fontsize=7.5, loc="lower left", bbox_to_anchor=(0.0, 0.1))
    for (name, values), marker in zip(curves.items(), "*o^", strict=True):
        right.plot(TARGETS, values, marker=marker, label=name, color=f"C{list(markers).index(name)}")
    right.set(xlabel="buffer target (s)", ylabel="QoE per chunk", title="A fuller buffer asks for a longer prediction")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.title.set_fontsize(10)
    figure.savefig(Path(out) / "streaming_qoe.png", dpi=110)


def measured(traces: str, table: str, viewers: str = "") -> None:
    """Play on a table of measured tile sizes, at most 120 chunks."""
    env: Any = gym.make("netllm_gym/ViewportStreaming-v0", traces=traces, tiles=table, max_chunks=120).unwrapped
    names = ("whole-sphere", "linear-regression", "hold-last", "damped-velocity", "linear-l1", "gru", "oracle")
    _rows({name: _play(env, _agent(name), int(viewers or len(env.traces))) for name in names}, names, "")


def gif(out: str, traces: str = "viewport/jin2022") -> None:
    """Hold-last over 24 chunks, true and predicted view outlined."""
    from PIL import Image

    env: Any = gym.make(
        "netllm_gym/ViewportStreaming-v0", traces=traces, action_mode="view", max_chunks=24, render_mode="rgb_array"
    ).unwrapped
    env.reset(seed=0, options={"trace": 5})
    frames, over = [], False
    while not over:
        action = {"motion_deg": np.zeros(env.action_space["motion_deg"].shape, np.float32), "level": 3}
        _, _, over, _, _ = env.step(action)
        frames.append(Image.fromarray(env.render()).resize((384, 192)).quantize(32))
    frames[0].save(Path(out) / "streaming.gif", save_all=True, append_images=frames[1:], duration=400, loop=0)


def speed() -> None:
    """Random tile levels on 8 × 8 tiles."""
    env: Any = gym.make("netllm_gym/ViewportStreaming-v0").unwrapped
    actions = np.random.default_rng(0).integers(1, env.action_space.nvec.max(), (4000, 64))
    for trace in range(len(env.traces)):
        env.reset(seed=0, options={"trace": trace})
    begin, steps = time.process_time(), 0
    for episode in range(32):
        env.reset(seed=episode)
        over = False
        while not over:
            _, _, over, _, _ = env.step(actions[steps])
            steps += 1
    print(f"streaming: {steps / (time.process_time() - begin):.0f} chunk steps per second of CPU time on 8 × 8 tiles")


if __name__ == "__main__":
    commands = {f.__name__: f for f in (play, plot, measured, gif, speed)}
    commands[sys.argv[1] if len(sys.argv) > 1 else "speed"](*sys.argv[2:])
